"""Byte strings one after the other, each with its length, and small things packed into them."""

import struct
import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

_LENGTH = struct.Struct("<I")


def join_pieces(pieces: Iterable[bytes]) -> bytes:
    """The pieces, each after its length in four bytes."""
    return b"".join(part for piece in pieces for part in (_LENGTH.pack(len(piece)), piece))


class Pieces:
    """Takes apart what ``join_pieces`` made."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = memoryview(data), 0

    def next(self) -> bytes:
        """The next piece. Raises ValueError where there is none."""
        start = self._position + _LENGTH.size
        if start > len(self._data):
            raise ValueError("a piece is missing")
        (length,) = _LENGTH.unpack_from(self._data, self._position)
        if start + length > len(self._data):
            raise ValueError("a piece is cut short")
        self._position = start + length
        return bytes(self._data[start : self._position])


def deflate(data: bytes) -> bytes:
    """The data compressed by zlib."""
    return zlib.compress(data, 6)


def inflate(data: bytes, size: int) -> bytes:
    """The ``size`` bytes that ``deflate`` was given, and never more. Raises ValueError."""
    unpacker = zlib.decompressobj()
    try:
        whole = unpacker.decompress(data, size + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(whole) != size:
        raise ValueError(f"a piece holds no {size} bytes")
    return whole


def pack_mask(mask: Mask) -> bytes:
    """A mask in few bytes; none at all when everything is set."""
    return b"" if mask.all() else deflate(np.packbits(mask).tobytes())


def unpack_mask(data: bytes, shape: tuple[int, ...]) -> Mask:
    """The mask of this shape. Raises ValueError."""
    if not data:
        return np.ones(shape, bool)
    count = int(np.prod(shape))
    bits = np.unpackbits(np.frombuffer(inflate(data, -(-count // 8)), np.uint8), count=count)
    return bits.astype(bool).reshape(shape)
