"""What denoising has to know of a scene, gathered in one pass: covariances, line means, constant lines."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.spectral import StreamingCovariance

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Flags = NDArray[np.bool_]

_SEGMENTS, _SHORTEST_SEGMENT = 8, 8  # of a line; pixels
_DIFFERENCES = 1 << 22  # as many as noise is measured from
_KEPT = 1 << 15  # about as many of them are kept


@dataclass(frozen=True, eq=False)
class LineSums:
    """What a part of a scene adds to ``LineStatistics``.

    Attributes:
        lines: which of them the part has.
        segments: which segments of these lines.
        counts, totals, low, high: of these, as there.
    """

    lines: slice
    segments: list[int]
    counts: NDArray[np.generic]
    totals: Float32
    low: Float32
    high: Float32


class LineStatistics:
    """Sums and extremes of every line of every band, along one direction.

    Sums are of segments of each line, so that what is true of the whole line can be told from what only a
    part of it shows.

    Args:
        bands, lines: how many there are.
        length: of a line, pixels.

    Attributes:
        counts: (segments, lines) pixels with data.
        totals: (segments, bands, lines) their sums.
        low, high: (bands, lines) their extremes; ±inf where a line has no data.
    """

    def __init__(self, bands: int, lines: int, length: int) -> None:
        self._length, self._segments = length, max(1, min(_SEGMENTS, length // _SHORTEST_SEGMENT))
        self.counts = np.zeros((self._segments, lines))
        self.totals = np.zeros((self._segments, bands, lines))
        self.low = np.full((bands, lines), np.inf, np.float32)
        self.high = np.full((bands, lines), -np.inf, np.float32)

    def across(self, values: Float32, known: Flags, first: int) -> LineSums:
        """The sums of a part (bands, positions, lines) of all lines that starts at position ``first``."""
        segment = (first + np.arange(values.shape[1])) * self._segments // self._length
        numbers = np.unique(segment)
        parts = [slice(*np.searchsorted(segment, (number, number + 1))) for number in numbers]
        counts = np.stack([known[part].sum(axis=0) for part in parts])
        totals = np.stack([values[:, part].sum(axis=1) for part in parts])
        return LineSums(slice(None), numbers.tolist(), counts, totals, *_extremes(values, known, 1))

    def whole(self, values: Float32, known: Flags, lines: slice) -> LineSums:
        """The sums of whole lines (bands, lines, positions)."""
        segment = np.arange(self._length) * self._segments // self._length
        member = np.equal.outer(segment, np.arange(self._segments)).astype(np.float32)
        totals = np.moveaxis(values @ member, 2, 0)
        numbers = list(range(self._segments))
        return LineSums(lines, numbers, (known @ member).T, totals, *_extremes(values, known, 2))

    def add(self, sums: LineSums) -> None:
        """Add what a part has."""
        lines = sums.lines
        for number, counts, totals in zip(sums.segments, sums.counts, sums.totals, strict=True):
            self.counts[number, lines] += counts
            self.totals[number][:, lines] += totals
        np.minimum(self.low[:, lines], sums.low, out=self.low[:, lines])
        np.maximum(self.high[:, lines], sums.high, out=self.high[:, lines])

    @property
    def count(self) -> Float64:
        """(lines,) pixels with data."""
        return np.asarray(self.counts.sum(axis=0))

    @property
    def mean(self) -> Float64:
        """(bands, lines) means, zero for a line without data."""
        return np.asarray(self.totals.sum(axis=0) / np.maximum(self.count, 1))

    def segments(self) -> Iterator[tuple[Float64, Float64]]:
        """(lines,) pixels with data and (bands, lines) means of each segment, zero where it has no data."""
        for count, total in zip(self.counts, self.totals, strict=True):
            yield count, total / np.maximum(count, 1)


def _extremes(values: Float32, known: Flags, axis: int) -> tuple[Float32, Float32]:
    """The lowest and highest values with data along an axis; inf and -inf where there are none."""
    low, high = values, values
    if not known.all():
        low, high = np.where(known, values, np.inf), np.where(known, values, -np.inf)
    return low.min(axis=axis), high.max(axis=axis)


@dataclass(frozen=True, eq=False)
class BlockSums:
    """What whole rows of a scene add to ``SceneStatistics``."""

    spectra: list[StreamingCovariance]
    differences: list[StreamingCovariance]
    kept: Float32
    columns: LineSums
    rows: LineSums


class SceneStatistics:
    """Statistics of a scene given in blocks of whole rows from top to bottom.

    Pixels without data in any band are left out. Mixed second differences, (a - b - c + d) / 2 over
    squares of four pixels, have the variance of the noise, none of the offsets of striped lines, and little
    of the scene. Large scenes have more of them than it takes; then they are of evenly spaced pairs of rows.

    Attributes:
        spectra: covariance of the pixels.
        differences: covariance of the mixed differences.
        columns, rows: what each line of the scene holds.
    """

    def __init__(self, bands: int, rows: int, cols: int) -> None:
        self.spectra, self.differences = StreamingCovariance(bands), StreamingCovariance(bands)
        self.columns, self.rows = LineStatistics(bands, cols, rows), LineStatistics(bands, rows, cols)
        self._every = max(1, rows * cols // _DIFFERENCES)
        self._keep_every = max(1, rows * cols // self._every // _KEPT)
        self._kept: list[Float32] = []
        self._next_row = 0
        self._last: Float32 | None = None

    def update(self, block: Float32) -> None:
        """Add the next rows, (bands, rows, cols) float32, NaN where there is no data."""
        self.add(self.measure(block, self._next_row, self._last))
        self._last = block[:, -1:].copy()
        self._next_row += block.shape[1]

    def measure(self, block: Float32, first: int, above: Float32 | None) -> BlockSums:
        """What rows add that begin with row ``first``, below ``above`` (bands, 1, cols); none at the top."""
        bands, height, _ = block.shape
        known: Flags = np.asarray(np.isfinite(block).all(axis=0))
        values = block if known.all() else np.where(known, block, np.float32(0))
        differences, kept = self._differences_of(block, first, above)
        return BlockSums(
            list(StreamingCovariance.parts(block.reshape(bands, -1).T)),
            differences,
            kept,
            self.columns.across(values, known, first),
            self.rows.whole(values, known, slice(first, first + height)),
        )

    def add(self, sums: BlockSums) -> None:
        """Add what was measured, from top to bottom."""
        for part in sums.spectra:
            self.spectra.merge(part)
        for part in sums.differences:
            self.differences.merge(part)
        self._kept.append(sums.kept)
        self.columns.add(sums.columns)
        self.rows.add(sums.rows)

    def leap(self) -> None:
        """The rows that come next do not adjoin the last ones, as in a sample of a scene."""
        self._last = None

    def _differences_of(
        self, block: Float32, first: int, above: Float32 | None
    ) -> tuple[list[StreamingCovariance], Float32]:
        """The covariance of the rows' mixed differences in parts, and those that are kept."""
        if above is not None:
            block, first = np.concatenate([above, block], axis=1), first - 1
        upper = np.flatnonzero((first + np.arange(block.shape[1] - 1)) % self._every == 0)
        if not len(upper) or block.shape[2] < 2:
            return [], np.empty((len(block), 0), np.float32)
        down = block[:, upper + 1] - block[:, upper]
        mixed = (down[:, :, 1:] - down[:, :, :-1]) * np.float32(0.5)
        mixed = mixed.reshape(len(block), -1)
        number = (first + upper[:, None]) // self._every * (block.shape[2] - 1) + np.arange(
            block.shape[2] - 1
        )
        kept = mixed[:, number.reshape(-1) % self._keep_every == 0]
        return list(StreamingCovariance.parts(mixed.T)), kept

    @property
    def some_differences(self) -> Float32:
        """(bands, pixels) mixed differences that are spread over the scene, without gaps."""
        kept = np.concatenate([np.empty((self.spectra.n_bands, 0), np.float32), *self._kept], axis=1)
        return np.asarray(kept[:, np.isfinite(kept).all(axis=0)])

    @property
    def within_lines(self) -> Float64:
        """Covariance (bands, bands) of what is left when each line's mean is taken from it, both ways."""
        scatter = self.spectra.covariance * (self.spectra.n_pixels - 1)
        for lines in (self.columns, self.rows):
            deviation = np.where(lines.count > 0, lines.mean - self.spectra.mean[:, None], 0)
            scatter = scatter - (deviation * lines.count) @ deviation.T
        return scatter / max(1, self.spectra.n_pixels - 1)

    def without(self, columns: Float64, rows: Float64) -> Float64:
        """Covariance (bands, bands) as it would be had these offsets (bands, lines) never been added."""
        scatter = self.spectra.covariance * (self.spectra.n_pixels - 1)
        for lines, offset in ((self.columns, columns), (self.rows, rows)):
            deviation = np.where(lines.count > 0, lines.mean - self.spectra.mean[:, None], 0)
            cross = (deviation * lines.count) @ offset.T
            scatter = scatter - cross - cross.T + (offset * lines.count) @ offset.T
        return scatter / max(1, self.spectra.n_pixels - 1)
