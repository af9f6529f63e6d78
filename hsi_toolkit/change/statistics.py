"""What stays the same between two dates: no-change weights, normalisation, robust spread."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.stats import chi2

from hsi_toolkit.errors import SceneError

Spectra = NDArray[np.float64]
Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

MAD_COMPONENTS = 20
"""Principal components of each date that are compared: with all bands, noise correlates by chance."""

SMALLEST_WEIGHT = 1e-6
STUDENT_FREEDOM = 5.0
_RIDGE = 1e-9
_ITERATIONS = 30
_SETTLED = 1e-3


@dataclass(frozen=True)
class Alteration:
    """Multivariate alteration detection: canonical components of both dates, and their differences' spread.

    ``first`` and ``second`` (bands, k) turn centred spectra into canonical variates; differences of the
    variates have the variances ``2 (1 − correlations)``.
    """

    first_mean: Vector
    second_mean: Vector
    first: Matrix
    second: Matrix
    correlations: Vector

    def variates(self, before: Spectra, after: Spectra) -> Spectra:
        """Differences of the canonical variates in units of their spread, (n, k)."""
        difference = (before - self.first_mean) @ self.first - (after - self.second_mean) @ self.second
        result: Spectra = difference / (2 * (1 - self.correlations)) ** 0.5
        return result

    def weights(self, before: Spectra, after: Spectra) -> Vector:
        """Probability (n,) that pixels have not changed."""
        squared = np.square(self.variates(before, after)).sum(axis=1)
        result: Vector = chi2.sf(squared, len(self.correlations))
        return result


def iterated_alteration(before: Spectra, after: Spectra) -> Alteration:
    """IR-MAD: alteration detection, again and again with the weights of no change (Nielsen 2007).

    Args:
        before, after: (n, bands) of the same pixels.
    """
    turns = [principal_vectors(each, MAD_COMPONENTS) for each in (before, after)]
    first, second = before @ turns[0], after @ turns[1]
    weights = np.ones(len(first))
    found = _alteration(first, second, weights)
    for _ in range(_ITERATIONS):
        weights = found.weights(first, second)
        if weights.sum() < 10 * (first.shape[1] + second.shape[1]):
            break
        previous, found = found, _alteration(first, second, weights)
        if np.abs(previous.correlations - found.correlations).max() < _SETTLED:
            break
    return Alteration(
        first_mean=before.mean(axis=0) + turns[0] @ (found.first_mean - first.mean(axis=0)),
        second_mean=after.mean(axis=0) + turns[1] @ (found.second_mean - second.mean(axis=0)),
        first=turns[0] @ found.first,
        second=turns[1] @ found.second,
        correlations=found.correlations,
    )


def _alteration(first: Spectra, second: Spectra, weights: Vector) -> Alteration:
    """Canonical correlation analysis of weighted pixels."""
    mean, covariance = weighted_moments(np.hstack([first, second]), weights)
    size = first.shape[1]
    factors = [_cholesky(covariance[:size, :size]), _cholesky(covariance[size:, size:])]
    half = solve_triangular(factors[0], covariance[:size, size:], lower=True)
    coupled = solve_triangular(factors[1], half.T, lower=True).T
    left, correlations, right = np.linalg.svd(coupled, full_matrices=False)
    return Alteration(
        first_mean=mean[:size],
        second_mean=mean[size:],
        first=solve_triangular(factors[0].T, left),
        second=solve_triangular(factors[1].T, right.T),
        correlations=np.clip(correlations, 0, 1 - 1e-9),
    )


@dataclass(frozen=True)
class Normalisation:
    """Gain and offset (bands,) that bring the later scene to the earlier one's radiometry.

    ``spread`` (bands,) is the standard deviation of the difference that remains on unchanged pixels, and
    ``invariant`` the share of pixels that count as unchanged.
    """

    gain: Vector
    offset: Vector
    spread: Vector
    invariant: float

    def apply(self, after: Spectra) -> Spectra:
        """Spectra (n, bands) of the later scene as the earlier one's conditions would show them."""
        return after * self.gain + self.offset


def invariant_normalisation(before: Spectra, after: Spectra, weights: Vector) -> Normalisation:
    """Orthogonal regression of each band on pseudo-invariant pixels (Canty and Nielsen 2008).

    Args:
        before, after: (n, bands) of the same pixels.
        weights: (n,) probability that they have not changed.
    """
    share = weights / weights.sum()
    means = share @ before, share @ after
    left, right = before - means[0], after - means[1]
    variances = share @ np.square(left), share @ np.square(right)
    covariance = share @ (left * right)
    difference = variances[0] - variances[1]
    # A band that does not correlate (noise, clouds) keeps its spread at least.
    unrelated = np.sqrt(variances[0] / np.maximum(variances[1], np.finfo(float).tiny))
    slope = (difference + np.sqrt(difference**2 + 4 * covariance**2)) / np.where(
        covariance > 0, 2 * covariance, 1
    )
    gain = np.where(covariance > 0, slope, unrelated)
    remaining = left - right * gain
    spread = np.sqrt(share @ np.square(remaining))
    return Normalisation(gain, means[0] - gain * means[1], spread, float((weights > 0.05).mean()))


def robust_moments(
    X: Spectra, weights: Vector, freedom: float = STUDENT_FREEDOM, iterations: int = 20
) -> tuple[Vector, Matrix]:
    """Mean (k,) and covariance (k, k) under a Student distribution: outliers, that is changes, count little.

    Maximum likelihood by expectation and maximisation (Lange, Little and Taylor 1989), from ``weights``.
    """
    size = X.shape[1]
    mean, covariance = weighted_moments(X, weights)
    for _ in range(iterations):
        distances = squared_distances(X, mean, covariance)
        mean, covariance = weighted_moments(X, (freedom + size) / (freedom + distances))
    return mean, covariance


def squared_distances(X: Spectra, mean: Vector, covariance: Matrix) -> Vector:
    """Squared Mahalanobis distances (n,)."""
    whitened = solve_triangular(_cholesky(covariance), (X - mean).T, lower=True)
    return np.asarray(np.einsum("kn,kn->n", whitened, whitened), np.float64)


def weighted_moments(X: Spectra, weights: Vector) -> tuple[Vector, Matrix]:
    """Mean (k,) and covariance (k, k) of weighted pixels (n, k)."""
    share = weights / weights.sum()
    mean = share @ X
    centred = X - mean
    return mean, (centred * share[:, None]).T @ centred


def principal_vectors(X: Spectra, count: int) -> Matrix:
    """The leading principal components of pixels as columns (bands, ≤ count), those with variance alone.

    Raises:
        SceneError: all pixels are equal.
    """
    variances, vectors = np.linalg.eigh(np.cov(X.T).reshape(X.shape[1], -1))
    if not variances[-1] > 0:
        raise SceneError("All pixels of a scene are equal.", "There is nothing to compare in it.")
    useful = int(np.count_nonzero(variances > 1e-10 * variances[-1]))
    result: Matrix = vectors[:, ::-1][:, : min(count, useful)]
    return result


def _cholesky(covariance: Matrix) -> Matrix:
    level = float(np.trace(covariance)) / len(covariance)
    ridge = _RIDGE * max(level, np.finfo(float).tiny) * np.eye(len(covariance))
    return np.asarray(np.linalg.cholesky(covariance + ridge), np.float64)
