"""Places to draw at as a GeoPackage layer that QGIS shows ranked and labelled."""

import warnings
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely
from rasterio.crs import CRS

from hsi_toolkit.files import atomic_path
from hsi_toolkit.scene.class_map import QGIS_VERSION

GEOMETRY = "geom"
# From certain to uncertain: four steps of ColorBrewer's YlOrRd (Harrower and Brewer 2003).
_COLOURS = ("#fed976", "#fd8d3c", "#e31a1c", "#800026")


@dataclass(frozen=True)
class Place:
    """A place: its rank, middle, mean uncertainty, mapped class (empty for none) and the reason for it."""

    rank: int
    x: float
    y: float
    uncertainty: float
    class_name: str
    reason: str


def write_places(
    path: str | Path, places: Sequence[Place], crs: CRS | None, *, overwrite: bool = False
) -> None:
    """Write the places as points with the fields rank, uncertainty, class and reason, and a style for QGIS.

    Raises:
        OutputError: the file exists and ``overwrite`` is false, or it cannot be written.
    """
    layer = Path(path).stem
    frame = gpd.GeoDataFrame(
        {
            "rank": [place.rank for place in places],
            "uncertainty": [place.uncertainty for place in places],
            "class": [place.class_name or None for place in places],
            "reason": [place.reason for place in places],
        },
        geometry=shapely.points([(place.x, place.y) for place in places]),
        crs=None if crs is None else crs.to_wkt(),
    )
    # The table in which QGIS looks for the styles of a GeoPackage's layers.
    styles = pd.DataFrame(
        {
            "f_table_catalog": [""],
            "f_table_schema": [""],
            "f_table_name": [layer],
            "f_geometry_column": [GEOMETRY],
            "styleName": ["places"],
            "styleQML": [qgis_style([place.uncertainty for place in places])],
            "styleSLD": [""],
            "useAsDefault": [True],
            "description": ["Ranked by how much drawing there helps"],
            "owner": [""],
            "ui": [""],
            "update_time": [pd.Timestamp("2000-01-01")],
        }
    )
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.unlink()
        with warnings.catch_warnings():
            # A raster without a coordinate system gets points without one.
            warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)
            pyogrio.write_dataframe(frame, temporary, layer=layer, driver="GPKG", GEOMETRY_NAME=GEOMETRY)
        pyogrio.write_dataframe(styles, temporary, layer="layer_styles", driver="GPKG", append=True)


def qgis_style(uncertainty: Sequence[float]) -> str:
    """A QGIS style: circles graduated by uncertainty, labelled with the rank, the reason as a map tip."""
    root = ET.Element("qgis", version=QGIS_VERSION, styleCategories="Symbology|Labeling|MapTips|Fields")
    _renderer(root, uncertainty)
    _labels(root)
    ET.SubElement(root, "previewExpression").text = '"rank" || \'. \' || "reason"'
    ET.SubElement(root, "mapTip").text = '<b>[% "rank" %].</b> [% "reason" %]'
    ET.indent(root)
    doctype = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    return doctype + ET.tostring(root, encoding="unicode")


def _renderer(root: ET.Element, uncertainty: Sequence[float]) -> None:
    low, high = min(uncertainty), max(uncertainty)
    room = max(1e-6, 1e-3 * (high - low))
    edges = np.linspace(low - room, high + room, len(_COLOURS) + 1).tolist()
    renderer = ET.SubElement(
        root, "renderer-v2", type="graduatedSymbol", attr="uncertainty", graduatedMethod="GraduatedColor"
    )  # fmt: skip
    ranges, symbols = ET.SubElement(renderer, "ranges"), ET.SubElement(renderer, "symbols")
    for index, colour in enumerate(_COLOURS):
        lower, upper = edges[index], edges[index + 1]
        ET.SubElement(
            ranges, "range", lower=f"{lower:.6f}", upper=f"{upper:.6f}", symbol=str(index), render="true",
            label=f"uncertainty {max(lower, 0.0):.2f} to {upper:.2f}",
        )  # fmt: skip
        symbol = ET.SubElement(symbols, "symbol", type="marker", name=str(index), alpha="1")
        layer = ET.SubElement(symbol, "layer", {"class": "SimpleMarker", "enabled": "1", "pass": "0"})
        _options(
            layer, name="circle", color=_rgba(colour), outline_color="255,255,255,255",
            outline_width="0.5", outline_width_unit="MM", size="4.6", size_unit="MM",
        )  # fmt: skip


def _labels(root: ET.Element) -> None:
    """The rank beside its circle, with a white halo so that it reads on any map."""
    labeling = ET.SubElement(root, "labeling", type="simple")
    settings = ET.SubElement(labeling, "settings")
    style = ET.SubElement(
        settings, "text-style", fieldName="rank", isExpression="0", fontSize="10", fontSizeUnit="Point",
        fontWeight="75", namedStyle="Bold", textColor="0,0,0,255",
    )  # fmt: skip
    ET.SubElement(
        style, "text-buffer", bufferDraw="1", bufferSize="1", bufferSizeUnits="MM",
        bufferColor="255,255,255,255", bufferOpacity="0.9",
    )  # fmt: skip
    ET.SubElement(settings, "placement", placement="6", dist="0.6", distUnits="MM", offsetType="1")
    ET.SubElement(settings, "rendering", displayAll="1", obstacle="0")


def _options(layer: ET.Element, **values: str) -> None:
    """A symbol layer's properties as QGIS 3.26 and later read them, and as those before do."""
    options = ET.SubElement(layer, "Option", type="Map")
    for name, value in values.items():
        ET.SubElement(options, "Option", type="QString", name=name, value=value)
    for name, value in values.items():
        ET.SubElement(layer, "prop", k=name, v=value)


def _rgba(colour: str) -> str:
    return ",".join(str(each) for each in bytes.fromhex(colour[1:])) + ",255"
