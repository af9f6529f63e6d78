"""Target detectors: how much each pixel looks like given spectra rather than like the background."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.detection.anomalies import BLUR_REACH, BLUR_SIGMA
from hsi_toolkit.detection.background import Background, Pixels
from hsi_toolkit.detection.neighbourhood import Rows, smoothed, with_neighbours
from hsi_toolkit.detection.scan import ROBUST_PASSES, Scan, background_statistics, spectra_of
from hsi_toolkit.detection.thresholds import COSINE, NORMAL, Tail
from hsi_toolkit.errors import ParameterError
from hsi_toolkit.scene import Block
from hsi_toolkit.spectral.compute import Array, Compute
from hsi_toolkit.spectral.covariance import StreamingCovariance
from hsi_toolkit.spectral.parallel import one_blas_thread

Matrix = NDArray[np.float64]
Method = Literal["auto", "ace", "mf", "cem", "sam", "osp"]
Scorer = Callable[[Pixels], NDArray[np.float32]]

LOADING = 3e-3
"""Share of the mean variance that "auto" adds to every band's. A signature from elsewhere is never quite the
target's: without this, minute differences count where the background hardly varies."""

KELLY_SHARE = 0.3
"""Weight of the bands' number against a pixel's own distance in the denominator of "auto": 0 would be ACE,
which accepts anything of the right direction, very large values the matched filter."""

BACKGROUND_DIMENSIONS = 10
"""Dimensions of the background that "osp" projects out."""


@dataclass(frozen=True)
class TargetDetector:
    """Scores a scene by its likeness to any of ``signatures`` (n, bands), in the scene's units.

    Methods: "mf" matched filter, 1 at the signature; "ace" adaptive cosine estimator, −1 to 1 (Scharf and
    McWhorter 1996; the signed cosine, whose square others report); "cem" constrained energy minimisation,
    1 at the signature (Harsanyi 1993); "sam" cosine of the spectral angle (Kruse et al. 1993); "osp"
    orthogonal subspace projection, 1 at the signature (Harsanyi and Chang 1994); "auto" Kelly's statistic
    between the first two (Kelly 1986) over a loaded covariance, smoothed by about a sensor's point spread.
    Of several signatures the most alike counts. ``robust`` leaves the most unusual pixels out of the
    background.
    """

    signatures: Matrix
    method: Method = "auto"
    robust: bool = False

    @property
    def passes(self) -> int:
        """How often the scene is read."""
        return 2 + ROBUST_PASSES * self.robust

    @property
    def tail(self) -> Tail:
        """How the scores of the background are distributed."""
        return COSINE if self.method in ("auto", "ace", "sam") else NORMAL

    def scores(self, scan: Scan) -> Iterator[Rows]:
        """The scores (1, rows, columns), block by block from top to bottom, NaN without data."""
        statistics = background_statistics(scan, robust=self.robust)
        scorer = scorer_of(self.signatures, statistics, self.method, scan.compute)

        def score(block: Block) -> Rows:
            return Rows(scorer(spectra_of(block.core)).reshape(1, *block.core.shape[1:]), block.y0)

        scores = scan.map(score, "Scoring")
        if self.method != "auto":
            yield from scores
            return
        # One band is too little to be worth a device.
        for rows, around in with_neighbours(scores, BLUR_REACH, scan.scene.sizes["y"], Compute()):
            yield Rows(smoothed(around, BLUR_SIGMA, BLUR_REACH, Compute()), rows.y0)


def scorer_of(
    signatures: Matrix, statistics: StreamingCovariance, method: Method, compute: Compute | None = None
) -> Scorer:
    """What scores pixels (n, bands), given the signatures (k, bands) and the scene's statistics.

    Raises:
        ParameterError: a signature is the background's mean or empty.
    """
    makers: dict[Method, Callable[[Matrix, StreamingCovariance, Compute], Scorer]] = {
        "auto": _kelly,
        "ace": _coherence,
        "mf": _matched_filter,
        "cem": _energy_minimisation,
        "sam": _spectral_angle,
        "osp": _subspace_projection,
    }
    with one_blas_thread():
        spectra = np.atleast_2d(np.asarray(signatures, np.float64))
        return makers[method](spectra, statistics, compute or Compute())


def _matched_filter(signatures: Matrix, statistics: StreamingCovariance, compute: Compute) -> Scorer:
    background = Background.of(statistics)
    whitened = background.whiten(signatures)
    weights = (background.whitener.T @ whitened.T) / _energy(whitened)
    kind = background.precision
    matrix, mean = compute.put(weights, kind), compute.put(background.mean, kind)

    def score(X: Array) -> Array:
        return compute.largest((X - mean) @ matrix)

    return partial(compute.pixelwise, score, dtype=kind)


def _energy_minimisation(signatures: Matrix, statistics: StreamingCovariance, compute: Compute) -> Scorer:
    correlation = _correlation(statistics)
    solved = np.linalg.solve(correlation, signatures.T)
    weights = solved / _positive(np.einsum("kb,bk->k", signatures, solved))
    return _linear(weights, compute)


def _subspace_projection(signatures: Matrix, statistics: StreamingCovariance, compute: Compute) -> Scorer:
    dimensions = min(BACKGROUND_DIMENSIONS, statistics.n_bands - 1)
    vectors = np.linalg.eigh(_correlation(statistics))[1][:, ::-1][:, :dimensions]
    left = signatures - signatures @ vectors @ vectors.T
    weights = left.T / _energy(left)
    return _linear(weights, compute)


def _coherence(signatures: Matrix, statistics: StreamingCovariance, compute: Compute) -> Scorer:
    return _cosine(signatures, Background.of(statistics), 0.0, compute)


def _kelly(signatures: Matrix, statistics: StreamingCovariance, compute: Compute) -> Scorer:
    background = Background.of(statistics, loading=LOADING)
    return _cosine(signatures, background, KELLY_SHARE * statistics.n_bands, compute)


def _spectral_angle(signatures: Matrix, statistics: StreamingCovariance, compute: Compute) -> Scorer:
    bands = statistics.n_bands
    plain = Background(np.zeros(bands), np.eye(bands), statistics.n_pixels)
    return _cosine(signatures, plain, 0.0, compute)


def _cosine(signatures: Matrix, background: Background, constant: float, compute: Compute) -> Scorer:
    """sᵀx / √(sᵀs · (constant + xᵀx)) of whitened signatures and pixels, the largest of all signatures."""
    whitened = background.whiten(signatures)
    kind = background.precision
    directions = compute.put(whitened.T / np.sqrt(_energy(whitened)), kind)
    whitener, mean = compute.put(background.whitener.T, kind), compute.put(background.mean, kind)

    def score(X: Array) -> Array:
        pixels = (X - mean) @ whitener
        size = compute.squared_lengths(pixels) + constant
        # A pixel that is exactly the mean looks like nothing.
        size[size == 0] = 1
        cosines: Array = compute.largest(pixels @ directions) / compute.xp.sqrt(size)
        return cosines

    return partial(compute.pixelwise, score, dtype=kind)


def _linear(weights: Matrix, compute: Compute) -> Scorer:
    matrix = compute.put(weights, np.float64)

    def score(X: Array) -> Array:
        return compute.largest(X @ matrix)

    return partial(compute.pixelwise, score, dtype=np.float64)


def _correlation(statistics: StreamingCovariance) -> Matrix:
    """Second moments (bands, bands) about zero, with the ridge of every background."""
    background = Background.of(statistics)
    return background.covariance + np.outer(background.mean, background.mean)


def _energy(spectra: Matrix) -> Matrix:
    """Squared lengths (n,) of spectra (n, bands)."""
    return _positive(np.einsum("nb,nb->n", spectra, spectra))


def _positive(energy: Matrix) -> Matrix:
    if not (np.isfinite(energy) & (energy > 0)).all():
        raise ParameterError(
            "A target's spectrum is empty or equals the background's mean.", "Give another target."
        )
    return energy
