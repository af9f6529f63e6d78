"""Background statistics and distances."""

import numpy as np
import pytest

from hsi_toolkit.detection.background import background_of, mahalanobis, trimmed_background
from hsi_toolkit.errors import SceneError

RNG = np.random.default_rng(0)
PIXELS = (RNG.normal(size=(3000, 6)) @ RNG.normal(size=(6, 6)) + 5).astype(np.float32)


def test_distances_equal_the_textbook_formula():
    background = background_of([PIXELS], 6)
    centred = PIXELS - PIXELS.mean(axis=0, dtype=np.float64)
    inverse = np.linalg.inv(np.cov(PIXELS.T.astype(np.float64)))
    expected = np.einsum("ij,jk,ik->i", centred, inverse, centred)
    np.testing.assert_allclose(mahalanobis(PIXELS, background), expected, rtol=1e-4)


def test_blocks_do_not_matter():
    whole, parts = background_of([PIXELS], 6), background_of(np.array_split(PIXELS, 7), 6)
    np.testing.assert_allclose(parts.covariance, whole.covariance, rtol=1e-10)


def test_pixels_without_data_have_no_distance_and_do_not_count():
    pixels = PIXELS.copy()
    pixels[5, 2] = np.nan
    background = background_of([pixels], 6)
    assert background.n_pixels == len(pixels) - 1
    assert np.flatnonzero(np.isnan(mahalanobis(pixels, background))).tolist() == [5]


def test_a_repeated_band_does_no_harm():
    repeated = np.hstack([PIXELS, PIXELS[:, :1]])
    distances = mahalanobis(repeated, background_of([repeated], 7))
    expected = mahalanobis(PIXELS, background_of([PIXELS], 6))
    assert np.corrcoef(distances, expected)[0, 1] > 0.999


def test_a_scene_of_equal_pixels_is_refused():
    with pytest.raises(SceneError, match="All pixels of the scene are equal"):
        background_of([np.ones((10, 3), np.float32)], 3)


def test_full_shrinkage_measures_plain_distances():
    background = background_of([PIXELS], 6, shrinkage=1.0)
    plain = ((PIXELS - background.mean) ** 2).sum(axis=1)
    assert np.corrcoef(mahalanobis(PIXELS, background), plain)[0, 1] > 0.9999


def test_trimming_keeps_outliers_from_hiding_themselves():
    pixels = PIXELS.copy()
    pixels[:100] += 30 * RNG.normal(size=6)
    plain = background_of([pixels], 6)
    robust = trimmed_background([pixels], plain, float(np.quantile(mahalanobis(pixels, plain), 0.9)))
    assert mahalanobis(pixels[:100], robust).mean() > 3 * mahalanobis(pixels[:100], plain).mean()
