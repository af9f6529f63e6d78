"""Reading a scene several times from top to bottom, with progress."""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.detection.background import Background, mahalanobis, statistics_of, trimmed
from hsi_toolkit.detection.thresholds import ScoreDistribution
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import Block, iter_blocks
from hsi_toolkit.spectral.compute import Compute
from hsi_toolkit.spectral.covariance import StreamingCovariance

CANCEL_BYTES = 48 << 20
"""Bytes of a block at most, so that a cancel acts within a second."""


class Scan:
    """A scene (band, y, x) that is read ``passes`` times; each pass reports its share of the progress.

    ``compute`` says where the scores are computed.
    """

    def __init__(
        self,
        scene: xr.DataArray,
        progress: Progress | None = None,
        *,
        passes: int = 1,
        memory_limit: int | None = None,
        compute: Compute | None = None,
    ) -> None:
        self.scene = scene
        self.compute = compute or Compute()
        self._progress = progress or Progress()
        self._passes = passes
        self._done = 0
        self._memory = min(3 * CANCEL_BYTES, memory_limit) if memory_limit else None

    @property
    def n_bands(self) -> int:
        """Bands of the scene."""
        return int(self.scene.sizes["band"])

    def blocks(self, message: str) -> Iterator[Block]:
        """One pass over the scene in blocks of whole lines.

        Raises:
            Cancelled: the user asked to stop.
        """
        rows = self.scene.sizes["y"]
        part = self._progress.part(self._done / self._passes, min(1.0, (self._done + 1) / self._passes))
        part.report(0.0, message)
        for block in iter_blocks(self.scene, memory_limit=self._memory):
            part.check()
            yield block
            part.report(block.y1 / rows, message)
        self._done += 1

    def pixels(self, message: str) -> Iterator[NDArray[np.float32]]:
        """One pass over the scene's spectra, (n, bands) a block."""
        for block in self.blocks(message):
            yield spectra_of(block.core)


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
    statistics = statistics_of(scan.pixels(message), scan.n_bands, compute)
    if not robust:
        return statistics
    background = Background.of(statistics)
    distances = ScoreDistribution()
    for X in scan.pixels("Finding unusual pixels"):
        distances.update(mahalanobis(X, background, compute))
    limit = float(distances.exceeded_by(np.array([TRIMMED]))[0])
    usual = trimmed(scan.pixels(message), background, limit, compute)
    return statistics_of(usual, scan.n_bands, compute)
