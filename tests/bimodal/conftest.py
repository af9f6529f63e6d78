"""TFRecords written by hand, and a small tray of seeds."""

import gzip
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from hsi_toolkit.bimodal.crc32c import masked_crc32c
from hsi_toolkit.synthetic.tray import Tray, write_tray

Value = bytes | np.ndarray
Writer = Callable[..., Path]


def varint(value: int) -> bytes:
    """A number in Protocol Buffers' variable length."""
    out = bytearray()
    value &= 2**64 - 1
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(number: int, content: bytes) -> bytes:
    """A field with a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(features: Mapping[str, Value]) -> bytes:
    """A serialised tf.train.Example: bytes, float32 arrays and int64 arrays."""
    entries = b""
    for name, value in features.items():
        if isinstance(value, bytes):
            feature = message(1, message(1, value))
        elif value.dtype == np.float32:
            feature = message(2, message(1, value.astype("<f4").tobytes()))
        else:
            feature = message(3, message(1, b"".join(varint(int(each)) for each in value.ravel())))
        entries += message(1, message(1, name.encode()) + message(2, feature))
    return message(1, entries)


def framed(data: bytes) -> bytes:
    """A record with its length and checksums."""
    length = struct.pack("<Q", len(data))
    return b"".join(
        [length, struct.pack("<I", masked_crc32c(length)), data, struct.pack("<I", masked_crc32c(data))]
    )


def seed_record(
    number: int, side: int = 8, patch: int = 4, bands: int = 10, **changed: Value
) -> dict[str, Value]:
    """A record as the authors lay it out, images of random values, classes in turn."""
    generator = np.random.default_rng(number)
    return {
        "id": f"seed {number}".encode(),
        "rgb_image": generator.random((side, side, 3), np.float32),
        "hs_image": generator.integers(0, 256, (patch, patch, bands)).astype(np.uint8).tobytes(),
        "label": (b"wheat", b"barley")[number % 2],
        **changed,
    }


@pytest.fixture
def write_records(tmp_path: Path) -> Writer:
    """Writes records, given as features or as bytes, to a file; ``cut`` bytes of its end are left out."""

    def write(*records: Mapping[str, Value] | bytes, name: str = "seeds.tfrecord", cut: int = 0) -> Path:
        data = b"".join(framed(each if isinstance(each, bytes) else example(each)) for each in records)
        data = data[: len(data) - cut]
        path = tmp_path / name
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


@pytest.fixture(scope="session")
def tray(tmp_path_factory: pytest.TempPathFactory) -> Tray:
    """Six kinds, six seeds of each."""
    return write_tray(tmp_path_factory.mktemp("tray"), 6, seed=1)
