"""What denoising has to know of a scene, gathered in one pass: covariances, line means, constant lines."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.spectral import StreamingCovariance

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Flags = NDArray[np.bool_]

_SEGMENTS, _SHORTEST_SEGMENT = 8, 8  # of a line; pixels
_DIFFERENCES = 1 << 22  # as many as noise is measured from
_KEPT = 1 << 15  # about as many of them are kept


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

    def add_across(self, values: Float32, known: Flags, first: int) -> None:
        """Add a part (bands, positions, lines) of all lines that starts at position ``first`` along them."""
        segment = (first + np.arange(values.shape[1])) * self._segments // self._length
        for number in np.unique(segment):
            part = slice(*np.searchsorted(segment, (number, number + 1)))
            self.counts[number] += known[part].sum(axis=0)
            self.totals[number] += values[:, part].sum(axis=1)
        self._stretch(values, known, 1, slice(None))

    def add_whole(self, values: Float32, known: Flags, lines: slice) -> None:
        """Add whole lines (bands, lines, positions)."""
        segment = np.arange(self._length) * self._segments // self._length
        member = np.equal.outer(segment, np.arange(self._segments)).astype(np.float32)
        self.counts[:, lines] += (known @ member).T
        self.totals[:, :, lines] += (values @ member).transpose(2, 0, 1)
        self._stretch(values, known, 2, lines)

    def _stretch(self, values: Float32, known: Flags, axis: int, lines: slice) -> None:
        low, high = values, values
        if not known.all():
            low, high = np.where(known, values, np.inf), np.where(known, values, -np.inf)
        np.minimum(self.low[:, lines], low.min(axis=axis), out=self.low[:, lines])
        np.maximum(self.high[:, lines], high.max(axis=axis), out=self.high[:, lines])

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
        bands, height, _ = block.shape
        known: Flags = np.asarray(np.isfinite(block).all(axis=0))
        self.spectra.update(block.reshape(bands, -1).T)
        self._add_differences(block)
        values = block if known.all() else np.where(known, block, np.float32(0))
        self.columns.add_across(values, known, self._next_row)
        self.rows.add_whole(values, known, slice(self._next_row, self._next_row + height))
        self._next_row += height

    def leap(self) -> None:
        """The rows that come next do not adjoin the last ones, as in a sample of a scene."""
        self._last = None

    def _add_differences(self, block: Float32) -> None:
        joined, first = block, self._next_row
        if self._last is not None:
            joined, first = np.concatenate([self._last, block], axis=1), first - 1
        self._last = block[:, -1:].copy()
        above = np.flatnonzero((first + np.arange(joined.shape[1] - 1)) % self._every == 0)
        if not len(above) or block.shape[2] < 2:
            return
        down = joined[:, above + 1] - joined[:, above]
        mixed = (down[:, :, 1:] - down[:, :, :-1]) * np.float32(0.5)
        mixed = mixed.reshape(len(block), -1)
        number = (first + above[:, None]) // self._every * (block.shape[2] - 1) + np.arange(
            block.shape[2] - 1
        )
        self._kept.append(mixed[:, number.reshape(-1) % self._keep_every == 0])
        self.differences.update(mixed.T)

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
