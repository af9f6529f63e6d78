"""Change detectors: how far two spectra of a pixel differ beyond what light, season and noise explain."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from scipy.linalg import solve_triangular

from hsi_toolkit.change.statistics import (
    SMALLEST_WEIGHT,
    Alteration,
    Matrix,
    Normalisation,
    Spectra,
    Vector,
    invariant_normalisation,
    iterated_alteration,
    principal_vectors,
    robust_moments,
    weighted_moments,
)
from hsi_toolkit.spectral.compute import Compute

Method = Literal["auto", "irmad", "chronochrome", "cva", "sam"]

COMPONENTS = 30
"""Joint principal components that differences are whitened in."""


class ChangeDetector(Protocol):
    """Scores pixels of two dates."""

    def scores(self, before: Spectra, after: Spectra, compute: Compute) -> Vector:
        """How much each pixel (n, bands) has changed, (n,), zero or more; NaN where a band is.

        ``compute`` is where the spectra and this detector's arrays are.
        """


@dataclass(frozen=True)
class WhitenedDifference:
    """Squared Mahalanobis distance of the difference from that of unchanged pixels.

    ``matrix`` (bands, k) whitens the difference of normalised spectra, of which ``mean`` (bands,) is that of
    no change.
    """

    normalisation: Normalisation
    mean: Vector
    matrix: Matrix

    def differences(self, before: Spectra, after: Spectra) -> Spectra:
        """Whitened differences (n, k), later minus earlier."""
        return (self.normalisation.apply(after) - before - self.mean) @ self.matrix

    def scores(self, before: Spectra, after: Spectra, compute: Compute) -> Vector:
        """See ``ChangeDetector``."""
        return compute.squared_lengths(self.differences(before, after))


@dataclass(frozen=True)
class AlterationScore:
    """Chi-square of the MAD variates (Nielsen 2007)."""

    alteration: Alteration

    def scores(self, before: Spectra, after: Spectra, compute: Compute) -> Vector:
        """See ``ChangeDetector``."""
        return compute.squared_lengths(self.alteration.variates(before, after))


@dataclass(frozen=True)
class Chronochrome:
    """Distance of the later spectrum from its linear prediction by the earlier one (Schaum and Stocker 1998).

    ``prediction`` and ``identity`` (bands, k) give the whitened residual, ``offset`` (k,) that of no change.
    """

    prediction: Matrix
    identity: Matrix
    offset: Vector

    def scores(self, before: Spectra, after: Spectra, compute: Compute) -> Vector:
        """See ``ChangeDetector``."""
        return compute.squared_lengths(after @ self.identity - before @ self.prediction - self.offset)


@dataclass(frozen=True)
class ChangeVector:
    """Length of the normalised difference (Malila 1980), each band in its spread on unchanged pixels."""

    normalisation: Normalisation

    def scores(self, before: Spectra, after: Spectra, compute: Compute) -> Vector:
        """See ``ChangeDetector``."""
        spread = self.normalisation.spread + float(np.finfo(np.float32).tiny)
        lengths: Vector = compute.squared_lengths((self.normalisation.apply(after) - before) / spread) ** 0.5
        return lengths


@dataclass(frozen=True)
class AngleChange:
    """Spectral angle in radians between the earlier and the normalised later spectrum."""

    normalisation: Normalisation

    def scores(self, before: Spectra, after: Spectra, compute: Compute) -> Vector:
        """See ``ChangeDetector``."""
        later = self.normalisation.apply(after)
        lengths = (compute.squared_lengths(before) * compute.squared_lengths(later)) ** 0.5
        products = (before * later).sum(1)
        empty = lengths == 0
        lengths[empty], products[empty] = 1, 1
        angles: Vector = compute.xp.arccos(compute.xp.clip(products / lengths, -1, 1))
        return angles


@dataclass(frozen=True)
class PairModel:
    """What a sample of both dates says: the detector asked for, and the whitened differences for types."""

    detector: ChangeDetector
    difference: WhitenedDifference
    normalisation: Normalisation


def fit_pair(before: Spectra, after: Spectra, method: Method = "auto") -> PairModel:
    """Measure no change on a sample of the same pixels (n, bands) of both dates."""
    alteration = iterated_alteration(before, after)
    weights = np.maximum(alteration.weights(before, after), SMALLEST_WEIGHT)
    normalisation = invariant_normalisation(before, after, weights)
    difference = _whitened_difference(before, after, weights, normalisation)
    detectors: dict[Method, ChangeDetector] = {
        "auto": difference,
        "irmad": AlterationScore(alteration),
        "cva": ChangeVector(normalisation),
        "sam": AngleChange(normalisation),
    }
    detector = _chronochrome(before, after, weights) if method == "chronochrome" else detectors[method]
    return PairModel(detector, difference, normalisation)


def _whitened_difference(
    before: Spectra, after: Spectra, weights: Vector, normalisation: Normalisation
) -> WhitenedDifference:
    later = normalisation.apply(after)
    vectors = principal_vectors(np.concatenate([before, later]), COMPONENTS)
    projected = (later - before) @ vectors
    mean, covariance = robust_moments(projected, weights)
    return WhitenedDifference(normalisation, vectors @ mean, vectors @ _whitener(covariance))


def _chronochrome(before: Spectra, after: Spectra, weights: Vector) -> Chronochrome:
    turns = [principal_vectors(each, COMPONENTS) for each in (before, after)]
    first, second = before @ turns[0], after @ turns[1]
    size = first.shape[1]
    _, covariance = weighted_moments(np.hstack([first, second]), weights)
    prediction = np.linalg.lstsq(covariance[:size, :size], covariance[:size, size:], rcond=1e-12)[0]
    residual_mean, spread = robust_moments(second - first @ prediction, weights)
    whitener = _whitener(spread)
    return Chronochrome(turns[0] @ prediction @ whitener, turns[1] @ whitener, residual_mean @ whitener)


def _whitener(covariance: Matrix) -> Matrix:
    """W (k, k) such that pixels times W have unit covariance."""
    level = float(np.trace(covariance)) / len(covariance)
    safe = covariance + 1e-9 * max(level, np.finfo(float).tiny) * np.eye(len(covariance))
    return np.asarray(solve_triangular(np.linalg.cholesky(safe), np.eye(len(safe)), lower=True).T, np.float64)
