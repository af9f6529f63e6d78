"""Entropy coding of residuals: a range coder whose statistics follow what was coded.

A residual's likely magnitude is known from its band's last chunk and from the residuals of earlier bands of the
same pixel and of the neighbours. It sets the class, a quarter of an octave wide, whose histogram codes the
residual; bits far below the magnitude are noise and stored as they are. Histograms grow between chunks.
Magnitudes are single-precision numbers, made by element-wise operations alone, so that both sides agree
on any processor.
"""

from collections.abc import Iterator

import numpy as np
from constriction import stream as coding
from numpy.typing import NDArray

from hsi_toolkit.compression.prediction import GROUP

Categorical, Uniform = coding.model.Categorical, coding.model.Uniform

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Integers = NDArray[np.int64]
Classes = NDArray[np.uint8]

CLASSES = 160
"""Quarters of octaves of the expected magnitude from 2**-6 on."""

SMALLEST_EXPONENT = -6
SYMBOLS = 256
ESCAPE = 0
MIDDLE = 128
"""Symbols: 128 is a residual of zero, 0 says that the residual follows as a plain number."""

FULL_BITS = 3
"""Magnitudes of 2**(3 + n) leave the lowest n bits of a residual uncoded."""

ACTIVITIES = 33
"""Quarters of octaves of the activity, from 1/16 to 16 times the usual."""

PRIOR_COUNT = 24.0
PRIOR_RESPONSES = 64.0
MEMORY = 0.5
ACTIVITY_RATE = 0.5
NEIGHBOURS_SHARE = 0.3

PLAIN_BITS = 48
PART_BITS = 16

_FLOAT_QUARTERS = 21
_FLOAT_BIAS = 127 * 4


def _quarter_octaves(values: Float32) -> NDArray[np.int32]:
    """Four times the binary logarithm, cut, from the bits of positive numbers."""
    quarters: NDArray[np.int32] = (values.view(np.int32) >> _FLOAT_QUARTERS) - _FLOAT_BIAS
    return quarters


def octaves(quarters: NDArray[np.intp]) -> Float64:
    """The numbers in the middle of what ``_quarter_octaves`` takes for the same."""
    return np.ldexp(1 + (quarters % 4 + 0.5) / 4, quarters // 4)


_CENTRES = octaves(np.arange(ACTIVITIES) - ACTIVITIES // 2)


class Statistics:
    """What coder and decoder both know: magnitudes by band and activity, and a histogram for each class.

    Args:
        pixels: of the tile.
        magnitudes: (bands,) expected magnitudes of the first chunk.
    """

    def __init__(self, pixels: int, magnitudes: Float64) -> None:
        self._sums = magnitudes.copy()
        self._count = 1.0
        self._activity = np.ones((-(-len(magnitudes) // GROUP), pixels), np.float32)
        self._last = np.ones(pixels, np.float32)
        self._responses = np.zeros((2, ACTIVITIES))
        self._counts = _prior_counts()
        self.models: list[Categorical | None] = [None] * CLASSES

    def start_chunk(self, start: int, stop: int, near: NDArray[np.intp] | None) -> None:
        """Prepare for the pixels from ``start`` to ``stop``, ``near`` (4, n) others, if any."""
        self.start, self.stop = start, stop
        self.models = [None] * CLASSES
        self._new_counts = np.zeros((CLASSES, SYMBOLS))
        self._new_sums = np.zeros_like(self._sums)
        self._new_responses = np.zeros_like(self._responses)
        self._expected = (self._sums / self._count + 1 / 64).astype(np.float32)
        weight = self._responses[1] + PRIOR_RESPONSES
        response = ((self._responses[0] + PRIOR_RESPONSES * _CENTRES) / weight).astype(np.float32)
        classes = _quarter_octaves(self._expected[:, None] * response) - 4 * SMALLEST_EXPONENT
        self._classes = np.clip(classes, 0, CLASSES - 1).astype(np.uint8)
        if near is not None:
            quarter = np.float32(0.25)
            self._near = (self._activity[:, near[0]] + self._activity[:, near[1]]) * quarter
            self._near += (self._activity[:, near[2]] + self._activity[:, near[3]]) * quarter
            self._state = (self._last[near[0]] + self._last[near[1]]) * quarter
            self._state += (self._last[near[2]] + self._last[near[3]]) * quarter
        else:
            self._near = np.ones((len(self._activity), stop - start), np.float32)
            self._state = np.ones(stop - start, np.float32)

    def classes(self, group: int) -> Classes:
        """The class of each residual of a group, (GROUP, n)."""
        activity = self._state + np.float32(NEIGHBOURS_SHARE) * (self._near[group] - self._state)
        self._levels = np.clip(_quarter_octaves(activity) + ACTIVITIES // 2, 0, ACTIVITIES - 1)
        return np.take(self._classes[group * GROUP : (group + 1) * GROUP], self._levels, axis=1)

    def observe(self, group: int, residuals: Integers) -> None:
        """Learn from a group's residuals, (GROUP, n); classes and activity follow."""
        bands = slice(group * GROUP, (group + 1) * GROUP)
        magnitude = np.abs(residuals)
        self._new_sums[bands] = magnitude.sum(axis=1)
        usual = np.float32(1 / len(residuals)) / self._expected[bands]
        relative = np.zeros(residuals.shape[1], np.float32)
        for row, scale in zip(magnitude.astype(np.float32), usual, strict=True):
            relative += row * scale
        np.clip(relative, np.float32(2**-6), np.float32(2**6), out=relative)
        self._activity[group, self.start : self.stop] = relative
        self._state += np.float32(ACTIVITY_RATE) * (relative - self._state)
        # Whole numbers of 1/1024 are summed exactly in any order.
        whole = np.rint(relative * np.float32(1024))
        self._new_responses[0] += np.bincount(self._levels, whole, ACTIVITIES) / 1024
        self._new_responses[1] += np.bincount(self._levels, minlength=ACTIVITIES)

    def count(self, classes: Classes, symbols: NDArray[np.int32]) -> None:
        """Count symbols of the chunk."""
        both = classes.astype(np.int32) * SYMBOLS + symbols
        self._new_counts += np.bincount(both, minlength=CLASSES * SYMBOLS).reshape(CLASSES, SYMBOLS)

    def end_chunk(self) -> None:
        """Let what was observed count from now on."""
        self._last[self.start : self.stop] = self._state
        self._sums = self._sums * MEMORY + self._new_sums
        self._count = self._count * MEMORY + (self.stop - self.start)
        self._responses += self._new_responses
        self._counts += self._new_counts

    def model(self, number: int) -> Categorical:
        """The histogram of a class."""
        found = self.models[number]
        if found is None:
            counts = self._counts[number]
            found = Categorical(counts / counts.sum(), perfect=False)
            self.models[number] = found
        return found


class ResidualEncoder:
    """Writes residuals, group after group of bands, chunk after chunk of pixels.

    Args:
        statistics: fresh; the decoder needs one made alike.
    """

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics
        self._coder = coding.queue.RangeEncoder()

    def encode(self, group: int, residuals: Integers) -> None:
        """Code a group's residuals, (GROUP, n) of magnitudes below 2**47."""
        classes = self._statistics.classes(group).reshape(-1)
        self._statistics.observe(group, residuals)
        order = np.argsort(classes, kind="stable")
        sizes = np.bincount(classes, minlength=CLASSES)
        present = np.flatnonzero(sizes)
        values = residuals.reshape(-1)[order]
        shifts = np.repeat(_SHIFTS[present], sizes[present])
        high = (values + _HALVES[shifts]) >> shifts
        escaped = np.abs(high) >= MIDDLE
        symbols = np.where(escaped, ESCAPE, high + MIDDLE).astype(np.int32)
        low = values - (high << shifts) + _HALVES[shifts]
        self._statistics.count(classes[order], symbols)
        stop = 0
        for number in present.tolist():
            start, stop = stop, stop + int(sizes[number])
            self._coder.encode(symbols[start:stop], self._statistics.model(number))
            for position, bits in _parts(int(_SHIFTS[number])):
                part = (low[start:stop] >> position) & ((1 << bits) - 1)
                self._coder.encode(part.astype(np.int32), Uniform(1 << bits))
        plain = values[escaped]
        if len(plain):
            folded = np.where(plain < 0, -2 * plain - 1, 2 * plain)
            for position, bits in _parts(PLAIN_BITS):
                part = (folded >> position) & ((1 << bits) - 1)
                self._coder.encode(part.astype(np.int32), Uniform(1 << bits))

    def finish(self) -> bytes:
        """What was coded, little-endian 32-bit words."""
        return self._coder.get_compressed().astype("<u4").tobytes()


class ResidualDecoder:
    """Reads what ``ResidualEncoder`` wrote, in the same order."""

    def __init__(self, statistics: Statistics, stream: bytes) -> None:
        self._statistics = statistics
        self._coder = coding.queue.RangeDecoder(np.frombuffer(stream, "<u4").astype(np.uint32))

    def decode(self, group: int) -> Integers:
        """The residuals of the next group, (GROUP, n)."""
        classes = self._statistics.classes(group)
        flat = classes.reshape(-1)
        order = np.argsort(flat, kind="stable")
        sizes = np.bincount(flat, minlength=CLASSES)
        present = np.flatnonzero(sizes)
        symbols = np.empty(len(flat), np.int32)
        values = np.empty(len(flat), np.int64)
        stop = 0
        for number in present.tolist():
            start, stop = stop, stop + int(sizes[number])
            symbols[start:stop] = self._coder.decode(self._statistics.model(number), stop - start)
            shift = int(_SHIFTS[number])
            values[start:stop] = symbols[start:stop]
            values[start:stop] -= MIDDLE
            if shift:
                values[start:stop] <<= shift
                values[start:stop] += self._plain(stop - start, shift)
                values[start:stop] -= _HALVES[shift]
        escaped = symbols == ESCAPE
        if escaped.any():
            folded = self._plain(int(escaped.sum()), PLAIN_BITS)
            values[escaped] = np.where(folded & 1, -(folded >> 1) - 1, folded >> 1)
        self._statistics.count(flat[order], symbols)
        residuals = np.empty_like(values)
        residuals[order] = values
        residuals = residuals.reshape(classes.shape)
        self._statistics.observe(group, residuals)
        return residuals

    def _plain(self, count: int, bits: int) -> Integers:
        whole = np.zeros(count, np.int64)
        for position, width in _parts(bits):
            whole |= self._coder.decode(Uniform(1 << width), count).astype(np.int64) << position
        return whole


def _parts(bits: int) -> Iterator[tuple[int, int]]:
    """(position, bits) of the parts that a number of so many bits is coded in."""
    for position in range(0, bits, PART_BITS):
        yield position, min(PART_BITS, bits - position)


def _shift(number: int) -> int:
    """Low bits of the residuals of a class that are stored uncoded."""
    return max(0, number // 4 + SMALLEST_EXPONENT - FULL_BITS)


def _prior_counts() -> Float64:
    """Histograms before anything was seen: two-sided geometric with the class's magnitude."""
    number = np.arange(CLASSES)
    shifts = np.array([_shift(n) for n in number.tolist()])
    magnitude = octaves(number + 4 * SMALLEST_EXPONENT) / np.ldexp(1.0, shifts)
    # E|k| = 2 q / (1 - q²) for the probabilities (1 - q) / (1 + q) q^|k|.
    ratio = magnitude / (1 + np.sqrt(1 + magnitude * magnitude))
    powers = np.ones((CLASSES, MIDDLE + 1))
    for k in range(1, MIDDLE + 1):
        powers[:, k] = powers[:, k - 1] * ratio
    distance = np.abs(np.arange(SYMBOLS) - MIDDLE)
    shape = powers[:, distance] * ((1 - ratio) / (1 + ratio))[:, None]
    # Multiples of a power of two add up to the same in any order.
    return np.rint((PRIOR_COUNT * shape + 1 / 64) * 1024) / 1024


_SHIFTS = np.array([_shift(number) for number in range(CLASSES)], np.int64)
_HALVES = np.concatenate(([0], 1 << np.arange(_SHIFTS.max(), dtype=np.int64)))
