"""What denoising has to know of a scene, gathered in one pass: covariances, line means, constant lines."""

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.spectral import StreamingCovariance

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Flags = NDArray[np.bool_]


class LineStatistics:
    """Sums and extremes of every line of every band, along one direction.

    Sums are of both halves of each line, so that what is true of the whole line can be told from what only a
    part of it shows.

    Attributes:
        counts: (2, lines) pixels with data.
        totals: (2, bands, lines) their sums.
        low, high: (bands, lines) their extremes; ±inf where a line has no data.
    """

    def __init__(self, bands: int, lines: int) -> None:
        self.counts = np.zeros((2, lines))
        self.totals = np.zeros((2, bands, lines))
        self.low = np.full((bands, lines), np.inf, np.float32)
        self.high = np.full((bands, lines), -np.inf, np.float32)

    def add(self, values: Float32, known: Flags, axis: int, lines: slice, middle: int) -> None:
        """Add a block.

        Args:
            values: (bands, rows, cols), zero where it is not known.
            known: (rows, cols) where there is data.
            axis: along which the lines run, 1 for columns and 2 for rows.
            lines: which lines of the scene these are.
            middle: position along ``axis`` of the block at which the second half of the lines begins.
        """
        for half, part in enumerate((slice(0, max(0, middle)), slice(max(0, middle), None))):
            chosen = (slice(None), part) if axis == 1 else (slice(None), slice(None), part)
            self.counts[half, lines] += known[chosen[1:]].sum(axis=axis - 1)
            self.totals[half, :, lines] += values[chosen].sum(axis=axis, dtype=np.float64)
        low, high = values, values
        if not known.all():
            low, high = np.where(known, values, np.inf), np.where(known, values, -np.inf)
        self.low[:, lines] = np.minimum(self.low[:, lines], low.min(axis=axis))
        self.high[:, lines] = np.maximum(self.high[:, lines], high.max(axis=axis))

    @property
    def count(self) -> Float64:
        """(lines,) pixels with data."""
        return np.asarray(self.counts.sum(axis=0))

    @property
    def mean(self) -> Float64:
        """(bands, lines) means, zero for a line without data."""
        return np.asarray(self.totals.sum(axis=0) / np.maximum(self.count, 1))

    @property
    def half_means(self) -> Float64:
        """(2, bands, lines) means of both halves, zero where they have no data."""
        return np.asarray(self.totals / np.maximum(self.counts, 1)[:, None])


class SceneStatistics:
    """Statistics of a scene given in blocks of whole rows from top to bottom.

    Pixels without data in any band are left out. Mixed second differences, (a - b - c + d) / 2 over each
    square of four pixels, have the variance of the noise, none of the offsets of striped lines, and little of
    the scene.

    Attributes:
        spectra: covariance of the pixels.
        differences: covariance of the mixed differences.
        columns, rows: what each line of the scene holds.
    """

    def __init__(self, bands: int, rows: int, cols: int) -> None:
        self.spectra, self.differences = StreamingCovariance(bands), StreamingCovariance(bands)
        self.columns, self.rows = LineStatistics(bands, cols), LineStatistics(bands, rows)
        self._next_row = 0
        self._last: Float32 | None = None

    def update(self, block: Float32) -> None:
        """Add the next rows, (bands, rows, cols) float32, NaN where there is no data."""
        bands, height, cols = block.shape
        known: Flags = np.asarray(np.isfinite(block).all(axis=0))
        self.spectra.update(block.reshape(bands, -1).T)
        joined = block if self._last is None else np.concatenate([self._last, block], axis=1)
        if joined.shape[1] > 1 and cols > 1:
            across = joined[:, :, 1:] - joined[:, :, :-1]
            mixed = (across[:, 1:] - across[:, :-1]) * np.float32(0.5)
            self.differences.update(mixed.reshape(bands, -1).T)
        self._last = block[:, -1:].copy()
        values = block if known.all() else np.where(known, block, np.float32(0))
        here = slice(self._next_row, self._next_row + height)
        self.columns.add(values, known, 1, slice(0, cols), len(self.rows.counts[0]) // 2 - self._next_row)
        self.rows.add(values, known, 2, here, cols // 2)
        self._next_row += height

    def leap(self) -> None:
        """The rows that come next do not adjoin the last ones, as in a sample of a scene."""
        self._last = None

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
