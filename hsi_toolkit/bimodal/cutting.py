"""Pairs cut from two georeferenced rasters: what both show of one and the same square of ground.

The square is laid around an object in the pixels of the colour raster, so that shapes keep their
proportions; its points are located in the hyperspectral raster by their coordinates, whatever the two
coordinate systems.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyproj
import shapely
import xarray as xr
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.features import rasterize
from rasterio.transform import Affine

from hsi_toolkit.bimodal.objects import Objects
from hsi_toolkit.bimodal.pairs import (
    Images,
    Pairs,
    Preparation,
    room_for_images,
    spectra_from_zero_to_one,
)
from hsi_toolkit.errors import LabelError, SceneError
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene.accessor import NATURAL_COLOUR_NM, NATURAL_COLOUR_REACH_NM
from hsi_toolkit.spectral.resample import BandPlan, SensorBands
from hsi_toolkit.training.grid import Grid

#: Values of a raster that are read at once for an object; beyond this it is no object but the scene.
_MOST_VALUES = 1 << 28
#: Share of an object's square that must have data, and of its box that must lie on a raster.
_ENOUGH = 0.5
#: Objects whose colours the stretch is fitted to.
_STRETCHED_BY = 200
#: A point of an image is the mean of at most so many, along either axis, of the raster.
_MOST_SUBPOINTS = 16
_MOST_NAMED = 12

Points = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class TwoRasters:
    """A colour raster and a hyperspectral one of the same ground, and how bands are taken from the latter.

    ``plan`` gives the bands ``bands`` from the scene ``hyperspectral``.
    """

    colour: xr.DataArray
    hyperspectral: xr.DataArray
    bands: SensorBands
    plan: BandPlan

    def __post_init__(self) -> None:
        for raster in (self.colour, self.hyperspectral):
            if not Grid.of(raster).georeferenced:
                raise SceneError(
                    f"{raster.attrs.get('source', 'A raster')} has no coordinates to find objects by.",
                    "Georeference both rasters.",
                )
        systems = [Grid.of(raster).crs for raster in (self.colour, self.hyperspectral)]
        if (systems[0] is None) != (systems[1] is None):
            raise SceneError(
                "One of the two rasters states a coordinate system and the other none.",
                "Give both the one they are in.",
            )


def own_bands(scene: xr.DataArray) -> tuple[SensorBands, BandPlan]:
    """The good bands of a scene, as they are."""
    bands = SensorBands.of_scene(scene)
    return bands, BandPlan(bands.used)


def colour_bands(raster: xr.DataArray, asked: str | None = None) -> tuple[int, ...]:
    """Positions (from 0) of red, green and blue.

    Those ``asked`` for as numbers from 1, such as ``"4,3,2"``; else by wavelength where the raster has
    natural colours; else the first three, or the only one three times.

    Raises:
        SceneError: there are no such bands.
    """
    count = raster.sizes["band"]
    if asked:
        numbers = [int(each) if each.strip().isdigit() else 0 for each in asked.split(",")]
        if len(numbers) != 3 or not all(1 <= number <= count for number in numbers):
            raise SceneError(
                f"The colour bands are {asked!r}, and the colour image has {count}.",
                "Give three band numbers from 1, such as 3,2,1.",
            )
        return tuple(number - 1 for number in numbers)
    if "wavelength" in raster.coords and count >= 3:
        off = np.abs(np.atleast_1d(raster["wavelength"].to_numpy())[:, None] - np.array(NATURAL_COLOUR_NM))
        if off.min(axis=0).max() <= NATURAL_COLOUR_REACH_NM:
            return tuple(off.argmin(axis=0).tolist())
    if count == 2:
        raise SceneError("The colour image has two bands.", "Give one of three bands or more, or of one.")
    return (0, 0, 0) if count == 1 else (0, 1, 2)


def cut_pairs(
    rasters: TwoRasters, objects: Objects, preparation: Preparation, progress: Progress | None = None
) -> Pairs:
    """The images of every object that both rasters show; of the others ``warnings`` name the features.

    Where ``preparation`` has no stretch, it is fitted to the objects' colours.

    Args:
        preparation: its ``colour_bands`` are those of the colour raster.

    Raises:
        LabelError: no object lies in both rasters, or one spans a large part of the scene.
        SceneError: a raster lacks a band or cannot be read.
    """
    progress = progress or Progress()
    cutter = _Cutter(rasters, objects, preparation)
    kept, notes = cutter.usable(progress.part(0.0, 0.05))
    if preparation.stretch is None:
        preparation = _stretched(cutter, preparation, kept, progress.part(0.05, 0.15))
    count, called = len(kept), objects.called()
    rgb = room_for_images((count, preparation.side, preparation.side, 3))
    hs = room_for_images((count, preparation.patch, preparation.patch, len(rasters.bands)))
    shown, empty = list[int](), list[str]()
    for done, index in enumerate(kept):
        progress.check()
        progress.report(0.15 + 0.85 * done / count, "Cutting the objects out")
        colours, spectra = cutter.colours(index), cutter.spectra(index)
        if colours is None or spectra is None:
            empty.append(called[index])
            continue
        outside, place = cutter.outside(index), len(shown)
        rgb[place] = np.where(outside[0], 1.0, preparation.stretched(colours))
        hs[place] = np.where(outside[1], 0.0, spectra_from_zero_to_one(spectra))
        shown.append(int(index))
    if empty:
        notes.append(f"{_named(empty)} without data in one of the rasters and left out.")
    if not shown:
        raise LabelError(
            "The rasters have no data at any of the objects.", "Check that they belong together."
        )
    rgb, hs, kept = rgb[: len(shown)], hs[: len(shown)], np.array(shown, np.int64)
    return Pairs(
        rgb=rgb,
        hs=hs,
        preparation=preparation,
        bands=rasters.bands,
        called=tuple(called[index] for index in kept),
        labels=None if objects.labels is None else objects.labels[kept],
        classes=objects.classes,
        windows=cutter.windows(kept),
        quantity=rasters.hyperspectral.attrs.get("quantity"),
        sensor=rasters.hyperspectral.attrs.get("sensor"),
        warnings=(*objects.warnings, *notes),
        positions=kept,
    )


def _stretched(
    cutter: "_Cutter", preparation: Preparation, kept: NDArray[np.int64], progress: Progress
) -> Preparation:
    chosen = kept[:: max(1, len(kept) // _STRETCHED_BY)]
    seen = []
    for place, index in enumerate(chosen):
        progress.check()
        progress.report(place / len(chosen), "Looking at the colours")
        colours = cutter.colours(index)
        if colours is not None:
            seen.append(colours)
    if not seen:
        raise LabelError("The colour image has no data at any object.", "Check that they belong together.")
    return preparation.fitted(seen)


def _named(called: Sequence[str]) -> str:
    more = f" and {len(called) - _MOST_NAMED} more" if len(called) > _MOST_NAMED else ""
    several = len(called) > 1
    return f"Feature{'s' * several} {', '.join(called[:_MOST_NAMED])}{more} {'are' if several else 'is'}"


class _Cutter:
    """Where the objects' squares lie in both rasters, and what these show there."""

    def __init__(self, rasters: TwoRasters, objects: Objects, preparation: Preparation) -> None:
        self._rasters, self._preparation = rasters, preparation
        self._objects = objects
        self._fine, self._coarse = Grid.of(rasters.colour), Grid.of(rasters.hyperspectral)
        to_fine = _transformer(objects.crs, self._fine.crs)
        self._outlines = shapely.transform(
            objects.outlines, lambda xy: self._fine.locate(*_moved(to_fine, xy[:, 0], xy[:, 1]))
        )
        self._to_coarse = _transformer(_pyproj(self._fine.crs), self._coarse.crs)
        highest = max(preparation.colour_bands)
        if highest >= rasters.colour.sizes["band"]:
            raise SceneError(
                f"The colour image has {rasters.colour.sizes['band']} bands; band {highest + 1} is needed.",
                "Give the kind of image that the model was trained on.",
            )
        self._colour = rasters.colour.isel(band=list(preparation.colour_bands))
        self._scene = rasters.hyperspectral.isel(band=list(rasters.plan.bands))
        boxes = shapely.bounds(self._outlines)
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        # An object smaller than a pixel still shows that pixel.
        longer = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(axis=1), 1.0)
        self._half = longer * (0.5 + preparation.margin)
        self._middle, self._boxes = middle, boxes

    def usable(self, progress: Progress) -> tuple[NDArray[np.int64], list[str]]:
        """The objects that lie in both rasters, and a sentence naming the features that do not.

        Raises:
            LabelError: there are none, or one is too large.
        """
        progress.report(0.0, "Locating the objects")
        called, notes = self._objects.called(), []
        inside = np.ones(len(self._objects), bool)
        for grid, name, boxes in (
            (self._fine, "colour image", self._boxes),
            (self._coarse, "hyperspectral scene", self._boxes_in_scene()),
        ):
            out = inside & ~(_share_inside(boxes, grid) >= _ENOUGH)
            if out.any():
                left = _named([called[index] for index in np.flatnonzero(out)])
                notes.append(f"{left} outside the {name} and left out.")
            inside &= ~out
        if not inside.any():
            raise LabelError(
                f"None of the {len(self._objects)} objects lies in both rasters. {notes[0]}",
                "Check that layer and rasters belong together and that their coordinate systems are right.",
            )
        kept = np.flatnonzero(inside)
        self._require_objects(kept, called)
        return kept, notes

    def _require_objects(self, kept: NDArray[np.int64], called: Sequence[str]) -> None:
        windows = self.windows(kept)
        pixels = (windows[:, 2:] - windows[:, :2]).prod(axis=1) * self._scene.sizes["band"]
        fine = (2 * self._half[kept]) ** 2 * 3
        large = np.flatnonzero(np.maximum(pixels, fine) > _MOST_VALUES)
        if len(large):
            index = kept[large[0]]
            raise LabelError(
                f"Feature {called[index]} spans {2 * self._half[index]:,.0f} pixels of the colour image, too "
                "many for an object.",
                "Draw polygons around single objects.",
            )

    def colours(self, index: int) -> Images | None:
        """(side, side, 3), None without data."""
        return self._image(index, self._colour, self._preparation.side, self._fine)

    def spectra(self, index: int) -> Images | None:
        """(patch, patch, bands), None without data."""
        image = self._image(index, self._scene, self._preparation.patch, self._coarse)
        if image is None or self._rasters.plan.matrix is None:
            return image
        return np.ascontiguousarray(self._rasters.plan.apply(image.transpose(2, 0, 1)).transpose(1, 2, 0))

    def outside(self, index: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """What is to be blanked out of both images, (side, side, 1) and (patch, patch, 1)."""
        left, top = self._middle[index] - self._half[index]
        masks = []
        for side in (self._preparation.side, self._preparation.patch):
            masks.append(np.zeros((side, side, 1), bool))
            if self._preparation.blank:
                cell = 2 * self._half[index] / side
                window = Affine(cell, 0.0, left, 0.0, cell, top)
                drawn = rasterize(
                    [self._outlines[index]], (side, side), transform=window, all_touched=True, dtype="uint8"
                )
                masks[-1] = drawn[..., None] == 0
        return masks[0], masks[1]

    def windows(self, kept: NDArray[np.int64]) -> NDArray[np.float64]:
        """What the objects' images show, (n, 4), in pixels of the hyperspectral scene."""
        half = self._half[kept, None]
        return self._in_scene(np.hstack([self._middle[kept] - half, self._middle[kept] + half]))

    def _boxes_in_scene(self) -> NDArray[np.float64]:
        return self._in_scene(self._boxes)

    def _in_scene(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """The boxes around boxes, left, top, right, bottom, that are in pixels of the colour raster."""
        corners = [boxes[:, [x, y]] for x in (0, 2) for y in (1, 3)]
        located = np.stack([self._locate(each[:, 0], each[:, 1]) for each in corners])
        return np.hstack([located.min(axis=0), located.max(axis=0)])

    def _locate(self, cols: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Columns and rows of the colour raster as those of the scene, (n, 2)."""
        return self._coarse.locate(*_moved(self._to_coarse, *self._fine.coordinates(cols, rows)))

    def _image(self, index: int, raster: xr.DataArray, side: int, grid: Grid) -> Images | None:
        """(side, side, bands): every point the mean of the raster over its share of the square."""
        half, middle = self._half[index], self._middle[index]
        window = self.windows(np.array([index]))[0]
        pixels = 2 * half if grid is self._fine else float((window[2:] - window[:2]).max())
        finer = int(np.clip(np.ceil(pixels / side), 1, _MOST_SUBPOINTS))
        steps = (np.arange(side * finer) + 0.5) / (side * finer) * 2 * half - half
        cols, rows = (each.ravel() for each in np.meshgrid(middle[0] + steps, middle[1] + steps))
        at = np.column_stack([cols, rows]) if grid is self._fine else self._locate(cols, rows)
        values = _bilinear(raster, at, grid)
        if values is None:
            return None
        cells = values.reshape(side, finer, side, finer, -1)
        image: Images = (cells.mean(axis=(1, 3)) if finer > 1 else cells[:, 0, :, 0]).astype(np.float32)
        return _filled(image)


def _bilinear(raster: xr.DataArray, at: NDArray[np.float64], grid: Grid) -> NDArray[np.float32] | None:
    """Values (n, bands) at fractional columns and rows (n, 2); beyond the edge those of the edge.

    NaN where one of the four pixels around has none; None where the coordinates are.
    """
    if not np.isfinite(at).all():
        return None
    last = np.array([grid.width - 1, grid.height - 1])
    place = np.clip(at - 0.5, 0.0, last)
    first = np.minimum(np.floor(place).astype(np.intp), np.maximum(last - 1, 0))
    share = (place - first).astype(np.float32)
    low, high = first.min(axis=0), np.minimum(first.max(axis=0) + 1, last)
    window = raster.isel(x=slice(int(low[0]), int(high[0]) + 1), y=slice(int(low[1]), int(high[1]) + 1))
    data = np.ascontiguousarray(window.transpose("y", "x", "band").to_numpy())
    col, row = (first - low).T
    right, below = np.minimum(col + 1, data.shape[1] - 1), np.minimum(row + 1, data.shape[0] - 1)
    x, y = share[:, :1], share[:, 1:]
    upper = data[row, col] * (1 - x) + data[row, right] * x
    lower = data[below, col] * (1 - x) + data[below, right] * x
    mixed: NDArray[np.float32] = upper * (1 - y) + lower * y
    return mixed


def _filled(image: Images) -> Images | None:
    """Points without data take the mean of the others; None where these are too few."""
    known = np.isfinite(image).all(axis=-1)
    if known.mean() < _ENOUGH:
        return None
    image[~known] = image[known].mean(axis=0)
    return image


def _share_inside(boxes: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """The share of each box (left, top, right, bottom in pixels) that lies on the grid."""
    size = np.array([grid.width, grid.height])
    low, high = boxes[:, :2], boxes[:, 2:]
    # What has no extent counts as a point.
    extent = np.maximum(high - low, 1e-9)
    share = np.clip((np.minimum(high, size) - np.maximum(low, 0.0)) / extent, 0.0, 1.0)
    inside: NDArray[np.float64] = np.nan_to_num(share, nan=0.0).prod(axis=1)
    return inside


def _transformer(source: pyproj.CRS | None, target: CRS | None) -> pyproj.Transformer | None:
    """None where the two are the same, or one of them is not known."""
    wanted = _pyproj(target)
    if source is None or wanted is None or source == wanted:
        return None
    return pyproj.Transformer.from_crs(source, wanted, always_xy=True)


def _pyproj(crs: CRS | None) -> pyproj.CRS | None:
    return None if crs is None else pyproj.CRS.from_wkt(crs.to_wkt())


def _moved(transformer: pyproj.Transformer | None, x: NDArray[np.float64], y: NDArray[np.float64]) -> Points:
    if transformer is None:
        return x, y
    moved = transformer.transform(x, y)
    return np.asarray(moved[0], np.float64), np.asarray(moved[1], np.float64)


def with_classes(pairs: Pairs) -> Pairs:
    """Only the classes that still have objects, renumbered; the others are named in the warnings."""
    if pairs.labels is None:
        return pairs
    present = np.unique(pairs.labels)
    if len(present) == len(pairs.classes):
        return pairs
    missing = [name for index, name in enumerate(pairs.classes.names) if index not in present]
    notes = [f"The class {name!r} has no object in both rasters and was left out." for name in missing]
    return replace(
        pairs,
        labels=np.searchsorted(present, pairs.labels),
        classes=pairs.classes.only(present),
        warnings=(*pairs.warnings, *notes),
    )
