"""Band means and covariance of any number of pixels in one pass, in memory of bands²."""

from collections.abc import Iterator
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from hsi_toolkit.errors import SceneError
from hsi_toolkit.spectral.compute import Compute
from hsi_toolkit.spectral.parallel import map_blocks

Matrix = npt.NDArray[np.float64]

# Pixels whose products are summed at a time: large enough for BLAS, small enough for the cache.
_BLOCK = 1024
# Pixels that one thread sums before its result is merged. Fixed, so that the result does not depend on the
# number of threads.
_RUN = 32 * _BLOCK
# Directions that are summed apart from the rest in float32, and the pixels that show them.
_AXES, _SAMPLE = 10, 128


class StreamingCovariance:
    """Mean and covariance of spectra given block by block.

    Every block is centred before its products are summed in float64, and blocks are merged after Chan, Golub
    and LeVeque 1983, so that neither the offset nor the number of the pixels costs digits. Pixels with a
    value that is not finite are left out.

    Args:
        n_bands: of the spectra.
        quick: multiply values that float32 holds in it, a thousand pixels at a time, which takes 1.4 times
            less time for 200 bands. Only what is left of them beside the few directions along which they vary
            most is: the rounding of the large variances would drown the small ones (plain sums in float32 of
            real scenes are not even positive definite). Eigenvalues are right to 1e-4 of their own size,
            against 1e-10.
    """

    def __init__(self, n_bands: int, *, quick: bool = False) -> None:
        self.n_pixels = 0
        self.mean: Matrix = np.zeros(n_bands)
        self._quick = quick
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
        for part in self.parts(X, compute, quick=self._quick):
            self.merge(part)

    @staticmethod
    def parts(
        X: npt.NDArray[np.generic], compute: Compute | None = None, *, quick: bool = False
    ) -> Iterator["StreamingCovariance"]:
        """The statistics of pixels ``X`` in parts that ``update`` would merge one after the other."""
        if compute is not None and compute.device is not None:
            yield _covariance_on(compute, X)
            return
        # Of one size and an even number, so that two or four threads end together.
        count = 4 * -(-len(X) // (4 * _RUN)) if len(X) > _RUN else 1
        runs = np.array_split(X, count)
        yield from map_blocks(partial(_covariance_of, quick=quick), runs)

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


def _covariance_of(X: npt.NDArray[np.generic], *, quick: bool) -> StreamingCovariance:
    """The covariance of pixels (n_pixels, n_bands), summed over cache-sized blocks."""
    n_bands, order = X.shape[1], memory_order(X)
    result = StreamingCovariance(n_bands)
    # float32 keeps its digits only beside axes, which few bands or pixels do not have.
    quick = quick and np.can_cast(X.dtype, np.float32) and min(n_bands, len(X)) >= _SAMPLE // 4
    kind = np.dtype(np.float32 if quick else np.float64)
    shift = _typical(X).astype(kind)
    axes = _leading(X, shift) if quick else np.empty((n_bands, 0))
    rows, n_axes = min(_BLOCK, len(X)), axes.shape[1]
    # Rests, positions along the axes, and a band of ones that makes the sums a part of the products.
    buffer = np.ones((rows, n_bands + n_axes + 1), kind, order=order)
    explained = np.empty((rows, n_bands), kind, order=order)
    products = np.zeros((buffer.shape[1], buffer.shape[1]))
    for start in range(0, len(X), _BLOCK):
        block = X[start : start + _BLOCK]
        described = buffer[: len(block)]
        rest, along = described[:, :n_bands], described[:, n_bands:-1]
        np.subtract(block, shift, out=rest, casting="unsafe")
        with np.errstate(invalid="ignore"):
            if n_axes:
                np.matmul(rest, axes, out=along)
                rest -= np.matmul(along, axes.T, out=explained[: len(block)])
            found = described.T @ described
        if np.isfinite(found[-1]).all():
            result._valid += len(block)
        else:
            finite = np.isfinite(block)
            result._valid += finite.sum(axis=0)
            described = described[finite.all(axis=1)]
            found = described.T @ described
        products += found
        result.n_pixels += len(described)
    if result.n_pixels:
        # A pixel is its rest and what its positions along the axes stand for.
        unfold = np.vstack([np.eye(n_bands), axes.T.astype(np.float64)])
        total = products[-1, :-1] @ unfold
        result.mean = shift + total / result.n_pixels
        scatter = unfold.T @ products[:-1, :-1] @ unfold
        result._scatter = scatter - np.outer(total, total / result.n_pixels)
    return result


def _leading(X: npt.NDArray[np.generic], shift: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Orthonormal spectra (n_bands, few) along which a sample of ``X`` varies most, nearly."""
    sample = X[:: max(1, len(X) // _SAMPLE)].astype(np.float64) - shift
    sample = sample[np.isfinite(sample).all(axis=1)]
    if len(sample) < _AXES:
        return np.empty((X.shape[1], 0), np.float32)
    axes = np.linalg.qr(sample[:: len(sample) // _AXES][:_AXES].T)[0]
    axes = np.linalg.qr(sample.T @ (sample @ axes))[0]
    return np.asarray(axes, np.float32)


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
