"""Where to cut scores so that a wanted share of the background exceeds the cut."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from hsi_toolkit.errors import SceneError

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Tail:
    """How the upper tail of background scores is modelled: normal after a transform of the scores.

    It is fitted where ``head`` to ``toe`` of all pixels exceed: targets, being rarer, sit above it.
    """

    head: float
    toe: float
    transform: Callable[[Values], Values]
    inverse: Callable[[Values], Values]


def _positive_log(values: Values) -> Values:
    return np.log(np.maximum(values, np.finfo(np.float32).tiny))


def _bounded_arctanh(values: Values) -> Values:
    return np.arctanh(np.clip(values, -1 + 1e-7, 1 - 1e-7))


LOGNORMAL = Tail(0.2, 0.02, _positive_log, np.exp)
"""Of squared distances, which are positive; anomalies may be a few in a hundred."""

NORMAL = Tail(0.1, 0.01, np.positive, np.positive)
"""Of scores around zero without bounds."""

COSINE = Tail(0.1, 0.01, _bounded_arctanh, np.tanh)
"""Of cosines, by Fisher's transform."""

_POINTS = 60
_DROPPED_BITS = 12
_BINS = 1 << (32 - _DROPPED_BITS)


class ScoreDistribution:
    """How often each score occurs, streamed: bins of 0.05 % of the score's size, in 8 MB.

    A float's bits, read as a whole number, ascend with it; their leading 20 number the bin.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)

    @property
    def n_scores(self) -> int:
        """Scores seen, without those that are not finite."""
        return int(self._counts.sum())

    def update(self, scores: NDArray[np.float32]) -> None:
        """Add scores of any shape; those that are not finite are left out."""
        values = scores[np.isfinite(scores)].astype(np.float32)
        self._counts += np.bincount(_ordered(values) >> _DROPPED_BITS, minlength=_BINS)

    def exceeded_by(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """The scores that these shares (0 to 1) of all scores exceed.

        Raises:
            SceneError: no score has been seen.
        """
        total = self.n_scores
        if not total:
            raise SceneError("No pixel has a score.", "Check the scene's nodata value and its bad bands.")
        cumulated = np.cumsum(self._counts)
        bins = np.searchsorted(cumulated, (1 - shares) * total)
        edges = ((np.minimum(bins, _BINS - 1) + 1) << _DROPPED_BITS) - 1
        return _unordered(edges.astype(np.uint32)).astype(np.float64)


def false_alarm_threshold(scores: ScoreDistribution, rate: float, tail: Tail = LOGNORMAL) -> float:
    """The score that a share ``rate`` of the background exceeds, whatever targets lie above it.

    The empirical quantile would count targets as background and, where they are more than ``rate`` of the
    scene, cut through them. Instead the upper tail is fitted where background prevails, by a line of the
    transformed scores over the normal quantiles of the shares, and prolonged to ``rate``.

    Args:
        scores: of all pixels.
        rate: share of background pixels above the threshold, 0 to 1.
        tail: what kind of scores they are.
    """
    if rate >= tail.toe:
        return float(scores.exceeded_by(np.array([rate]))[0])
    shares = np.geomspace(tail.toe, tail.head, _POINTS)
    slope, level = np.polyfit(norm.isf(shares), tail.transform(scores.exceeded_by(shares)), 1)
    return float(tail.inverse(np.array([level + slope * norm.isf(rate)]))[0])


def _ordered(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Whole numbers from 0 to 2³² − 1 in the order of the values."""
    bits = values.view(np.uint32).astype(np.int64)
    return np.where(bits < 1 << 31, bits + (1 << 31), (1 << 32) - 1 - bits)


def _unordered(numbers: NDArray[np.uint32]) -> NDArray[np.float32]:
    wide = numbers.astype(np.int64)
    bits = np.where(wide >= 1 << 31, wide - (1 << 31), (1 << 32) - 1 - wide)
    return bits.astype(np.uint32).view(np.float32)
