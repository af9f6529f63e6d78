"""The checksum against its published vectors and a plain implementation."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_toolkit.bimodal.crc32c import crc32c


def bit_by_bit(data: bytes) -> int:
    """The checksum as its definition says it."""
    crc = 0xFFFFFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "published"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_published_vectors(data: bytes, published: int) -> None:
    assert crc32c(data) == published


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 9000))
def test_lanes_make_no_difference(data: bytes, repeat: int) -> None:
    long = data + bytes(repeat) + data
    assert crc32c(long) == bit_by_bit(long)
