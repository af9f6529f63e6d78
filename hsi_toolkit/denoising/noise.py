"""How strong the noise of each band is."""

import numpy as np

from hsi_toolkit.denoising.statistics import Float32, Float64
from hsi_toolkit.errors import SceneError
from hsi_toolkit.spectral import StreamingCovariance

# Mixed differences of neighbouring squares share pixels: their information is that of so many times fewer.
_SHARED = 2.25
_SAMPLES_PER_BAND = 6.0  # regression on more bands than pixels / 6 would explain the noise away
_FOREIGN, _CAP = 3.3, 6.0  # times the usual residual in the mean of bands, of which each counts so much
_HARMLESS, _LEAST = 0.02, 0.5  # share of the variance that is theirs; share of pixels that must be left
_ROUNDS = 4  # of leaving them out, after which more may show
_RIDGE = 1e-11  # of the correlation matrix: what double precision leaves of exactly dependent bands


def noise_levels(differences: StreamingCovariance, sample: Float32 | None = None) -> Float64:
    """Standard deviation of each band's noise, (bands,) in the band's units.

    As in HySime (Bioucas-Dias and Nascimento 2008) noise is what the other bands cannot predict by linear
    regression; as in spatial-spectral decorrelation (Roger and Arnold 1996) neighbouring pixels take part,
    here because regression is done on their mixed differences. Noise is taken for white and independent
    from band to band. Pixels of which others predict far less than usual in half of the bands are no noise
    but rare materials or edges, and are left out; a bad value in a single band is not.

    Args:
        differences: covariance of the mixed differences, as ``SceneStatistics`` gathers it.
        sample: (bands, pixels) some of them; None: all pixels count.

    Raises:
        SceneError: there are too few pixels.
    """
    sigma, residual_of = _unexplained(differences.covariance, differences.n_pixels)
    fewest = 2 * _SAMPLES_PER_BAND * len(sigma)
    if sample is None or sample.shape[1] < fewest:
        return sigma
    known = np.ones(sample.shape[1], bool)
    for _ in range(_ROUNDS):
        residual = np.abs(residual_of.astype(np.float32) @ sample)
        usual = np.median(residual[:, known], axis=1, keepdims=True).astype(np.float64)
        times = residual / np.maximum(usual, np.finfo(np.float32).tiny)
        within = np.minimum(times, _CAP).mean(axis=0) < _FOREIGN
        energy = np.square(times[:, known]).sum(axis=0)
        foreign = energy[~within[known]].sum() / max(energy.sum(), np.finfo(float).tiny)
        if foreign < _HARMLESS or within.sum() < max(fewest, _LEAST * len(within)):
            break
        known = within
        covariance = np.atleast_2d(np.cov(sample[:, known].astype(np.float64)))
        sigma, residual_of = _unexplained(covariance, int(known.sum()))
    return sigma


def _unexplained(covariance: Float64, pixels: int) -> tuple[Float64, Float64]:
    """What a linear regression on the other bands leaves of each band.

    Returns:
        (bands,) its deviation, and (bands, bands) the coefficients of which it is the sum.

    Raises:
        SceneError: there are too few pixels.
    """
    samples = pixels / _SHARED
    predictors = int(min(len(covariance) - 1, samples // _SAMPLES_PER_BAND))
    if predictors < 1 and len(covariance) > 1:
        raise SceneError(
            f"{pixels} neighbouring pixels are too few to estimate the noise.",
            "Give a scene of at least 8 x 8 pixels with data.",
        )
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0))
    scale = np.where(deviation > 0, deviation, 1)
    share, coefficients = _regression(covariance / np.outer(scale, scale), predictors)
    unbiased = samples / max(1.0, samples - predictors)
    sigma = deviation * np.sqrt(np.clip(share * unbiased, 0, 1))
    return sigma, scale[:, None] * coefficients / scale


def _regression(correlation: Float64, predictors: int) -> tuple[Float64, Float64]:
    """Each band by ``predictors`` others.

    Returns:
        (bands,) share of its variance that they leave unexplained, and (bands, bands) coefficients of the
        residual, one for the band itself.
    """
    bands = len(correlation)
    if predictors >= bands - 1:
        precision = np.linalg.inv(correlation + _RIDGE * np.eye(bands))
        share = 1 / np.diag(precision)
        return share, precision * share[:, None]
    share, residual_of = np.empty(bands), np.zeros((bands, bands))
    for band in range(bands):
        # The nearest bands know most of a band; the file's order stands for the order of wavelengths.
        first = min(max(0, band - predictors // 2), bands - 1 - predictors)
        chosen = np.arange(first, first + predictors + 1)
        part = correlation[np.ix_(chosen, chosen)] + _RIDGE * np.eye(len(chosen))
        row = np.linalg.inv(part)[band - first]
        share[band] = 1 / row[band - first]
        residual_of[band, chosen] = row * share[band]
    return share, residual_of
