"""Tiles within a bound: the largest error that keeps a spectral angle, or that a rate needs."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.compression.numbers import Stored
from hsi_toolkit.compression.setting import Nodata, missing
from hsi_toolkit.compression.tile import encode_tile, largest_error
from hsi_toolkit.scene.lazy import Calibration

TileEncoder = Callable[[Stored, Nodata, float], tuple[bytes, Stored]]
"""Like ``encode_tile``."""

TRIALS = 10
"""Encodings at most in search of an error."""

TOLERANCE = 0.04
"""Of an error that is no whole number, relative."""

CLOSE_ENOUGH = 0.85
"""A bound is used well when so much of it is reached."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """A tile, and how far what will be decoded is from what was given."""

    data: bytes
    error: float
    angle: float


def encode_within_error(
    samples: Stored, calibration: Calibration, error: float, encode: TileEncoder = encode_tile
) -> Encoded:
    """A tile no sample of which is off by more than ``error``, in stored numbers; 0 for none."""
    return measured(samples, calibration, *encode(samples, calibration.nodata, error))


def measured(samples: Stored, calibration: Calibration, data: bytes, decoded: Stored) -> Encoded:
    """A tile with how far it is off."""
    if decoded is samples:
        return Encoded(data, 0.0, 0.0)
    return Encoded(
        data,
        largest_error(samples, decoded, missing(samples, calibration.nodata)),
        largest_angle(samples, decoded, calibration),
    )


def encode_within_angle(
    samples: Stored, calibration: Calibration, angle: float, encode: TileEncoder = encode_tile
) -> Encoded:
    """A tile no spectrum of which is turned by more than ``angle`` degrees, as small as is found soon."""
    best = encode_within_error(samples, calibration, 0.0, encode)
    whole = samples.dtype.kind in "iu"
    error = _promising_error(samples, calibration, angle)
    low, high = 0.0, np.inf
    for _ in range(TRIALS):
        if whole:
            error = float(np.floor(error))
        if not low < error < high:
            break
        found = encode_within_error(samples, calibration, error, encode)
        if found.angle <= angle:
            low, best = error, min(best, found, key=lambda each: len(each.data))
            if found.angle > CLOSE_ENOUGH * angle:
                break
        else:
            high = error
        # Angles grow nearly as errors do.
        guess = error * 0.95 * angle / max(found.angle, 0.1 * angle)
        error = guess if low < guess < high else (low + min(high, 2 * low + 1)) / 2
    return best


def error_for_rate(size: Callable[[float], float], usual: float, rate: float, *, whole: bool) -> float:
    """The smallest error, nearly, at which a scene takes ``rate`` bits a sample or less.

    Args:
        size: bits a sample at an error.
        usual: an error to begin with.
        rate: bits a sample.
        whole: whether errors are whole numbers.
    """
    bits = size(0.0)
    if bits <= rate:
        return 0.0
    too_small, enough = (0.0, bits), (np.inf, 0.0)
    error = max(round(usual), 1.0) if whole else usual
    for _ in range(TRIALS):
        bits = size(error)
        if bits <= rate:
            enough = (error, bits)
        else:
            too_small = (error, bits)
        if _close(too_small[0], enough[0], whole):
            break
        octaves = min(max(2 * abs(bits - rate), 0.5), 4.0)
        error = _between(too_small, enough, rate, error * 2.0 ** (octaves if bits > rate else -octaves))
        error = float(np.clip(round(error), too_small[0] + 1, enough[0] - 1)) if whole else error
    return float(enough[0]) if np.isfinite(enough[0]) else 4 * too_small[0]


def _close(too_small: float, enough: float, whole: bool) -> bool:
    return enough - too_small <= 1 if whole else enough < (1 + TOLERANCE) * too_small


def _between(too_small: tuple[float, float], enough: tuple[float, float], rate: float, guess: float) -> float:
    """An error between two, by the line through their logarithms and those of their rates."""
    (low, more), (high, less) = too_small, enough
    if not low < high < np.inf or low == 0:
        return guess if low < guess < high else high / 4
    share = np.log(more / rate) / np.log(more / max(less, 1e-9))
    # Steps that come to lie beside a bound would hardly move the other one.
    return float(low * (high / low) ** np.clip(share, 0.1, 0.9))


def largest_angle(samples: Stored, decoded: Stored, calibration: Calibration) -> float:
    """The largest spectral angle between physical spectra before and after, degrees.

    2 atan2(|u - v|, |u + v|) of the normed spectra, which is exact for small angles (Kahan 2006). Samples
    without data do not count; a spectrum of zeros that becomes another is turned by 90 degrees.
    """
    largest = 0.0
    for row in range(samples.shape[1]):
        part = slice(row, row + 1)
        before, after = (_physical(each[:, part], calibration) for each in (samples, decoded))
        norms = [np.sqrt(np.square(each).sum(axis=0)) for each in (before, after)]
        both = (norms[0] > 0) & (norms[1] > 0)
        if ((norms[0] > 0) != (norms[1] > 0)).any():
            largest = 90.0
        u, v = (each[:, both] / norm[both] for each, norm in zip((before, after), norms, strict=True))
        apart, together = (np.sqrt(np.square(each).sum(axis=0)) for each in (u - v, u + v))
        largest = max(largest, float(np.degrees(2 * np.arctan2(apart, together)).max(initial=0)))
    return largest


def _physical(stored: Stored, calibration: Calibration) -> NDArray[np.float64]:
    """(bands, rows, columns) in double precision, zero where there is no data."""
    values = stored.astype(np.float64)
    for operation, each in ((np.multiply, calibration.scale), (np.add, calibration.offset)):
        if each is not None:
            operation(values, each[:, None, None], out=values)
    absent = missing(stored, calibration.nodata)
    if absent is not None:
        values[absent] = 0
    return values


def _promising_error(samples: Stored, calibration: Calibration, angle: float) -> float:
    """The error whose usual angle is the one asked for, in a spectrum darker than most."""
    thinned = _physical(samples[:, ::4, ::4], calibration)
    norms = np.sqrt(np.square(thinned).sum(axis=0))
    norms = norms[norms > 0]
    if not len(norms):
        return 0.0
    scale = 1.0 if calibration.scale is None else float(np.abs(calibration.scale).mean()) or 1.0
    # Errors are spread evenly up to the largest: their root mean square is its third part's root.
    return float(np.radians(angle) * np.percentile(norms, 2) * np.sqrt(3 / len(samples)) / scale)
