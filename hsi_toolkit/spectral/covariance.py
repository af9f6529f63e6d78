"""Band means and covariance of any number of pixels in one pass, in memory of bands²."""

import numpy as np
import numpy.typing as npt

from hsi_toolkit.errors import SceneError

Matrix = npt.NDArray[np.float64]

# Pixels converted to float64 at a time: large enough for BLAS, small enough for the cache.
_BLOCK = 4096


class StreamingCovariance:
    """Mean and covariance of spectra given block by block.

    Every block is centred on the running mean before its products are summed in float64, and blocks are
    merged after Chan, Golub and LeVeque 1983, so that neither the offset nor the number of the pixels costs
    digits. (Summing in float32 would be 1.7 times faster and loses the trailing eigenvalues: errors of
    1e-3 on correlated bands against 1e-10.) Pixels with a value that is not finite are left out.
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

    def update(self, X: npt.NDArray[np.generic]) -> None:
        """Add pixels ``X`` (n_pixels, n_bands) of any real dtype."""
        buffer = np.empty((min(_BLOCK, len(X)), self.n_bands))
        for start in range(0, len(X), _BLOCK):
            block = X[start : start + _BLOCK]
            if self.n_pixels == 0:
                self._guess_mean(block)
            centred = np.subtract(block, self.mean, out=buffer[: len(block)], casting="unsafe")
            if not self._add(centred):
                self._valid += np.isfinite(centred).sum(axis=0)
                self._add(centred[np.isfinite(centred).all(axis=1)])
            else:
                self._valid += len(block)

    def _guess_mean(self, block: npt.NDArray[np.generic]) -> None:
        """Give the first block something to be centred on; it counts for nothing else."""
        spectra = block.astype(np.float64)
        valid = np.isfinite(spectra).all(axis=1)
        if valid.any():
            self.mean = spectra[valid].mean(axis=0)

    def _add(self, centred: Matrix) -> bool:
        """Merge pixels centred on the running mean; False, and nothing changed, if one is not finite."""
        with np.errstate(invalid="ignore"):
            total: Matrix = np.ones(len(centred)) @ centred
        if not np.isfinite(total).all():
            return False
        count = len(centred)
        if count == 0:
            return True
        step = total / count
        scatter = centred.T @ centred - np.outer(step, total)
        weight = self.n_pixels * count / (self.n_pixels + count)
        self._scatter += scatter + weight * np.outer(step, step)
        self.mean = self.mean + step * (count / (self.n_pixels + count))
        self.n_pixels += count
        return True


def _bands(indices: npt.NDArray[np.int64]) -> str:
    """The bands by number, counted from 1 as users do, with a verb that fits."""
    numbers = ", ".join(str(index + 1) for index in indices[:5])
    more = f" and {len(indices) - 5} more" if len(indices) > 5 else ""
    return f"Band {numbers} has" if len(indices) == 1 else f"Bands {numbers}{more} have"
