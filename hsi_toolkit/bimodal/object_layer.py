"""Classified objects as a GeoPackage layer that QGIS shows by class."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
from numpy.typing import NDArray

from hsi_toolkit.files import atomic_path
from hsi_toolkit.scene.class_map import QGIS_VERSION, ClassEntry

GEOMETRY = "geom"
CLASS, PROBABILITY = "class", "probability"


def read_layer(path: str | Path, layer: str) -> gpd.GeoDataFrame:
    """All features and attributes; whole numbers stay whole where some are missing."""
    frame = pyogrio.read_dataframe(path, layer=layer, force_2d=True)
    described = pyogrio.read_info(path, layer=layer)
    for name, stored in zip(described["fields"], described["dtypes"], strict=True):
        if np.dtype(stored).kind in "iu" and frame[name].dtype.kind == "f":
            frame[name] = frame[name].astype("Int64")
    return frame


def classified(
    frame: gpd.GeoDataFrame,
    classes: Sequence[ClassEntry],
    probabilities: NDArray[np.float32],
    positions: NDArray[np.int64],
) -> tuple[gpd.GeoDataFrame, str]:
    """The frame with class, probability and one column a class; and what the class's column is called.

    Args:
        probabilities: (n, classes) of the rows ``positions``; other rows have neither class nor probability.
    """
    out = frame.copy()
    names = np.array([entry.name for entry in classes], dtype=object)
    likely = np.full(len(frame), None, dtype=object)
    likely[positions] = names[probabilities.argmax(axis=1)]
    shares = np.full((len(frame), len(classes)), np.nan)
    shares[positions] = probabilities
    taken = [str(column) for column in frame.columns]
    class_column = _free(CLASS, taken)
    out[class_column] = likely
    out[_free(PROBABILITY, taken)] = shares.max(axis=1)
    taken += [class_column, _free(PROBABILITY, taken)]
    for name, share in zip(names, shares.T, strict=True):
        column = _free(f"p_{name}", taken)
        taken.append(column)
        out[column] = share
    return out, class_column


def write_objects(
    path: str | Path,
    frame: gpd.GeoDataFrame,
    classes: Sequence[ClassEntry],
    column: str,
    *,
    overwrite: bool = False,
) -> None:
    """Write the layer, with a style by the class in ``column``, whole or not at all.

    Raises:
        OutputError: the file exists and ``overwrite`` is false, or it cannot be written.
    """
    layer = Path(path).stem
    # The table in which QGIS looks for the styles of a GeoPackage's layers.
    styles = pd.DataFrame(
        {
            "f_table_catalog": [""],
            "f_table_schema": [""],
            "f_table_name": [layer],
            "f_geometry_column": [GEOMETRY],
            "styleName": ["classes"],
            "styleQML": [qgis_style(classes, column)],
            "styleSLD": [""],
            "useAsDefault": [True],
            "description": ["Objects by their class"],
            "owner": [""],
            "ui": [""],
            "update_time": [pd.Timestamp("2000-01-01")],
        }
    )
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.unlink()
        own = {"GEOMETRY_NAME": GEOMETRY, "FID": _free("fid", [str(each) for each in frame.columns])}
        pyogrio.write_dataframe(frame, temporary, layer=layer, driver="GPKG", **own)
        pyogrio.write_dataframe(styles, temporary, layer="layer_styles", driver="GPKG", append=True)


def qgis_style(classes: Sequence[ClassEntry], column: str) -> str:
    """A QGIS style: fills by class, what has no class in grey, the probability as a map tip."""
    root = ET.Element("qgis", version=QGIS_VERSION, styleCategories="Symbology|MapTips")
    renderer = ET.SubElement(root, "renderer-v2", type="categorizedSymbol", attr=column)
    categories, symbols = ET.SubElement(renderer, "categories"), ET.SubElement(renderer, "symbols")
    entries = [(each.name, each.name, each.colour) for each in classes]
    for number, (value, label, colour) in enumerate([*entries, ("", "not classified", (160, 160, 160))]):
        ET.SubElement(categories, "category", value=value, symbol=str(number), label=label, render="true")
        symbol = ET.SubElement(symbols, "symbol", type="fill", name=str(number), alpha="0.6")
        layer = ET.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "pass": "0"})
        fill = ",".join(map(str, (*colour, 255)))
        options = {"color": fill, "style": "solid", "outline_color": "35,35,35,255", "outline_width": "0.3"}
        # As QGIS 3.26 and later read them, and as those before do.
        group = ET.SubElement(layer, "Option", type="Map")
        for name, text in options.items():
            ET.SubElement(group, "Option", type="QString", name=name, value=text)
        for name, text in options.items():
            ET.SubElement(layer, "prop", k=name, v=text)
    ET.SubElement(root, "mapTip").text = f'<b>[% "{column}" %]</b> [% round("{PROBABILITY}", 2) %]'
    ET.indent(root)
    doctype = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    return doctype + ET.tostring(root, encoding="unicode")


def _free(name: str, taken: Sequence[str]) -> str:
    """The name, lengthened until no column has it, in whatever case."""
    folded = {each.casefold() for each in taken}
    while name.casefold() in folded:
        name = f"{name}_"
    return name
