"""What the metadata file of an EnMAP or DESIS product says about the bands of its image.

The images themselves say nothing. The engine's readers know more of these products; this is what QGIS needs
to show them in natural colour and to tell whether a model fits.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import List, Optional, Set, Tuple

from qgis.PyQt.QtCore import QXmlStreamReader

#: A metadata file has some megabytes.
LARGEST_METADATA = 64 << 20
#: An image of a product: what all its files' names begin with, and the detector where each has an image.
IMAGE = re.compile(
    r"((?:ENMAP\d\d-_*|DESIS-HSI-)L(?:1B|1C|2A)-.+?)-SPECTRAL_IMAGE(?:_(VNIR|SWIR))?(?:_COG)?\.\w+$",
    re.IGNORECASE,
)
#: Parts of the metadata that are long and say nothing of the bands.
SKIPPED = ("navigation", "calibration", "time", "interiorOrientation")
#: The mean that EnMAP's metadata give a band without any data.
DEAD_MEAN = -1_000_000.0


@dataclass
class Stated:
    """Centres in nanometres, the numbers of bands without data (from zero), and the product's level."""

    wavelengths: List[float] = field(default_factory=list)
    dead: Set[int] = field(default_factory=set)
    level: str = ""


def stated_bands(image: Path, count: int) -> Optional[Stated]:
    """What is stated of the ``count`` bands of an image; None if it is none of a product, or does not fit."""
    found = IMAGE.match(image.name)
    if found is None:
        return None
    metadata = metadata_file(image)
    text = _content(metadata) if metadata is not None else b""
    if not text:
        return None
    stated, vnir = _read(text)
    if found[2] is not None and vnir is not None:
        here = slice(0, vnir) if found[2].upper() == "VNIR" else slice(vnir, None)
        numbers = list(range(len(stated.wavelengths)))[here]
        stated.wavelengths = stated.wavelengths[here]
        stated.dead = {numbers.index(number) for number in stated.dead if number in numbers}
    return stated if len(stated.wavelengths) == count else None


def metadata_file(image: Path) -> Optional[Path]:
    """The metadata file beside an image of a product."""
    found = IMAGE.match(image.name)
    if found is None:
        return None
    beside = [image.with_name(f"{found[1]}-METADATA{suffix}") for suffix in (".XML", ".xml")]
    return next((path for path in beside if path.is_file()), None)


def _read(text: bytes) -> Tuple[Stated, Optional[int]]:
    """What a metadata file states, and how many of its bands are VNIR; nothing if it may declare entities."""
    reader = QXmlStreamReader(text)
    stated, vnir, place, mean = Stated(), None, "", None
    number = -1
    while not reader.atEnd():
        token = reader.readNext()
        if token == QXmlStreamReader.TokenType.DTD:
            return Stated(), None
        if token != QXmlStreamReader.TokenType.StartElement:
            continue
        name = str(reader.name())
        if name in SKIPPED:
            reader.skipCurrentElement()
        elif name in ("bandCharacterisation", "bandStatistics"):
            place, number = name, -1
        elif name in ("bandID", "band"):
            number += 1
        elif name == "level" and not stated.level:
            stated.level = _text(reader)
        elif name == "numberOfVNIRBands":
            said = _text(reader)
            vnir = int(said) if said.isdecimal() else None
        elif name == "wavelengthCenterOfBand" and place == "bandCharacterisation":
            stated.wavelengths.append(_number(_text(reader)))
        elif name == "mean" and place == "bandStatistics":
            mean = _number(_text(reader))
        elif name == "stdDeviation" and mean == DEAD_MEAN and _number(_text(reader)) == 0:
            stated.dead.add(number)
    return stated, vnir


def _text(reader: QXmlStreamReader) -> str:
    return reader.readElementText(QXmlStreamReader.ReadElementTextBehaviour.SkipChildElements).strip()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _content(path: Path) -> bytes:
    """The file's bytes; none when it cannot be read or is too long for metadata."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_METADATA + 1)
    except OSError:
        return b""
    return content if len(content) <= LARGEST_METADATA else b""
