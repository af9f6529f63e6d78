"""The table of contents of MATLAB 5 to 7.2 files, read without loading or trusting any of their arrays.

Layout: "MAT-File Format", The MathWorks. Only what tells arrays apart is parsed; SciPy loads the numbers.
"""

import struct
import zlib
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.readers.choosing import Array
from hsi_toolkit.scene.spool import MAX_DEFLATE_RATIO

HEADER_BYTES = 128
HEAD_BYTES = 1024
"""Enough of an array for its flags, shape and name (MATLAB's names have at most 63 letters)."""

COMPRESSED, MATRIX = 15, 14
COMPLEX, LOGICAL = 0x0800, 0x0200
"""Flags of an array."""
CLASSES: dict[int, np.dtype[Any]] = {
    6: np.dtype("f8"),
    7: np.dtype("f4"),
    8: np.dtype("i1"),
    9: np.dtype("u1"),
    10: np.dtype("i2"),
    11: np.dtype("u2"),
    12: np.dtype("i4"),
    13: np.dtype("u4"),
    14: np.dtype("i8"),
    15: np.dtype("u8"),
}
OTHER: np.dtype[Any] = np.dtype(object)
"""Cells, structures, text, sparse matrices."""


def is_mat5(start: bytes) -> bool:
    """Whether a file that starts like this is a MATLAB 5 to 7.2 file."""
    return len(start) >= HEADER_BYTES and start[126:128] in (b"IM", b"MI") and start[:4] != b"\0\0\0\0"


def list_arrays(path: Path) -> list[Array]:
    """Name, shape and type of every array, complex ones as complex128. Raises SceneError."""
    arrays = []
    size = path.stat().st_size
    with path.open("rb") as file:
        order = "<" if file.read(HEADER_BYTES)[126:128] == b"IM" else ">"
        position = HEADER_BYTES
        while position + 8 <= size:
            file.seek(position)
            kind, length = struct.unpack(f"{order}II", file.read(8))
            position += 8 + length
            if kind not in (COMPRESSED, MATRIX):
                raise _damaged(path, f"an element of unknown kind {kind}")
            if position > size:
                raise _damaged(path, "an array that reaches beyond its end")
            try:
                array = _read_head(file, kind, length, order)
            except (struct.error, zlib.error, UnicodeDecodeError, IndexError) as error:
                raise _damaged(path, f"an array that cannot be parsed ({error})") from error
            limit = length * (MAX_DEFLATE_RATIO if kind == COMPRESSED else 1)
            if array.dtype != OTHER and array.size > limit:
                raise _damaged(path, f"{array}, for which it has only {length} bytes")
            arrays.append(array)
    return arrays


def _read_head(file: IO[bytes], kind: int, length: int, order: str) -> Array:
    head = file.read(min(length, HEAD_BYTES))
    if kind == COMPRESSED:
        head = zlib.decompressobj().decompress(head, HEAD_BYTES)[8:]
    flags, rest = _element(head, order)
    dimensions, rest = _element(rest, order)
    name, _ = _element(rest, order)
    word = struct.unpack(f"{order}I", flags[:4])[0]
    shape = struct.unpack(f"{order}{len(dimensions) // 4}i", dimensions)
    dtype: np.dtype[Any] = CLASSES.get(word & 0xFF, OTHER)
    if dtype != OTHER and word & (COMPLEX | LOGICAL):
        dtype = np.dtype(complex if word & COMPLEX else bool)
    if min(shape, default=0) < 0 or prod(shape) < 0:
        raise struct.error("negative size")
    return Array(name.decode("ascii"), shape, dtype)


def _element(data: bytes, order: str) -> tuple[bytes, bytes]:
    """The content of the first sub-element, and what follows it; both lie on 8-byte boundaries."""
    kind, length = struct.unpack(f"{order}II", data[:8])
    if kind >> 16:
        # Up to four bytes are packed into the tag, their number in its upper half.
        short = kind >> 16
        return data[4 : 4 + short], data[8:]
    if length > len(data) - 8:
        raise struct.error("truncated")
    return data[8 : 8 + length], data[8 + -(-length // 8) * 8 :]


def _damaged(path: Path, found: str) -> SceneError:
    return SceneError(
        f"{path} is no intact MATLAB file: it holds {found}.", "Copy, download or save it again."
    )
