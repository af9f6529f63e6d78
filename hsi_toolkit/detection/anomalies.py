"""Anomaly detectors: how far each pixel is from what is usual in the scene or around it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.detection.background import Background, mahalanobis
from hsi_toolkit.detection.neighbourhood import Rows, ring_mean, smoothed, with_neighbours
from hsi_toolkit.detection.scan import ROBUST_PASSES, Scan, background_statistics, spectra_of
from hsi_toolkit.errors import ParameterError
from hsi_toolkit.scene import Block
from hsi_toolkit.spectral.compute import Array, Compute
from hsi_toolkit.spectral.covariance import StreamingCovariance
from hsi_toolkit.spectral.parallel import one_blas_thread

Matrix = NDArray[np.float64]

GUARD, WINDOW = 2, 10
"""Pixels up to 2 away may belong to the anomaly, those up to 10 away are its surroundings."""

COMPONENTS = 30
"""Principal components that local statistics are taken of: the rest is noise, and local noise is not known
from a few hundred pixels."""

ADAPTATION = 0.5
"""Weight of the surroundings' own variances against the scene's."""

BLUR_SIGMA, BLUR_REACH = 0.5, 2
"""Smoothing of the scores in pixels, about a sensor's point spread."""


class AnomalyDetector(Protocol):
    """Scores a scene, higher where a pixel is more unusual; reads it ``passes`` times."""

    @property
    def passes(self) -> int:
        """How often the scene is read."""

    def scores(self, scan: Scan) -> Iterator[Rows]:
        """The scores (1, rows, columns), block by block from top to bottom, NaN without data."""


@dataclass(frozen=True)
class GlobalRX:
    """Squared Mahalanobis distance from the mean (Reed and Yu 1990), in ``robust`` statistics or not."""

    robust: bool = False

    @property
    def passes(self) -> int:
        """See ``AnomalyDetector``."""
        return 2 + ROBUST_PASSES * self.robust

    def scores(self, scan: Scan) -> Iterator[Rows]:
        """See ``AnomalyDetector``."""
        background, compute = Background.of(background_statistics(scan, robust=self.robust)), scan.compute

        def score(block: Block) -> Rows:
            scores = mahalanobis(spectra_of(block.core), background, compute)
            return Rows(scores.reshape(1, *block.core.shape[1:]), block.y0)

        yield from scan.map(score, "Scoring")


@dataclass(frozen=True)
class SubspaceRX:
    """RX without the leading components, which hold the background's own materials and light.

    The distance in the complement of the first ``dropped`` principal components (Schaum 2007).
    """

    dropped: int = 3
    robust: bool = False

    @property
    def passes(self) -> int:
        """See ``AnomalyDetector``."""
        return 2 + ROBUST_PASSES * self.robust

    def scores(self, scan: Scan) -> Iterator[Rows]:
        """See ``AnomalyDetector``."""
        if self.dropped >= scan.n_bands:
            raise ParameterError(
                f"{self.dropped} components cannot be left out of {scan.n_bands} bands.", "Leave out fewer."
            )
        background = Background.of(background_statistics(scan, robust=self.robust))
        with one_blas_thread():
            variances, vectors = np.linalg.eigh(background.covariance)
        kept = slice(0, len(variances) - self.dropped)
        compute = scan.compute
        whitener = compute.put(vectors[:, kept] / np.sqrt(np.maximum(variances[kept], 1e-300)))
        mean = compute.put(background.mean)

        def squared(X: Array) -> Array:
            return compute.squared_lengths((X - mean) @ whitener)

        def score(block: Block) -> Rows:
            scores = compute.pixelwise(squared, spectra_of(block.core), dtype=np.float64)
            return Rows(scores.reshape(1, *block.core.shape[1:]), block.y0)

        yield from scan.map(score, "Scoring")


@dataclass(frozen=True)
class QuasiLocalRX:
    """Distance from the mean of the surroundings, in directions of the scene and spreads of both.

    Each pixel's difference from the mean of the ring around it is taken in the scene's leading principal
    components and whitened by the covariance of all such differences. Each whitened component is then
    divided by its variance in the ring, blended with the scene's: busy ground asks for more than calm
    ground does (the quasi-local covariance of Caefer et al. 2008). The scores are
    smoothed by about a sensor's point spread, because an object's light falls into its neighbours.
    """

    guard: int = GUARD
    window: int = WINDOW
    components: int = COMPONENTS
    adaptation: float = ADAPTATION
    passes: int = 3

    def scores(self, scan: Scan) -> Iterator[Rows]:
        """See ``AnomalyDetector``."""
        height, compute = scan.scene.sizes["y"], scan.compute
        background = Background.of(scan.statistics("Measuring the background"))
        vectors = leading_components(background, self.components)
        differences = StreamingCovariance(vectors.shape[1])
        for rows in self._differences(scan, background, vectors, "Measuring the surroundings"):
            differences.update(spectra_of(rows.data), compute)
        with one_blas_thread():
            spread, turn = np.linalg.eigh(Background.of(differences).covariance)
        whitener = compute.put(turn / np.sqrt(spread), np.float32)
        found = self._differences(scan, background, vectors, "Scoring")
        squares = (_squares(rows, whitener) for rows in found)
        surrounded = with_neighbours(squares, self.window, height, compute)
        scores = (self._score(rows, around, compute) for rows, around in surrounded)
        for rows, around in with_neighbours(scores, BLUR_REACH, height, compute):
            yield Rows(compute.get(smoothed(around, BLUR_SIGMA, BLUR_REACH, compute)), rows.y0)

    def _differences(
        self, scan: Scan, background: Background, vectors: Matrix, message: str
    ) -> Iterator[Rows]:
        """Each pixel's components less the mean of those around it."""
        features = components_of(scan, background, vectors, message)
        for rows, around in with_neighbours(features, self.window, scan.scene.sizes["y"], scan.compute):
            yield Rows(rows.data - ring_mean(around, self.guard, self.window, scan.compute), rows.y0)

    def _score(self, squares: Rows, around: NDArray[np.float32], compute: Compute) -> Rows:
        spread = ring_mean(around, self.guard, self.window, compute)
        spread *= self.adaptation
        spread += 1 - self.adaptation
        return Rows((squares.data / spread).sum(axis=0, keepdims=True), squares.y0)


def leading_components(background: Background, count: int) -> Matrix:
    """The first ``count`` principal components as columns (bands, count), largest variance first."""
    with one_blas_thread():
        return np.linalg.eigh(background.covariance)[1][:, ::-1][:, :count].copy()


def components_of(scan: Scan, background: Background, vectors: Matrix, message: str) -> Iterator[Rows]:
    """One pass over the scene: (n components, rows, columns) float32 a block, centred."""
    compute, away = scan.compute, scan.distributed
    weights = compute.put(vectors.T, np.float32)
    mean = compute.put(background.mean[:, None], np.float32)

    def project(block: Block) -> Rows:
        bands, *shape = block.core.shape
        features = weights @ (compute.put(block.core.reshape(bands, -1)) - mean)
        return Rows((compute.get(features) if away else features).reshape(-1, *shape), block.y0)

    for rows in scan.map(project, message):
        yield Rows(compute.put(rows.data), rows.y0) if away else rows


def _squares(rows: Rows, whitener: Array) -> Rows:
    """Whitened components, squared."""
    count, *shape = rows.data.shape
    whitened = whitener.T @ rows.data.reshape(count, -1)
    whitened *= whitened
    return Rows(whitened.reshape(-1, *shape), rows.y0)
