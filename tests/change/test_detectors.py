"""Change detectors, normalisation, thresholds and types on two dates with known changes."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from hsi_toolkit.change.decision import cluster_changes, no_change_threshold
from hsi_toolkit.change.detectors import fit_pair
from hsi_toolkit.change.statistics import (
    invariant_normalisation,
    iterated_alteration,
    principal_vectors,
    robust_moments,
)
from hsi_toolkit.errors import SceneError
from hsi_toolkit.spectral.compute import Compute


@pytest.fixture(scope="module")
def spectra(two_dates):
    return tuple(
        each.reshape(len(each), -1).T.astype(np.float64) for each in (two_dates.before, two_dates.after)
    )


@pytest.mark.parametrize(
    ("method", "least"),
    [("auto", 0.99), ("irmad", 0.98), ("chronochrome", 0.98), ("cva", 0.98), ("sam", 0.9)],
)
def test_changed_pixels_score_higher(method, least, two_dates, spectra):
    scores = fit_pair(*spectra, method).detector.scores(*spectra, Compute())
    assert roc_auc_score(two_dates.changed.ravel(), scores) > least


@pytest.mark.parametrize("method", ["auto", "irmad", "chronochrome", "cva", "sam"])
def test_tensors_score_as_arrays_do(method, spectra):
    detector, compute = fit_pair(*spectra, method).detector, Compute(torch.device("cpu"))
    tensors = compute.pixelwise(
        lambda *pixels: compute.place(detector).scores(*pixels, compute), *spectra, dtype=np.float64
    )
    np.testing.assert_allclose(tensors, detector.scores(*spectra, Compute()), rtol=1e-5, atol=1e-6)


def test_an_empty_spectrum_lies_at_no_angle_and_one_without_data_at_none(spectra):
    before, after = (each[:3].copy() for each in spectra)
    detector = fit_pair(*spectra, "sam").detector
    before[0], before[1] = 0, np.nan
    scores = detector.scores(before, after, Compute())
    assert (scores[0], np.isnan(scores[1]), np.isfinite(scores[2])) == (0, True, True)


def test_normalisation_finds_gain_and_offset_in_spite_of_the_changes(two_dates, spectra):
    normalisation = fit_pair(*spectra).normalisation
    np.testing.assert_allclose(normalisation.gain, 1 / two_dates.gain, rtol=0.03)
    np.testing.assert_allclose(normalisation.offset, -two_dates.offset / two_dates.gain, atol=0.01)


def test_equal_weights_give_the_plain_orthogonal_regression():
    rng = np.random.default_rng(0)
    before = rng.normal(size=(500, 1))
    after = 2 * before + 1
    found = invariant_normalisation(before, after, np.ones(500))
    assert (found.gain[0], found.offset[0]) == pytest.approx((0.5, -0.5))


def test_alteration_does_not_depend_on_the_units(spectra):
    before, after = spectra
    weights = iterated_alteration(before, after).weights(before, after)
    scaled = iterated_alteration(before, 7 * after + 2).weights(before, 7 * after + 2)
    assert np.corrcoef(weights, scaled)[0, 1] > 0.98


def test_robust_moments_are_not_moved_by_a_tenth_of_outliers():
    rng = np.random.default_rng(0)
    clean = rng.normal(size=(5000, 3))
    dirty = np.concatenate([clean, rng.normal(40, 1, size=(500, 3))])
    mean, covariance = robust_moments(dirty, np.ones(len(dirty)))
    assert np.abs(mean).max() < 0.2
    assert np.corrcoef(covariance.ravel(), np.eye(3).ravel())[0, 1] > 0.95


def test_the_threshold_maps_the_changes_and_little_else(two_dates, spectra):
    scores = fit_pair(*spectra).detector.scores(*spectra, Compute())
    above, truth = scores > no_change_threshold(scores), two_dates.changed.ravel()
    f1 = 2 * (above & truth).sum() / (above.sum() + truth.sum())
    assert f1 > 0.85


def test_types_follow_the_direction_of_the_change():
    rng = np.random.default_rng(0)
    directions = np.eye(5)[[0, 1, 2]]
    kinds = rng.permutation(np.repeat([0, 1, 2], [300, 200, 100]))
    differences = directions[kinds] * rng.uniform(3, 30, (600, 1)) + 0.1 * rng.normal(size=(600, 5))
    types = cluster_changes(differences)
    assert len(types.directions) == 3
    assert np.array_equal(types.assign(differences), kinds)


def test_the_number_of_types_can_be_given():
    differences = np.random.default_rng(0).normal(size=(300, 4))
    assert len(cluster_changes(differences, 4).directions) == 4


def test_a_single_changed_pixel_has_no_types():
    assert cluster_changes(np.ones((1, 4))) is None


def test_a_scene_of_equal_pixels_is_refused():
    with pytest.raises(SceneError, match="All pixels of a scene are equal"):
        principal_vectors(np.ones((20, 3)), 2)
