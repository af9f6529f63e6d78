"""Denoising a scene in blocks of rows, with what is known of its noise."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from hsi_toolkit.denoising.collaborative import REACH, STEP, collaborative_filter
from hsi_toolkit.denoising.robust import fit_incomplete, outliers
from hsi_toolkit.denoising.statistics import Float32, Float64
from hsi_toolkit.denoising.stripes import LineFaults
from hsi_toolkit.denoising.subspace import SignalSubspace
from hsi_toolkit.progress import Progress

Smoothing = Literal["spatial", "spectral", "none"]

_PIXELS = 1 << 15  # that are whitened together


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """What a scene's noise and signal are.

    Attributes:
        subspace: the signal's directions and the noise's strength.
        faults: stripes and dead lines.
        threshold: (bands,) deviations beyond which a value is an impulse; None where there are none.
    """

    subspace: SignalSubspace
    faults: LineFaults
    threshold: Float64 | None = None


@dataclass(frozen=True, eq=False)
class CleanBlock:
    """Rows ``y0`` to ``y1`` of the scene: as given and denoised, (bands, rows, cols) float32."""

    given: Float32
    clean: Float32
    y0: int
    y1: int


@dataclass(eq=False)
class _Projected:
    """A block in the signal's subspace, waiting for its neighbours."""

    given: Float32
    y0: int
    components: Tensor  # (n, rows, cols)
    known: Tensor  # (rows, cols) bool
    foreign: list[tuple[Tensor, Tensor]]  # pixels of the block, and what they hold beyond the subspace


class Denoiser:
    """Takes the noise from a scene that is given in blocks of rows, in order.

    Args:
        model: what the noise is.
        smoothing: "spatial" filters the component images with their surroundings; "spectral" weights the
            components of each pixel alone (minimum noise fraction); "none" corrects lines and impulses only.
        device: where to compute.

    Attributes:
        outliers: (bands,) values found to be impulses so far.
        removed: (bands,) sum of squares of what was taken away so far.
        pixels: pixels with data so far.
    """

    def __init__(self, model: NoiseModel, smoothing: Smoothing, device: torch.device) -> None:
        self._model, self._smoothing, self._device = model, smoothing, device
        self._tensors = model.subspace.tensors(device)
        gain = 1 - 1 / np.maximum(model.subspace.power, 1)
        self._gain = torch.as_tensor(gain, dtype=torch.float32, device=device)
        self._threshold = None
        if model.threshold is not None:
            self._threshold = torch.as_tensor(model.threshold, dtype=torch.float32, device=device)
        bands = len(model.subspace.sigma)
        self.outliers, self.removed, self.pixels = np.zeros(bands, np.int64), np.zeros(bands), 0

    def blocks(
        self, blocks: Iterable[tuple[Float32, int]], progress: Progress | None = None
    ) -> Iterator[CleanBlock]:
        """Denoise blocks (bands, rows, cols) float32, each with the scene's row it starts at.

        All blocks but the last must have a multiple of ``STEP`` rows. If they have at least ``REACH``, what
        comes out does not depend on how the scene is cut.
        """
        progress = progress or Progress()
        above: Tensor | None = None
        waiting: _Projected | None = None
        for data, y0 in blocks:
            if self._smoothing == "none":
                yield self._finished(data, y0, self._repaired(data, y0))
                continue
            arrived = self._project(data, y0)
            if waiting is not None:
                yield self._smoothed(waiting, above, arrived.components[:, :REACH], progress)
                above = _last_rows(above, waiting.components)
            waiting = arrived
        if waiting is not None:
            yield self._smoothed(waiting, above, None, progress)

    def _parts(self, data: Float32, y0: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Runs of pixels of a block: where, whitened without offsets and outliers, and which were changed."""
        bands, rows, cols = data.shape
        height = max(1, _PIXELS // cols)
        for top in range(0, rows, height):
            part, dead = self._model.faults.correct(data[:, top : top + height], y0 + top)
            spectra = torch.as_tensor(part.reshape(bands, -1), device=self._device)
            unknown = ~torch.isfinite(spectra)
            wrong = torch.as_tensor(dead.reshape(bands, -1), device=self._device) | unknown
            whitened = self._tensors.whiten(torch.where(unknown, self._tensors.mean[:, None], spectra))
            if self._threshold is not None:
                found = outliers(whitened, self._tensors.basis, wrong, self._threshold)
                self.outliers += found.sum(1).cpu().numpy()
                wrong = wrong | found
            complete = fit_incomplete(whitened, self._tensors.basis, wrong)
            yield slice(top * cols, top * cols + spectra.shape[1]), complete, wrong

    def _repaired(self, data: Float32, y0: int) -> Float32:
        """The block without offsets, dead lines and impulses filled in; noise stays."""
        result = np.empty_like(data).reshape(len(data), -1)
        for where, complete, _ in self._parts(data, y0):
            spectra = complete * self._tensors.sigma[:, None] + self._tensors.mean[:, None]
            result[:, where] = spectra.cpu().numpy()
        return result.reshape(data.shape)

    def _project(self, data: Float32, y0: int) -> _Projected:
        bands, rows, cols = data.shape
        components = torch.empty(self._model.subspace.dimension, rows * cols, device=self._device)
        known = torch.empty(rows * cols, dtype=torch.bool, device=self._device)
        foreign = []
        for where, complete, wrong in self._parts(data, y0):
            part = self._tensors.basis.T @ complete
            components[:, where] = part
            known[where] = wrong.sum(0) < bands
            pixels, residual = self._tensors.foreign(complete, part)
            foreign.append((pixels + where.start, residual))
        return _Projected(data, y0, components.reshape(-1, rows, cols), known.reshape(rows, cols), foreign)

    def _smoothed(
        self, block: _Projected, above: Tensor | None, below: Tensor | None, progress: Progress
    ) -> CleanBlock:
        """The block denoised with the rows of components around it."""
        filled = _filled(block.components, block.known)
        if self._smoothing == "spectral":
            components = block.components * self._gain[:, None, None]
        else:
            around = [each for each in (above, filled, below) if each is not None]
            first = 0 if above is None else above.shape[1]
            smooth = collaborative_filter(torch.cat(around, dim=1), progress)
            components = smooth[:, first : first + filled.shape[1]]
        flat = components.reshape(len(components), -1)
        result = np.empty((len(block.given), flat.shape[1]), np.float32)
        for start in range(0, flat.shape[1], _PIXELS):
            part = slice(start, start + _PIXELS)
            result[:, part] = self._tensors.restore(flat[:, part]).cpu().numpy()
        for pixels, residual in block.foreign:
            result[:, pixels.cpu().numpy()] += residual.cpu().numpy()
        return self._finished(block.given, block.y0, result.reshape(block.given.shape))

    def _finished(self, given: Float32, y0: int, clean: Float32) -> CleanBlock:
        for band in range(len(given)):
            unknown = ~np.isfinite(given[band])
            clean[band][unknown] = np.nan
            change = np.where(unknown, 0, given[band] - clean[band])
            self.removed[band] += float(np.square(change, dtype=np.float64).sum())
        self.pixels += int(np.isfinite(given).any(axis=0).sum())
        return CleanBlock(given, clean, y0, y0 + given.shape[1])


def _last_rows(above: Tensor | None, components: Tensor) -> Tensor:
    """The rows that the next block needs above it, a whole number of steps."""
    joined = components if above is None else torch.cat([above, components], dim=1)
    return joined[:, -min(REACH, joined.shape[1] // STEP * STEP) :].clone()


def _filled(components: Tensor, known: Tensor) -> Tensor:
    """Component images whose pixels without data have the values of the nearest one with data."""
    if bool(known.all()) or not bool(known.any()):
        return components
    nearest: NDArray[np.intp] = distance_transform_edt(
        ~known.cpu().numpy(), return_distances=False, return_indices=True
    )
    rows, cols = (torch.from_numpy(each.astype(np.int64)).to(components.device) for each in nearest)
    return components[:, rows, cols]
