"""Training and reference labels from polygons, points or a class raster."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize

from hsi_toolkit.errors import LabelError
from hsi_toolkit.progress import Progress
from hsi_toolkit.training.grid import Grid
from hsi_toolkit.training.label_raster import labels_from_raster
from hsi_toolkit.training.label_vector import Features, open_layer, outside_scene, read_features
from hsi_toolkit.training.labelled_pixels import (
    MOST_CLASSES,
    ClassValue,
    Labels,
    drop_nodata,
    labels_from_array,
    require_trainable,
)

__all__ = [
    "MOST_CLASSES",
    "ClassValue",
    "Grid",
    "Labels",
    "drop_nodata",
    "labels_from_array",
    "labels_from_raster",
    "read_labels",
    "require_trainable",
]

#: Pixels burnt at once, so that a polygon as large as the scene costs a strip of it.
_PIXELS_AT_ONCE = 4_000_000


def read_labels(
    path: str | Path,
    field: str,
    scene: xr.DataArray | Grid,
    *,
    layer: str | None = None,
    progress: Progress | None = None,
) -> Labels:
    """Labelled pixels of ``scene`` from the polygons or points of any layer OGR reads.

    A pixel belongs to a polygon when its centre lies inside, and to a point when the point lies in it.
    Parts of multipolygons count as polygons of their own. Pixels that features of different classes
    claim are left out. Features are brought to the scene's coordinate system; a scene without one
    takes layers without one, in pixel coordinates (x to the right, y downwards, or, as QGIS shows such
    rasters, downwards from 0 to minus the height).

    Args:
        path: a vector file; ``layer`` names the layer where several have the field.
        field: the classes, text or whole numbers; features where it is null are skipped.

    Raises:
        LabelError: the file, layer or field cannot be used, or no feature labels a pixel of the scene.
    """
    progress, grid = progress or Progress(), Grid.of(scene)
    source = open_layer(path, field, layer)
    features = read_features(source, grid)
    burnt = _burn(features, grid, progress)
    if not len(burnt.keys):
        if not burnt.inside.any():
            raise outside_scene(source, grid)
        drawn = np.count_nonzero(burnt.inside)
        raise LabelError(
            f"None of the {drawn} polygons inside the scene holds the centre of a pixel.",
            "Draw larger ones, or give points.",
        )
    chosen, conflicting = _one_class_a_pixel(burnt.keys, burnt.features, features.classes)
    if not len(chosen):
        raise LabelError(
            f"All {conflicting} labelled pixels lie in features of different classes.",
            "Correct the overlaps between the polygons.",
        )
    notes = _notes(features, burnt, source.features, conflicting)
    return _assemble(features, burnt.keys[chosen], burnt.features[chosen], grid, notes)


@dataclass(frozen=True)
class _Burnt:
    """Pixels (row times width plus column) and the feature each comes from; features inside the grid."""

    keys: NDArray[np.int64]
    features: NDArray[np.int64]
    inside: NDArray[np.bool_]


def _burn(features: Features, grid: Grid, progress: Progress) -> _Burnt:
    """The pixels of every feature, each in a window of its own."""
    bounds = shapely.bounds(features.shapes)
    inside = (
        (bounds[:, 0] < grid.width) & (bounds[:, 1] < grid.height) & (bounds[:, 2] >= 0) & (bounds[:, 3] >= 0)
    )
    is_point = shapely.get_type_id(features.shapes) == shapely.GeometryType.POINT
    points = np.flatnonzero(inside & is_point)
    at = np.floor(bounds[points, :2]).astype(np.int64)
    keys, owners = [at[:, 1] * grid.width + at[:, 0]], [points]
    for done, index in enumerate(np.flatnonzero(inside & ~is_point)):
        if done % 100 == 0:
            progress.check()
            progress.report(done / len(inside), "Laying the labels on the scene")
        for found in _polygon_pixels(features.shapes[index], bounds[index], grid):
            keys.append(found)
            owners.append(np.full(len(found), index))
    return _Burnt(np.concatenate(keys), np.concatenate(owners), inside)


def _polygon_pixels(
    polygon: shapely.Geometry, bounds: NDArray[np.float64], grid: Grid
) -> Iterator[NDArray[np.int64]]:
    """Keys of the pixels whose centre lies in the polygon (in pixel coordinates), strip by strip."""
    left, top = np.maximum(np.ceil(bounds[:2] - 0.5).astype(np.int64), 0)
    right, bottom = np.minimum(np.floor(bounds[2:] - 0.5).astype(np.int64), (grid.width - 1, grid.height - 1))
    width = int(right - left) + 1
    if width < 1:
        return
    step = max(1, _PIXELS_AT_ONCE // width)
    for start in range(int(top), int(bottom) + 1, step):
        height = min(step, int(bottom) + 1 - start)
        window = Affine.translation(left, start)
        mask = rasterize([polygon], out_shape=(height, width), transform=window, dtype="uint8")
        rows, cols = np.nonzero(mask)
        yield (rows + start) * grid.width + cols + left


def _one_class_a_pixel(
    keys: NDArray[np.int64], features: NDArray[np.int64], classes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], int]:
    """Which entries to keep so that each pixel is there once, and how many pixels classes dispute."""
    order = np.lexsort((features, keys))
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    claimed = classes[features[order]]
    agreed = np.minimum.reduceat(claimed, starts) == np.maximum.reduceat(claimed, starts)
    return order[starts[agreed]], int(np.count_nonzero(~agreed))


def _notes(features: Features, burnt: _Burnt, layer_features: int, conflicting: int) -> list[str]:
    """What was left out and why, as sentences."""
    notes = []
    outside = layer_features - features.read + _count_whole(features.parents, ~burnt.inside)
    if outside:
        notes.append(f"{outside} of {layer_features} features lie outside the scene and were left out.")
    without = burnt.inside.copy()
    without[burnt.features] = False
    missed, drawn = np.count_nonzero(without), np.count_nonzero(burnt.inside)
    if missed:
        notes.append(f"{missed} of {drawn} polygons hold no pixel centre (too small) and were left out.")
    if conflicting:
        notes.append(f"{conflicting} pixels that features of different classes claim were left out.")
    return notes


def _count_whole(parents: NDArray[np.int64], outside: NDArray[np.bool_]) -> int:
    """Features all of whose parts are outside."""
    parts = np.bincount(parents)
    return int(np.count_nonzero((parts > 0) & (np.bincount(parents, outside) == parts)))


def _assemble(
    features: Features, keys: NDArray[np.int64], owners: NDArray[np.int64], grid: Grid, notes: list[str]
) -> Labels:
    classes = features.classes[owners]
    present = np.unique(classes)
    missing = [f"The class {name!r} labels no pixel and was left out." for index, name in
               enumerate(features.names) if index not in present]  # fmt: skip
    areas = shapely.get_type_id(features.shapes[owners]) != shapely.GeometryType.POINT
    return Labels(
        rows=keys // grid.width,
        cols=keys % grid.width,
        classes=np.searchsorted(present, classes),
        groups=np.unique(owners, return_inverse=True)[1],
        names=tuple(features.names[index] for index in present),
        values=tuple(features.values[index] for index in present),
        colours=tuple(features.colours[index] for index in present),
        geometry="polygon" if areas.any() else "point",
        shape=(grid.height, grid.width),
        warnings=(*features.warnings, *notes, *missing),
    )
