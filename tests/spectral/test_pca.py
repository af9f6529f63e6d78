"""Group-wise and multi-scale PCA: the features, their signs, and what damaged input does."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from hsi_toolkit.errors import ParameterError, SceneError
from hsi_toolkit.spectral import GroupwisePCA, MultiScalePCA
from hsi_toolkit.spectral.pca import SegmentPCA

ESTIMATORS = [GroupwisePCA, MultiScalePCA]


def spectra(pixels: int = 600, bands: int = 50, seed: int = 0) -> np.ndarray:
    """Correlated bands, as real spectra have, with every component above the noise."""
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(size=(pixels, bands)), axis=1) + np.linspace(10, 30, bands)


def pca_of(X: np.ndarray, count: int) -> np.ndarray:
    return PCA(count, whiten=True, svd_solver="full").fit_transform(X)


def test_groups_are_halved_halves_and_the_odd_band_goes_to_the_second() -> None:
    sizes = [segment.stop - segment.start for segment in GroupwisePCA().segments(103)]
    assert sizes == [25, 26, 26, 26]


def test_scales_are_the_spectrum_its_halves_quarters_and_eighths() -> None:
    segments = MultiScalePCA().segments(103)
    assert [s.n_components for s in segments] == [16] + [8] * 2 + [4] * 4 + [2] * 8
    levels = [segments[:1], segments[1:3], segments[3:7], segments[7:]]
    for level in levels:
        assert level[0].start == 0
        assert level[-1].stop == 103
        assert all(a.stop == b.start for a, b in itertools.pairwise(level))


@pytest.mark.parametrize("estimator", [GroupwisePCA(), MultiScalePCA()], ids=repr)
def test_features_are_those_of_scikit_learn_segment_by_segment(estimator: SegmentPCA) -> None:
    X = spectra()
    expected = [pca_of(X[:, s.start : s.stop], s.n_components) for s in estimator.segments(50)]
    np.testing.assert_allclose(estimator.fit_transform(X), np.hstack(expected), atol=1e-8)


@pytest.mark.parametrize("make", ESTIMATORS)
def test_the_global_min_max_of_the_original_changes_nothing(make: type[SegmentPCA]) -> None:
    X = spectra()
    scaled = (X - X.min()) / (X.max() - X.min())
    np.testing.assert_allclose(make().fit_transform(scaled), make().fit_transform(X), atol=1e-8)


@pytest.mark.parametrize("convention", ["loading", "score"])
@pytest.mark.parametrize("make", ESTIMATORS)
def test_blocks_give_the_same_features_as_the_whole(make: type[SegmentPCA], convention: str) -> None:
    X = spectra()
    whole = make(sign_convention=convention).fit(X)
    streamed = make(sign_convention=convention)
    for block in np.array_split(X, 7):
        streamed.partial_fit(block)
    if convention == "score":
        streamed.align_signs(np.array_split(X, 7))
    np.testing.assert_allclose(streamed.transform(X), whole.transform(X), atol=1e-8)
    assert streamed.n_samples_seen_ == len(X)


@pytest.mark.parametrize("make", ESTIMATORS)
def test_features_are_white_within_each_segment(make: type[SegmentPCA]) -> None:
    estimator = make()
    features = estimator.fit_transform(spectra())
    start = 0
    for segment in estimator.segments(50):
        own = features[:, start : start + segment.n_components]
        np.testing.assert_allclose(np.cov(own.T), np.eye(segment.n_components), atol=1e-8)
        start += segment.n_components
    assert start == features.shape[1]


def test_each_sign_convention_holds() -> None:
    X = spectra()
    loading = GroupwisePCA().fit(X)
    largest = np.take_along_axis(
        loading.components_, np.abs(loading.components_).argmax(axis=1)[:, np.newaxis], axis=1
    )
    assert (largest > 0).all()
    scores = GroupwisePCA(sign_convention="score").fit_transform(X)
    assert (scores.max(axis=0) > -scores.min(axis=0)).all()
    np.testing.assert_allclose(np.abs(scores), np.abs(loading.transform(X)), atol=1e-8)


def test_score_signs_without_their_second_pass_are_refused() -> None:
    estimator = GroupwisePCA(sign_convention="score").partial_fit(spectra())
    with pytest.raises(ParameterError, match="second pass"):
        estimator.transform(spectra())


@pytest.mark.parametrize("make", ESTIMATORS)
def test_one_matrix_product_gives_the_features(make: type[SegmentPCA]) -> None:
    X = spectra()
    estimator = make().fit(X)
    np.testing.assert_allclose(
        X @ estimator.components_matrix_ + estimator.offset_, estimator.transform(X), atol=1e-9
    )


@pytest.mark.parametrize("make", ESTIMATORS)
def test_float32_stays_float32_and_agrees_with_float64(make: type[SegmentPCA]) -> None:
    X = spectra()
    estimator = make().fit(X)
    features = estimator.transform(X.astype(np.float32))
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, estimator.transform(X), atol=2e-4)
    assert estimator.inverse_transform(features).dtype == np.float32


def test_integers_are_not_rounded_on_the_way() -> None:
    X = np.round(spectra() * 100).astype(np.int16)
    exact = GroupwisePCA().fit_transform(X.astype(np.float64))
    np.testing.assert_allclose(GroupwisePCA().fit_transform(X), exact, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(bands=st.integers(32, 90), seed=st.integers(0, 50))
def test_spectra_made_of_features_have_those_features(bands: int, seed: int) -> None:
    X = spectra(200, bands, seed)
    for make in ESTIMATORS:
        estimator = make().fit(X)
        features = estimator.transform(X)
        np.testing.assert_allclose(
            estimator.transform(estimator.inverse_transform(features)), features, atol=1e-6
        )


def test_group_wise_inverse_is_the_projection_on_the_components() -> None:
    X = spectra()
    estimator = GroupwisePCA().fit(X)
    V = estimator.components_
    projection = (X - estimator.mean_) @ V.T @ V + estimator.mean_
    np.testing.assert_allclose(estimator.inverse_transform(estimator.transform(X)), projection, atol=1e-9)


@pytest.mark.parametrize("make", ESTIMATORS)
def test_all_components_give_the_spectra_back(make: type[SegmentPCA]) -> None:
    X = spectra(bands=32)
    estimator = make(n_components=32 if make is GroupwisePCA else 128).fit(X)
    np.testing.assert_allclose(estimator.inverse_transform(estimator.transform(X)), X, atol=1e-8)


@pytest.mark.parametrize("make", ESTIMATORS)
def test_constant_and_duplicate_bands_give_zero_features_not_infinite_ones(make: type[SegmentPCA]) -> None:
    X = spectra(bands=64)
    X[:, :20] = 7.0
    X[:, 40:64] = X[:, [40]]
    estimator = make().fit(X)
    features = estimator.transform(X)
    assert np.isfinite(features).all()
    empty = estimator.explained_variance_ == 0
    assert empty.any()
    assert not empty.all()
    assert not features[:, empty].any()
    assert np.isfinite(estimator.inverse_transform(features)).all()


def test_a_pixel_with_a_hole_has_no_features_and_disturbs_no_other() -> None:
    X = spectra().astype(np.float32)
    estimator = GroupwisePCA().fit(X)
    holed = X.copy()
    holed[5, 20] = np.nan
    features = estimator.transform(holed)
    assert np.isnan(features[5]).any()
    np.testing.assert_array_equal(
        np.delete(features, 5, axis=0), np.delete(estimator.transform(X), 5, axis=0)
    )
    refitted = GroupwisePCA().fit(holed)
    np.testing.assert_allclose(refitted.mean_, np.delete(X, 5, axis=0).mean(axis=0, dtype=np.float64))


@pytest.mark.parametrize(
    ("estimator", "bands", "needed"), [(GroupwisePCA(), 31, 32), (MultiScalePCA(), 15, 16)], ids=repr
)
def test_too_few_bands_are_refused_with_the_number_needed(
    estimator: SegmentPCA, bands: int, needed: int
) -> None:
    with pytest.raises(ParameterError, match=f"needs at least {needed} bands, but there are {bands}"):
        estimator.fit(spectra(bands=bands))
    estimator.fit(spectra(bands=needed))


def test_a_band_without_a_value_is_named() -> None:
    X = spectra()
    X[:, 11] = np.nan
    with pytest.raises(SceneError, match="Band 12 "):
        MultiScalePCA().fit(X)


@pytest.mark.parametrize(
    ("estimator", "problem"),
    [
        (GroupwisePCA(groups=3), "groups is 3"),
        (GroupwisePCA(30), "n_components is 30"),
        (GroupwisePCA(sign_convention="none"), "sign_convention is 'none'"),  # type: ignore[arg-type]
        (MultiScalePCA(48), "n_components is 48"),
        (MultiScalePCA(levels=0), "levels is 0"),
    ],
)
def test_parameters_out_of_range_are_refused_at_fit(estimator: SegmentPCA, problem: str) -> None:
    with pytest.raises(ParameterError, match=problem):
        clone(estimator).fit(spectra())


def test_a_block_without_pixels_is_no_error() -> None:
    X = spectra()
    estimator = GroupwisePCA().partial_fit(X[:0]).partial_fit(X)
    assert estimator.transform(X[:0]).shape == (0, 32)


def test_an_estimator_not_fitted_says_so() -> None:
    with pytest.raises(NotFittedError):
        GroupwisePCA().transform(spectra())


@pytest.mark.parametrize("make", ESTIMATORS)
def test_pixels_of_a_band_sequential_cube_give_the_same_features_band_by_band(make: type[SegmentPCA]) -> None:
    cube = np.ascontiguousarray(spectra().T)
    estimator = make().fit(cube.T)
    features = estimator.transform(cube.T)
    np.testing.assert_allclose(features, make().fit_transform(spectra()), atol=1e-9)
    assert features.T.flags.c_contiguous


def test_names_of_the_features() -> None:
    names = MultiScalePCA().fit(spectra()).get_feature_names_out()
    assert list(names[[0, 63]]) == ["multiscalepca0", "multiscalepca63"]


# One group or one level of one component, because the common checks fit one to ten bands.
@parametrize_with_checks([GroupwisePCA(1, groups=1), MultiScalePCA(1, levels=1)])
def test_the_estimators_keep_scikit_learns_contract(estimator: SegmentPCA, check: object) -> None:
    check(estimator)  # type: ignore[operator]
