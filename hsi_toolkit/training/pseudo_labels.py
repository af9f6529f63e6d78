"""What a training-free method is sure of, as labels for a network: its lowest and its highest scores."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.detection.thresholds import ScoreDistribution
from hsi_toolkit.scene.blocks import mirrored

Float32 = NDArray[np.float32]
Index = NDArray[np.intp]
Labels = NDArray[np.int64]

BACKGROUND, FOUND, UNSURE = 0, 1, 255

_PIXELS_AT_ONCE = 1 << 22


class ScoredRows(Protocol):
    """Rows ``y0`` and on of a raster of scores, ``data`` (1, rows, columns)."""

    @property
    def data(self) -> Float32:
        """The scores, NaN without data."""

    @property
    def y0(self) -> int:
        """The first row."""


@dataclass(frozen=True, eq=False)
class ScoreRaster:
    """The scores of a whole scene (rows, columns), on disk, and how they are distributed."""

    values: Float32
    distribution: ScoreDistribution

    def runs(self) -> Iterator[tuple[int, Float32]]:
        """First row and scores of runs of whole lines that fit into memory."""
        step = max(1, _PIXELS_AT_ONCE // self.values.shape[1])
        for y0 in range(0, len(self.values), step):
            yield y0, self.values[y0 : y0 + step]


@contextmanager
def kept_on_disk(scores: Iterable[ScoredRows], shape: tuple[int, int]) -> Iterator[ScoreRaster]:
    """Keep scores that come row by row in a file that nobody sees, until the block ends."""
    with tempfile.TemporaryFile(prefix="hsi-") as file:
        values: Float32 = np.memmap(file, np.float32, "w+", shape=shape)
        distribution = ScoreDistribution()
        for rows in scores:
            values[rows.y0 : rows.y0 + rows.data.shape[1]] = rows.data[0]
            distribution.update(rows.data)
        yield ScoreRaster(values, distribution)


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """Pixels up to ``low`` are background, those above ``high`` are found, the others unsure."""

    scores: ScoreRaster
    low: float
    high: float

    @classmethod
    def of_shares(cls, scores: ScoreRaster, lowest: float, highest: float) -> "PseudoLabels":
        """The ``lowest`` and ``highest`` shares of all scores, but two pixels at least that are found.

        Raises:
            SceneError: no pixel has a score.
        """
        count = scores.distribution.n_scores
        shares = np.array([1 - lowest, max(highest, 2 / max(count, 1))])
        low, high = scores.distribution.exceeded_by(np.clip(shares, 0, 1)).tolist()
        return cls(scores, min(low, high), high)

    def windows(self, rows: Index, cols: Index, side: int) -> Labels:
        """Labels (n, side, side) of tiles around pixels, cut and mirrored as ``read_tiles`` does."""
        reach = np.arange(side) - side // 2
        height, width = self.scores.values.shape
        y, x = mirrored(rows[:, None] + reach, height), mirrored(cols[:, None] + reach, width)
        return self._of(self.scores.values[y[:, :, None], x[:, None, :]])

    def draw(self, label: int, count: int, rng: np.random.Generator) -> tuple[Index, Index]:
        """Rows and columns of ``count`` random pixels with that label, or of all where there are fewer."""
        numbers = [np.count_nonzero(self._of(part) == label) for _, part in self.scores.runs()]
        total = int(np.sum(numbers))
        ranks = (
            np.sort(rng.choice(total, min(count, total), replace=False)) if total else np.empty(0, np.intp)
        )
        rows, cols = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
        before = 0
        for number, (y0, part) in zip(numbers, self.scores.runs(), strict=True):
            own = ranks[(ranks >= before) & (ranks < before + number)] - before
            before += int(number)
            if len(own):
                y, x = np.nonzero(self._of(part) == label)
                rows.append(y[own] + y0)
                cols.append(x[own])
        return np.concatenate(rows), np.concatenate(cols)

    def _of(self, scores: Float32) -> Labels:
        labels = np.full(scores.shape, UNSURE, np.int64)
        labels[scores <= self.low] = BACKGROUND
        labels[scores > self.high] = FOUND
        return labels
