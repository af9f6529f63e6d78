"""The .hsz file: a header, an index, and tiles that stand for themselves; see ``docs/compression.md``."""

import json
import math
import struct
import zlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from hsi_toolkit import __version__
from hsi_toolkit.compression.pieces import deflate, inflate
from hsi_toolkit.errors import OutputError, SceneError
from hsi_toolkit.files import atomic_path
from hsi_toolkit.scene.contract import check_shape

MAGIC = b"\x89HSZ\r\n\x1a\n"
VERSION = 1
DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")

MAX_HEADER_BYTES = 16 << 20
USUAL_TILE_SAMPLES = 1 << 23
MAX_TILE_SAMPLES = 1 << 25
"""A tile is decoded whole, so that a file with larger ones could take any amount of memory."""

_PREFIX = struct.Struct("<8sHHIII")
_ENTRY = struct.Struct("<QQI")
_CHECKSUM = struct.Struct("<I")

Numbers = tuple[float, ...]


@dataclass(frozen=True)
class Header:
    """What a file says about its scene.

    Attributes:
        shape: bands, rows, columns.
        dtype: of the stored numbers, one of ``DTYPES``.
        grid: how many rows and columns of tiles; their sides differ by one pixel at most.
        codec: "predictive", or the name of the learned codec whose model the file holds.
        guarantee: "lossless", "max_error" (stored numbers), "max_angle" (degrees) or "none".
        bound: the largest error or angle; 0 for the others.
        nodata: the stored number for "no data", one or one for each band; None where there is none.
        scale, offset: physical value = stored * scale + offset, one for each band.
        band_numbers: the numbers of the bands in the file they came from, from one; None: all in order.
        quantity, units, sensor, acquired, wavelength, fwhm, good: as in a scene.
        crs: WKT.
        transform: the first six coefficients of the affine transform from columns and rows.
        codec_config, codec_use: what the learned codec says of itself, and the stored numbers that are its 0
            and 1 and the step of its latents.
    """

    shape: tuple[int, int, int]
    dtype: str
    grid: tuple[int, int]
    codec: str = "predictive"
    guarantee: str = "lossless"
    bound: float = 0.0
    nodata: float | Numbers | None = None
    scale: Numbers | None = None
    offset: Numbers | None = None
    band_numbers: tuple[int, ...] | None = None
    quantity: str = "dn"
    units: str | None = None
    sensor: str | None = None
    acquired: str | None = None
    wavelength: Numbers | None = None
    fwhm: Numbers | None = None
    good: tuple[bool, ...] | None = None
    crs: str | None = None
    transform: Numbers | None = None
    codec_config: dict[str, int | bool] | None = None
    codec_use: Numbers | None = None
    software: str = f"hsi_toolkit {__version__}"

    @property
    def tiles(self) -> int:
        """How many there are."""
        return self.grid[0] * self.grid[1]

    @property
    def promise(self) -> str:
        """The guarantee in words."""
        return {
            "lossless": "all samples as they were stored",
            "max_error": f"no sample off by more than {self.bound:g}",
            "max_angle": f"no spectrum turned by more than {self.bound:g}°",
        }.get(self.guarantee, "no guarantee")

    def window(self, tile: int) -> tuple[slice, slice]:
        """Rows and columns of a tile; tiles are counted row by row."""
        down, right = divmod(tile, self.grid[1])
        return _part(self.shape[1], self.grid[0], down), _part(self.shape[2], self.grid[1], right)

    def tile_shape(self, tile: int) -> tuple[int, int, int]:
        """Bands, rows and columns of a tile."""
        rows, columns = self.window(tile)
        return self.shape[0], rows.stop - rows.start, columns.stop - columns.start

    def to_json(self) -> bytes:
        """UTF-8 JSON, without the entries that are None; numbers that are not finite are texts."""
        entries = {name: _plain(value) for name, value in asdict(self).items() if value is not None}
        return json.dumps(entries, ensure_ascii=False, allow_nan=False).encode()

    @classmethod
    def from_json(cls, text: bytes, path: Path) -> Self:
        """The header in a file. Raises SceneError, naming the entry that is wrong."""
        try:
            entries = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _damaged(path, f"its header is no JSON text: {error}") from error
        if not isinstance(entries, dict):
            raise _damaged(path, "its header is no JSON object")
        checked: dict[str, Any] = {}
        for name, value in entries.items():
            # Entries of later minor revisions are passed over.
            if name in _CHECKS:
                checked[name] = _CHECKS[name](value)
                if checked[name] is None:
                    raise _damaged(path, f"the entry {name!r} of its header is {str(value)[:60]}")
        for name in ("shape", "dtype", "grid"):
            if name not in checked:
                raise _damaged(path, f"its header has no {name!r}")
        header = cls(**checked)
        header._check(path)
        return header

    def _check(self, path: Path) -> None:
        bands, rows, columns = self.shape
        check_shape(self.shape, path)
        for name in ("scale", "offset", "band_numbers", "wavelength", "fwhm", "good"):
            values = getattr(self, name)
            if values is not None and len(values) != bands:
                raise _damaged(path, f"{name!r} of its header has {len(values)} entries for {bands} bands")
        if isinstance(self.nodata, tuple) and len(self.nodata) != bands:
            raise _damaged(path, f"'nodata' of its header has {len(self.nodata)} entries for {bands} bands")
        if self.transform is not None and len(self.transform) != 6:
            raise _damaged(path, f"'transform' of its header has {len(self.transform)} entries")
        if not 1 <= self.grid[0] <= rows or not 1 <= self.grid[1] <= columns:
            raise _damaged(path, f"its header has tiles in a grid of {self.grid[0]} x {self.grid[1]}")
        if bands * -(-rows // self.grid[0]) * -(-columns // self.grid[1]) > MAX_TILE_SAMPLES:
            raise _damaged(path, "its tiles are too large")
        if self.dtype not in DTYPES:
            raise _damaged(path, f"its samples are {self.dtype!r}")


class HszWriter:
    """Writes a file that appears under its name when the ``with`` block ends well; tiles in any order.

    Args:
        path: of the file.
        header: of the scene.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputError: the file exists or cannot be written, or a tile is missing at the end.
    """

    def __init__(self, path: str | Path, header: Header, *, overwrite: bool = False) -> None:
        self._path, self._header, self._overwrite = Path(path), header, overwrite
        self._entries: list[tuple[int, int, int] | None] = [None] * header.tiles
        self._model = (0, 0, 0)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self._path, overwrite=self._overwrite))
            self._file: IO[bytes] = stack.enter_context(temporary.open("r+b"))
            text = self._header.to_json()
            packed = deflate(text)
            prefix = _PREFIX.pack(MAGIC, VERSION, 0, len(packed), len(text), zlib.crc32(packed))
            self._file.write(prefix + packed)
            self._index = self._file.tell()
            self._file.write(bytes(_index_bytes(self._header.tiles)))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            entries = [entry for entry in self._entries if entry is not None]
            if len(entries) < len(self._entries):
                raise OutputError(f"{self._path} lacks tiles.", "This is a defect: please report it.")
            index = b"".join(_ENTRY.pack(*entry) for entry in (*entries, self._model))
            self._file.seek(self._index)
            self._file.write(index + _CHECKSUM.pack(zlib.crc32(index)))
            self._file.close()

    def write(self, tile: int, data: bytes) -> None:
        """Append a tile. Raises OutputError when the disk is full."""
        self._entries[tile] = self._append(data)

    def write_model(self, data: bytes) -> None:
        """Append the model that tiles refer to. Raises OutputError when the disk is full."""
        self._model = self._append(data)

    def _append(self, data: bytes) -> tuple[int, int, int]:
        position = self._file.tell()
        try:
            self._file.write(data)
        except OSError as error:
            raise OutputError(
                f"Writing {self._path} failed: {error.strerror or error}.", "Check the free space."
            ) from error
        return position, len(data), zlib.crc32(data)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._file.tell()


@dataclass(frozen=True, eq=False)
class HszFile:
    """A file's header and index, read; tiles are read when they are wanted."""

    path: Path
    header: Header
    entries: tuple[tuple[int, int, int], ...]

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Read header and index. Raises SceneError when they are damaged."""
        location = Path(path)
        try:
            with location.open("rb") as file:
                return cls._read(location, file, location.stat().st_size)
        except OSError as error:
            if isinstance(error, SceneError):
                raise
            raise SceneError(f"{location} cannot be read: {error.strerror}.", "Check the file.") from error

    @classmethod
    def _read(cls, path: Path, file: IO[bytes], size: int) -> Self:
        start = file.read(_PREFIX.size)
        if len(start) < _PREFIX.size or not start.startswith(MAGIC):
            raise SceneError(f"{path} is no .hsz file, or cut short.", "Copy or download it again.")
        _, version, _, length, text_length, checksum = _PREFIX.unpack(start)
        if version != VERSION:
            raise SceneError(
                f"{path} is of version {version}, this program reads version {VERSION}.",
                "Update the program.",
            )
        if length > size or text_length > MAX_HEADER_BYTES:
            raise _damaged(path, f"its header claims {text_length} bytes")
        packed = file.read(length)
        if zlib.crc32(packed) != checksum:
            raise _damaged(path, "its header does not match its checksum")
        try:
            header = Header.from_json(inflate(packed, text_length), path)
        except ValueError as error:
            raise _damaged(path, f"its header cannot be unpacked: {error}") from error
        needed = _index_bytes(header.tiles)
        if file.tell() + needed > size:
            raise _damaged(path, f"it is too short for the index of {header.tiles} tiles")
        index = file.read(needed)
        if zlib.crc32(index[: -_CHECKSUM.size]) != _CHECKSUM.unpack(index[-_CHECKSUM.size :])[0]:
            raise _damaged(path, "its index does not match its checksum")
        entries = tuple(_ENTRY.iter_unpack(index[: -_CHECKSUM.size]))
        return cls(path, header, entries)

    def model(self) -> bytes:
        """The learned codec's model, empty when there is none. Raises SceneError."""
        position, length, checksum = self.entries[-1]
        data = self._bytes(position, min(length, self.path.stat().st_size))
        if len(data) < length or zlib.crc32(data) != checksum:
            raise _damaged(self.path, "the model in it does not match its checksum")
        return data

    def tile(self, number: int) -> bytes:
        """The bytes of a tile. Raises SceneError, naming the tile, when they are not those written."""
        position, length, checksum = self.entries[number]
        size = self.path.stat().st_size
        if position + length > size:
            raise self.damaged(number, f"the file ends {position + length - size} bytes before it does")
        data = self._bytes(position, length)
        if zlib.crc32(data) != checksum:
            raise self.damaged(number, "it does not match its checksum")
        return data

    def damaged(self, number: int, reason: str) -> SceneError:
        """The error about a tile."""
        rows, columns = self.header.window(number)
        return SceneError(
            f"Tile {number + 1} of {self.header.tiles} in {self.path} (rows {rows.start + 1} to {rows.stop}, "
            f"columns {columns.start + 1} to {columns.stop}) is damaged: {reason}.",
            "Copy or download the file again, or decompress it without its damaged tiles.",
        )

    def _bytes(self, position: int, length: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(position)
            return file.read(length)


def tile_grid(shape: tuple[int, int, int], side: int) -> tuple[int, int]:
    """The grid of tiles of about ``side`` pixels, less when the scene has very many bands."""
    bands, rows, columns = shape
    side = max(1, min(side, math.isqrt(USUAL_TILE_SAMPLES // bands)))
    return max(1, round(rows / side)), max(1, round(columns / side))


def tiles_within(header: Header, rows: slice, columns: slice) -> list[int]:
    """The tiles that a window touches, in the order of the file."""
    (_, height, width), (down, right) = header.shape, header.grid

    def span(window: slice, length: int, parts: int) -> range:
        first, last = (((at + 1) * parts - 1) // length for at in (window.start, window.stop - 1))
        return range(first, last + 1)

    return [y * right + x for y in span(rows, height, down) for x in span(columns, width, right)]


def _part(length: int, parts: int, number: int) -> slice:
    return slice(length * number // parts, length * (number + 1) // parts)


def _index_bytes(tiles: int) -> int:
    """Of the entries of all tiles and the model."""
    return (tiles + 1) * _ENTRY.size + _CHECKSUM.size


def _damaged(path: Path, reason: str) -> SceneError:
    return SceneError(f"{path} is damaged: {reason}.", "Copy or download it again.")


def _plain(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _number(value: object) -> float | None:
    if isinstance(value, str) and value in ("nan", "inf", "-inf"):
        return float(value)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48 else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _flag(value: object) -> bool | None:
    return bool(value) if value in (0, 1) and isinstance(value, int) else None


def _list_of(
    each: Callable[[object], object], length: int | None = None
) -> Callable[[object], tuple[object, ...] | None]:
    def check(value: object) -> tuple[object, ...] | None:
        if not isinstance(value, list) or not value or length not in (None, len(value)):
            return None
        checked = tuple(each(item) for item in value)
        return None if any(item is None for item in checked) else checked

    return check


_CHECKS: Mapping[str, Callable[[object], object]] = {
    **dict.fromkeys(("dtype", "codec", "guarantee", "quantity", "units", "sensor", "acquired", "crs"), _text),
    "shape": _list_of(_whole, 3),
    "grid": _list_of(_whole, 2),
    "band_numbers": _list_of(_whole),
    **dict.fromkeys(("scale", "offset", "wavelength", "fwhm", "transform"), _list_of(_number)),
    "nodata": lambda value: _list_of(_number)(value) if isinstance(value, list) else _number(value),
    "good": _list_of(_flag),
    "bound": _number,
    "codec_config": lambda value: value if isinstance(value, dict) else None,
    "codec_use": _list_of(_number, 3),
    "software": _text,
}
