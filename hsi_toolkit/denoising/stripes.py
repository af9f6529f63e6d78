"""Lines that are offset in single bands (stripes), and lines that hold no signal at all (dead lines)."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from torch import Tensor

from hsi_toolkit.denoising.robust import fit_incomplete, outliers
from hsi_toolkit.denoising.statistics import Flags, Float32, Float64, LineStatistics, SceneStatistics
from hsi_toolkit.denoising.subspace import SignalSubspace
from hsi_toolkit.progress import Progress

_WIDEST = 15  # lines; slower changes across the scene are no stripes
_SIGNIFICANT = 4.5  # standard errors
_IN_EACH_SEGMENT = 0.5  # of the line's offset must show
_TOLERANCE = 3.0  # standard errors
_LEAST_SEGMENTS = 0.5  # of the line's must have data: fewer cannot tell a stripe from an edge
_LEAST = 1e-3  # of a band's deviation: a smaller offset is no fault
_MODEL_ERROR = 0.05  # of the noise: line means are never predicted better than that
_SHORTEST = 8  # a line of fewer pixels says nothing
_LEAST_FREEDOM = 0.5  # of a band from the subspace: what others hardly foretell of a band says nothing


@dataclass(frozen=True, eq=False)
class Lines:
    """What is wrong with the lines of one direction: (bands, lines) offsets and which lines are dead."""

    offset: Float64
    dead: Flags

    @property
    def striped(self) -> Flags:
        """(bands, lines) lines with an offset."""
        return np.asarray(self.offset != 0)

    @property
    def any(self) -> bool:
        """Whether there is anything to put right."""
        return bool(self.dead.any() or self.striped.any())

    @classmethod
    def none(cls, bands: int, lines: int) -> "Lines":
        """Nothing wrong."""
        return cls(np.zeros((bands, lines)), np.zeros((bands, lines), bool))


@dataclass(frozen=True, eq=False)
class LineFaults:
    """Stripes and dead lines in both directions."""

    columns: Lines
    rows: Lines

    @property
    def any(self) -> bool:
        """Whether there is anything to put right."""
        return self.columns.any or self.rows.any

    @classmethod
    def none(cls, bands: int, rows: int, cols: int) -> "LineFaults":
        """A scene without any."""
        return cls(Lines.none(bands, cols), Lines.none(bands, rows))

    def correct(self, block: Float32, y0: int, x0: int = 0) -> tuple[Float32, Flags | None]:
        """Take the offsets from a part of the scene, and say what is dead.

        Args:
            block: (bands, rows, cols) float32, whose first pixel is at row ``y0``, column ``x0``.

        Returns:
            The block without offsets, and (bands, rows, cols) bool, true on dead lines; None without any.
        """
        rows, columns = slice(y0, y0 + block.shape[1]), slice(x0, x0 + block.shape[2])
        dead = None
        if self._dead:
            dead = self.columns.dead[:, None, columns] | self.rows.dead[:, rows, None]
        if not self._striped:
            return block, dead
        offset = self.columns.offset[:, None, columns] + self.rows.offset[:, rows, None]
        return block - offset.astype(np.float32), dead

    @cached_property
    def _striped(self) -> bool:
        return bool(self.columns.striped.any() or self.rows.striped.any())

    @cached_property
    def _dead(self) -> bool:
        return bool(self.columns.dead.any() or self.rows.dead.any())


def find_line_faults(
    statistics: SceneStatistics, sigma: Float64, progress: Progress | None = None
) -> LineFaults:
    """Find stripes by what the other bands say about each line's mean, and dead lines by being constant.

    The mean of a line is a mixture of the scene's spectra, and as such it lies in their subspace, however
    bright or dark the line: a road along it or the edge of a field is in all bands. An offset of single bands
    is not. The subspace is that of the variation within lines, which no offset of a line can change. It never
    holds all of a scene, though, and what it leaves out changes along a line. The offset of a stripe does
    not: it must stand out from its own changes between the segments of the line.

    Args:
        statistics: of the whole scene.
        sigma: (bands,) standard deviation of the noise.
        progress: asked for cancellation.
    """
    progress = progress or Progress()
    pixels = statistics.spectra.n_pixels
    within = statistics.within_lines
    subspace = SignalSubspace.fit(within, statistics.spectra.mean, sigma, pixels)
    least = _LEAST * np.sqrt(np.maximum(np.diag(within), 0)) / sigma
    columns, rows = (
        _faults(lines, subspace, least, progress) for lines in (statistics.columns, statistics.rows)
    )
    return LineFaults(columns, rows)


def _faults(lines: LineStatistics, subspace: SignalSubspace, least: Float64, progress: Progress) -> Lines:
    usable = lines.count >= _SHORTEST
    dead = (lines.low == lines.high) & usable
    # A band that is constant over half its lines is empty, not broken line by line.
    dead &= (dead.mean(axis=1) < 0.5)[:, None]
    progress.check()
    means = _Means(subspace, dead, usable, _error(lines.count), lines.mean)
    progress.check()
    offset = means.unexplained(lines.mean)
    striped = np.abs(offset) > np.maximum(_SIGNIFICANT * means.error, least[:, None])
    free = 1 - np.square(subspace.basis).sum(axis=1) > _LEAST_FREEDOM
    striped &= usable & free[:, None] & ~dead
    doubtful = np.flatnonzero(striped.any(axis=1))
    if len(doubtful):
        striped[doubtful] &= _all_along(lines, means, offset, doubtful, progress)
    return Lines(np.where(striped, offset, 0) * subspace.sigma[:, None], dead)


def _all_along(
    lines: LineStatistics, means: "_Means", offset: Float64, bands: NDArray[np.intp], progress: Progress
) -> Flags:
    """Where the offset of a line is that of all its segments, (some bands, lines)."""
    whole = offset[bands]
    agreeing, scatter, parts = np.ones(whole.shape, bool), np.zeros(whole.shape), np.zeros(whole.shape[1])
    for count, mean in lines.segments():
        progress.check()
        full = count >= _SHORTEST
        here = np.where(full, means.unexplained(np.where(full, mean, lines.mean), bands), whole)
        enough = _IN_EACH_SEGMENT * np.abs(whole) - _TOLERANCE * _error(count)
        agreeing &= (here * np.sign(whole) > enough) | ~full
        scatter += count * np.square(here - whole)
        parts += full
    error = np.sqrt(scatter / np.maximum(lines.count * (parts - 1), 1))
    agreeing &= (np.abs(whole) > _SIGNIFICANT * error) & (parts >= _LEAST_SEGMENTS * len(lines.counts))
    return agreeing


def _error(count: Float64) -> Float64:
    """Standard error of the mean of so many pixels, in units of the noise."""
    return np.asarray(np.sqrt(1 / np.maximum(count, 1) + _MODEL_ERROR**2))


class _Means:
    """What other bands and neighbouring lines do not explain of the means of lines, in units of the noise."""

    def __init__(
        self, subspace: SignalSubspace, dead: Flags, usable: Flags, error: Float64, mean: Float64
    ) -> None:
        self._subspace, self._usable, self.error = subspace, usable, error
        self._basis, self._power = torch.as_tensor(subspace.basis), torch.as_tensor(subspace.power - 1)
        missing = torch.as_tensor(dead)
        threshold = torch.full((len(dead),), _SIGNIFICANT, dtype=torch.float64)
        scaled = self._whitened(mean) / torch.as_tensor(error)
        self._wrong = outliers(scaled, self._basis, missing, threshold, self._power) | missing

    def _whitened(self, mean: Float64) -> Tensor:
        deviation = (mean - self._subspace.mean[:, None]) / self._subspace.sigma[:, None]
        return torch.as_tensor(np.where(self._usable, deviation, 0))

    def unexplained(self, mean: Float64, bands: NDArray[np.intp] | None = None) -> Float64:
        """The same of (bands, lines) means of the lines or of parts of them, for some bands or all."""
        whitened = self._whitened(mean)
        complete = fit_incomplete(whitened, self._basis, self._wrong, self._power)
        fitted = self._basis @ (self._basis.T @ complete)
        residual: Float64 = np.where(self._usable, (whitened - fitted).numpy(), 0)
        residual = residual if bands is None else residual[bands]
        wide = min(_WIDEST, residual.shape[1])
        return np.asarray(residual - median_filter(residual, size=(1, wide), mode="nearest"))
