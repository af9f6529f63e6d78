"""What the background of a scene looks like: mean and covariance, plain, shrunk or robust."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from hsi_toolkit.errors import SceneError
from hsi_toolkit.spectral.compute import Array, Compute
from hsi_toolkit.spectral.covariance import StreamingCovariance
from hsi_toolkit.spectral.parallel import one_blas_thread

Matrix = NDArray[np.float64]
Pixels = NDArray[np.float32] | NDArray[np.float64]

RIDGE = 1e-9
"""Share of the mean variance that is added to every band's, so that bands that repeat others do no harm."""

ENOUGH_PIXELS = 10
"""Pixels a band from which on a covariance is taken as it is."""

_PANELS = 4
"""Parts that the columns of a triangular matrix are multiplied in."""

SINGLE_PRECISION_CONDITION = 1e9
"""Covariances up to this condition number are applied in float32: its error then stays below the noise."""


@dataclass(frozen=True)
class Background:
    """Mean (bands,) and covariance (bands, bands) of the background, float64, from ``n_pixels`` pixels."""

    mean: Matrix
    covariance: Matrix
    n_pixels: int

    @classmethod
    def of(
        cls, statistics: StreamingCovariance, *, shrinkage: float | None = None, loading: float = RIDGE
    ) -> "Background":
        """The background with its covariance drawn towards its mean variance.

        Args:
            statistics: of the pixels.
            shrinkage: 0 (the covariance as it is) to 1 (equal variances). None: 0 where there are
                ``ENOUGH_PIXELS`` times as many pixels as bands, else bands / (bands + pixels), because few
                pixels span few directions and leave the others without variance.
            loading: share of the mean variance added to every band's.

        Raises:
            SceneError: there are fewer than two pixels, or all are equal.
        """
        covariance = statistics.covariance
        if shrinkage is None:
            bands, pixels = statistics.n_bands, statistics.n_pixels
            shrinkage = 0.0 if pixels >= ENOUGH_PIXELS * bands else bands / (bands + pixels)
        level = float(np.trace(covariance)) / len(covariance)
        if not level > 0:
            raise SceneError("All pixels of the scene are equal.", "There is nothing to detect in it.")
        shrunk = (1 - shrinkage) * covariance + (shrinkage + loading) * level * np.eye(len(covariance))
        return cls(statistics.mean, shrunk, statistics.n_pixels)

    @cached_property
    def cholesky(self) -> Matrix:
        """Lower triangular L with L Lᵀ = covariance."""
        with one_blas_thread():
            return np.asarray(np.linalg.cholesky(self.covariance), np.float64)

    @cached_property
    def whitener(self) -> Matrix:
        """W = L⁻¹ (bands, bands): W (x − mean) has unit covariance."""
        with one_blas_thread():
            inverse: Matrix = solve_triangular(self.cholesky, np.eye(len(self.mean)), lower=True)
        return inverse

    @cached_property
    def precision(self) -> np.dtype[np.floating]:
        """The type that scores are computed in."""
        with one_blas_thread():
            spread = np.linalg.eigvalsh(self.covariance)
        well = spread[0] > 0 and spread[-1] / spread[0] < SINGLE_PRECISION_CONDITION
        return np.dtype(np.float32 if well else np.float64)

    def whiten(self, spectra: NDArray[np.floating]) -> Matrix:
        """Spectra (n, bands) minus the mean, in units of the background's spread."""
        result: Matrix = (np.asarray(spectra, np.float64) - self.mean) @ self.whitener.T
        return result


def mahalanobis(X: Pixels, background: Background, compute: Compute | None = None) -> NDArray[np.float32]:
    """Squared Mahalanobis distance (n,) of pixels (n, bands); NaN where a band is.

    This is the RX score of Reed and Yu 1990: (x − µ)ᵀ C⁻¹ (x − µ).
    """
    compute = compute or Compute()
    dtype = background.precision
    mean, whitener = compute.put(background.mean, dtype), compute.put(background.whitener.T, dtype)
    # The whitener is triangular: to its first columns the first bands alone contribute.
    step = -(-len(mean) // _PANELS)
    ends = [min(start + step, len(mean)) for start in range(0, len(mean), step)]
    panels = [whitener[:end, step * number : end] for number, end in enumerate(ends)]

    def squared(pixels: Array) -> Array:
        centred = pixels - mean
        total = compute.full((len(pixels),), 0.0)
        for end, panel in zip(ends, panels, strict=True):
            total = total + compute.squared_lengths(centred[:, :end] @ panel)
        return total

    return compute.pixelwise(squared, X, dtype=dtype)
