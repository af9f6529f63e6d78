"""The classes of a vector layer as QGIS shows them, and how they travel to the engine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Sequence

from qgis.core import QgsCategorizedSymbolRenderer, QgsVectorLayer

from .colours import class_colours
from .xml_files import XmlFile


@dataclass(frozen=True)
class Category:
    """One class: its value as text, what it is called, and its colour, "" where the layer gives it none."""

    value: str
    label: str
    colour: str


def legend(layer: QgsVectorLayer, field: str) -> List[Category]:
    """The classes of ``field`` as the layer shows them: its categories, named by its value map if it has one.

    Without a categorized style of that very field, the value map's classes come without colours.
    """
    names = value_map(layer, field)
    renderer = layer.renderer()
    categories: List[Category] = []
    if isinstance(renderer, QgsCategorizedSymbolRenderer) and _is_field(renderer.classAttribute(), field):
        for each in renderer.categories():
            values = each.value() if isinstance(each.value(), list) else [each.value()]
            for value in filter(None, map(class_text, values)):
                label = each.label() if each.label() not in ("", value) else names.get(value, value)
                categories.append(Category(value, label, each.symbol().color().name()))
    shown = {category.value for category in categories}
    return categories + [Category(value, name, "") for value, name in names.items() if value not in shown]


def value_map(layer: QgsVectorLayer, field: str) -> Dict[str, str]:
    """What the layer's form calls each value of ``field``; empty where it has no value map."""
    setup = layer.editorWidgetSetup(layer.fields().lookupField(field))
    if setup.type() != "ValueMap":
        return {}
    entries = setup.config().get("map", {})
    # Older projects keep one object, newer ones a list of objects, which keeps the order.
    objects = entries if isinstance(entries, list) else [entries]
    return {
        class_text(value): str(name) for each in objects for name, value in each.items() if class_text(value)
    }


def write_legend(path: Path, field: str, categories: Sequence[Category]) -> None:
    """Write the classes as a style that the engine reads, as QGIS does: one symbol a class."""
    names = [category.label for category in categories]
    colours = class_colours(names, [category.colour or None for category in categories])
    renderer = {"type": "categorizedSymbol", "attr": field}
    with XmlFile(path) as xml, xml.element("qgis"), xml.element("renderer-v2", renderer):
        with xml.element("categories"):
            for number, category in enumerate(categories):
                attributes = {"value": category.value, "symbol": str(number), "label": category.label}
                xml.leaf("category", attributes)
        with xml.element("symbols"):
            for number, colour in enumerate(colours):
                symbol = xml.element("symbol", {"name": str(number), "type": "fill"})
                with symbol, xml.element("layer", {"class": "SimpleFill"}):
                    xml.leaf("prop", {"k": "color", "v": colour})


def class_text(value: object) -> str:
    """A class value as the engine compares it: whole numbers without a fraction, "" for null."""
    if value is None or str(value) == "NULL":
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _is_field(expression: str, field: str) -> bool:
    return expression.strip().strip('"').casefold() == field.casefold()
