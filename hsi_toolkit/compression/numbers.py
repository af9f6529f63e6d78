"""Samples of any type as whole numbers that can be predicted.

Floating-point samples become whole ones in one of four ways: decimals (0.1234 is 1234 / 10**4), decimals made
by a multiplication (1234 * 1e-4 in single precision), fixed-point numbers as fine as the largest sample, with
the finer bits of smaller ones kept beside, or, where an error is allowed, multiples of a step.
"""

import struct
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.compression.pieces import deflate, inflate
from hsi_toolkit.compression.predictive import LARGEST_RANGE

Stored = NDArray[np.number]
Samples = NDArray[Any]
Single = NDArray[np.float32]
Whole = NDArray[np.int64]

DECIMALS = 7
"""Places after the point that are tried."""

LARGEST_WHOLE = 1 << 31
STEPS_IN_ERROR = 7
"""An allowed error is so many steps and a half, because the predictor rounds better than a fixed grid."""

_MANTISSA = 23
_TRIED = 512


class Numbers(Protocol):
    """How samples are whole numbers; ``to_bytes`` tells the decoder."""

    @property
    def error(self) -> int:
        """Largest error that the whole numbers may have."""
        ...

    def to_bytes(self) -> bytes:
        """For ``numbers_from_bytes``."""
        ...

    def to_stored(self, whole: Whole) -> Samples:
        """The samples. Raises ValueError."""
        ...


@dataclass(frozen=True)
class AsTheyAre:
    """Samples that are whole numbers."""

    dtype: np.dtype[np.number]
    error: int = 0

    def to_bytes(self) -> bytes:
        return b"i"

    def to_stored(self, whole: Whole) -> Samples:
        return whole.astype(self.dtype)


@dataclass(frozen=True)
class Decimals:
    """Single-precision numbers with ``places`` after the point, divided or multiplied to them."""

    places: int
    divided: bool
    error: int = 0

    def to_bytes(self) -> bytes:
        return (b"d" if self.divided else b"m") + bytes([self.places])

    def to_stored(self, whole: Whole) -> Single:
        if self.divided:
            return (whole / 10.0**self.places).astype(np.float32)
        return whole.astype(np.float32) * np.float32(10.0**-self.places)


@dataclass(frozen=True)
class Steps:
    """Single-precision numbers rounded to multiples of a step."""

    step: float
    error: int = STEPS_IN_ERROR

    def to_bytes(self) -> bytes:
        return b"s" + struct.pack("<d", self.step)

    def to_stored(self, whole: Whole) -> Single:
        return (whole * self.step).astype(np.float32)


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """Single-precision numbers cut to the precision of the largest, and the bits that were cut.

    Attributes:
        top: biased exponent of the largest number.
        rest: bits of all numbers in turn that ``top`` cuts; all 32 of those that are cut to nothing.
    """

    top: int
    rest: bytes
    error: int = 0

    @classmethod
    def of(cls, samples: Single) -> "tuple[FixedPoint, Whole]":
        """The finite samples in fixed point, and their whole numbers of up to 24 bits."""
        words = samples.view(np.uint32).astype(np.int64)
        exponent = (words >> _MANTISSA) & 0xFF
        top = int(exponent.max(initial=1))
        cut = np.minimum(top - exponent, _MANTISSA + 1)
        mantissa = (words & ((1 << _MANTISSA) - 1)) | (1 << _MANTISSA)
        kept = np.where(exponent > 0, mantissa >> cut, 0)
        lost = [words[kept == 0].astype("<u4").tobytes()]
        for bits in range(1, _MANTISSA + 1):
            low = mantissa[(cut == bits) & (kept > 0)] & ((1 << bits) - 1)
            lost.append(np.packbits((low[:, None] >> np.arange(bits)) & 1).tobytes())
        return cls(top, b"".join(lost)), np.where(words >> 31, -kept, kept)

    def to_bytes(self) -> bytes:
        return b"f" + struct.pack("<BI", self.top, len(self.rest)) + deflate(self.rest)

    def to_stored(self, whole: Whole) -> Single:
        kept = np.abs(whole)
        if kept.max(initial=0) >> (_MANTISSA + 1):
            raise ValueError("a number has too many bits")
        cut = _MANTISSA + 1 - np.frexp(kept.astype(np.float64))[1].astype(np.int64)
        none = kept == 0
        sizes = [4 * int(none.sum())]
        sizes += [-(-int((~none & (cut == bits)).sum()) * bits // 8) for bits in range(1, _MANTISSA + 1)]
        if sum(sizes) != len(self.rest):
            raise ValueError("the finer bits are damaged")
        words = np.zeros(whole.shape, np.int64)
        position = sizes[0]
        words[none] = np.frombuffer(self.rest, "<u4", count=sizes[0] // 4)
        mantissa = kept << np.where(none, 0, cut)
        for bits, size in zip(range(1, _MANTISSA + 1), sizes[1:], strict=True):
            if size:
                here = ~none & (cut == bits)
                count = int(here.sum())
                packed = np.frombuffer(self.rest, np.uint8, size, position)
                low = np.unpackbits(packed, count=count * bits).reshape(count, bits).astype(np.int64)
                mantissa[here] |= low @ (1 << np.arange(bits))
                position += size
        exponent = self.top - cut
        if (exponent[~none] < 1).any():
            raise ValueError("an exponent is damaged")
        full = (
            (mantissa & ((1 << _MANTISSA) - 1))
            | (exponent << _MANTISSA)
            | ((whole < 0).astype(np.int64) << 31)
        )
        return np.where(none, words, full).astype(np.uint32).view(np.float32)


def can_be_whole(samples: Stored) -> bool:
    """Whether samples can be predicted: single precision, or whole numbers close enough together."""
    if samples.dtype.kind == "f":
        return samples.dtype == np.float32
    low, high = int(samples.min(initial=0)), int(samples.max(initial=0))
    return high - low < LARGEST_RANGE and max(-low, high) < 1 << 62


def as_whole(samples: Stored, error: float = 0.0) -> tuple[Numbers, Whole]:
    """Whole numbers for samples that ``can_be_whole`` and are finite, (n,), in the order of coding.

    Args:
        samples: in the machine's byte order.
        error: largest difference that is allowed; what is too small to help is none.
    """
    if samples.dtype.kind != "f":
        return AsTheyAre(samples.dtype, int(min(error, LARGEST_WHOLE))), samples.astype(np.int64)
    single = samples.astype(np.float32, copy=False)
    if error > 0:
        # Room for the rounding to single precision, which the guarantee covers.
        largest = float(np.abs(single).max(initial=0))
        step = (error - largest * 2.0**-24) / (STEPS_IN_ERROR + 0.501)
        if step > 0 and largest / step < LARGEST_WHOLE:
            return Steps(step), np.rint(single / step).astype(np.int64)
    for places in range(DECIMALS):
        for divided in (True, False):
            decimals = Decimals(places, divided)
            if _are(decimals, single[:_TRIED]) and _are(decimals, single):
                return decimals, _scaled(decimals, single)
    return FixedPoint.of(single)


def numbers_from_bytes(data: bytes, dtype: np.dtype[np.number], count: int) -> Numbers:
    """What ``to_bytes`` of one of the classes said about ``count`` samples. Raises ValueError."""
    kind, rest = data[:1], data[1:]
    try:
        if kind == b"i" and dtype.kind in "iu":
            return AsTheyAre(dtype)
        if dtype.kind != "f":
            raise ValueError("the kind of numbers does not fit their type")
        if kind in (b"d", b"m") and rest[0] < DECIMALS:
            return Decimals(rest[0], kind == b"d")
        if kind == b"s":
            return Steps(*struct.unpack("<d", rest))
        if kind == b"f":
            top, size = struct.unpack_from("<BI", rest)
            if size <= 4 * count + _MANTISSA:
                return FixedPoint(top, inflate(rest[5:], size))
    except (struct.error, IndexError) as error:
        raise ValueError("the kind of numbers is damaged") from error
    raise ValueError("the kind of numbers is unknown")


def _scaled(decimals: Decimals, samples: Single) -> Whole:
    whole: Whole = np.rint(samples * 10.0**decimals.places).astype(np.int64)
    return whole


def _are(decimals: Decimals, samples: Single) -> bool:
    if not len(samples) or float(np.abs(samples).max()) * 10.0**decimals.places >= LARGEST_WHOLE:
        return False
    again = decimals.to_stored(_scaled(decimals, samples))
    return bool((again.view(np.uint32) == samples.view(np.uint32)).all())
