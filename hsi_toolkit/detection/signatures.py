"""Target spectra from points and polygons drawn on the scene, or from a spectral library."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from sklearn.cluster import KMeans

from hsi_toolkit.errors import LabelError, ParameterError
from hsi_toolkit.scene import read_pixels
from hsi_toolkit.spectral.library import SpectralLibrary
from hsi_toolkit.tasks.common import LIBRARY_SUFFIXES
from hsi_toolkit.training.grid import Grid
from hsi_toolkit.training.label_vector import open_layer, read_outlines
from hsi_toolkit.training.labels import read_labels

MOST_SIGNATURES = 20
"""More drawn objects than this are condensed to as many mean spectra."""


@dataclass(frozen=True)
class TargetSpectra:
    """Spectra (n, bands) float64 of a target, what they were taken from, and what to know about them."""

    signatures: NDArray[np.float64]
    source: str
    warnings: tuple[str, ...] = ()


def read_signatures(
    path: str | Path,
    scene: xr.DataArray,
    *,
    field: str | None = None,
    value: str | None = None,
    layer: str | None = None,
) -> TargetSpectra:
    """Target spectra from a spectral library (by its suffix) or from drawn features.

    Raises:
        HsiError: see ``library_signatures`` and ``drawn_signatures``.
    """
    if Path(path).suffix.lower() in LIBRARY_SUFFIXES:
        return library_signatures(path, scene, value)
    if value is not None and field is None:
        raise ParameterError(f"The value {value!r} is given without a field.", "Name the field it stands in.")
    return drawn_signatures(path, scene, field=field, value=value, layer=layer)


def library_signatures(path: str | Path, scene: xr.DataArray, value: str | None = None) -> TargetSpectra:
    """The spectra of a library on the scene's bands: all, or those of a name or class.

    Raises:
        SceneError: the library cannot be read or does not cover the scene's bands.
        ParameterError: it has no spectrum of that name or class.
    """
    library = SpectralLibrary.read(path).resampled_to(scene)
    each = zip(library.names, library.classes, strict=True)
    chosen = np.array([value is None or value in (name, kind) for name, kind in each])
    if not chosen.any():
        known = ", ".join(map(repr, library.names[:10])) + (", …" if len(library) > 10 else "")
        raise ParameterError(f"{Path(path).name} has no spectrum {value!r}.", f"It has {known}.")
    spectra = library.spectra[chosen]
    warnings = []
    if scene.attrs.get("quantity") != "reflectance":
        warnings.append(
            "The scene does not say that it holds reflectance; a library's spectra only fit a scene of the "
            "same quantity and scale."
        )
    source = f"{len(spectra):,} of {len(library):,} spectra of {Path(path).name}"
    return TargetSpectra(condensed(spectra), source, tuple(warnings))


def drawn_signatures(
    path: str | Path,
    scene: xr.DataArray,
    *,
    field: str | None = None,
    value: str | None = None,
    layer: str | None = None,
) -> TargetSpectra:
    """The mean spectrum of each polygon and the spectrum under each point.

    Args:
        path: any vector layer of polygons or points.
        scene: the scene they lie on, with the bands wanted.
        field, value: only features that have ``value`` in ``field``; all where no field is given.
        layer: the layer within the file.

    Raises:
        LabelError: the layer cannot be used, has no feature of that value, or none on a pixel with data.
    """
    if field is None:
        rows, cols, owners = _pixels_of_outlines(path, scene, layer)
    else:
        rows, cols, owners = _pixels_of_class(path, scene, field, value, layer)
    spectra = read_pixels(scene, rows, cols)
    known = np.isfinite(spectra).all(axis=1)
    if not known.any():
        raise LabelError(
            f"No feature of {Path(path).name} lies on a pixel of the scene that has data.",
            "Draw the target on the scene.",
        )
    _, numbers = np.unique(owners[known], return_inverse=True)
    counts = np.bincount(numbers).astype(np.float64)
    sums = np.zeros((len(counts), spectra.shape[1]))
    np.add.at(sums, numbers, spectra[known])
    means = sums / counts[:, None]
    source = f"{len(means):,} objects, {int(known.sum()):,} pixels"
    return TargetSpectra(condensed(means), source)


def condensed(spectra: NDArray[np.float64], most: int = MOST_SIGNATURES) -> NDArray[np.float64]:
    """At most ``most`` spectra that stand for ``spectra`` (n, bands): the means of k-means clusters."""
    if len(spectra) <= most:
        return spectra
    centres: NDArray[np.float64] = KMeans(most, n_init=4, random_state=0).fit(spectra).cluster_centers_
    return centres


Pixels = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def _pixels_of_class(
    path: str | Path, scene: xr.DataArray, field: str, value: str | None, layer: str | None
) -> Pixels:
    """Rows, columns and object of the labelled pixels of one value, or of all."""
    labels = read_labels(path, field, scene, layer=layer)
    if value is not None:
        if value not in labels.names:
            raise LabelError(
                f"No feature on the scene has {value!r} in the field {field!r}.",
                "It has " + ", ".join(map(repr, labels.names)) + ".",
            )
        labels = labels.select(labels.classes == labels.names.index(value))
    return labels.rows, labels.cols, labels.groups


def _pixels_of_outlines(path: str | Path, scene: xr.DataArray, layer: str | None) -> Pixels:
    """Rows, columns and object of the pixels whose centre is in a polygon, or that hold a point.

    A polygon too small for a pixel's centre counts as a point in its middle: a target may well be.
    """
    grid = Grid.of(scene)
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], int]] = []
    for number, shape in enumerate(read_outlines(open_layer(path, None, layer), grid)):
        rows, cols = _inside(shape, grid)
        if not len(rows):
            middle = shapely.point_on_surface(shape)
            rows, cols = np.array([int(middle.y // 1)]), np.array([int(middle.x // 1)])
        on_scene = (rows >= 0) & (rows < grid.height) & (cols >= 0) & (cols < grid.width)
        found.append((rows[on_scene], cols[on_scene], number))
    if not any(len(rows) for rows, _, _ in found):
        raise LabelError(
            f"No feature of {Path(path).name} lies on the scene.",
            "Check that both belong together and that their coordinate systems are right.",
        )
    owners = [np.full(len(rows), number) for rows, _, number in found]
    rows, cols = (np.concatenate([each[axis] for each in found]) for axis in (0, 1))
    return rows, cols, np.concatenate(owners)


def _inside(shape: shapely.Geometry, grid: Grid) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the pixel centres inside a polygon given in pixel coordinates."""
    left, top, right, bottom = shapely.bounds(shape)
    x0, y0 = max(0, int(left // 1)), max(0, int(top // 1))
    width, height = min(grid.width, int(right // 1) + 1) - x0, min(grid.height, int(bottom // 1) + 1) - y0
    empty = np.empty(0, np.int64)
    if width < 1 or height < 1 or shapely.get_dimensions(shape) < 2:
        return empty, empty
    mask = rasterize([shape], out_shape=(height, width), transform=Affine.translation(x0, y0), dtype="uint8")
    rows, cols = np.nonzero(mask)
    return rows + y0, cols + x0
