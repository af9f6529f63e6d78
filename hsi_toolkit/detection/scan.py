"""Reading a scene several times from top to bottom, with progress."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.blockwise.cluster import Cluster
from hsi_toolkit.detection.background import Background, mahalanobis
from hsi_toolkit.detection.thresholds import ScoreDistribution
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import Block, iter_blocks
from hsi_toolkit.scene.blocks import read_rows, rows_within
from hsi_toolkit.spectral.compute import Compute
from hsi_toolkit.spectral.covariance import StreamingCovariance

Result = TypeVar("Result")

CANCEL_BYTES = 48 << 20
"""Bytes of a block at most, so that a cancel acts within a second."""


class Scan:
    """A scene (band, y, x) that is read ``passes`` times; each pass reports its share of the progress.

    ``compute`` says where the scores are computed, and ``cluster`` by which processes, if not by this one.
    """

    def __init__(
        self,
        scene: xr.DataArray,
        progress: Progress | None = None,
        *,
        passes: int = 1,
        memory_limit: int | None = None,
        compute: Compute | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        self.scene = scene
        self._cluster = cluster
        self.compute = compute or Compute()
        self._progress = progress or Progress()
        self._passes = passes
        self._done = 0
        self._memory = min(3 * CANCEL_BYTES, memory_limit) if memory_limit else None

    @property
    def n_bands(self) -> int:
        """Bands of the scene."""
        return int(self.scene.sizes["band"])

    def map(self, function: Callable[[Block], Result], message: str) -> Iterator[Result]:
        """One pass over the scene: ``function`` of its blocks of whole lines, in order.

        With a cluster the function travels, and what it gives travels back: it must not hold the scan.

        Raises:
            Cancelled: the user asked to stop.
        """
        height = self.scene.sizes["y"]
        part = self._progress.part(self._done / self._passes, min(1.0, (self._done + 1) / self._passes))
        part.report(0.0, message)
        if self._cluster is None:
            for block in iter_blocks(self.scene, memory_limit=self._memory):
                part.check()
                yield function(block)
                part.report(block.y1 / height, message)
        else:
            step = rows_within(self.scene, self._memory)
            edges = [(y0, min(y0 + step, height)) for y0 in range(0, height, step)]
            results = self._cluster.map(_OnBlocks(self.scene, function), edges, part)
            for (_, y1), result in zip(edges, results, strict=True):
                yield result
                part.report(y1 / height, message)
        self._done += 1

    @property
    def distributed(self) -> bool:
        """Whether other processes compute, whose arrays on a device are of no use here."""
        return self._cluster is not None

    def statistics(
        self,
        message: str,
        keep: Callable[[NDArray[np.float32]], NDArray[np.bool_]] | None = None,
    ) -> StreamingCovariance:
        """Mean and covariance of the scene's spectra, one pass; of those alone that ``keep`` (n,) says."""
        compute = self.compute

        def parts(block: Block) -> list[StreamingCovariance]:
            X = spectra_of(block.core)
            return list(StreamingCovariance.parts(X if keep is None else X[keep(X)], compute, quick=True))

        statistics = StreamingCovariance(self.n_bands, quick=True)
        for found in self.map(parts, message):
            for each in found:
                statistics.merge(each)
        return statistics


@dataclass(frozen=True, eq=False)
class _OnBlocks(Generic[Result]):
    """A function of blocks as one of their edges, for processes that read by themselves."""

    scene: xr.DataArray
    function: Callable[[Block], Result]

    def __call__(self, edge: tuple[int, int]) -> Result:
        """The function of the block of these rows."""
        return self.function(Block(read_rows(self.scene, *edge), *edge))


def spectra_of(cube: NDArray[np.float32]) -> NDArray[np.float32]:
    """The spectra (rows * cols, bands) of a cube (bands, rows, cols), as a view where possible."""
    return cube.reshape(len(cube), -1).T


TRIMMED = 0.02
"""Share of the pixels, the most unusual ones, that robust statistics leave out."""

ROBUST_PASSES = 2
"""Further passes over the scene that robust statistics take."""


def background_statistics(scan: Scan, *, robust: bool = False) -> StreamingCovariance:
    """Mean and covariance of the scene's pixels.

    Robust ones leave out the ``TRIMMED`` share that lies furthest from all (a step of BACON, Billor, Hadi and
    Velleman 2000): targets and anomalies no longer widen the spread they are measured by.
    """
    message = "Measuring the background"
    compute = scan.compute
    statistics = scan.statistics(message)
    if not robust:
        return statistics
    background = Background.of(statistics)

    def distances(block: Block) -> NDArray[np.float32]:
        return mahalanobis(spectra_of(block.core), background, compute)

    distribution = ScoreDistribution()
    for found in scan.map(distances, "Finding unusual pixels"):
        distribution.update(found)
    limit = float(distribution.exceeded_by(np.array([TRIMMED]))[0])
    return scan.statistics(message, lambda X: mahalanobis(X, background, compute) <= limit)
