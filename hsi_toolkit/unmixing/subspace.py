"""How many materials a scene holds: noise, signal subspace and virtual dimensionality."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from hsi_toolkit.errors import SceneError

Float64 = NDArray[np.float64]

_RIDGE = 1e-10
"""Part of the mean variance that keeps the correlation matrix invertible where bands repeat each other."""


@dataclass(frozen=True, eq=False)
class SignalSubspace:
    """What HySime finds.

    Attributes:
        dimension: number of directions whose signal exceeds their noise.
        basis: (bands, dimension), orthonormal, the strongest first.
        noise: (bands,) standard deviation of each band's noise.
    """

    dimension: int
    basis: Float64
    noise: Float64


def noise_covariance(correlation: Float64) -> Float64:
    """Covariance of the noise (bands, bands), from the pixels' correlation matrix ``Y'Y / n`` alone.

    What a linear regression of each band on all others leaves is its noise (Bioucas-Dias and Nascimento
    2008, section III): with ``P`` the inverse of the correlation matrix and ``D`` the inverse of its
    diagonal, the residuals are ``Y P D`` and their covariance ``D P D``.
    """
    bands = len(correlation)
    precision = np.linalg.inv(correlation + _RIDGE * np.trace(correlation) / bands * np.eye(bands))
    scale = 1 / np.diag(precision)
    covariance: Float64 = scale[:, None] * precision * scale
    return covariance


def hysime(pixels: Float64) -> SignalSubspace:
    """Signal subspace of ``pixels`` (n, bands), finite, by minimum error.

    A direction belongs to the signal when leaving it out would cost more than its noise adds.
    Bioucas-Dias and Nascimento 2008, Hyperspectral Subspace Identification, IEEE Transactions on Geoscience
    and Remote Sensing 46, equations 22 to 25, doi:10.1109/TGRS.2008.918089.

    Raises:
        SceneError: there are not more pixels than bands.
    """
    correlation = _correlation(pixels)
    noise = noise_covariance(correlation)
    signal = correlation - noise
    _, vectors = np.linalg.eigh((signal + signal.T) / 2)
    power = np.einsum("ij,ik,kj->j", vectors, correlation, vectors)
    noise_power = np.einsum("ij,ik,kj->j", vectors, noise, vectors)
    cost = 2 * noise_power - power
    order = np.argsort(cost)
    kept = order[cost[order] < 0]
    return SignalSubspace(len(kept), vectors[:, kept], np.sqrt(np.diag(noise)))


def virtual_dimensionality(pixels: Float64, false_alarm: float = 1e-3) -> int:
    """Number of spectrally distinct sources in ``pixels`` (n, bands), noise-whitened.

    Counts the eigenvalues of the correlation matrix that exceed those of the covariance matrix by more than
    chance (Harsanyi, Farrand and Chang 1993; noise-whitened: Chang and Du 2004, IEEE Transactions on
    Geoscience and Remote Sensing 42, doi:10.1109/TGRS.2003.819189). ``false_alarm`` is the probability of
    counting a source that is none.

    Raises:
        SceneError: there are not more pixels than bands.
    """
    whitened = pixels / np.sqrt(np.diag(noise_covariance(_correlation(pixels))))
    n = len(whitened)
    correlation = np.linalg.eigvalsh(whitened.T @ whitened / n)[::-1]
    covariance = np.linalg.eigvalsh(np.cov(whitened, rowvar=False))[::-1]
    spread = np.sqrt(2 / n * (correlation**2 + covariance**2))
    return int(np.count_nonzero(correlation - covariance > -norm.ppf(false_alarm) * spread))


def _correlation(pixels: Float64) -> Float64:
    n, bands = pixels.shape
    if n <= bands:
        raise SceneError(
            f"{n} pixels with data are too few to tell noise from signal in {bands} bands.",
            "Give the number of endmembers, or a larger scene.",
        )
    correlation: Float64 = pixels.T @ pixels / n
    return correlation
