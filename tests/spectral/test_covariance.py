"""The streamed covariance is the covariance, however the pixels arrive."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from hsi_toolkit.errors import SceneError
from hsi_toolkit.spectral import StreamingCovariance


def streamed(*blocks: np.ndarray) -> StreamingCovariance:
    covariance = StreamingCovariance(blocks[0].shape[1])
    for block in blocks:
        covariance.update(block)
    return covariance


@settings(deadline=None)
@given(seed=st.integers(0, 1000), cuts=st.lists(st.integers(0, 60), max_size=5))
def test_any_split_into_blocks_gives_the_covariance_of_the_whole(seed: int, cuts: list[int]) -> None:
    X = np.random.default_rng(seed).normal(size=(60, 4)) * [1, 10, 100, 0.01] + [0, 5, -300, 1]
    covariance = streamed(*np.split(X, sorted(cuts)))
    np.testing.assert_allclose(covariance.mean, X.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(covariance.covariance, np.cov(X.T), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64", ">i2"])
def test_every_dtype_is_summed_in_float64(dtype: str) -> None:
    X = np.random.default_rng(0).integers(0, 200, size=(9000, 5)).astype(dtype)
    covariance = streamed(X)
    np.testing.assert_allclose(covariance.covariance, np.cov(X.T.astype(np.float64)), rtol=1e-12)


def test_a_large_offset_costs_no_digits() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(20_000, 3))
    shifted = streamed(*np.array_split(X + 1e6, 7))
    np.testing.assert_allclose(shifted.covariance, np.cov(X.T), rtol=1e-8, atol=1e-9)


def test_trailing_eigenvalues_of_correlated_bands_are_those_of_float64() -> None:
    rng = np.random.default_rng(2)
    X = (
        rng.normal(size=(20_000, 4)) @ rng.normal(size=(4, 40)) + 1e-3 * rng.normal(size=(20_000, 40)) + 8
    ).astype(np.float32)
    exact = np.linalg.eigvalsh(np.cov(X.T.astype(np.float64)))
    np.testing.assert_allclose(np.linalg.eigvalsh(streamed(X).covariance), exact, rtol=1e-6)


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_pixels_with_a_hole_are_left_out(hole: float) -> None:
    X = np.random.default_rng(3).normal(size=(10_000, 4)).astype(np.float32)
    holed = X.copy()
    holed[::3, 1] = hole
    covariance = streamed(holed)
    kept = np.delete(X, np.s_[::3], axis=0)
    assert covariance.n_pixels == len(kept)
    np.testing.assert_allclose(covariance.covariance, np.cov(kept.T.astype(np.float64)), rtol=1e-9)


def test_blocks_of_nodata_alone_change_nothing() -> None:
    X = np.random.default_rng(4).normal(size=(50, 3))
    covariance = streamed(np.full((20, 3), np.nan), X, np.full((5, 3), np.nan), np.empty((0, 3)))
    np.testing.assert_allclose(covariance.covariance, np.cov(X.T), rtol=1e-12)


def test_bands_without_a_valid_value_are_named() -> None:
    X = np.ones((10, 5))
    X[:, [1, 3]] = np.nan
    with pytest.raises(SceneError, match="Bands 2, 4 have no valid value"):
        _ = streamed(X).covariance


@pytest.mark.parametrize("pixels", [0, 1])
def test_fewer_than_two_pixels_are_refused(pixels: int) -> None:
    with pytest.raises(SceneError, match=f"Only {pixels} pixels are valid in all 3 bands"):
        _ = streamed(np.ones((pixels, 3))).covariance


def test_the_number_of_threads_does_not_change_a_digit() -> None:
    X = np.random.default_rng(5).normal(size=(70_000, 6)).astype(np.float32)
    whole = streamed(X)
    with threadpool_limits(1):
        alone = streamed(X)
    np.testing.assert_array_equal(whole.covariance, alone.covariance)


def test_merging_covariances_is_seeing_all_pixels() -> None:
    X = np.random.default_rng(6).normal(size=(500, 3))
    merged = streamed(X[:100])
    merged.merge(streamed(X[100:]))
    np.testing.assert_allclose(merged.covariance, np.cov(X.T), rtol=1e-12)


def correlated(n_pixels: int, rng: np.random.Generator) -> np.ndarray:
    """Spectra of 120 bands that vary along a few directions, a million times more than about them."""
    mixing = rng.normal(size=(15, 120)) * np.geomspace(1e4, 1.0, 15)[:, None]
    return rng.normal(size=(n_pixels, 15)) @ mixing + rng.normal(0.0, 2.0, (n_pixels, 120)) + 3e4


@pytest.mark.parametrize("order", ["C", "F"])
def test_quick_sums_keep_the_trailing_eigenvalues(order) -> None:
    X = np.asarray(correlated(40_000, np.random.default_rng(3)), np.float32, order=order)
    quick = StreamingCovariance(X.shape[1], quick=True)
    quick.update(X)
    exact = streamed(X)
    eigenvalues = np.linalg.eigvalsh(exact.covariance)
    assert eigenvalues[-1] > 1e8 * eigenvalues[0]
    np.testing.assert_allclose(np.linalg.eigvalsh(quick.covariance), eigenvalues, rtol=1e-4)
    np.testing.assert_allclose(quick.mean, exact.mean, rtol=1e-6)


def test_quick_sums_leave_pixels_with_a_hole_out() -> None:
    X = correlated(3000, np.random.default_rng(4)).astype(np.float32)
    holed = X.copy()
    holed[::7, 3] = np.nan
    holed[5, 100] = np.inf
    quick, whole = (StreamingCovariance(X.shape[1], quick=True) for _ in range(2))
    quick.update(holed)
    whole.update(X[np.isfinite(holed).all(axis=1)])
    assert quick.n_pixels == whole.n_pixels
    np.testing.assert_allclose(quick.covariance, whole.covariance, rtol=1e-3, atol=1e-3)
