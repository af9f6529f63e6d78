"""Band means and covariance of any number of pixels in one pass, in memory of bands²."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from hsi_toolkit.errors import SceneError
from hsi_toolkit.spectral.compute import Compute
from hsi_toolkit.spectral.parallel import map_blocks

Matrix = npt.NDArray[np.float64]

# Pixels converted to float64 at a time: large enough for BLAS, small enough for the cache.
_BLOCK = 4096
# Pixels that one thread sums before its result is merged. Fixed, so that the result does not depend on the
# number of threads.
_RUN = 4 * _BLOCK


class StreamingCovariance:
    """Mean and covariance of spectra given block by block.

    Every block is centred before its products are summed in float64, and blocks are merged after Chan, Golub
    and LeVeque 1983, so that neither the offset nor the number of the pixels costs digits. (Summing in
    float32 would be 1.7 times faster and loses the trailing eigenvalues: errors of 1e-3 on correlated
    bands against 1e-10.) Pixels with a value that is not finite are left out.
    """

    def __init__(self, n_bands: int) -> None:
        self.n_pixels = 0
        self.mean: Matrix = np.zeros(n_bands)
        self._scatter: Matrix = np.zeros((n_bands, n_bands))
        self._valid: npt.NDArray[np.int64] = np.zeros(n_bands, dtype=np.int64)

    @property
    def n_bands(self) -> int:
        """Number of bands of the spectra."""
        return len(self.mean)

    @property
    def covariance(self) -> Matrix:
        """Unbiased covariance (n_bands, n_bands), float64.

        Raises:
            SceneError: a band never has a valid value, or fewer than two pixels are valid in all bands.
        """
        if self.n_pixels < 2:
            empty = np.flatnonzero(self._valid == 0)
            if 0 < len(empty) < self.n_bands:
                raise SceneError(
                    f"{_bands(empty)} no valid value at all.",
                    "Mark such bands as bad or leave them out.",
                )
            raise SceneError(
                f"Only {self.n_pixels} pixels are valid in all {self.n_bands} bands; a covariance takes two.",
                "Check the scene's nodata value and its bad bands.",
            )
        return self._scatter / (self.n_pixels - 1)

    def update(self, X: npt.NDArray[np.generic], compute: Compute | None = None) -> None:
        """Add pixels ``X`` (n_pixels, n_bands) of any real dtype; ``compute`` may name a device."""
        if compute is not None and compute.device is not None:
            self.merge(_covariance_on(compute, X))
            return
        runs = [X[start : start + _RUN] for start in range(0, len(X), _RUN)]
        for part in map_blocks(_covariance_of, runs):
            self.merge(part)

    def merge(self, other: "StreamingCovariance") -> None:
        """Add the pixels that ``other`` has seen."""
        self._valid = self._valid + other._valid
        if other.n_pixels == 0:
            return
        total = self.n_pixels + other.n_pixels
        step = other.mean - self.mean
        weight = self.n_pixels * other.n_pixels / total
        self._scatter = self._scatter + other._scatter + weight * np.outer(step, step)
        self.mean = self.mean + step * (other.n_pixels / total)
        self.n_pixels = total


def memory_order(X: npt.NDArray[np.generic]) -> Literal["C", "F"]:
    """How a matrix lies in memory: "C" pixel by pixel, "F" band by band, as cubes (band, y, x) give it."""
    return "F" if X.strides[0] < X.strides[1] else "C"


def _covariance_of(X: npt.NDArray[np.generic]) -> StreamingCovariance:
    """The covariance of pixels (n_pixels, n_bands), summed over cache-sized blocks."""
    result = StreamingCovariance(X.shape[1])
    shift = _typical(X)
    total, products = np.zeros_like(shift), np.zeros_like(result._scatter)
    buffer = np.empty((min(_BLOCK, len(X)), X.shape[1]), order=memory_order(X))
    for start in range(0, len(X), _BLOCK):
        block = X[start : start + _BLOCK]
        centred = np.subtract(block, shift, out=buffer[: len(block)], casting="unsafe")
        with np.errstate(invalid="ignore"):
            sums = np.ones(len(centred)) @ centred
        if np.isfinite(sums).all():
            result._valid += len(centred)
        else:
            finite = np.isfinite(centred)
            result._valid += finite.sum(axis=0)
            centred = centred[finite.all(axis=1)]
            sums = centred.sum(axis=0)
        total += sums
        products += centred.T @ centred
        result.n_pixels += len(centred)
    if result.n_pixels:
        result.mean = shift + total / result.n_pixels
        result._scatter = products - np.outer(total, total / result.n_pixels)
    return result


def _covariance_on(compute: Compute, X: npt.NDArray[np.generic]) -> StreamingCovariance:
    """The same on a device, all pixels at once."""
    result = StreamingCovariance(X.shape[1])
    shift = _typical(compute.get(X[:: max(1, len(X) // 64)]))
    centred = compute.put(X, np.float64) - compute.put(shift)
    finite = compute.xp.isfinite(centred)
    result._valid += compute.get(finite.sum(0)).astype(np.int64)
    centred = centred[finite.all(1)]
    result.n_pixels = len(centred)
    if result.n_pixels:
        total = compute.get(centred.sum(0)).astype(np.float64)
        products = compute.get(centred.T @ centred).astype(np.float64)
        result.mean = shift + total / result.n_pixels
        result._scatter = products - np.outer(total, total / result.n_pixels)
    return result


def _typical(X: npt.NDArray[np.generic]) -> Matrix:
    """A spectrum near those of ``X``: their mean, or zero where none is valid."""
    spectra = X[:: max(1, len(X) // 64)].astype(np.float64)
    valid = np.isfinite(spectra).all(axis=1)
    mean: Matrix = spectra[valid].mean(axis=0) if valid.any() else np.zeros(X.shape[1])
    return mean


def _bands(indices: npt.NDArray[np.int64]) -> str:
    """The bands by number, counted from 1 as users do, with a verb that fits."""
    numbers = ", ".join(str(index + 1) for index in indices[:5])
    more = f" and {len(indices) - 5} more" if len(indices) > 5 else ""
    return f"Band {numbers} has" if len(indices) == 1 else f"Bands {numbers}{more} have"
