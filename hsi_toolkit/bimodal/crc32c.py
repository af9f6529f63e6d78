"""CRC-32C (Castagnoli) of large buffers, in lanes that NumPy works through side by side.

The checksum without its initial and final complement is linear over GF(2): the sum of two halves is that of
the first, moved on by as many zero bytes as the second has, xor that of the second.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]

_POLYNOMIAL = 0x82F63B78
_ALL_ONES = 0xFFFFFFFF
_MASK_DELTA = 0xA282EAD8
#: Lanes that are worked through together; a power of two.
_LANES = 2048


def crc32c(data: bytes) -> int:
    """The checksum of ``data`` (RFC 3720, appendix B.4)."""
    return _raw(data) ^ int(_moved(np.array([_ALL_ONES], np.uint32), len(data))[0]) ^ _ALL_ONES


def masked_crc32c(data: bytes) -> int:
    """The checksum as TFRecord files store it: rotated by 15 bits, plus a constant."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & _ALL_ONES


def _raw(data: bytes) -> int:
    """The linear part: zero at the beginning, and zero bytes in front change nothing."""
    table = _table()
    lanes = _LANES if len(data) >= 4 * _LANES else 1
    length = -(-len(data) // lanes)
    padded = np.zeros(lanes * length, np.uint8)
    if data:
        padded[-len(data) :] = np.frombuffer(data, np.uint8)
    state = np.zeros(lanes, np.uint32)
    for column in padded.reshape(lanes, length).T.astype(np.uint32):
        state = table[(state ^ column) & 0xFF] ^ (state >> 8)
    while len(state) > 1:
        state = _moved(state[::2], length) ^ state[1::2]
        length *= 2
    return int(state[0])


@lru_cache(maxsize=1)
def _table() -> Words:
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, (values >> 1) ^ np.uint32(_POLYNOMIAL), values >> 1).astype(np.uint32)
    return values


def _moved(states: Words, count: int) -> Words:
    """The states after ``count`` zero bytes."""
    power = 0
    while count:
        if count & 1:
            states = _applied(_operator(power), states)
        count >>= 1
        power += 1
    return states


@lru_cache(maxsize=64)
def _operator(power: int) -> Words:
    """What ``2 ** power`` zero bytes make of each single bit, (32,)."""
    if power == 0:
        bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
        moved: Words = _table()[bits & 0xFF] ^ (bits >> 8)
        return moved
    half = _operator(power - 1)
    return _applied(half, half)


def _applied(operator: Words, states: Words) -> Words:
    out = np.zeros_like(states)
    for bit, image in enumerate(operator):
        out ^= (states >> np.uint32(bit) & np.uint32(1)) * image
    return out
