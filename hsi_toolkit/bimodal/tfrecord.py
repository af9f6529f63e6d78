"""TFRecord files and the ``tf.train.Example`` messages in them, read without TensorFlow.

A file is a sequence of: length (uint64, little-endian), masked CRC-32C of these eight bytes (uint32), the
bytes of the record, their masked CRC-32C. The file may be compressed with gzip as a whole. An Example is a
map from names to lists of bytes, float32 or int64 numbers, in Protocol Buffers' wire format.
"""

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.bimodal.crc32c import masked_crc32c
from hsi_toolkit.errors import SceneError

#: No record of two images is larger; a length beyond this is damage, or meant to harm.
LARGEST_RECORD = 1 << 28

_LENGTH, _CRC = struct.Struct("<Q"), struct.Struct("<I")
_GZIP = b"\x1f\x8b"
_AGAIN = "Copy or write the file again."
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10
# Of tensorflow/core/framework/types.proto.
_TENSOR_TYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i4"),
    4: np.dtype("u1"),
    9: np.dtype("<i8"),
}

Numbers = NDArray[np.float32] | NDArray[np.int64]


class _Stream(Protocol):
    def read(self, count: int, /) -> bytes: ...


class ExampleError(ValueError):
    """A record is no Example, or a feature of it is wrong; the text says which."""


class Feature(NamedTuple):
    """A feature's values: texts or blobs, or numbers; the other is None."""

    blobs: tuple[bytes, ...] | None
    numbers: Numbers | None


def read_records(path: str | Path) -> Iterator[bytes]:
    """The records of a TFRecord file, compressed or not, one after the other.

    Raises:
        SceneError: the file is missing, truncated or damaged; the sentence names the record.
    """
    file = Path(path)
    try:
        with file.open("rb") as raw:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if packed else raw
            yield from _records(stream, file, None if packed else file.stat().st_size)
    except (gzip.BadGzipFile, zlib.error) as error:
        raise SceneError(f"{file} is a damaged gzip file: {error}.", _AGAIN) from error
    except FileNotFoundError as error:
        raise SceneError(f"There is no file {file}.", "Check the path.") from error


def _records(stream: _Stream, file: Path, size: int | None) -> Iterator[bytes]:
    number, at = 0, 0
    while True:
        number += 1
        head = _read(stream, _LENGTH.size + _CRC.size)
        if not head:
            return
        if len(head) < _LENGTH.size + _CRC.size:
            raise _truncated(file, number)
        (length,), (crc,) = _LENGTH.unpack(head[: _LENGTH.size]), _CRC.unpack(head[_LENGTH.size :])
        if masked_crc32c(head[: _LENGTH.size]) != crc:
            if number == 1:
                raise SceneError(f"{file} is no TFRecord file.", "Give files of tf.train.Example records.")
            raise _damaged(file, number, "the checksum of its length is wrong")
        at += len(head) + length + _CRC.size
        if size is not None and at > size:
            raise _truncated(file, number)
        if length > LARGEST_RECORD:
            raise _damaged(file, number, f"it claims {length:,} bytes")
        data, foot = _read(stream, length), _read(stream, _CRC.size)
        if len(data) < length or len(foot) < _CRC.size:
            raise _truncated(file, number)
        if masked_crc32c(data) != _CRC.unpack(foot)[0]:
            raise _damaged(file, number, "its checksum is wrong")
        yield data


def _read(stream: _Stream, count: int) -> bytes:
    try:
        return stream.read(count)
    except EOFError:
        # A gzip stream that ends early.
        return b""


def _truncated(file: Path, number: int) -> SceneError:
    return SceneError(f"Record {number} of {file} is truncated.", _AGAIN)


def _damaged(file: Path, number: int, why: str) -> SceneError:
    return SceneError(f"Record {number} of {file} is damaged: {why}.", _AGAIN)


def parse_example(data: bytes) -> dict[str, Feature]:
    """The features of a serialised ``tf.train.Example``.

    Raises:
        ExampleError: the bytes are no Example.
    """
    features: dict[str, Feature] = {}
    for number, message in _fields(data):
        if number != 1:
            continue
        for inner, entry in _fields(_as_bytes(message)):
            if inner == 1:
                parts = dict(_fields(_as_bytes(entry)))
                name = _as_bytes(parts.get(1, b"")).decode("utf-8", "replace")
                features[name] = _feature(_as_bytes(parts.get(2, b"")), name)
    return features


def _feature(data: bytes, name: str) -> Feature:
    for number, message in _fields(data):
        values = [value for inner, value in _fields(_as_bytes(message)) if inner == 1]
        if number == 1:
            return Feature(tuple(_as_bytes(value) for value in values), None)
        try:
            if number == 2:
                packed = b"".join(value if isinstance(value, bytes) else _CRC.pack(value) for value in values)
                return Feature(None, np.frombuffer(packed, "<f4"))
            if number == 3:
                return Feature(None, _integers(values))
        except ValueError as error:
            raise ExampleError(f"the numbers of {name!r} are damaged") from error
    return Feature((), None)


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Number and content of a message's fields: bytes, or a whole number."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            count, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            count = 4 if kind == _FIXED32 else 8
        else:
            raise ExampleError("it is no Example")
        if count > len(data) - at:
            raise ExampleError("it is no Example, or cut off")
        content = data[at : at + count]
        at += count
        yield key >> 3, int.from_bytes(content, "little") if kind in (_FIXED32, _FIXED64) else content


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(data[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise ExampleError("it is no Example")


def _as_bytes(content: bytes | int) -> bytes:
    if isinstance(content, int):
        raise ExampleError("it is no Example")
    return content


def _integers(values: list[bytes | int]) -> NDArray[np.int64]:
    """Numbers stored one by one, or packed as a run of varints."""
    found = [
        _packed_varints(value) if isinstance(value, bytes) else np.array([value % 2**64], np.uint64)
        for value in values
    ]
    return np.concatenate(found).view(np.int64) if found else np.empty(0, np.int64)


def _packed_varints(data: bytes) -> NDArray[np.uint64]:
    octets = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(octets < 0x80)
    if not len(octets):
        return np.empty(0, np.uint64)
    if not len(ends) or ends[-1] != len(octets) - 1:
        raise ValueError("a number is cut off")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > _LONGEST_VARINT:
        raise ValueError("a number is too long")
    place = np.arange(len(octets)) - np.repeat(starts, lengths)
    parts = (octets & 0x7F).astype(np.uint64) << (7 * place).astype(np.uint64)
    return np.add.reduceat(parts, starts)


def tensor_values(blob: bytes, count: int, dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """``count`` numbers from bytes: raw ones of ``dtype``, or a tensor as ``tf.io.serialize_tensor`` writes
    it.

    None where they are neither.
    """
    if len(blob) == count * dtype.itemsize:
        return np.frombuffer(blob, dtype)
    try:
        fields = dict(_fields(blob))
        content, kind = fields.get(4), fields.get(1)
        own = _TENSOR_TYPES.get(kind) if isinstance(kind, int) else None
        if own is None or not isinstance(content, bytes) or len(content) != count * own.itemsize:
            return None
        return np.frombuffer(content, own)
    except ExampleError:
        return None


def tensor_size(blob: bytes, dtype: np.dtype[np.generic]) -> int:
    """How many numbers a blob holds: those of a stated shape, else as many as the bytes make."""
    try:
        fields = dict(_fields(blob))
        shape, kind = fields.get(2), fields.get(1)
        if isinstance(shape, bytes) and isinstance(kind, int) and kind in _TENSOR_TYPES:
            sizes = [
                dict(_fields(_as_bytes(each))).get(1, 0) for number, each in _fields(shape) if number == 2
            ]
            return math.prod(size for size in sizes if isinstance(size, int))
    except ExampleError:
        pass
    return len(blob) // dtype.itemsize
