"""Target detectors: how much each pixel looks like given spectra rather than like the background."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.detection.anomalies import BLUR_REACH, BLUR_SIGMA
from hsi_toolkit.detection.background import Background, Pixels, runs_of
from hsi_toolkit.detection.neighbourhood import Rows, smoothed, with_neighbours
from hsi_toolkit.detection.scan import ROBUST_PASSES, Scan, background_statistics, spectra_of
from hsi_toolkit.detection.thresholds import COSINE, NORMAL, Tail
from hsi_toolkit.errors import ParameterError
from hsi_toolkit.spectral.covariance import StreamingCovariance
from hsi_toolkit.spectral.parallel import map_blocks

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
        scorer = scorer_of(self.signatures, statistics, self.method)
        scores = (
            Rows(scorer(spectra_of(block.core)).reshape(1, *block.core.shape[1:]), block.y0)
            for block in scan.blocks("Scoring")
        )
        if self.method != "auto":
            yield from scores
            return
        for rows, around in with_neighbours(scores, BLUR_REACH, scan.scene.sizes["y"]):
            yield Rows(smoothed(around, BLUR_SIGMA, BLUR_REACH), rows.y0)


def scorer_of(signatures: Matrix, statistics: StreamingCovariance, method: Method) -> Scorer:
    """What scores pixels (n, bands), given the signatures (k, bands) and the scene's statistics.

    Raises:
        ParameterError: a signature is the background's mean or empty.
    """
    makers: dict[Method, Callable[[Matrix, StreamingCovariance], Scorer]] = {
        "auto": _kelly,
        "ace": _coherence,
        "mf": _matched_filter,
        "cem": _energy_minimisation,
        "sam": _spectral_angle,
        "osp": _subspace_projection,
    }
    return makers[method](np.atleast_2d(np.asarray(signatures, np.float64)), statistics)


def _matched_filter(signatures: Matrix, statistics: StreamingCovariance) -> Scorer:
    background = Background.of(statistics)
    whitened = background.whiten(signatures)
    weights = (background.whitener.T @ whitened.T) / _energy(whitened)
    return _linear(weights, background.mean @ weights)


def _energy_minimisation(signatures: Matrix, statistics: StreamingCovariance) -> Scorer:
    correlation = _correlation(statistics)
    solved = np.linalg.solve(correlation, signatures.T)
    weights = solved / _positive(np.einsum("kb,bk->k", signatures, solved))
    return _linear(weights, np.zeros(len(signatures)))


def _subspace_projection(signatures: Matrix, statistics: StreamingCovariance) -> Scorer:
    dimensions = min(BACKGROUND_DIMENSIONS, statistics.n_bands - 1)
    vectors = np.linalg.eigh(_correlation(statistics))[1][:, ::-1][:, :dimensions]
    left = signatures - signatures @ vectors @ vectors.T
    weights = left.T / _energy(left)
    return _linear(weights, np.zeros(len(signatures)))


def _coherence(signatures: Matrix, statistics: StreamingCovariance) -> Scorer:
    return _cosine(signatures, Background.of(statistics), 0.0)


def _kelly(signatures: Matrix, statistics: StreamingCovariance) -> Scorer:
    background = Background.of(statistics, loading=LOADING)
    return _cosine(signatures, background, KELLY_SHARE * statistics.n_bands)


def _spectral_angle(signatures: Matrix, statistics: StreamingCovariance) -> Scorer:
    bands = statistics.n_bands
    return _cosine(signatures, Background(np.zeros(bands), np.eye(bands), statistics.n_pixels), 0.0)


def _cosine(signatures: Matrix, background: Background, constant: float) -> Scorer:
    """sᵀx / √(sᵀs · (constant + xᵀx)) of whitened signatures and pixels, the largest of all signatures."""
    whitened = background.whiten(signatures)
    kind = background.precision
    directions = (whitened.T / np.sqrt(_energy(whitened))).astype(kind)
    whitener: NDArray[np.floating] = background.whitener.T.astype(kind)
    mean: NDArray[np.floating] = background.mean.astype(kind)

    def score(X: Pixels) -> NDArray[np.floating]:
        pixels = (X - mean) @ whitener
        size = np.einsum("ij,ij->i", pixels, pixels) + constant
        # A pixel that is exactly the mean looks like nothing.
        scores: NDArray[np.floating] = (pixels @ directions).max(axis=1)
        return scores / np.sqrt(np.where(size == 0, 1, size))

    return _in_runs(score)


def _linear(weights: Matrix, offset: Matrix) -> Scorer:
    def score(X: Pixels) -> NDArray[np.floating]:
        scores: NDArray[np.floating] = (np.asarray(X, np.float64) @ weights - offset).max(axis=1)
        return scores

    return _in_runs(score)


def _in_runs(score: Callable[[Pixels], NDArray[np.floating]]) -> Scorer:
    """The same over cache-sized runs of pixels, on several threads."""

    def whole(X: Pixels) -> NDArray[np.float32]:
        scores = np.empty(len(X), np.float32)

        def run(rows: slice) -> None:
            scores[rows] = score(X[rows])

        for _ in map_blocks(run, runs_of(len(X))):
            pass
        return scores

    return whole


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
