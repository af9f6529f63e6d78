"""Entropy coding of residuals: a range coder whose statistics follow what was coded.

A residual's likely magnitude is known from its band's last chunk and from the residuals of earlier bands of
the same pixel and of the neighbours. It sets the class, a quarter of an octave wide, whose histogram codes
the residual; bits far below the magnitude are noise and stored as they are. Histograms grow between chunks.
Magnitudes are single-precision numbers, made by element-wise operations alone, so that both sides agree on
any processor.
"""

from collections.abc import Iterator

import numpy as np
from constriction import stream as coding  # type: ignore[import-untyped]
from numpy.typing import NDArray

from hsi_toolkit.compression.prediction import GROUP

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Integers = NDArray[np.signedinteger]
Classes = NDArray[np.uint8]
Symbols = NDArray[np.int32]

STEPS = 4
"""Classes and levels in an octave. Part of the format, as are all constants here."""

CLASSES = 40 * STEPS
"""Steps of the expected magnitude from 2**-6 on."""

SMALLEST_EXPONENT = -6
SYMBOLS = 512
ESCAPE = 0
MIDDLE = 256
"""Symbols: 256 is a residual of zero, 0 says that the residual follows as a plain number."""

FULL_BITS = 4
"""Magnitudes of 2**(4 + n) leave the lowest n bits of a residual uncoded."""

LEVELS = 8 * STEPS + 1
"""Steps of the activity, from 1/16 to 16 times the usual."""

PRIOR_COUNT = 24.0
PRIOR_RESPONSES = 64.0
MEMORY = 0.5
SPIKE = 16.0
ACTIVITY_RATE = 0.5
NEIGHBOURS_SHARE = 0.3
ACTIVITY_UNIT = 1024
PLAIN_BITS = 48
PART_BITS = 16

_FLOAT_STEP = 23 - (STEPS.bit_length() - 1)
_FLOAT_BIAS = 127 * STEPS


def steps_of_octaves(values: Float32) -> NDArray[np.int32]:
    """``STEPS`` times the binary logarithm, cut, from the bits of positive numbers."""
    steps: NDArray[np.int32] = (values.view(np.int32) >> _FLOAT_STEP) - _FLOAT_BIAS
    return steps


def octaves(steps: NDArray[np.intp]) -> Float64:
    """The numbers in the middle of what ``steps_of_octaves`` takes for the same."""
    return np.ldexp(1 + (steps % STEPS + 0.5) / STEPS, steps // STEPS)


_CENTRES = octaves(np.arange(LEVELS) - LEVELS // 2)


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
        self._responses = np.zeros((2, LEVELS))
        self._counts = _prior_counts()

    def start_chunk(self, start: int, stop: int, near: NDArray[np.intp] | None) -> None:
        """Prepare for the pixels from ``start`` to ``stop``, whose ``near`` (4, n) others, if any."""
        self._start, self._stop = start, stop
        self._models: dict[int, object] = {}
        self._new_counts = np.zeros_like(self._counts)
        self._new_sums = np.zeros_like(self._sums)
        self._new_responses = np.zeros_like(self._responses)
        self._expected = (self._sums / self._count + 1 / 64).astype(np.float32)
        weight = self._responses[1] + PRIOR_RESPONSES
        response = ((self._responses[0] + PRIOR_RESPONSES * _CENTRES) / weight).astype(np.float32)
        classes = steps_of_octaves(self._expected[:, None] * response) - STEPS * SMALLEST_EXPONENT
        self._classes = np.clip(classes, 0, CLASSES - 1).astype(np.uint8)
        if near is None:
            self._near = np.ones((len(self._activity), stop - start), np.float32)
            self._state = np.ones(stop - start, np.float32)
        else:
            self._near = np.stack([_mean_of_four(row, near) for row in self._activity])
            self._state = _mean_of_four(self._last, near)

    def classes(self, group: int) -> Classes:
        """The class of each residual of a group, (GROUP, n)."""
        activity = self._state + np.float32(NEIGHBOURS_SHARE) * (self._near[group] - self._state)
        self._levels = np.clip(steps_of_octaves(activity) + LEVELS // 2, 0, LEVELS - 1)
        return np.take(self._classes[group * GROUP : (group + 1) * GROUP], self._levels, axis=1)

    def observe(self, group: int, residuals: Integers) -> None:
        """Learn from a group's residuals, (GROUP, n); classes and activity follow."""
        bands = slice(group * GROUP, (group + 1) * GROUP)
        magnitude = np.abs(residuals)
        # A few spikes must not make a band look rough.
        most = np.ceil(SPIKE * self._expected[bands]).astype(residuals.dtype)
        np.minimum(magnitude, most[:, None], out=magnitude)
        self._new_sums[bands] = magnitude.sum(axis=1)
        usual = np.float32(1 / len(residuals)) / self._expected[bands]
        relative = np.zeros(residuals.shape[1], np.float32)
        for row, scale in zip(magnitude.astype(np.float32), usual, strict=True):
            row *= scale
            relative += row
        np.clip(relative, np.float32(2**-6), np.float32(2**6), out=relative)
        self._activity[group, self._start : self._stop] = relative
        self._state += np.float32(ACTIVITY_RATE) * (relative - self._state)
        # Whole numbers are summed exactly in any order.
        whole = np.rint(relative * np.float32(ACTIVITY_UNIT))
        self._new_responses[0] += np.bincount(self._levels, whole, LEVELS) / ACTIVITY_UNIT
        self._new_responses[1] += np.bincount(self._levels, minlength=LEVELS)

    def count(self, present: NDArray[np.intp], sizes: NDArray[np.intp], symbols: Symbols) -> None:
        """Count symbols, which are sorted by class: ``sizes`` of the classes ``present``."""
        cells = symbols + np.repeat(np.arange(len(present), dtype=np.int32) * SYMBOLS, sizes)
        counts = np.bincount(cells, minlength=len(present) * SYMBOLS)
        self._new_counts[present] += counts.reshape(len(present), SYMBOLS)

    def end_chunk(self) -> None:
        """Let what was observed count from now on."""
        self._last[self._start : self._stop] = self._state
        self._sums = self._sums * MEMORY + self._new_sums
        self._count = self._count * MEMORY + (self._stop - self._start)
        self._responses += self._new_responses
        self._counts += self._new_counts

    def model(self, number: int) -> object:
        """The histogram of a class."""
        found = self._models.get(number)
        if found is None:
            counts = self._counts[number]
            found = self._models[number] = coding.model.Categorical(counts / counts.sum(), perfect=False)
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
        classes = self._statistics.classes(group)
        self._statistics.observe(group, residuals)
        order, present, sizes = _sorted(classes)
        values = residuals.reshape(-1)[order]
        shifts = np.repeat(_SHIFTS[present].astype(values.dtype), sizes)
        high = (values + np.repeat(_HALVES[present].astype(values.dtype), sizes)) >> shifts
        escaped = np.abs(high) >= MIDDLE
        symbols = np.where(escaped, ESCAPE, high + MIDDLE).astype(np.int32)
        self._statistics.count(present, sizes, symbols)
        stop = 0
        for number, size in zip(present.tolist(), sizes.tolist(), strict=True):
            start, stop = stop, stop + size
            self._coder.encode(symbols[start:stop], self._statistics.model(number))
        if shifts[-1]:
            low = values & ((1 << shifts) - 1)
            for part, bits in _with_low_bits(present, sizes):
                self._plain(low[part], bits)
        plain = values[escaped].astype(np.int64)
        if len(plain):
            self._plain(np.where(plain < 0, -2 * plain - 1, 2 * plain), PLAIN_BITS)

    def _plain(self, numbers: Integers, bits: int) -> None:
        for position, width in _parts(bits):
            part = (numbers >> position) & ((1 << width) - 1)
            self._coder.encode(part.astype(np.int32), coding.model.Uniform(1 << width))

    def finish(self) -> bytes:
        """What was coded, little-endian 32-bit words."""
        words: NDArray[np.uint32] = self._coder.get_compressed()
        return words.astype("<u4").tobytes()


class ResidualDecoder:
    """Reads what ``ResidualEncoder`` wrote, in the same order."""

    def __init__(self, statistics: Statistics, stream: bytes) -> None:
        self._statistics = statistics
        self._coder = coding.queue.RangeDecoder(np.frombuffer(stream, "<u4").astype(np.uint32))

    def decode(self, group: int) -> Integers:
        """The residuals of the next group, (GROUP, n). Raises ValueError when the stream is damaged."""
        try:
            return self._decode(group)
        except AssertionError as error:
            # What the library calls a stream that nothing can have been coded to.
            raise ValueError("the coded residuals are damaged") from error

    def finish(self) -> None:
        """Make sure that nothing is left. Raises ValueError."""
        if not self._coder.maybe_exhausted():
            raise ValueError("more residuals were coded than belong to the tile")

    def _decode(self, group: int) -> Integers:
        classes = self._statistics.classes(group)
        order, present, sizes = _sorted(classes)
        symbols = np.empty(classes.size, np.int32)
        stop = 0
        for number, size in zip(present.tolist(), sizes.tolist(), strict=True):
            start, stop = stop, stop + size
            symbols[start:stop] = self._coder.decode(self._statistics.model(number), size)
        self._statistics.count(present, sizes, symbols)
        values: Integers = symbols - np.int32(MIDDLE)
        if _SHIFTS[present[-1]]:
            values = self._with_low_bits(values, present, sizes)
        escaped = np.flatnonzero(symbols == ESCAPE)
        if len(escaped):
            folded = self._plain(len(escaped), PLAIN_BITS)
            values = values.astype(np.int64)
            values[escaped] = np.where(folded & 1, -(folded >> 1) - 1, folded >> 1)
        residuals = np.empty_like(values)
        residuals[order] = values
        residuals = residuals.reshape(classes.shape)
        self._statistics.observe(group, residuals)
        return residuals

    def _with_low_bits(
        self, values: Integers, present: NDArray[np.intp], sizes: NDArray[np.intp]
    ) -> Integers:
        wide = values.astype(np.int64)
        for part, bits in _with_low_bits(present, sizes):
            # Rounding was to the nearest, so that half a unit comes off again.
            low = self._plain(part.stop - part.start, bits)
            half = 1 << (bits - 1)
            wide[part] = (wide[part] << bits) + ((low + half) & ((1 << bits) - 1)) - half
        return wide

    def _plain(self, count: int, bits: int) -> NDArray[np.int64]:
        whole = np.zeros(count, np.int64)
        for position, width in _parts(bits):
            whole |= self._coder.decode(coding.model.Uniform(1 << width), count).astype(np.int64) << position
        return whole


def _mean_of_four(values: Float32, near: NDArray[np.intp]) -> Float32:
    first, second, third, fourth = (values.take(each) for each in near)
    mean: Float32 = ((first + second) + (third + fourth)) * np.float32(0.25)
    return mean


def _sorted(classes: Classes) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """The order that sorts by class, the classes there are, and how many of each."""
    flat = classes.reshape(-1)
    sizes = np.bincount(flat, minlength=CLASSES)
    present = np.flatnonzero(sizes)
    return np.argsort(flat, kind="stable"), present, sizes[present]


def _with_low_bits(present: NDArray[np.intp], sizes: NDArray[np.intp]) -> Iterator[tuple[slice, int]]:
    """Stretches of the sorted residuals with the same number of uncoded bits, and that number."""
    shifts = _SHIFTS[present]
    ends = np.cumsum(sizes)
    for bits in np.unique(shifts[shifts > 0]).tolist():
        members = np.flatnonzero(shifts == bits)
        first, last = members[0], members[-1]
        yield slice(int(ends[first] - sizes[first]), int(ends[last])), bits


def _parts(bits: int) -> Iterator[tuple[int, int]]:
    """(position, bits) of the parts that a number of so many bits is coded in."""
    for position in range(0, bits, PART_BITS):
        yield position, min(PART_BITS, bits - position)


def _prior_counts() -> Float64:
    """Histograms before anything was seen: two-sided geometric with the class's magnitude."""
    magnitude = octaves(np.arange(CLASSES) + STEPS * SMALLEST_EXPONENT) / np.ldexp(1.0, _SHIFTS)
    # E|k| = 2 q / (1 - q²) for the probabilities (1 - q) / (1 + q) q^|k|.
    ratio = magnitude / (1 + np.sqrt(1 + magnitude * magnitude))
    powers = np.ones((CLASSES, MIDDLE + 1))
    for k in range(1, MIDDLE + 1):
        powers[:, k] = powers[:, k - 1] * ratio
    distance = np.abs(np.arange(SYMBOLS) - MIDDLE)
    shape = powers[:, distance] * ((1 - ratio) / (1 + ratio))[:, None]
    # Multiples of a power of two add up to the same in any order.
    counts: Float64 = np.rint((PRIOR_COUNT * shape + 1 / 128) * 1024) / 1024
    return counts


_SHIFTS: NDArray[np.intp] = np.maximum(0, np.arange(CLASSES) // STEPS + SMALLEST_EXPONENT - FULL_BITS)
"""Low bits of the residuals of each class that are stored uncoded."""

_HALVES: NDArray[np.intp] = np.where(_SHIFTS, 1 << np.maximum(_SHIFTS - 1, 0), 0)
