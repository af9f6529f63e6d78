"""The header of a safetensors file, checked against the file's length before anything is allocated.

Format: an unsigned 64-bit little-endian length n, n bytes of JSON, then the tensors' bytes. The JSON maps
each tensor's name to ``dtype``, ``shape`` and ``data_offsets``, and ``__metadata__`` to strings.
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hsi_toolkit.errors import ModelError

# The limit of the safetensors library itself.
MAX_HEADER_BYTES = 100_000_000

_LENGTH = struct.Struct("<Q")
_ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip

_AGAIN = "Copy or download it again."
_IMPORT = "Convert released weights with 'hsi models import'."


@dataclass(frozen=True)
class TensorEntry:
    """Type, as safetensors names it, and shape of a stored tensor."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def n_values(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """What a safetensors file says about itself: its tensors by name, and its metadata."""

    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]


def read_header(path: str | Path) -> Header:
    """The header of the safetensors file at ``path``; its tensors are not read.

    Raises:
        ModelError: the file is missing, of another format (nothing in it is executed), truncated or damaged.
    """
    file = Path(path)
    if not file.is_file():
        raise ModelError(
            f"There is no model file {file}.", "Check the path, or see 'hsi models list' for published ones."
        )
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(_LENGTH.size + 1)
            length = _header_length(start, size, file)
            stream.seek(_LENGTH.size)
            text = stream.read(length)
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}.", "Check its permissions.") from error
    try:
        header = json.loads(text.decode("utf-8"))
        if not isinstance(header, dict):
            raise ValueError("it is no object")
        metadata = _metadata(header.pop("__metadata__", {}))
        tensors = _tensors(header, size - _LENGTH.size - length)
    except (ValueError, OverflowError, RecursionError) as error:
        raise ModelError(f"{file} is damaged: its header is wrong ({error}).", _AGAIN) from error
    return Header(tensors, metadata)


def _header_length(start: bytes, size: int, file: Path) -> int:
    if size == 0:
        raise ModelError(f"{file} is empty.", _AGAIN)
    length = _LENGTH.unpack(start[: _LENGTH.size])[0] if len(start) > _LENGTH.size else 0
    begins = start[_LENGTH.size :] == b"{"
    if begins and length <= min(MAX_HEADER_BYTES, size - _LENGTH.size):
        return int(length)
    if start.startswith((b"\x80", b"PK\x03\x04")):
        raise ModelError(
            f"{file} is a pickle or zip archive and no model bundle; nothing in it was executed.",
            _IMPORT,
        )
    if begins and length <= MAX_HEADER_BYTES:
        raise ModelError(
            f"{file} is truncated: its header alone has {length} bytes, the file {size}.", _AGAIN
        )
    raise ModelError(f"{file} is no model bundle: it is not a safetensors file.", _IMPORT)


def _metadata(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError("__metadata__ holds something else than strings")
    return {str(key): str(text) for key, text in value.items()}


def _tensors(header: Mapping[str, object], data_bytes: int) -> dict[str, TensorEntry]:
    """The entries, once it is sure that their bytes follow each other and fill the file exactly."""
    tensors: dict[str, TensorEntry] = {}
    spans: list[tuple[int, int]] = []
    for name, entry in header.items():
        if not isinstance(entry, dict):
            raise ValueError(f"the entry of {name} is no object")
        shape = _whole_numbers(entry.get("shape"), name)
        offsets = _whole_numbers(entry.get("data_offsets"), name)
        dtype = str(entry.get("dtype"))
        if dtype not in _ITEM_BYTES:
            raise ValueError(f"{name} has the unknown type {dtype}")
        tensors[name] = TensorEntry(dtype, shape)
        if len(offsets) != 2 or offsets[1] - offsets[0] != tensors[name].n_values * _ITEM_BYTES[dtype]:
            raise ValueError(f"the bytes of {name} do not fit its shape {list(shape)}")
        spans.append((offsets[0], offsets[1]))
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise ValueError("its tensors overlap or leave gaps")
        end = stop
    if end != data_bytes:
        raise ValueError(f"it promises {end} bytes of tensors and the file has {data_bytes}")
    return tensors


def _whole_numbers(value: object, name: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(item) is int and item >= 0 for item in value):
        raise ValueError(f"{name} has a wrong shape or offset")
    return tuple(value)
