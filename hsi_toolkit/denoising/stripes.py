"""Lines that are offset in single bands (stripes), and lines that hold no signal at all (dead lines)."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.ndimage import median_filter
from torch import Tensor

from hsi_toolkit.denoising.robust import fit_incomplete, outliers
from hsi_toolkit.denoising.statistics import Flags, Float32, Float64, LineStatistics, SceneStatistics
from hsi_toolkit.denoising.subspace import SignalSubspace

_WIDEST = 15  # lines; slower changes across the scene are no stripes
_SIGNIFICANT = 4.5  # standard errors
_IN_EACH_HALF = 0.6  # of the line's offset must show
_MODEL_ERROR = 0.05  # of the noise: line means are never predicted better than that
_SHORTEST = 8  # a line of fewer pixels says nothing


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

    def correct(self, block: Float32, y0: int) -> tuple[Float32, Flags]:
        """Take the offsets from rows of the scene, and say what is dead.

        Args:
            block: (bands, rows, cols) float32, the first row being ``y0`` of the scene.

        Returns:
            The block without offsets, and (bands, rows, cols) bool, true on dead lines.
        """
        rows = slice(y0, y0 + block.shape[1])
        dead = self.columns.dead[:, None] | self.rows.dead[:, rows, None]
        if not self._striped:
            return block, dead
        offset = self.columns.offset[:, None] + self.rows.offset[:, rows, None]
        return block - offset.astype(np.float32), dead

    @cached_property
    def _striped(self) -> bool:
        return bool(self.columns.striped.any() or self.rows.striped.any())


def find_line_faults(statistics: SceneStatistics, sigma: Float64) -> LineFaults:
    """Find stripes by what the other bands say about each line's mean, and dead lines by being constant.

    The mean of a line is a mixture of the scene's spectra, and as such it lies in their subspace, however
    bright or dark the line: a road along it or the edge of a field is in all bands. An offset of single bands
    is not. The subspace is that of the variation within lines, which no offset of a line can change.

    Args:
        statistics: of the whole scene.
        sigma: (bands,) standard deviation of the noise.
    """
    pixels = statistics.spectra.n_pixels
    subspace = SignalSubspace.fit(statistics.within_lines, statistics.spectra.mean, sigma, pixels)
    return LineFaults(_faults(statistics.columns, subspace), _faults(statistics.rows, subspace))


def _faults(lines: LineStatistics, subspace: SignalSubspace) -> Lines:
    usable = lines.count >= _SHORTEST
    dead = (lines.low == lines.high) & usable
    # A band that is constant over half its lines is empty, not broken line by line.
    dead &= (dead.mean(axis=1) < 0.5)[:, None]
    errors = np.sqrt(1 / np.maximum(lines.count, 1) + _MODEL_ERROR**2)
    basis = torch.as_tensor(subspace.basis, dtype=torch.float32)

    def scaled(means: Float64, known: Flags) -> Tensor:
        deviation = (means - subspace.mean[:, None]) / subspace.sigma[:, None]
        return torch.as_tensor(np.where(known, deviation / errors, 0), dtype=torch.float32)

    def unexplained(means: Tensor) -> Float64:
        fitted = basis @ (basis.T @ fit_incomplete(means, basis, wrong))
        residual: Float64 = np.where(dead | ~usable, 0, (means - fitted).numpy().astype(np.float64))
        wide = min(_WIDEST, residual.shape[1])
        return np.asarray(residual - median_filter(residual, size=(1, wide), mode="nearest"))

    means = scaled(lines.mean, usable)
    threshold = torch.full((len(basis),), _SIGNIFICANT)
    wrong = outliers(means, basis, torch.as_tensor(dead), threshold) | torch.as_tensor(dead)
    residual = unexplained(means)
    striped = np.abs(residual) > _SIGNIFICANT
    for half, count in zip(lines.half_means, lines.counts, strict=True):
        # An offset is there all along the line; what the subspace fails to explain is here or there.
        agreeing = unexplained(scaled(half, count >= _SHORTEST)) * np.sign(residual)
        striped &= (agreeing > _IN_EACH_HALF * np.abs(residual)) | (count < _SHORTEST)
    offset = np.where(striped & ~dead & usable, residual * errors, 0) * subspace.sigma[:, None]
    return Lines(offset, dead)
