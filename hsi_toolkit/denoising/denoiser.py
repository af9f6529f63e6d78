"""Denoising a scene in blocks of rows, with what is known of its noise."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hsi_toolkit.denoising.collaborative import BAND_ROWS, CollaborativeFilter
from hsi_toolkit.denoising.robust import suspicious
from hsi_toolkit.denoising.statistics import Float32, Float64
from hsi_toolkit.denoising.stripes import LineFaults
from hsi_toolkit.denoising.subspace import SignalSubspace
from hsi_toolkit.progress import Progress

Smoothing = Literal["spatial", "spectral", "none"]

Counts = NDArray[np.int64]

_PIXELS = 1 << 13  # that are worked on together: their spectra stay in the cache
_FILLED = 32  # rows without data that are filled from the last row above them that has some

SURROUNDINGS = 128
"""Rows above a row that its filtered values depend on: two stages' reach, and filled rows above these."""

ALIGNMENT = BAND_ROWS
"""Rows of the scene that are filtered together start at multiples of this."""


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


@dataclass
class Removed:
    """What was taken away.

    Attributes:
        outliers: (bands,) values found to be impulses.
        squares: (bands,) sum of squares of what was taken away.
        pixels: with data.
    """

    outliers: Counts
    squares: Float64
    pixels: int = 0

    @classmethod
    def nothing(cls, bands: int) -> "Removed":
        """Of no pixel."""
        return cls(np.zeros(bands, np.int64), np.zeros(bands))

    def add(self, other: "Removed") -> None:
        """Count what was taken from other pixels, too."""
        self.outliers = self.outliers + other.outliers
        self.squares = self.squares + other.squares
        self.pixels += other.pixels


@dataclass(frozen=True, eq=False)
class CleanBlock:
    """Rows ``y0`` to ``y1`` of the scene: as given and denoised, (bands, rows, cols) float32."""

    given: Float32
    clean: Float32
    y0: int
    removed: Removed

    @property
    def y1(self) -> int:
        """The row after the last one."""
        return int(self.y0 + self.given.shape[1])


@dataclass(frozen=True, eq=False)
class _Projected:
    """A block whose components are being filtered, and what its pixels hold beyond the subspace."""

    given: Float32
    y0: int
    foreign: list[tuple[Tensor, Tensor]]
    outliers: Counts


class Denoiser:
    """Takes the noise from a scene that is given in blocks of rows, in order.

    Args:
        model: what the noise is.
        smoothing: "spatial" filters the component images with their surroundings; "spectral" weights the
            components of each pixel alone (minimum noise fraction); "none" corrects lines and impulses only.
        device: where to compute.
    """

    def __init__(self, model: NoiseModel, smoothing: Smoothing, device: torch.device) -> None:
        self._model, self._smoothing, self._device = model, smoothing, device
        self._tensors = model.subspace.tensors(device)
        gain = 1 - 1 / np.maximum(model.subspace.power, 1)
        self._gain = torch.as_tensor(gain, dtype=torch.float32, device=device)
        self._threshold = None
        if model.threshold is not None:
            self._threshold = torch.as_tensor(model.threshold, dtype=torch.float32, device=device)

    def blocks(
        self,
        blocks: Iterable[tuple[Float32, int]],
        progress: Progress | None = None,
        *,
        x0: int = 0,
        own: slice | None = None,
    ) -> Iterator[CleanBlock]:
        """Denoise blocks (bands, rows, cols) float32, each with the scene's row it starts at.

        What comes out does not depend on how the scene is cut into blocks but for rounding. It does not
        depend on where the first one starts either, from ``SURROUNDINGS`` rows below it on; not even by
        rounding, if that is a multiple of ``ALIGNMENT`` and the blocks are the same.

        Args:
            blocks: of the scene or of a part of its columns, from top to bottom.
            progress: asked for cancellation.
            x0: the scene's column that the blocks start at.
            own: columns of the blocks that count, and come out; the others are their surroundings.
        """
        progress, own = progress or Progress(), own or slice(None)
        if self._smoothing == "none":
            for data, y0 in blocks:
                outliers = np.zeros(len(data), np.int64)
                clean = self._repaired(data, y0, x0, outliers, progress)
                yield self._finished(data, y0, clean, outliers, own)
            return
        waiting: deque[_Projected] = deque()
        done: list[Tensor] = []
        rows: _Rows | None = None
        for data, y0 in blocks:
            rows = rows or self._rows(data.shape[2], progress)
            block, components, known = self._project(data, y0, x0, progress)
            waiting.append(block)
            done.append(rows.push(components, known))
            yield from self._completed(waiting, done, own)
        if rows is not None:
            done.append(rows.finish())
            yield from self._completed(waiting, done, own)

    def _rows(self, columns: int, progress: Progress) -> "_Rows":
        if self._smoothing == "spatial":
            dimension = self._model.subspace.dimension
            return _Smoothed(CollaborativeFilter(dimension, columns, self._device, progress))
        return _Weighted(self._gain)

    def _parts(
        self, data: Float32, y0: int, x0: int, outliers: Counts, progress: Progress
    ) -> Iterator[tuple[slice, Tensor, Tensor, Tensor | None]]:
        """Whitened pixels of a block without offsets and outliers, run by run; these are counted.

        Yields:
            Which rows; (bands, pixels) whitened; (n, pixels) their components; (bands, pixels) bool, the
            values that were made up, None if there are none.
        """
        bands, rows, cols = data.shape
        height = max(1, _PIXELS // cols)
        for top in range(0, rows, height):
            progress.check()
            part, dead = self._model.faults.correct(data[:, top : top + height], y0 + top, x0)
            spectra = torch.as_tensor(part.reshape(bands, -1), device=self._device)
            whitened = self._tensors.whiten(spectra)
            components = self._tensors.basis.T @ whitened
            wrong = None if dead is None else torch.as_tensor(dead.reshape(bands, -1), device=self._device)
            made_up = self._complete(whitened, components, wrong, outliers)
            yield slice(top, top + height), whitened, components, made_up

    def _complete(
        self, whitened: Tensor, components: Tensor, dead: Tensor | None, outliers: Counts
    ) -> Tensor | None:
        """Fill in missing, dead and outlying values in place, and say which they were."""
        concerned = ~torch.isfinite(components.sum(0))
        if dead is not None:
            concerned |= dead.any(0)
        if self._threshold is not None:
            fitted = self._tensors.basis @ components
            concerned[suspicious(whitened, fitted, self._tensors.basis, self._threshold)] = True
        if not bool(concerned.any()):
            return None
        pixels = torch.nonzero(concerned)[:, 0]
        spectra = whitened[:, pixels]
        unknown = ~torch.isfinite(spectra)
        spectra = torch.where(unknown, 0.0, spectra)
        wrong = unknown if dead is None else unknown | dead[:, pixels]
        if self._threshold is not None:
            found = self._tensors.outliers(spectra, wrong, self._threshold)
            outliers += found.sum(1).cpu().numpy()
            wrong = wrong | found
        complete = self._tensors.complete(spectra, wrong)
        whitened[:, pixels] = complete
        components[:, pixels] = self._tensors.basis.T @ complete
        made_up = torch.zeros(whitened.shape, dtype=torch.bool, device=whitened.device)
        made_up[:, pixels] = wrong
        return made_up

    def _repaired(self, data: Float32, y0: int, x0: int, outliers: Counts, progress: Progress) -> Float32:
        """The block without offsets, dead lines and impulses filled in; noise stays."""
        clean = np.empty_like(data)
        for rows, whitened, _, made_up in self._parts(data, y0, x0, outliers, progress):
            part, _ = self._model.faults.correct(data[:, rows], y0 + rows.start, x0)
            if made_up is not None:
                filled = (whitened * self._tensors.sigma[:, None] + self._tensors.mean[:, None]).cpu().numpy()
                part = np.where(made_up.cpu().numpy().reshape(part.shape), filled.reshape(part.shape), part)
            clean[:, rows] = part
        return clean

    def _project(
        self, data: Float32, y0: int, x0: int, progress: Progress
    ) -> tuple[_Projected, Tensor, Tensor]:
        """The block, its components (n, rows, cols), and (rows, cols) bool, where there are data."""
        bands, rows, cols = data.shape
        components = torch.empty(self._model.subspace.dimension, rows, cols, device=self._device)
        known = torch.ones(rows, cols, dtype=torch.bool, device=self._device)
        foreign, outliers = [], np.zeros(bands, np.int64)
        for part, whitened, coefficients, made_up in self._parts(data, y0, x0, outliers, progress):
            components[:, part] = coefficients.reshape(len(components), -1, cols)
            if made_up is not None:
                known[part] = (made_up.sum(0) < bands).reshape(-1, cols)
            pixels, residual = self._tensors.foreign(whitened, coefficients)
            if len(pixels):
                foreign.append((pixels + part.start * cols, residual))
        return _Projected(data, y0, foreign, outliers), components, known

    def _completed(self, waiting: deque[_Projected], done: list[Tensor], own: slice) -> Iterator[CleanBlock]:
        """The waiting blocks whose components are all done."""
        ready = sum(each.shape[1] for each in done)
        while waiting and waiting[0].given.shape[1] <= ready:
            block = waiting.popleft()
            rows = block.given.shape[1]
            components = torch.cat(done, dim=1)
            done[:] = [components[:, rows:]]
            ready -= rows
            clean = self._restored(block, components[:, :rows])
            yield self._finished(block.given, block.y0, clean, block.outliers, own)

    def _restored(self, block: _Projected, components: Tensor) -> Float32:
        clean = np.empty_like(block.given)
        _, rows, cols = block.given.shape
        height = max(1, _PIXELS // cols)
        for top in range(0, rows, height):
            part = components[:, top : top + height]
            spectra = self._tensors.restore(part.reshape(len(part), -1))
            clean[:, top : top + height] = spectra.reshape(len(clean), *part.shape[1:]).cpu().numpy()
        flat = clean.reshape(len(clean), -1)
        for pixels, residual in block.foreign:
            flat[:, pixels.cpu().numpy()] += residual.cpu().numpy()
        return clean

    def _finished(self, given: Float32, y0: int, clean: Float32, outliers: Counts, own: slice) -> CleanBlock:
        given, clean = given[:, :, own], clean[:, :, own]
        known, squares = np.zeros(given.shape[1:], bool), np.zeros(len(given))
        for band, (before, after) in enumerate(zip(given, clean, strict=True)):
            finite = np.isfinite(before)
            after[~finite] = np.nan
            known |= finite
            change = (before - after)[finite]
            squares[band] = float(np.dot(change, change))
        return CleanBlock(given, clean, y0, Removed(outliers, squares, int(known.sum())))


class _Rows(Protocol):
    """Takes rows of components as they come, and gives filtered ones."""

    def push(self, components: Tensor, known: Tensor) -> Tensor:
        """Rows (n, rows, cols) in, with (rows, cols) bool, where there are data; rows that are done out."""
        ...

    def finish(self) -> Tensor:
        """The rows that are left."""
        ...


class _Weighted:
    """Each pixel alone, its components weighted by their share of signal."""

    def __init__(self, gain: Tensor) -> None:
        self._gain = gain

    def push(self, components: Tensor, known: Tensor) -> Tensor:
        return components * self._gain[:, None, None]

    def finish(self) -> Tensor:
        return self._gain.new_zeros(len(self._gain), 0, 0)


class _Smoothed:
    """Filtered with their surroundings; pixels without data have the values of others."""

    def __init__(self, images: CollaborativeFilter) -> None:
        self._images = images
        self._above: Tensor | None = None
        self._empty = 0  # rows without data at the end of those that came

    def push(self, components: Tensor, known: Tensor) -> Tensor:
        filled = _filled(components, known, self._above, self._empty)
        self._above = filled[:, -1].clone()
        with_data = torch.nonzero(known.any(1))[:, 0].tolist()
        self._empty = len(known) - 1 - with_data[-1] if with_data else self._empty + len(known)
        return self._images.push(filled)

    def finish(self) -> Tensor:
        return self._images.finish()


def _filled(components: Tensor, known: Tensor, above: Tensor | None, gap: int) -> Tensor:
    """Component images whose pixels without data have the values of the nearest one with data in their row.

    A row without data is like the one above it, which for the first row is ``above`` (n, cols), the last of
    ``gap`` such rows; from the ``_FILLED``th on it is zero, the scene's mean.
    """
    if bool(known.all()):
        return components
    column = torch.arange(known.shape[1], device=known.device).expand(known.shape)
    beyond = len(column[0]) * 2
    left = torch.where(known, column, -beyond).cummax(1).values
    right = torch.where(known, column, beyond).flip(1).cummin(1).values.flip(1)
    nearest = torch.where(column - left <= right - column, left, right)
    empty = ~known.any(1)
    nearest[empty] = 0
    filled = components.gather(2, nearest.expand(components.shape))
    for row, no_data in enumerate(empty.tolist()):
        gap = gap + 1 if no_data else 0
        if gap:
            before = filled[:, row - 1] if row else above
            filled[:, row] = 0.0 if before is None or gap > _FILLED else before
    return filled
