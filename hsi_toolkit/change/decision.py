"""Which pixels have changed, and in which way."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

Vector = NDArray[np.float64]
Spectra = NDArray[np.float64]

FALSE_CHANGES = 1e-5
"""Share of unchanged pixels above the automatic threshold, were their scores lognormal; their tails are
heavier, so that about one in a hundred exceeds it on unchanged scenes."""

QUARTILES = (0.25, 0.5, 0.75)
MOST_TYPES = 6
_CLUSTERED = 4000


def no_change_threshold(scores: Vector, rate: float = FALSE_CHANGES) -> float:
    """The score that separates change from none, from a sample of scores (n,) of which most are no change.

    The quartiles, which a quarter of changed pixels could not move far, fix a lognormal distribution of no
    change; its upper ``rate`` quantile is the threshold.
    """
    positive = np.maximum(scores, np.finfo(np.float32).tiny)
    slope, level = np.polyfit(norm.ppf(QUARTILES), np.log(np.quantile(positive, QUARTILES)), 1)
    return float(np.exp(level + slope * norm.isf(rate)))


@dataclass(frozen=True)
class ChangeTypes:
    """Kinds of change: unit directions (types, k) of whitened differences, most frequent first."""

    directions: Spectra

    def assign(self, differences: Spectra) -> NDArray[np.intp]:
        """The type, from 0, of each whitened difference (n, k)."""
        return np.asarray((_unit(differences) @ self.directions.T).argmax(axis=1), np.intp)


def cluster_changes(differences: Spectra, count: int | None = None) -> ChangeTypes | None:
    """Types of change from the whitened differences (n, k) of changed pixels, by their direction.

    Args:
        count: the number of types; None takes the one, up to six, whose clusters stand best apart.

    Returns:
        None where nothing, or too little, has changed.
    """
    step = max(1, len(differences) // _CLUSTERED)
    directions = _unit(differences[::step])
    most = min(count or MOST_TYPES, len(directions) - 1)
    if most < 1:
        return None
    if count or most == 1:
        return _ordered(directions, _clusters(directions, most))
    best, labels = -1.0, np.zeros(len(directions), np.intp)
    for number in range(2, most + 1):
        tried = _clusters(directions, number)
        if len(np.unique(tried)) < 2:
            break
        apart = float(silhouette_score(directions, tried, metric="cosine", sample_size=2000, random_state=0))
        if apart > best:
            best, labels = apart, tried
    return _ordered(directions, labels)


def _clusters(directions: Spectra, count: int) -> NDArray[np.intp]:
    return np.asarray(KMeans(count, n_init=5, random_state=0).fit_predict(directions), np.intp)


def _ordered(directions: Spectra, labels: NDArray[np.intp]) -> ChangeTypes:
    numbers, sizes = np.unique(labels, return_counts=True)
    order = numbers[np.argsort(-sizes, kind="stable")]
    return ChangeTypes(_unit(np.stack([directions[labels == number].mean(axis=0) for number in order])))


def _unit(X: Spectra) -> Spectra:
    lengths = np.linalg.norm(X, axis=1, keepdims=True)
    result: Spectra = np.divide(X, lengths, out=np.zeros_like(X), where=lengths > 0)
    return result
