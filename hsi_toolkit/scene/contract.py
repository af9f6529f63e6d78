"""The Scene contract: what every reader returns and every task takes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import rioxarray  # noqa: F401  registers the .rio accessor
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.lazy import LayerSource, RasterSource, lazy_layer, lazy_variable

Quantity = Literal["reflectance", "radiance", "dn"]

SCENE_NAME = "scene"
"""Name of the array, and of the variable in the data set of ``engine="hsi"``."""

CHUNK_BYTES = 32 << 20
"""Float32 bytes of a chunk that a reader proposes."""

MAX_SIDE = 2**31 - 1
MAX_BANDS = 65_536


def check_shape(shape: tuple[int, int, int], path: Path) -> None:
    """Refuse band, row and column counts that no raster has.

    Raises:
        SceneError: a size is below one or beyond what GDAL and GeoTIFF can hold.
    """
    limits = (MAX_BANDS, MAX_SIDE, MAX_SIDE)
    for name, size, limit in zip(("bands", "lines", "samples"), shape, limits, strict=True):
        if not 1 <= size <= limit:
            raise SceneError(
                f"{path} claims {size} {name}.",
                f"A scene has 1 to {limit} of them: correct the header or file.",
            )


def make_scene(
    source: RasterSource,
    *,
    path: Path,
    wavelength: NDArray[np.float64] | None = None,
    fwhm: NDArray[np.float64] | None = None,
    good: NDArray[np.bool_] | None = None,
    crs: CRS | None = None,
    transform: Affine | None = None,
    nodata: float | None = None,
    quantity: Quantity = "dn",
    sensor: str | None = None,
    acquired: str | None = None,
    units: str | None = None,
    band_numbers: NDArray[np.integer] | None = None,
    detector: Sequence[str] | None = None,
    layers: Mapping[str, LayerSource] | None = None,
    chunks: Mapping[str, int] | None = None,
    stored_rows: int = 1,
    found: Mapping[str, str] | None = None,
) -> xr.DataArray:
    """The lazy scene over ``source``.

    Args:
        source: gives windows as float32 in physical units, NaN where there is no data.
        path: the file as the user named it.
        wavelength, fwhm: (bands,) nanometres, or None when unknown.
        good: (bands,) bool; None means that the file calls no band bad.
        crs, transform: georeference, pixel edges; the transform may be rotated. None: the scene has none.
        nodata: the stored number that became NaN, for writers.
        quantity: what the values are; "dn" when the file does not say.
        sensor, acquired: instrument name and UTC time (ISO 8601), None when unknown.
        units: of the values, None when unknown: "1" for reflectance, "W/m2/sr/um" and the like for radiance.
        band_numbers: (bands,) the number of each band in the file, from one; None: all of them in order.
        detector: (bands,) which detector took each band ("vnir", "swir"), for instruments with several.
        layers: coordinates (y, x) that are read on use, such as quality masks and the ``lon`` and ``lat`` of
            a swath (degrees, pixel centres, NaN where unknown).
        chunks: proposed chunk lengths of "y" and "x"; whole lines when absent.
        stored_rows: lines that are compressed together, which blocks had better not split.
        found: where in the file each fact was found, in words, by the names of these arguments ("scale"
            included), for instance ``{"wavelength": "'wavelength' of the header, in micrometers"}``.

    Returns:
        A DataArray with dims (band, y, x), bands in ascending order of wavelength; ``band`` is their number
        in the file, from one. ``y`` and ``x`` are pixel centres where the transform is not rotated. ``attrs``
        hold ``quantity`` and ``source``, and ``sensor``, ``acquired`` and ``units`` where they are known.
        ``encoding["found"]`` is ``found``: no attribute, because files cannot hold mappings there.
    """
    bands, height, width = source.shape
    coords: dict[str, object] = {
        "band": ("band", np.arange(1, bands + 1) if band_numbers is None else np.asarray(band_numbers)),
        "good": ("band", np.ones(bands, bool) if good is None else np.asarray(good, bool)),
    }
    if wavelength is not None:
        coords["wavelength"] = ("band", np.asarray(wavelength, np.float64), {"units": "nm"})
    if fwhm is not None:
        coords["fwhm"] = ("band", np.asarray(fwhm, np.float64), {"units": "nm"})
    if detector is not None:
        coords["detector"] = ("band", np.asarray(detector, np.str_))
    coords |= {name: lazy_layer(layer) for name, layer in (layers or {}).items()}
    if transform is not None and transform.b == 0 and transform.d == 0:
        coords["y"] = ("y", transform.f + transform.e * (np.arange(height) + 0.5))
        coords["x"] = ("x", transform.c + transform.a * (np.arange(width) + 0.5))
    attrs = {"quantity": quantity, "source": str(path)}
    if sensor:
        attrs["sensor"] = sensor
    if acquired:
        attrs["acquired"] = acquired
    if units:
        attrs["units"] = units
    scene = xr.DataArray(lazy_variable(source), coords=coords, attrs=attrs, name=SCENE_NAME)
    scene.encoding["preferred_chunks"] = {"band": bands, **(chunks or line_chunks(source.shape))}
    scene.encoding["stored_rows"] = stored_rows
    scene.encoding["found"] = dict(found or {})
    if nodata is not None:
        scene.encoding["_FillValue"] = nodata
    if crs is not None:
        scene.rio.write_crs(crs, inplace=True)
    if transform is not None:
        scene.rio.write_transform(transform, inplace=True)
    return in_wavelength_order(scene)


def in_wavelength_order(scene: xr.DataArray) -> xr.DataArray:
    """The scene with its bands in ascending order of wavelength, still lazy; as it is when none are known.

    Bands of the same wavelength stay in the order of the file.
    """
    if "wavelength" not in scene.coords:
        return scene
    centres = scene["wavelength"].to_numpy()
    if np.all(np.diff(centres) >= 0):
        return scene
    return scene.isel(band=np.argsort(centres, kind="stable"))


def line_chunks(shape: tuple[int, int, int], multiple: int = 1) -> dict[str, int]:
    """Chunks of whole lines, about ``CHUNK_BYTES`` each, in multiples of the stored block height."""
    bands, height, width = shape
    lines = CHUNK_BYTES // (4 * bands * width) // multiple * multiple
    return {"y": max(1, min(height, max(lines, multiple))), "x": width}
