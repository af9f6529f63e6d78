"""Endmembers and fractions come in no order: the pairing that fits best overall."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Float64 = NDArray[np.float64]


def spectral_angles(spectra: Float64, reference: Float64) -> Float64:
    """Angles between every spectrum (n, bands) and every reference (m, bands), radians, (n, m)."""
    first = spectra / np.linalg.norm(spectra, axis=1, keepdims=True)
    second = reference / np.linalg.norm(reference, axis=1, keepdims=True)
    apart = np.linalg.norm(first[:, None] - second[None], axis=2)
    together = np.linalg.norm(first[:, None] + second[None], axis=2)
    angles: Float64 = 2 * np.arctan2(apart, together)
    return angles


def match_spectra(spectra: Float64, reference: Float64) -> tuple[NDArray[np.intp], Float64]:
    """Which spectrum stands for each reference, by the smallest sum of spectral angles.

    Args:
        spectra: (n, bands); reference: (m, bands), m at most n.

    Returns:
        (m,) index into ``spectra`` for each reference, and (m,) its angle in radians.
    """
    angles = spectral_angles(spectra, reference)
    rows, cols = linear_sum_assignment(angles)
    order = np.argsort(cols)
    return rows[order], angles[rows[order], cols[order]]


class BandMoments:
    """The squared error of every pairing of bands of two rasters, summed block by block."""

    def __init__(self, compared: int, reference: int) -> None:
        self._cross = np.zeros((compared, reference))
        self._compared, self._reference = np.zeros(compared), np.zeros(reference)

    def update(self, compared: NDArray[np.float32], reference: NDArray[np.float32]) -> None:
        """Add a block of each, (bands, rows, cols); pixels without data in any band are left out."""
        x = compared.reshape(len(compared), -1).astype(np.float64)
        y = reference.reshape(len(reference), -1).astype(np.float64)
        known = np.isfinite(x).all(axis=0) & np.isfinite(y).all(axis=0)
        x, y = x[:, known], y[:, known]
        self._cross += x @ y.T
        self._compared += np.einsum("bn,bn->b", x, x)
        self._reference += np.einsum("bn,bn->b", y, y)

    def pairing(self) -> NDArray[np.intp]:
        """(reference bands,) the compared band for each, by the smallest sum of squared errors."""
        errors = self._compared[:, None] - 2 * self._cross + self._reference[None]
        rows, cols = linear_sum_assignment(errors)
        pairing: NDArray[np.intp] = rows[np.argsort(cols)]
        return pairing
