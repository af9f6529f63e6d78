"""The text header of ENVI files, checked before anything is read by its numbers.

Keys and their meaning: the ENVI manual, "ENVI Header Format".
"""

import re
from dataclasses import dataclass
from math import cos, isfinite, radians, sin
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.contract import check_shape
from hsi_toolkit.scene.metadata import parse_number, split_list

MAX_HEADER_BYTES = 64 << 20

DATA_TYPES = {
    1: "u1",
    2: "i2",
    3: "i4",
    4: "f4",
    5: "f8",
    12: "u2",
    13: "u4",
    14: "i8",
    15: "u8",
}
COMPLEX_TYPES = (6, 9)
UTF16 = (b"\xff\xfeE\0N\0V\0I\0", b"\xfe\xff\0E\0N\0V\0I", b"E\0N\0V\0I\0", b"\0E\0N\0V\0I")
"""How a header begins that an editor saved as UTF-16, with and without a byte order mark."""

INTERLEAVES = {"bsq": "byx", "bil": "ybx", "bip": "yxb"}
UTM_DATUMS = {
    "wgs84": (32600, 32700),
    "northamerica1983": (26900, None),
    "nad83": (26900, None),
    "northamerica1927": (26700, None),
    "nad27": (26700, None),
    "etrs89": (25800, None),
    "wgs72": (32200, 32300),
}
"""EPSG codes of UTM zone 0 north and south by datum."""


@dataclass(frozen=True)
class EnviHeader:
    """The entries of a header, keys in lower case with single spaces."""

    path: Path
    entries: dict[str, str]

    def text(self, key: str) -> str | None:
        """A value without its braces and quotes, None when absent or empty."""
        value = self.entries.get(key)
        if value is None:
            return None
        return value.strip().removeprefix("{").removesuffix("}").strip() or None

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number; ``default`` when absent. Raises SceneError."""
        value = self.text(key)
        if value is None:
            if default is None:
                raise SceneError(
                    f"The header {self.path} lacks '{key}'.", "Add it; see the producer's documentation."
                )
            return default
        if not re.fullmatch(r"[-+]?\d{1,18}", value):
            raise self.wrong(key, value, "a whole number")
        return int(value)

    def number(self, key: str) -> float | None:
        """A number, None when absent. Raises SceneError."""
        value = self.text(key)
        if value is None:
            return None
        found = parse_number(value)
        if found is None:
            raise self.wrong(key, value, "a number")
        return found

    def numbers(self, key: str, count: int) -> NDArray[np.float64] | None:
        """A list of ``count`` numbers, (count,) float64, without the text after them. Raises SceneError."""
        value = self.entries.get(key)
        if value is None or not (entries := split_list(value)):
            return None
        if len(entries) != count:
            raise SceneError(
                f"'{key}' in {self.path} lists {len(entries)} values for {count} bands.",
                "Correct the list or remove it.",
            )
        found = [parse_number(entry) for entry in entries]
        for entry, number in zip(entries, found, strict=True):
            if number is None:
                raise self.wrong(key, entry, "a number")
        return np.array([number for number in found if number is not None])

    def wrong(self, key: str, value: str, expected: str) -> SceneError:
        """The error for a value that is not ``expected``."""
        return SceneError(f"'{key}' in {self.path} is '{value[:60]}', not {expected}.", "Correct the header.")


@dataclass(frozen=True)
class Layout:
    """Where the numbers are in the data file."""

    shape: tuple[int, int, int]
    offset: int
    dtype: np.dtype[np.number]
    order: str

    @property
    def nbytes(self) -> int:
        """Bytes of the cube, without the header offset."""
        bands, lines, samples = self.shape
        return bands * lines * samples * self.dtype.itemsize


def is_envi_header(start: bytes) -> bool:
    """Whether a file that starts like this is an ENVI header, be it one in an encoding that is not read."""
    return start.startswith(UTF16) or re.match(rb"(?:\xef\xbb\xbf)?\s*ENVI\s*[\r\n]", start) is not None


def read_header(path: Path) -> EnviHeader:
    """Parse a header. Raises SceneError when it is no ENVI header or a list in it never ends."""
    if path.stat().st_size > MAX_HEADER_BYTES:
        raise SceneError(
            f"{path} is too large for an ENVI header.", "Give the .hdr file that goes with the data."
        )
    content = path.read_bytes()
    if content.startswith(UTF16):
        raise SceneError(
            f"{path} is saved as UTF-16 text, which an ENVI header cannot be.", "Save it as UTF-8."
        )
    if not is_envi_header(content[:64] + b"\n"):
        raise SceneError(f"{path} is no ENVI header: its first line is not 'ENVI'.", "Give another header.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return EnviHeader(path, _parse(text, path))


def read_layout(header: EnviHeader) -> Layout:
    """Sizes, type and order, each checked. Raises SceneError."""
    shape = (header.integer("bands"), header.integer("lines"), header.integer("samples"))
    check_shape(shape, header.path)
    offset = header.integer("header offset", 0)
    if offset < 0:
        raise header.wrong("header offset", str(offset), "zero or more")
    data_type = header.integer("data type")
    if data_type in COMPLEX_TYPES:
        raise SceneError(
            f"{header.path} describes complex numbers.", "Export amplitude or another real quantity."
        )
    if data_type not in DATA_TYPES:
        known = ", ".join(map(str, DATA_TYPES))
        raise header.wrong("data type", str(data_type), f"one of {known}")
    dtype: np.dtype[np.number] = np.dtype(DATA_TYPES[data_type])
    byte_order = header.integer("byte order", 0)
    if byte_order not in (0, 1):
        raise header.wrong("byte order", str(byte_order), "0 (little endian) or 1 (big endian)")
    interleave = (header.text("interleave") or ("bsq" if shape[0] == 1 else "")).lower()
    if interleave not in INTERLEAVES:
        raise header.wrong("interleave", interleave, "bsq, bil or bip")
    for key in ("major frame offsets", "minor frame offsets"):
        if any(parse_number(entry) != 0 for entry in split_list(header.entries.get(key, ""))):
            raise SceneError(
                f"{header.path} states {key}, which are not supported.", "Export without padding."
            )
    return Layout(shape, offset, dtype.newbyteorder("<" if byte_order == 0 else ">"), INTERLEAVES[interleave])


def read_transform(header: EnviHeader) -> Affine | None:
    """The transform of ``map info`` (pixel edges), rotated if it says so; None when there is no map info.

    Reference pixel (1, 1) is the outer corner of the first pixel, (1.5, 1.5) its centre. Rotation is in
    degrees counter-clockwise; as in GDAL, the reference pixel's distance from the corner is not rotated.
    """
    fields = split_list(header.entries.get("map info", ""))
    if not fields:
        return None
    if len(fields) < 7:
        raise header.wrong("map info", ", ".join(fields), "a list of at least seven entries")
    numbers = [parse_number(field) for field in fields[1:7]]
    if any(number is None or not isfinite(number) for number in numbers):
        raise header.wrong("map info", ", ".join(fields[1:7]), "reference pixel, coordinates and pixel sizes")
    column, row, x, y, dx, dy = (number for number in numbers if number is not None)
    if dx == 0 or dy == 0:
        raise header.wrong("map info", f"{fields[5]}, {fields[6]}", "two pixel sizes other than zero")
    angle = 0.0
    for field in fields[7:]:
        name, _, value = field.partition("=")
        if name.strip().lower() == "rotation":
            angle = parse_number(value) or 0.0
    x0, y0 = x - (column - 1) * dx, y + (row - 1) * dy
    if angle == 0:
        transform = Affine(dx, 0.0, x0, 0.0, -dy, y0)
    else:
        turn = radians(angle)
        transform = Affine(dx * cos(turn), dx * sin(turn), x0, dy * sin(turn), -dy * cos(turn), y0)
    nowhere = _projection(fields) in ("arbitrary", "pixel", "") and (x0, y0) == (0, 0)
    return None if nowhere and (dx, dy) == (1, 1) else transform


def read_crs(header: EnviHeader) -> CRS | None:
    """The reference system of ``coordinate system string``, else of ``map info``; None when neither tells."""
    by_name = _crs_of_map_info(split_list(header.entries.get("map info", "")))
    text = header.text("coordinate system string")
    if text is None:
        return by_name
    try:
        by_text = CRS.from_wkt(text, morph_from_esri_dialect=True)
    except CRSError:
        return by_name
    if by_name is not None and by_name == by_text:
        return by_name
    code = by_text.to_epsg(confidence_threshold=90)
    return by_text if code is None else CRS.from_epsg(code)


def _parse(text: str, path: Path) -> dict[str, str]:
    entries: dict[str, str] = {}
    lines = iter(text.splitlines()[1:])
    for line in lines:
        key, equals, value = line.partition("=")
        if not equals or line.lstrip().startswith(";"):
            continue
        value = value.strip()
        if value.startswith("{"):
            parts = [value]
            while "}" not in parts[-1]:
                following = next(lines, None)
                if following is None:
                    raise SceneError(f"The list '{key.strip()}' in {path} never ends.", "Close it with '}'.")
                if not following.lstrip().startswith(";"):
                    parts.append(following.strip())
            value = " ".join(parts)
            value = value[: value.rindex("}") + 1]
        entries[" ".join(key.lower().split())] = value
    return entries


def _projection(fields: list[str]) -> str:
    return fields[0].strip().lower() if fields else ""


def _crs_of_map_info(fields: list[str]) -> CRS | None:
    projection = _projection(fields)
    datums = [re.sub(r"[^a-z0-9]", "", field.lower()) for field in fields[7:]]
    if projection == "geographic lat/lon":
        return CRS.from_epsg(4326) if "wgs84" in datums else None
    if projection != "utm" or len(fields) < 9:
        return None
    zone = parse_number(fields[7])
    south = fields[8].strip().lower().startswith("s")
    bases = next((UTM_DATUMS[datum] for datum in datums if datum in UTM_DATUMS), None)
    base = bases[south] if bases else None
    if base is None or zone is None or not 1 <= zone <= 60:
        return None
    try:
        return CRS.from_epsg(base + int(zone))
    except CRSError:
        return None
