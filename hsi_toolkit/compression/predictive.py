"""Predictive coding of a tile: whole numbers in, bytes out, exact or within a stated error."""

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.compression.entropy import (
    CLASSES,
    SMALLEST_EXPONENT,
    STEPS,
    ResidualDecoder,
    ResidualEncoder,
    Statistics,
    octaves,
)
from hsi_toolkit.compression.interlace import Interlacing
from hsi_toolkit.compression.prediction import AROUND, BEFORE, GROUP, Float64, Predictor

Integers = NDArray[np.int64]

PREDICTED_BITS = 16
"""Predictions are made from values shifted right until they have so many bits and a sign."""

LARGEST_RANGE = 1 << 33
"""Differences of the values that can be coded are below this."""

_HEAD = struct.Struct("<qQII")


@dataclass(frozen=True, eq=False)
class _Parameters:
    """What the decoder is told before the residuals.

    Attributes:
        low, high: smallest and largest value.
        error: largest absolute difference of what is decoded.
        steps: (bands,) mean difference of each band from the one before, in predicted units.
        magnitudes: (bands,) expected magnitude of the first residuals, as a class.
    """

    low: int
    high: int
    error: int
    steps: NDArray[np.int32]
    magnitudes: NDArray[np.uint8]

    @property
    def middle(self) -> int:
        """What is subtracted from the values before they are predicted."""
        return (self.low + self.high) // 2

    @property
    def shift(self) -> int:
        """Low bits that predictions do without."""
        return max(0, (self.high - self.low).bit_length() - 1 - PREDICTED_BITS)

    def to_bytes(self) -> bytes:
        """As ``from_bytes`` reads it."""
        vectors = zlib.compress(self.steps.astype("<i4").tobytes() + self.magnitudes.tobytes(), 9)
        return _HEAD.pack(self.low, self.high - self.low, self.error, len(vectors)) + vectors

    @classmethod
    def from_bytes(cls, stream: bytes, bands: int) -> "tuple[_Parameters, bytes]":
        """The parameters and the rest of the stream. Raises ValueError."""
        if len(stream) < _HEAD.size:
            raise ValueError("the parameters are cut short")
        low, extent, error, length = _HEAD.unpack_from(stream)
        rest = _HEAD.size + length
        if extent >= LARGEST_RANGE or abs(low) > 1 << 62:
            raise ValueError(f"values from {low} on over {extent} cannot be coded")
        unpacker = zlib.decompressobj()
        vectors = unpacker.decompress(stream[_HEAD.size : rest], 5 * bands)
        if len(vectors) != 5 * bands or (len(stream) - rest) % 4:
            raise ValueError("the parameters are damaged")
        steps = np.frombuffer(vectors, "<i4", bands).astype(np.int32)
        magnitudes = np.frombuffer(vectors, np.uint8, bands, 4 * bands)
        return cls(low, low + extent, error, steps, magnitudes), stream[rest:]


def encode(values: Integers, pixels: Interlacing, error: int = 0) -> tuple[bytes, Integers]:
    """Code whole numbers, exactly or within an error.

    Args:
        values: (bands, n), in the order of coding of ``pixels``, less than ``LARGEST_RANGE`` apart.
        pixels: of the tile.
        error: largest absolute difference of what is decoded; 0 for none.

    Returns:
        The stream, and the values that will be decoded from it.
    """
    parameters = _measure(values, pixels, error)
    coding = _Coding(parameters, len(values), pixels)
    encoder = ResidualEncoder(coding.statistics)
    target = (values - parameters.middle).astype(np.float64)
    if not error:
        coding.values[: len(values)] = target
        coding.scaled[BEFORE : BEFORE + len(values)] = np.floor(target * 2.0**-parameters.shift)
    for start, stop in pixels.chunks:
        coding.start_chunk(start, stop)
        for group in range(coding.groups):
            members = coding.members(group)
            if error:
                residuals = coding.approximate(group, target[members, start:stop])
            else:
                residuals = coding.residuals(group)
            encoder.encode(group, residuals)
        coding.end_chunk()
    return parameters.to_bytes() + encoder.finish(), coding.decoded()


def decode(stream: bytes, bands: int, pixels: Interlacing) -> Integers:
    """The (bands, n) whole numbers that ``encode`` was given, or others within its error.

    Raises:
        ValueError: the stream is damaged.
    """
    parameters, rest = _Parameters.from_bytes(stream, bands)
    coding = _Coding(parameters, bands, pixels)
    decoder = ResidualDecoder(coding.statistics, rest)
    for start, stop in pixels.chunks:
        coding.start_chunk(start, stop)
        for group in range(coding.groups):
            coding.restore(group, decoder.decode(group))
        coding.end_chunk()
    decoder.finish()
    return coding.decoded()


def _measure(values: Integers, pixels: Interlacing, error: int) -> _Parameters:
    low, high = int(values.min()), int(values.max())
    parameters = _Parameters(low, high, error, np.empty(0, np.int32), np.empty(0, np.uint8))
    scaled = np.floor((values - parameters.middle) * 2.0**-parameters.shift)
    rises = np.diff(scaled, axis=0, prepend=0)
    steps = np.rint(rises.mean(axis=1))
    first = rises[:, : pixels.chunks[0][1]] - steps[:, None]
    magnitude = np.abs(first).mean(axis=1) * 2.0**parameters.shift / (2 * error + 1)
    classes = np.floor(STEPS * (np.log2(magnitude + 2.0**SMALLEST_EXPONENT) - SMALLEST_EXPONENT))
    magnitudes = np.clip(classes, 0, CLASSES - 1).astype(np.uint8)
    return _Parameters(low, high, error, steps.astype(np.int32), magnitudes)


class _Coding:
    """What coder and decoder do alike: predicting, learning, keeping the values.

    Attributes:
        groups: of bands.
        values: (groups * GROUP, n) less the middle of the range; filled chunk by chunk.
        scaled: (BEFORE + groups * GROUP, n) what predictions are made from.
    """

    def __init__(self, parameters: _Parameters, bands: int, pixels: Interlacing) -> None:
        self._parameters, self._bands, self._pixels = parameters, bands, pixels
        self.groups = -(-bands // GROUP)
        count = len(pixels.order)
        self.scaled = np.zeros((BEFORE + self.groups * GROUP, count))
        # Without a shift both are the same.
        self.values = np.zeros((self.groups * GROUP, count)) if parameters.shift else self.scaled[BEFORE:]
        classes = parameters.magnitudes.astype(np.intp)
        self.statistics = Statistics(count, octaves(classes + STEPS * SMALLEST_EXPONENT))
        self._unit = 2.0**parameters.shift
        self._width = 2.0 * parameters.error + 1
        self._low, self._high = (float(end - parameters.middle) for end in (parameters.low, parameters.high))
        self._predictor = Predictor(self.groups)
        steps = np.zeros(self.groups * GROUP)
        steps[:bands] = parameters.steps
        self._predictor.start(steps)

    def decoded(self) -> Integers:
        """The (bands, n) values, once all are coded."""
        return self.values[: self._bands].astype(np.int64) + self._parameters.middle

    def members(self, group: int) -> slice:
        """The bands of a group."""
        return slice(group * GROUP, min(self._bands, (group + 1) * GROUP))

    def start_chunk(self, start: int, stop: int) -> None:
        """Go to the pixels from ``start`` to ``stop``."""
        self._chunk = slice(start, stop)
        self._here = self.scaled[:, start:stop]
        near = self._pixels.neighbours[:, start:stop]
        self._sums = np.zeros((AROUND + self.groups * GROUP, stop - start))
        self._near = bool((near >= 0).all(axis=0).any())
        if self._near:
            # Pixels cut off from all others make do with the last one before the chunk.
            near = np.where(near < 0, start - 1, near)
            known = self.scaled[BEFORE:]
            for neighbour in near:
                self._sums[AROUND:] += np.take(known, neighbour, axis=1)
        self._squares = np.zeros(self.groups)
        self.statistics.start_chunk(start, stop, near if self._near else None)

    def end_chunk(self) -> None:
        """Learn from the chunk."""
        self.statistics.end_chunk()
        if self._chunk.stop < len(self._pixels.order):
            variance = self._squares / self._here.shape[1]
            self._predictor.learn(self._here, self._sums, variance, near=self._near)

    def residuals(self, group: int) -> Integers:
        """The residuals of a group whose values are known."""
        members = self.members(group)
        said = self._predictor.predict_known(group, self._here, self._sums)[: members.stop - members.start]
        residuals = self.values[members, self._chunk] - self._bounded(np.rint(said, out=said))
        self._note(group, residuals)
        return residuals.astype(np.int64)

    def approximate(self, group: int, target: Float64) -> Integers:
        """The residuals, in steps of the error's width, of a group that shall come near ``target``."""
        said = self._predictor.predict_group(group, self._here, self._sums)
        steps: Float64 = np.empty(target.shape, np.float64)
        for member, wanted in enumerate(target):
            guess = self._guess(group, member, said)
            np.floor((wanted - guess + self._parameters.error) / self._width, out=steps[member])
            self._store(group * GROUP + member, guess + steps[member] * self._width)
        self._note(group, steps * self._width)
        return steps.astype(np.int64)

    def restore(self, group: int, residuals: Integers) -> None:
        """The values of a group from its residuals."""
        said = self._predictor.predict_group(group, self._here, self._sums)
        steps = residuals * self._width
        for member, step in enumerate(steps):
            self._store(group * GROUP + member, self._guess(group, member, said) + step)
        self._note(group, steps)

    def _guess(self, group: int, member: int, said: Float64) -> Float64:
        return self._bounded(self._predictor.predict_band(group, member, said, self._here))

    def _bounded(self, prediction: Float64) -> Float64:
        prediction *= self._unit
        return self._within_range(prediction)

    def _within_range(self, values: Float64) -> Float64:
        # Much less overhead than np.clip has.
        np.maximum(values, self._low, out=values)
        return np.minimum(values, self._high, out=values)

    def _store(self, band: int, values: Float64) -> None:
        self._within_range(values)
        self.values[band, self._chunk] = values
        if self._parameters.shift:
            np.floor(values / self._unit, out=self._here[BEFORE + band])

    def _note(self, group: int, residuals: NDArray[np.floating]) -> None:
        """Keep the squares of the residuals, in predicted units: whole numbers, exact in any order."""
        scaled = np.rint(residuals / self._unit)
        np.clip(scaled, -(2.0**PREDICTED_BITS), 2.0**PREDICTED_BITS, out=scaled)
        self._squares[group] = np.vdot(scaled, scaled) / GROUP
