"""Background statistics and distances."""

import numpy as np
import pytest

from hsi_toolkit.detection.background import Background, mahalanobis
from hsi_toolkit.detection.scan import Scan, background_statistics
from hsi_toolkit.errors import SceneError
from hsi_toolkit.spectral.covariance import StreamingCovariance

from .conftest import as_scene

RNG = np.random.default_rng(0)
PIXELS = (RNG.normal(size=(3000, 6)) @ RNG.normal(size=(6, 6)) + 5).astype(np.float32)


def statistics_of(blocks: list[np.ndarray], n_bands: int) -> StreamingCovariance:
    statistics = StreamingCovariance(n_bands, quick=True)
    for X in blocks:
        statistics.update(X)
    return statistics


def background_of(blocks: list[np.ndarray], n_bands: int) -> Background:
    return Background.of(statistics_of(blocks, n_bands))


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
    background = Background.of(statistics_of([PIXELS], 6), shrinkage=1.0)
    plain = ((PIXELS - background.mean) ** 2).sum(axis=1)
    assert np.corrcoef(mahalanobis(PIXELS, background), plain)[0, 1] > 0.9999


def test_robust_statistics_keep_outliers_from_hiding_themselves():
    pixels = PIXELS.copy()
    pixels[:50] += 30 * RNG.normal(size=6)
    scene = as_scene(pixels.T.reshape(6, 50, 60))
    plain, robust = (
        Background.of(background_statistics(Scan(scene, passes=3), robust=each)) for each in (False, True)
    )
    assert robust.n_pixels == pytest.approx(0.98 * plain.n_pixels, abs=3)
    assert mahalanobis(pixels[:50], robust).mean() > 3 * mahalanobis(pixels[:50], plain).mean()


def test_fewer_pixels_than_bands_still_tell_an_outlier():
    rng = np.random.default_rng(1)
    pixels = rng.normal(size=(20, 50)).astype(np.float32)
    others = rng.normal(size=(3, 50)).astype(np.float32)
    others[1] += 5
    distances = mahalanobis(others, background_of([pixels], 50))
    assert distances.argmax() == 1
    assert distances.max() < 5000
