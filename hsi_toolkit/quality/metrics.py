"""Full-reference quality of a cube, streamed: nothing but sums is kept from block to block."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: The window of Wang et al. (2004): a Gaussian of 1.5 pixels cut off at 5, that is 11 × 11.
SSIM_SIGMA, SSIM_RADIUS = 1.5, 5
_K1, _K2 = 0.01, 0.03


@dataclass(frozen=True, eq=False)
class CubeQuality:
    """The figures of a comparison; arrays are (bands,) and NaN for a band without a common pixel.

    Attributes:
        rmse: root mean square error of each band, in the reference's units.
        psnr: 20 log10(peak / rmse) of each band in dB, infinite where the bands are equal.
        ssim: mean structural similarity of each band (Wang et al. 2004).
        peak: the peak of each band that PSNR and SSIM refer to.
        spectral_angle: mean angle between the spectra of a pixel, radians.
        ergas: relative dimensionless global error (Wald 2000, eq. 3), 0 is perfect.
        pixels: pixels that have data in both.
    """

    rmse: Float64
    psnr: Float64
    ssim: Float64
    peak: Float64
    spectral_angle: float
    ergas: float
    pixels: int

    @property
    def mean_psnr(self) -> float:
        """Mean over the bands in dB (MPSNR); infinite if every band is equal."""
        return _mean(self.psnr)

    @property
    def mean_ssim(self) -> float:
        """Mean over the bands (MSSIM)."""
        return _mean(self.ssim)

    @property
    def mean_rmse(self) -> float:
        """Root of the mean squared error over all bands and pixels."""
        return float(np.sqrt(_mean(self.rmse**2)))


class CubeComparison:
    """Sums of a comparison, block by block.

    Args:
        peak: (bands,) largest value of each band of the reference, or of the instrument.
        ratio: pixel size of the sharp image over that of the coarse one, for ERGAS (h/l inverted); 1 where
            no resolution changed.
    """

    def __init__(self, peak: Float64, ratio: float = 1.0) -> None:
        bands = len(peak)
        self._peak, self._ratio = peak, ratio
        self._count, self._squares = np.zeros(bands), np.zeros(bands)
        self._reference = np.zeros(bands)
        self._ssim, self._ssim_count = np.zeros(bands), np.zeros(bands)
        self._angle, self._angle_count = 0.0, 0

    def update(self, compared: Float32, reference: Float32, halo: int = 0) -> Float32:
        """Add a block.

        Args:
            compared, reference: (bands, rows + 2 * halo, cols), NaN where there is no data.
            halo: rows above and below that only serve SSIM's window; ``SSIM_RADIUS`` makes it exact.

        Returns:
            (rows, cols) spectral angle of each pixel in radians, NaN where either has no data.
        """
        rows = slice(halo, compared.shape[1] - halo)
        known = np.isfinite(compared) & np.isfinite(reference)
        core_known = known[:, rows]
        error = np.where(core_known, compared[:, rows] - reference[:, rows], 0).astype(np.float64)
        self._count += core_known.sum(axis=(1, 2))
        self._squares += np.einsum("bij,bij->b", error, error)
        self._reference += np.where(core_known, reference[:, rows], 0).sum(axis=(1, 2), dtype=np.float64)
        for band in range(len(compared)):
            similarity = _ssim_map(
                compared[band], reference[band], known[band], self._peak[band], whole=halo > 0
            )[rows]
            valid = np.isfinite(similarity)
            self._ssim[band] += similarity[valid].sum()
            self._ssim_count[band] += valid.sum()
        angles = pixel_angles(compared[:, rows], reference[:, rows])
        valid = np.isfinite(angles)
        self._angle += float(angles[valid].sum(dtype=np.float64))
        self._angle_count += int(valid.sum())
        return angles

    def result(self) -> CubeQuality:
        """The figures of all blocks together."""
        with np.errstate(divide="ignore", invalid="ignore"):
            rmse = np.sqrt(self._squares / self._count)
            psnr = 20 * np.log10(self._peak / rmse)
            relative = rmse / (self._reference / self._count)
            ssim = self._ssim / self._ssim_count
        finite = relative[np.isfinite(relative)]
        ergas = float(100 / self._ratio * np.sqrt(np.mean(finite**2))) if finite.size else float("nan")
        angle = self._angle / self._angle_count if self._angle_count else float("nan")
        return CubeQuality(rmse, psnr, ssim, self._peak, angle, ergas, self._angle_count)


def pixel_angles(compared: Float32, reference: Float32) -> Float32:
    """Angle between two spectra at each pixel over the bands both know, radians, (rows, cols) float32.

    Kruse et al. 1993, eq. 3, computed as 2 atan2(|u - v|, |u + v|) of the unit vectors u, v, which unlike
    the arc cosine is exact for small angles. NaN where either spectrum is empty or zero.
    """
    known = np.isfinite(compared) & np.isfinite(reference)
    first = np.where(known, compared, 0).astype(np.float64)
    second = np.where(known, reference, 0).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        first /= np.sqrt(np.einsum("bij,bij->ij", first, first))
        second /= np.sqrt(np.einsum("bij,bij->ij", second, second))
    apart, together = first - second, first + second
    angle = 2 * np.arctan2(
        np.sqrt(np.einsum("bij,bij->ij", apart, apart)),
        np.sqrt(np.einsum("bij,bij->ij", together, together)),
    )
    return np.asarray(angle, np.float32)


def _ssim_map(
    compared: Float32, reference: Float32, known: NDArray[np.bool_], peak: float, *, whole: bool
) -> Float64:
    """Structural similarity of each pixel whose window is known, NaN elsewhere.

    Windows that reach over the cube's left and right edge, and over its top and bottom unless ``whole``
    rows were added there, count with the edge mirrored, as Wang's implementation crops instead.
    """
    x = np.where(known, compared, 0).astype(np.float64)
    y = np.where(known, reference, 0).astype(np.float64)
    c1, c2 = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x = _blur(x * x) - mean_x**2
    variance_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    with np.errstate(divide="ignore", invalid="ignore"):
        similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
            (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
        )
    if not known.all():
        similarity[_blur(known.astype(np.float64)) < 1 - 1e-9] = np.nan
    return similarity


def _blur(image: Float64) -> Float64:
    blurred: Float64 = gaussian_filter(image, SSIM_SIGMA, mode="reflect", radius=SSIM_RADIUS)
    return blurred


def _mean(values: Float64) -> float:
    known = values[~np.isnan(values)]
    return float(np.mean(known)) if known.size else float("nan")
