"""Class names and colours from the style a layer brings along: QGIS styles and colour columns."""

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from hsi_toolkit.safe_xml import XmlError, parse_xml

#: Columns that hold a class's colour, in the spellings met in the field.
COLOUR_COLUMNS = ("color", "colour", "farbe", "couleur", "hex")
#: A QGIS style is some hundred kilobytes; anything far beyond is no style.
_LARGEST_STYLE = 32 * 2**20


@dataclass(frozen=True)
class StyleEntry:
    """One line of a legend: the class value as text, its label and its colour ``#rrggbb``."""

    value: str
    label: str
    colour: str


def vector_style(path: Path, layer: str, field: str) -> tuple[StyleEntry, ...]:
    """The legend of a vector layer for ``field``, in its order; empty where there is none.

    Looked for in the ``.qml`` beside the file, then in the ``layer_styles`` table of a GeoPackage.
    Only a categorized renderer of that very field counts. A style that cannot be read is as good as
    none: it decides about colours alone.
    """
    styles: list[str | bytes] = [*_sidecars(path), *_stored_styles(path, layer)]
    for text in styles:
        entries = parse_vector_style(text, field)
        if entries:
            return entries
    return ()


def raster_style(path: Path) -> tuple[StyleEntry, ...]:
    """The legend of a class raster from the ``.qml`` beside it, in its order; empty where there is none."""
    for text in _sidecars(path):
        entries = parse_raster_style(text)
        if entries:
            return entries
    return ()


def parse_vector_style(text: str | bytes, field: str) -> tuple[StyleEntry, ...]:
    """The categories of a QGIS style, if it has a categorized renderer of ``field``."""
    renderer = _child(xml_root(text), "renderer-v2")
    if renderer is None or renderer.get("type") != "categorizedSymbol":
        return ()
    if renderer.get("attr", "").strip().strip('"').casefold() != field.casefold():
        return ()
    colours = {symbol.get("name"): _symbol_colour(symbol) for symbol in renderer.findall("symbols/symbol")}
    entries = []
    for category in renderer.findall("categories/category"):
        colour = colours.get(category.get("symbol"))
        listed = [each.get("value", "") for each in category.findall("val")]
        for value in listed or [category.get("value", "")]:
            if value and colour:
                entries.append(StyleEntry(value, category.get("label") or value, colour))
    return tuple(entries)


def parse_raster_style(text: str | bytes) -> tuple[StyleEntry, ...]:
    """The palette of a QGIS style, if it has a paletted renderer."""
    root = xml_root(text)
    if root is None:
        return ()
    entries = []
    for entry in root.findall(".//rasterrenderer/colorPalette/paletteEntry"):
        colour, value = parse_colour(entry.get("color", "")), entry.get("value", "")
        if colour and value:
            entries.append(StyleEntry(value, entry.get("label") or value, colour))
    return tuple(entries)


def parse_colour(text: str) -> str | None:
    """``#rrggbb`` from ``#rgb``, ``#rrggbb``, ``#rrggbbaa`` or ``r,g,b[,…]``; None for anything else."""
    text = text.strip()
    if re.fullmatch(r"#[0-9a-fA-F]{3}", text):
        return "#" + "".join(2 * digit for digit in text[1:].lower())
    if re.fullmatch(r"#[0-9a-fA-F]{6}([0-9a-fA-F]{2})?", text):
        return text[:7].lower()
    numbers = re.match(r"(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})(?=\s*(,|$))", text)
    if numbers:
        channels = [int(numbers.group(i)) for i in (1, 2, 3)]
        if max(channels) <= 255:
            return "#" + "".join(f"{channel:02x}" for channel in channels)
    return None


def same_value(written: str) -> str:
    """A class value as styles and fields both would write it, so that ``1``, ``1.0`` and ``01`` meet."""
    written = written.strip()
    return str(int(float(written))) if re.fullmatch(r"[+-]?\d+(\.0*)?", written) else written


def xml_root(text: str | bytes) -> Element | None:
    """The root element, or None if it is no XML or declares entities: a file may be anyone's."""
    if len(text) > _LARGEST_STYLE:
        return None
    try:
        return parse_xml(text)
    except XmlError:
        return None


def _child(root: Element | None, tag: str) -> Element | None:
    return None if root is None else root.find(f".//{tag}")


def _symbol_colour(symbol: Element) -> str | None:
    """The colour of a symbol's first layer that has one; the outline's where the fill is switched off."""
    for layer in symbol.findall("layer"):
        properties = {each.get("k", ""): each.get("v", "") for each in layer.findall("prop")}
        properties |= {each.get("name", ""): each.get("value", "") for each in layer.findall("Option/Option")}
        names = ["color", "outline_color", "line_color"]
        if properties.get("style") == "no":
            names = names[1:]
        for name in names:
            colour = parse_colour(properties.get(name, ""))
            if colour:
                return colour
    return None


def _sidecars(path: Path) -> Sequence[bytes]:
    sidecar = path.with_suffix(".qml")
    if not sidecar.is_file() or sidecar.stat().st_size > _LARGEST_STYLE:
        return ()
    return (sidecar.read_bytes(),)


def _stored_styles(path: Path, layer: str) -> Sequence[str]:
    """The styles a GeoPackage or SpatiaLite file stores for ``layer``, the default one first."""
    if path.suffix.lower() not in (".gpkg", ".sqlite", ".db") or not path.is_file():
        return ()
    query = (
        "SELECT styleQML FROM layer_styles WHERE f_table_name = ? "
        "ORDER BY useAsDefault DESC, update_time DESC"
    )
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            return [text for (text,) in database.execute(query, (layer,)) if isinstance(text, str)]
    except sqlite3.Error:
        return ()
