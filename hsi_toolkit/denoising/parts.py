"""Parts of a scene denoised for themselves: one after the other here, or by the processes of a cluster."""

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.blockwise.cluster import Cluster, own_device
from hsi_toolkit.denoising.denoiser import (
    ALIGNMENT,
    SURROUNDINGS,
    Denoiser,
    NoiseModel,
    Removed,
    Smoothing,
)
from hsi_toolkit.denoising.statistics import BlockSums, Float32, SceneStatistics
from hsi_toolkit.inference.devices import choose_device
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import iter_blocks
from hsi_toolkit.scene.blocks import read_rows

_FEWEST_ROWS, _MOST_ROWS = 64, 256
"""Rows that a process gives back at a time. It reads and filters some two hundred more."""


_SURVEY_BYTES = 32 << 20
"""Float32 bytes of the blocks whose statistics are taken."""


def scene_statistics(scene: xr.DataArray, cluster: Cluster | None, progress: Progress) -> SceneStatistics:
    """The statistics of a scene (band, y, x), by this process or those of a cluster."""
    shape = (scene.sizes["band"], scene.sizes["y"], scene.sizes["x"])
    statistics, step = SceneStatistics(*shape), max(1, _SURVEY_BYTES // (4 * shape[0] * shape[2]))
    message = "Measuring the noise"
    if cluster is None:
        for block in iter_blocks(scene, rows=step):
            progress.check()
            statistics.update(block.core)
            progress.report(block.y1 / shape[1], message)
        return statistics
    edges = [(y0, min(y0 + step, shape[1])) for y0 in range(0, shape[1], step)]
    found = cluster.map(_MeasuredRows(scene, shape), edges, progress)
    for (_, y1), sums in zip(edges, found, strict=True):
        statistics.add(sums)
        progress.report(y1 / shape[1], message)
    return statistics


@dataclass(frozen=True, eq=False)
class _MeasuredRows:
    """Rows of a scene of this shape, read and measured."""

    scene: xr.DataArray
    shape: tuple[int, int, int]

    def __call__(self, edge: tuple[int, int]) -> BlockSums:
        """What the rows of these numbers, the second one exclusive, add to the scene's statistics."""
        y0, y1 = edge
        above = read_rows(self.scene, y0 - 1, y0) if y0 else None
        return SceneStatistics(*self.shape).measure(read_rows(self.scene, y0, y1), y0, above)


class Columns(NamedTuple):
    """Columns of the scene that are read, and those among them whose results count."""

    read: slice
    own: slice

    @property
    def x0(self) -> int:
        """The scene's column that the results start at."""
        return int(self.read.start + self.own.start)


class Part(NamedTuple):
    """Rows ``y0`` to ``y1`` of some columns."""

    columns: Columns
    y0: int
    y1: int


@dataclass(frozen=True, eq=False)
class DenoisedPart:
    """All bands (bands, rows, columns) of a block at ``y0``, ``x0``: denoised, and what was removed.

    ``removed`` is None where it is not wanted; ``totals`` are those of the bands that took part.
    """

    y0: int
    x0: int
    clean: Float32
    removed: Float32 | None
    totals: Removed


@dataclass(frozen=True, eq=False)
class PartDenoiser:
    """A scene and what it takes to denoise any part of it; another process opens the scene's file itself.

    Attributes:
        scene: (band, y, x), lazy.
        model, smoothing: as ``Denoiser`` takes them.
        bands: (used,) indices of the bands that take part; the others are passed on.
        device: where to compute.
        rows: lines a block, which divide ``ALIGNMENT`` or are a multiple of it.
        removed: whether what was removed is wanted.
    """

    scene: xr.DataArray
    model: NoiseModel
    smoothing: Smoothing
    bands: NDArray[np.intp]
    device: str
    rows: int
    removed: bool

    def all(
        self, columns: list[Columns], cluster: Cluster | None, memory: int, progress: Progress
    ) -> Iterator[DenoisedPart]:
        """All blocks of these columns, from top to bottom, by this process or those of a cluster.

        What the cluster's processes are working on or have done fits into ``memory`` bytes, if a part does.
        """
        height = self.scene.sizes["y"]
        if cluster is None:
            device = choose_device(self.device)
            for each in columns:
                yield from self._blocks(Part(each, 0, height), device, progress)
            return
        row = 4 * self.scene.sizes["band"] * max(own.stop - own.start for _, own in columns)
        row *= 1 + self.removed
        wanted = min(_MOST_ROWS, max(_FEWEST_ROWS, memory // (2 * cluster.processes * row)))
        step = max(self.rows, ALIGNMENT)
        step *= max(1, wanted // step)
        parts = [Part(each, y0, min(y0 + step, height)) for each in columns for y0 in range(0, height, step)]
        most = max(1, min(memory // (step * row), 2 * cluster.processes))
        for blocks in cluster.map(self, parts, progress, most=most):
            yield from blocks

    def __call__(self, part: Part) -> list[DenoisedPart]:
        """The blocks of a part."""
        return list(self._blocks(part, own_device(self.device), Progress()))

    def _blocks(self, part: Part, device: torch.device, progress: Progress) -> Iterator[DenoisedPart]:
        """The blocks of a part, whose first row is a multiple of the lines a block and of ``ALIGNMENT``."""
        (read, own), y0, y1 = part
        step = max(self.rows, ALIGNMENT)
        first = max(0, y0 - -(-SURROUNDINGS // step) * step) if self.smoothing == "spatial" else y0
        scene = self.scene.isel(x=read, y=slice(first, None))
        others = np.setdiff1d(np.arange(scene.sizes["band"]), self.bands)
        passed_on: deque[Float32] = deque()

        def used_bands() -> Generator[tuple[Float32, int], None, None]:
            for block in iter_blocks(scene, rows=self.rows):
                passed_on.append(block.core[others][:, :, own])
                yield block.core[self.bands] if len(others) else block.core, first + block.y0

        denoiser = Denoiser(self.model, self.smoothing, device)
        with closing(used_bands()) as given:
            for block in denoiser.blocks(given, progress, x0=read.start, own=own):
                progress.check()
                other = passed_on.popleft()
                if block.y0 < y0:
                    continue
                change = block.given - block.clean if self.removed else None
                clean = self._joined(block.clean, other)
                removed = None if change is None else self._joined(change, other - other)
                yield DenoisedPart(block.y0, part.columns.x0, clean, removed, block.removed)
                if block.y1 >= y1:
                    return

    def _joined(self, denoised: Float32, other: Float32) -> Float32:
        """All bands of the scene."""
        if not len(other):
            return denoised
        bands = np.empty((self.scene.sizes["band"], *denoised.shape[1:]), np.float32)
        bands[self.bands] = denoised
        bands[np.setdiff1d(np.arange(len(bands)), self.bands)] = other
        return bands
