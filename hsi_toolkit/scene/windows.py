"""Parts of a scene: a window by coordinates, bands by wavelength."""

import re

import numpy as np
import xarray as xr

from hsi_toolkit.errors import ParameterError, SceneError

_RANGE = re.compile(r"^\s*(\d+(?:\.\d*)?)\s*(?:-|\.\.|to)\s*(\d+(?:\.\d*)?)\s*$")


def crop(scene: xr.DataArray, bbox: tuple[float, float, float, float]) -> xr.DataArray:
    """The pixels that a box in the scene's coordinates touches, still lazy, with the transform that fits.

    Args:
        scene: (band, y, x); one without a georeference counts columns and rows from its upper left corner.
        bbox: xmin, ymin, xmax, ymax.

    Raises:
        ParameterError: the box is empty or lies outside the scene.
    """
    left, bottom, right, top = bbox
    if not (left < right and bottom < top):
        raise ParameterError(
            f"The window {left:g},{bottom:g},{right:g},{top:g} is empty.", "Give xmin,ymin,xmax,ymax."
        )
    transform = scene.rio.transform()
    corners = [~transform @ corner for corner in ((left, bottom), (right, bottom), (left, top), (right, top))]
    columns, rows = zip(*corners, strict=True)
    ranges = []
    for positions, length in ((rows, scene.sizes["y"]), (columns, scene.sizes["x"])):
        # A box that ends on an edge, but for rounding, does not take the pixels beyond it.
        first = max(0, int(np.floor(min(positions) + 1e-6)))
        last = min(length, int(np.ceil(max(positions) - 1e-6)))
        if first >= last:
            raise ParameterError(
                f"The window {left:g},{bottom:g},{right:g},{top:g} lies outside the scene.",
                "Give it in the scene's own coordinates.",
            )
        ranges.append(slice(first, last))
    part = scene.isel(y=ranges[0], x=ranges[1])
    part.encoding = dict(scene.encoding)
    if transform.is_identity:
        return part
    moved = transform @ type(transform).translation(ranges[1].start, ranges[0].start)
    placed: xr.DataArray = part.rio.write_transform(moved)
    return placed


def parse_bbox(text: str) -> tuple[float, float, float, float]:
    """The four numbers of ``xmin,ymin,xmax,ymax``. Raises ParameterError."""
    parts = re.split(r"[\s,;]+", text.strip())
    try:
        left, bottom, right, top = map(float, parts)
    except ValueError as error:
        raise ParameterError(f"The window {text!r} is no box.", "Give xmin,ymin,xmax,ymax.") from error
    return left, bottom, right, top


def within(scene: xr.DataArray, text: str) -> xr.DataArray:
    """The bands whose centres lie in ranges such as ``400-1340,1445-1790`` (nanometres), still lazy.

    Raises:
        ParameterError: a range cannot be understood, or no band lies in any.
        SceneError: the scene has no wavelengths.
    """
    if "wavelength" not in scene.coords:
        raise SceneError(
            "The scene has no wavelengths to choose bands by.",
            "Give them with 'hsi check --bands FILE --fix'.",
        )
    centres = scene["wavelength"].to_numpy()
    kept = np.zeros(len(centres), bool)
    for part in text.split(","):
        found = _RANGE.match(part)
        if found is None:
            raise ParameterError(f"{part.strip()!r} is no range of wavelengths.", "Give them as 400-1000.")
        kept |= (centres >= float(found[1])) & (centres <= float(found[2]))
    if not kept.any():
        raise ParameterError(
            f"No band lies within {text} nm; the scene has {centres.min():.0f} to {centres.max():.0f} nm.",
            "Give other ranges.",
        )
    return scene.isel(band=np.flatnonzero(kept))
