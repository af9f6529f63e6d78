"""Find the places where further training polygons help most."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from hsi_toolkit.errors import ParameterError, SceneError
from hsi_toolkit.files import check_output
from hsi_toolkit.progress import Pace, Progress
from hsi_toolkit.scene import Block, iter_blocks, open_scene, read_legend
from hsi_toolkit.tasks.draw_next import DrawNext
from hsi_toolkit.training.grid import Grid
from hsi_toolkit.training.label_vector import open_layer, read_outlines
from hsi_toolkit.training.place_layer import Place, write_places
from hsi_toolkit.training.places import PlaceFinder, PlaceRule, Places

# A class is in question from this share of the likeliest one's probability on.
_IN_QUESTION = 0.4
_MOST_NAMED = 3


@dataclass(frozen=True)
class _Rasters:
    """The rasters of one run, on one grid, and what their classes are called."""

    uncertainty: xr.DataArray
    map: xr.DataArray | None
    probabilities: xr.DataArray | None
    map_names: Mapping[int, str]
    probability_names: Sequence[str]

    def classes(self, rows: int) -> Iterator[NDArray[np.int64]]:
        """Class numbers (rows, columns) of each block, -1 where there is none."""
        if self.map is not None:
            for block in iter_blocks(self.map[:1], rows=rows):
                values = np.nan_to_num(block.core[0], nan=0.0).astype(np.int64)
                yield np.where(values > 0, values, -1)
        elif self.probabilities is not None:
            for block in iter_blocks(self.probabilities, rows=rows):
                known = np.isfinite(block.core).all(axis=0)
                yield np.where(known, np.nan_to_num(block.core).argmax(axis=0) + 1, -1)
        else:
            for block in iter_blocks(self.uncertainty, rows=rows):
                yield np.full(block.core.shape[1:], -1)

    def name(self, number: int) -> str:
        """What the class of that number is called; empty for none."""
        if number < 0:
            return ""
        if self.map is None and number <= len(self.probability_names):
            return self.probability_names[number - 1]
        return self.map_names.get(number, f"class {number}")


def run(task: DrawNext, progress: Progress) -> Mapping[str, object]:
    """Stream the rasters, choose the places and write them as a point layer."""
    check_output(task.output, overwrite=task.overwrite)
    rasters = _open(task)
    grid = Grid.of(rasters.uncertainty)
    outlines = read_outlines(open_layer(task.labels, None, task.layer), grid) if task.labels else None
    rule = PlaceRule(task.count, task.window, task.distance, task.seed)
    found = _find(rasters, rule, outlines, progress.part(0.0, 0.95))
    if not len(found):
        raise SceneError(
            "There is no place to draw at: the uncertainty is 0, without data or beside labels everywhere.",
            "Give another uncertainty raster, or fewer labels.",
        )
    progress.report(0.95, "Writing the places")
    places = [_place(index, found, rasters, task.window, grid) for index in range(len(found))]
    write_places(task.output, places, grid.crs, overwrite=task.overwrite)
    named = {place.class_name for place in places} - {""}
    among = f" in {len(named)} classes" if named else ""
    return {
        "summary": f"{len(places)} places{among}, {found.distance:.0f} pixels or more apart.",
        "outputs": {"places": task.output},
        "warnings": []
        if len(places) == task.count
        else [
            f"Only {len(places)} of {task.count} places keep the distance from each other and from labels."
        ],
        "places": [vars(place) for place in places],
    }


def _open(task: DrawNext) -> _Rasters:
    uncertainty = open_scene(task.uncertainty)[:1]
    class_map = open_scene(task.map) if task.map else None
    probabilities = open_scene(task.probabilities) if task.probabilities else None
    for path, raster in ((task.map, class_map), (task.probabilities, probabilities)):
        if raster is not None and not _same_grid(Grid.of(raster), Grid.of(uncertainty)):
            raise SceneError(
                f"{path} has {raster.sizes['y']} × {raster.sizes['x']} pixels and lies elsewhere than "
                f"{task.uncertainty} with {uncertainty.sizes['y']} × {uncertainty.sizes['x']}.",
                "Give the rasters of one and the same run.",
            )
    if class_map is not None and class_map.sizes["band"] != 1:
        raise ParameterError(
            f"{task.map} has {class_map.sizes['band']} bands.", "Give a class map, which has one."
        )
    return _Rasters(
        uncertainty,
        class_map,
        probabilities,
        {} if task.map is None else _legend_names(task.map),
        () if probabilities is None else _band_names(str(task.probabilities), probabilities.sizes["band"]),
    )


def _find(
    rasters: _Rasters, rule: PlaceRule, outlines: NDArray[np.object_] | None, progress: Progress
) -> Places:
    raster = rasters.uncertainty
    height, width = raster.sizes["y"], raster.sizes["x"]
    finder = PlaceFinder(rule, (height, width), outlines)
    bands = (
        1 if rasters.probabilities is None or rasters.map is not None else rasters.probabilities.sizes["band"]
    )
    rows = finder.block_rows(bands)
    blocks: Iterator[Block] = iter_blocks(raster, rows=rows, halo=finder.halo)
    pace = Pace(progress, "Looking for places", height * width, "pixels")
    for block, classes in zip(blocks, rasters.classes(rows), strict=True):
        progress.check()
        finder.add(block.data[0], classes, block.y0)
        pace.report(block.y1 / height, "Looking for places")
    return finder.places()


def _place(index: int, found: Places, rasters: _Rasters, window: int, grid: Grid) -> Place:
    row, col = int(found.rows[index]), int(found.cols[index])
    x, y = grid.coordinates(np.array([col + 0.5]), np.array([row + 0.5]))
    half = window // 2
    around = {
        "y": slice(max(0, row - half), row + half + 1),
        "x": slice(max(0, col - half), col + half + 1),
    }
    return Place(
        rank=index + 1,
        # QGIS draws a raster without georeference from y = 0 downwards.
        x=float(x[0]),
        y=float(y[0]) if grid.georeferenced else -float(y[0]),
        uncertainty=float(found.uncertainty[index]),
        class_name=rasters.name(int(found.classes[index])),
        reason=_reason(rasters, around, window),
    )


def _reason(rasters: _Rasters, around: Mapping[str, slice], window: int) -> str:
    """Why the place is uncertain, as a sentence."""
    if rasters.probabilities is not None:
        values = rasters.probabilities.isel(around).to_numpy().reshape(len(rasters.probability_names), -1)
        known = np.isfinite(values).all(axis=0)
        if known.any():
            likely = dict(zip(rasters.probability_names, values[:, known].mean(axis=1).tolist(), strict=True))
            return _wavering(likely)
    if rasters.map is not None:
        mapped = np.nan_to_num(rasters.map.isel(around).to_numpy(), nan=0.0).astype(np.int64)
        numbers, counts = np.unique(mapped[mapped > 0], return_counts=True)
        if len(numbers):
            shares = {rasters.name(int(n)): c / counts.sum() for n, c in zip(numbers, counts, strict=True)}
            return _side_by_side(shares)
    return f"Uncertain on average over {window} × {window} pixels."


def _wavering(likely: Mapping[str, float]) -> str:
    """The classes in question, from their mean probabilities."""
    best = max(likely.values())
    ranked = sorted(likely.items(), key=lambda item: -item[1])
    named = [_with_share(*item) for item in ranked[:_MOST_NAMED] if item[1] >= _IN_QUESTION * best]
    if len(named) > 1:
        return f"Undecided between {_joined(named)}."
    return f"Leans to {named[0]}, but without being sure."


def _side_by_side(shares: Mapping[str, float]) -> str:
    """What is mapped within the place."""
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    if len(ranked) == 1:
        return f"Mapped as {ranked[0][0]} throughout, yet uncertain."
    return f"Mapped as {_joined([_with_share(*item) for item in ranked[:_MOST_NAMED]])} side by side."


def _with_share(name: str, share: float) -> str:
    return f"{name} ({share:.0%})".replace("%", " %")


def _joined(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def _same_grid(one: Grid, other: Grid) -> bool:
    """Whether two rasters cover the same pixels, to a hundredth of one."""
    if (one.height, one.width) != (other.height, other.width):
        return False
    corners = np.array([0.0, one.width]), np.array([0.0, one.height])
    return bool(np.allclose(other.locate(*one.coordinates(*corners)), np.column_stack(corners), atol=0.01))


def _legend_names(path: str) -> dict[int, str]:
    if Path(path).suffix.lower() not in (".tif", ".tiff"):
        return {}
    return {entry.value: entry.name for entry in read_legend(path)}


def _band_names(path: str, count: int) -> tuple[str, ...]:
    """The bands' descriptions, which are class names in what Classify writes, else numbers."""
    numbered = tuple(f"class {number}" for number in range(1, count + 1))
    try:
        with rasterio.open(path, driver="GTiff") as source:
            described = source.descriptions
    except RasterioError:
        return numbered
    return tuple(text or number for text, number in zip(described, numbered, strict=True))
