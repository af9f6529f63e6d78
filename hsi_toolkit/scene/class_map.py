"""Class maps: what the labels of a raster are called and how they look."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from hsi_toolkit.errors import SceneError

CLASSES_TAG = "CLASSES"
"""Band tag that holds the legend as JSON, so that a map keeps its names without the files beside it."""

QGIS_VERSION = "3.28.0"
"""The QGIS whose style format is written; later ones read it, and without a number all try to repair it."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ClassEntry:
    """One class of a map: the number in the raster, its name and colour (red, green, blue, 0 to 255)."""

    value: int
    name: str
    colour: Colour

    @property
    def hex_colour(self) -> str:
        """The colour as "#rrggbb"."""
        return "#" + bytes(self.colour).hex()


def legend_json(classes: Sequence[ClassEntry]) -> str:
    """The legend as the JSON of ``CLASSES_TAG``."""
    return json.dumps(
        [{"value": entry.value, "name": entry.name, "colour": entry.hex_colour} for entry in classes],
        ensure_ascii=False,
    )


def read_class_map(path: str | Path) -> tuple[NDArray[np.integer], list[ClassEntry]]:
    """The labels of a class map, (rows, columns), and its legend.

    The legend comes from the map's own tag, else from its colour table ("class 1", ...), else it is empty.

    Raises:
        SceneError: the file is missing or no raster of whole numbers.
    """
    try:
        with rasterio.open(Path(path).absolute(), driver="GTiff") as dataset:
            if np.dtype(dataset.dtypes[0]).kind not in "iu":
                raise SceneError(f"{path} holds {dataset.dtypes[0]}, not class numbers.", "Give a class map.")
            labels = dataset.read(1)
            return labels, _legend(dataset, path)
    except RasterioError as error:
        raise SceneError(
            f"{path} is no readable class map: {error}.", "Give a GeoTIFF of class numbers."
        ) from error


def read_legend(path: str | Path) -> list[ClassEntry]:
    """The legend of a class map alone; see ``read_class_map``."""
    try:
        with rasterio.open(Path(path).absolute(), driver="GTiff") as dataset:
            return _legend(dataset, path)
    except RasterioError as error:
        raise SceneError(
            f"{path} is no readable class map: {error}.", "Give a GeoTIFF of class numbers."
        ) from error


def sidecar_texts(raster: Path, classes: Sequence[ClassEntry]) -> dict[Path, str]:
    """The files that show a legend where GeoTIFF has no place for names, and what is in them.

    ``map.tif.aux.xml`` holds GDAL's category names, ``map.qml`` the style QGIS loads with the layer.
    """
    return {
        raster.with_name(raster.name + ".aux.xml"): _category_names(classes),
        raster.with_suffix(".qml"): _qgis_style(classes),
    }


def _legend(dataset: rasterio.DatasetReader, path: str | Path) -> list[ClassEntry]:
    text = dataset.tags(1).get(CLASSES_TAG)
    if text is not None:
        try:
            return [
                ClassEntry(int(item["value"]), str(item["name"]), _parse_colour(item["colour"]))
                for item in json.loads(text)
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise SceneError(f"The legend in {path} is damaged: {error}.", "Write the map again.") from error
    try:
        table = dataset.colormap(1)
    except ValueError:
        return []
    nodata = dataset.nodata
    shown = {value: colour for value, colour in table.items() if value != nodata and colour[:3] != (0, 0, 0)}
    return [ClassEntry(value, f"class {value}", colour[:3]) for value, colour in shown.items()]


def _parse_colour(text: str) -> Colour:
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue


def _category_names(classes: Sequence[ClassEntry]) -> str:
    names = {entry.value: entry.name for entry in classes}
    root = ET.Element("PAMDataset")
    band = ET.SubElement(root, "PAMRasterBand", band="1")
    categories = ET.SubElement(band, "CategoryNames")
    for value in range(max(names, default=-1) + 1):
        ET.SubElement(categories, "Category").text = names.get(value, "")
    return _xml(root)


def _qgis_style(classes: Sequence[ClassEntry]) -> str:
    root = ET.Element("qgis", version=QGIS_VERSION, styleCategories="Symbology")
    pipe = ET.SubElement(root, "pipe")
    renderer = ET.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1", nodataColor=""
    )
    palette = ET.SubElement(renderer, "colorPalette")
    for entry in classes:
        ET.SubElement(
            palette,
            "paletteEntry",
            value=str(entry.value),
            color=entry.hex_colour,
            alpha="255",
            label=entry.name,
        )
    ET.SubElement(root, "blendMode").text = "0"
    return "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n" + _xml(root)


def _xml(root: ET.Element) -> str:
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"
