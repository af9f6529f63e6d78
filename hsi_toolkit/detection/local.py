"""Local RX: each pixel against the mean and the covariance of the ring around it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.detection.anomalies import GUARD, WINDOW, components_of, leading_components
from hsi_toolkit.detection.background import Background
from hsi_toolkit.detection.neighbourhood import Rows, ring_mean, with_neighbours
from hsi_toolkit.detection.scan import Scan
from hsi_toolkit.spectral.compute import Array, Compute

LOCAL_COMPONENTS = 10
"""Principal components kept: a covariance from a ring of some four hundred pixels supports few."""

GLOBAL_SHARE = 0.2
"""Share of the scene's variances in each local covariance, so that even ground does not divide by nothing."""

_TILE_PIXELS = 1 << 14


@dataclass(frozen=True)
class LocalRX:
    """Squared Mahalanobis distance from the ring of a dual window (Reed and Yu 1990).

    Means and covariances of all rings come from box sums of the components and of their products, so that
    the cost of a pixel does not depend on the window.
    """

    guard: int = GUARD
    window: int = WINDOW
    components: int = LOCAL_COMPONENTS
    passes: int = 2

    def scores(self, scan: Scan) -> Iterator[Rows]:
        """See ``AnomalyDetector``."""
        compute = scan.compute
        background = Background.of(scan.statistics("Measuring the background"))
        vectors = leading_components(background, self.components)
        # Unit variance in every component: the share of the scene's covariance is then a plain ridge.
        scale = np.sqrt(np.einsum("bk,bc,ck->k", vectors, background.covariance, vectors))
        features = components_of(scan, background, vectors / scale, "Scoring")
        for rows, around in with_neighbours(features, self.window, scan.scene.sizes["y"], compute):
            yield Rows(self._scored(around, compute)[None], rows.y0)

    def _scored(self, around: NDArray[np.float32], compute: Compute) -> NDArray[np.float32]:
        """Scores (rows, columns) of components with their neighbours, tile by tile."""
        height, width = around.shape[1] - 2 * self.window, around.shape[2]
        result = np.empty((height, width), np.float32)
        columns = max(1, min(width, 4 * self.window))
        lines = max(1, _TILE_PIXELS // columns)
        padded = compute.full((len(around), around.shape[1], width + 2 * self.window), np.nan)
        padded[:, :, self.window : self.window + width] = around
        for top in range(0, height, lines):
            for left in range(0, width, columns):
                bottom, right = min(top + lines, height), min(left + columns, width)
                tile = padded[:, top : bottom + 2 * self.window, left : right + 2 * self.window]
                result[top:bottom, left:right] = compute.get(self._tile(tile, compute))
        return result

    def _tile(self, tile: NDArray[np.float32], compute: Compute) -> Array:
        xp, reach, count = compute.xp, self.window, len(tile)
        first, second = np.triu_indices(count)
        core = slice(reach, tile.shape[2] - reach)
        mean = ring_mean(tile, self.guard, reach, compute)[:, :, core]
        products = ring_mean(tile[first] * tile[second], self.guard, reach, compute)[:, :, core]
        mean, products = compute.put(mean, np.float64), compute.put(products, np.float64)
        upper = xp.moveaxis(products - mean[first] * mean[second], 0, -1)
        covariance = compute.put(np.empty((*upper.shape[:2], count, count)))
        covariance[..., first, second] = upper
        covariance[..., second, first] = upper
        covariance *= 1 - GLOBAL_SHARE
        covariance += compute.put(GLOBAL_SHARE * np.eye(count))
        middle = tile[:, reach : tile.shape[1] - reach, core]
        known = xp.isfinite(middle[0])
        difference = xp.moveaxis(xp.where(known, middle - mean, 0.0), 0, -1)
        solved = xp.linalg.solve(covariance, difference[..., None])[..., 0]
        scores = xp.einsum("ijk,ijk->ij", difference, solved)
        scores[~known] = np.nan
        return compute.put(scores, np.float32)
