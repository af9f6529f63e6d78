"""A scene small enough to see: three classes in vertical stripes, made with the standard library alone."""

import array
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, List, Sequence

if TYPE_CHECKING:
    from qgis.core import QgsVectorLayer

SIDE, BANDS = 40, 40
FIRST_NM, STEP_NM = 450.0, 25.0
#: North-west corner and pixel size, in UTM zone 33 N.
LEFT, TOP, PIXEL = 400_000.0, 5_800_000.0, 10.0
CRS = "EPSG:32633"
CLASSES = ("meadow", "soil", "water")
COLOURS = ("#12a03c", "#b4642d", "#1e5ac8")
#: The first column of each class, and the end of the last.
STRIPES = (0, 13, 26, SIDE)


@dataclass(frozen=True)
class Square:
    """A square of pixels that belongs to one class: its first column and row, and its side."""

    column: int
    row: int
    side: int
    name: str

    def wkt(self) -> str:
        """The square in the scene's coordinates."""
        west, north = LEFT + PIXEL * self.column, TOP - PIXEL * self.row
        east, south = west + PIXEL * self.side, north - PIXEL * self.side
        return f"POLYGON(({west} {north}, {east} {north}, {east} {south}, {west} {south}, {west} {north}))"


def wavelengths() -> List[float]:
    """Band centres in nanometres."""
    return [FIRST_NM + STEP_NM * band for band in range(BANDS)]


def class_of(column: int) -> int:
    """The number of the class that column belongs to."""
    return sum(column >= start for start in STRIPES[1:-1])


def spectrum(number: int) -> List[float]:
    """The reflectance of a class: a red edge, a slope, or next to nothing."""
    shares = [band / (BANDS - 1) for band in range(BANDS)]
    if number == 0:
        return [0.05 if share < 0.27 else 0.45 - 0.2 * share for share in shares]
    if number == 1:
        return [0.1 + 0.3 * share for share in shares]
    return [0.08 * (1 - share) for share in shares]


def write_scene(path: Path, centres: Sequence[float] = (), seed: int = 1, finer: int = 1) -> Path:
    """Write the scene as ENVI, data file ``path`` and its header beside it; reflectance with a little noise.

    ``centres`` replace the wavelengths; the pixels are so many times ``finer``.
    """
    side, pixel = SIDE * finer, PIXEL / finer
    noise = random.Random(seed)
    spectra = [spectrum(number) for number in range(len(CLASSES))]
    values = array.array("f")
    for band in range(BANDS):
        for _ in range(side):
            columns = (class_of(column // finer) for column in range(side))
            values.extend(spectra[number][band] + noise.gauss(0, 0.01) for number in columns)
    path.write_bytes(values.tobytes())
    listed = ", ".join(f"{each:.2f}" for each in centres or wavelengths())
    lines = [
        "ENVI",
        f"samples = {side}",
        f"lines = {side}",
        f"bands = {BANDS}",
        "header offset = 0",
        "file type = ENVI Standard",
        "data type = 4",
        "interleave = bsq",
        "byte order = 0",
        f"map info = {{UTM, 1, 1, {LEFT}, {TOP}, {pixel}, {pixel}, 33, North, WGS-84, units=Meters}}",
        "wavelength units = Nanometers",
        f"wavelength = {{{listed}}}",
    ]
    path.with_suffix(".hdr").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def squares(side: int = 4) -> List[Square]:
    """Five squares of each class, apart from each other."""
    made = []
    for number, name in enumerate(CLASSES):
        for index in range(5):
            column = STRIPES[number] + (2 if index % 2 else 7)
            made.append(Square(column, 1 + 8 * index, side, name))
    return made


def polygon_layer(field_type: str = "string", styled: bool = True, named: bool = True) -> "QgsVectorLayer":
    """The squares as a memory layer with the field ``class``: names, or numbers from 1.

    ``styled`` gives it the classes' colours, ``named`` their names as a value map of a numeric field.
    """
    from qgis.core import QgsEditorWidgetSetup, QgsFeature, QgsGeometry, QgsVectorLayer

    uri = f"Polygon?crs={CRS}&field=note:string&field=class:{field_type}"
    layer = QgsVectorLayer(uri, "training polygons", "memory")
    for square in squares():
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromWkt(square.wkt()))
        feature.setAttributes(["a note", _value(square.name, field_type)])
        layer.dataProvider().addFeature(feature)
    layer.updateExtents()
    if named and field_type != "string":
        pairs = [{name: str(_value(name, field_type))} for name in CLASSES]
        layer.setEditorWidgetSetup(1, QgsEditorWidgetSetup("ValueMap", {"map": pairs}))
    if styled:
        style(layer, field_type)
    return layer


def style(layer: "QgsVectorLayer", field_type: str = "string") -> None:
    """Give the layer a categorized style of the field ``class``."""
    from qgis.core import QgsCategorizedSymbolRenderer, QgsFillSymbol, QgsRendererCategory

    categories = []
    for name, colour in zip(CLASSES, COLOURS):
        value = _value(name, field_type)
        symbol = QgsFillSymbol.createSimple({"color": colour})
        categories.append(QgsRendererCategory(value, symbol, str(value)))
    layer.setRenderer(QgsCategorizedSymbolRenderer("class", categories))


def _value(name: str, field_type: str) -> object:
    return name if field_type == "string" else CLASSES.index(name) + 1
