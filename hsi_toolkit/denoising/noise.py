"""How strong the noise of each band is."""

import numpy as np

from hsi_toolkit.denoising.statistics import Float64
from hsi_toolkit.errors import SceneError
from hsi_toolkit.spectral import StreamingCovariance

# Mixed differences of neighbouring squares share pixels: their information is that of so many times fewer.
_SHARED = 2.25
_SAMPLES_PER_BAND = 6.0  # regression on more bands than pixels / 6 would explain the noise away
_RIDGE = 1e-11  # of the correlation matrix: what double precision leaves of exactly dependent bands


def noise_levels(differences: StreamingCovariance) -> Float64:
    """Standard deviation of each band's noise, (bands,) in the band's units.

    As in HySime (Bioucas-Dias and Nascimento 2008) noise is what the other bands cannot predict by linear
    regression; as in spatial-spectral decorrelation (Roger and Arnold 1996) neighbouring pixels take part,
    here because regression is done on their mixed differences. Noise is taken for white and independent
    from band to band.

    Args:
        differences: covariance of the mixed differences, as ``SceneStatistics`` gathers it.

    Raises:
        SceneError: there are too few pixels.
    """
    covariance = differences.covariance
    samples = differences.n_pixels / _SHARED
    predictors = int(min(len(covariance) - 1, samples // _SAMPLES_PER_BAND))
    if predictors < 1 and len(covariance) > 1:
        raise SceneError(
            f"{differences.n_pixels} neighbouring pixels are too few to estimate the noise.",
            "Give a scene of at least 8 x 8 pixels with data.",
        )
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0))
    scale = np.where(deviation > 0, deviation, 1)
    correlation = covariance / np.outer(scale, scale)
    share = _unexplained(correlation, predictors)
    unbiased = samples / max(1.0, samples - predictors)
    return np.asarray(deviation * np.sqrt(np.clip(share * unbiased, 0, 1)))


def _unexplained(correlation: Float64, predictors: int) -> Float64:
    """Share of each band's variance that ``predictors`` other bands leave unexplained."""
    bands = len(correlation)
    if predictors >= bands - 1:
        return 1 / np.diag(np.linalg.inv(correlation + _RIDGE * np.eye(bands)))
    shares = np.empty(bands)
    for band in range(bands):
        # The nearest bands know most of a band; the file's order stands for the order of wavelengths.
        first = min(max(0, band - predictors // 2), bands - 1 - predictors)
        chosen = np.arange(first, first + predictors + 1)
        part = correlation[np.ix_(chosen, chosen)] + _RIDGE * np.eye(len(chosen))
        shares[band] = 1 / np.linalg.inv(part)[band - first, band - first]
    return shares
