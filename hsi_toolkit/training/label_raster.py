"""Labels from a class raster, as published reference maps and other programs' maps come."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from hsi_toolkit.errors import LabelError
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene.class_map import CLASSES_TAG, read_legend
from hsi_toolkit.training.grid import Grid
from hsi_toolkit.training.labelled_pixels import Labels, labels_from_pixels
from hsi_toolkit.training.styles import StyleEntry, raster_style, same_value, xml_root

#: Formats of single files; no virtual or remote ones, which could read anything on the machine.
DRIVERS = (
    "GTiff",
    "COG",
    "ENVI",
    "HFA",
    "PNG",
    "GPKG",
    "AAIGrid",
    "RST",
    "SAGA",
    "EHdr",
    "PCIDSK",
    "RRASTER",
)
_ROWS_AT_ONCE = 4_000_000
#: Grids count as aligned when they are off by less than this share of a pixel.
_TOLERANCE = 0.01


def labels_from_raster(
    path: str | Path,
    scene: xr.DataArray | Grid | None = None,
    *,
    band: int = 1,
    progress: Progress | None = None,
) -> Labels:
    """Labels from a class raster: its values are the classes, 0 and nodata mean "not labelled".

    Class names and colours come from a ``.qml`` beside it, from its category names, attribute table or
    ENVI ``class names``, and from its colour table. Groups are connected patches. Read strip by strip.

    Args:
        scene: the grid that rows and columns shall count in. The raster has to be on the same pixels but
            may cover more or less; without it, the raster's own grid is meant.

    Raises:
        LabelError: the file cannot be read, lies on other pixels, holds decimals, no label inside the
            grid, or more than 255 classes.
    """
    path, progress = Path(path), progress or Progress()
    if not path.is_file():
        raise LabelError(f"There is no class raster {path}.", "Check the path.")
    try:
        # rasterio.open takes one driver; the reader behind it takes the list of those allowed.
        with rasterio.Env(), DatasetReader(str(path), driver=list(DRIVERS)) as source:
            if not 1 <= band <= source.count:
                raise LabelError(f"{path.name} has no band {band}.", f"It has {source.count}.")
            own = Grid(source.height, source.width, source.transform, source.crs or None)
            target = own if scene is None else Grid.of(scene)
            row_shift, col_shift = _offset(path.name, own, target)
            names, colours = _legend(path, source, band)
            rows, cols, values = _read_labelled(source, band, progress)
    except RasterioError as error:
        raise LabelError(f"The class raster {path} cannot be read: {error}.", "Check the file.") from error
    rows, cols = rows + row_shift, cols + col_shift
    inside = (rows >= 0) & (rows < target.height) & (cols >= 0) & (cols < target.width)
    if len(rows) and not inside.any():
        raise LabelError(
            f"All labelled pixels of {path.name} lie outside the scene.",
            "Check that scene and labels belong together.",
        )
    shape = (target.height, target.width)
    return labels_from_pixels(rows[inside], cols[inside], values[inside], shape, names, colours)


def _offset(name: str, own: Grid, target: Grid) -> tuple[int, int]:
    """The target's row and column of the raster's upper left pixel.

    Raises:
        LabelError: the rasters differ in CRS, or their pixels do not coincide.
    """
    remedy = "Resample it to the scene's grid (nearest neighbour), or give polygons."
    if own.crs != target.crs and own.crs is not None and target.crs is not None:
        raise LabelError(
            f"The class raster {name} is in {own.crs.to_string()}, the scene in {target.crs.to_string()}.",
            remedy,
        )
    corners = np.array([[0, 0], [own.width, 0], [0, own.height]], np.float64)
    placed = target.locate(*own.coordinates(corners[:, 0], corners[:, 1]))
    shift = np.round(placed[0])
    if np.abs(placed - corners - shift).max() > _TOLERANCE:
        raise LabelError(
            f"The pixels of the class raster {name} do not coincide with those of the scene.", remedy
        )
    return int(shift[1]), int(shift[0])


def _read_labelled(
    source: DatasetReader, band: int, progress: Progress
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.generic]]:
    """Rows, columns and values of the labelled pixels, read in strips."""
    step = max(1, _ROWS_AT_ONCE // source.width)
    nodata = source.nodatavals[band - 1]
    parts = []
    for start in range(0, source.height, step):
        progress.check()
        progress.report(start / source.height, "Reading the class raster")
        height = min(step, source.height - start)
        block = source.read(band, window=Window(0, start, source.width, height))
        labelled = np.isfinite(block) & (block != 0)
        if nodata is not None:
            labelled &= block != nodata
        rows, cols = np.nonzero(labelled)
        parts.append((rows + start, cols, block[rows, cols]))
    rows, cols, values = (np.concatenate(each) for each in zip(*parts, strict=True))
    return rows, cols, values


def _legend(path: Path, source: DatasetReader, band: int) -> tuple[dict[int, str], dict[int, str]]:
    """Names and colours by class value, the more deliberate source winning."""
    names: dict[int, str] = {}
    colours: dict[int, str] = {}
    try:
        table = source.colormap(band)
    except ValueError:
        table = {}
    colours |= {value: "#{:02x}{:02x}{:02x}".format(*channels[:3]) for value, channels in table.items()}
    names |= _auxiliary_names(path, band) | _tagged_names(source, band)
    for entry in raster_style(path):
        value = _whole(entry)
        if value is not None:
            names[value], colours[value] = entry.label, entry.colour
    if band == 1 and CLASSES_TAG in source.tags(1):
        own = read_legend(path)
        names |= {entry.value: entry.name for entry in own}
        colours |= {entry.value: entry.hex_colour for entry in own}
    return {value: name for value, name in names.items() if name}, colours


def _whole(entry: StyleEntry) -> int | None:
    written = same_value(entry.value)
    return int(written) if written.lstrip("-").isdigit() else None


def _tagged_names(source: DatasetReader, band: int) -> dict[int, str]:
    """Names from ``class_names`` tags: ENVI's ``{a, b}`` from value 0 on, or a JSON list or mapping."""
    for tags in (source.tags(band), source.tags(), source.tags(ns="ENVI")):
        text = {key.casefold(): value for key, value in tags.items()}.get("class_names")
        if not text:
            continue
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = [name.strip() for name in text.strip().strip("{}").split(",")]
        if isinstance(parsed, Mapping):
            return {int(key): str(name) for key, name in parsed.items() if str(key).lstrip("-").isdigit()}
        if isinstance(parsed, list):
            return {value: str(name) for value, name in enumerate(parsed)}
    return {}


def _auxiliary_names(path: Path, band: int) -> dict[int, str]:
    """Names from the category names or the attribute table in GDAL's ``.aux.xml``."""
    auxiliary = path.with_name(path.name + ".aux.xml")
    root = xml_root(auxiliary.read_bytes()) if auxiliary.is_file() else None
    if root is None:
        return {}
    for element in root.findall("PAMRasterBand"):
        if element.get("band") != str(band):
            continue
        categories = [each.text or "" for each in element.findall("CategoryNames/Category")]
        if categories:
            return dict(enumerate(categories))
        usage = [each.findtext("Usage", "") for each in element.findall("GDALRasterAttributeTable/FieldDefn")]
        # GFU_Name is 2, GFU_MinMax (the class value) is 5 in GDAL's data model.
        if {"2", "5"} <= set(usage):
            name_at, value_at = usage.index("2"), usage.index("5")
            rows = [
                [cell.text or "" for cell in row.findall("F")]
                for row in element.findall("GDALRasterAttributeTable/Row")
            ]
            return {int(float(row[value_at])): row[name_at] for row in rows if len(row) == len(usage)}
    return {}
