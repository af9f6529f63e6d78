"""Target detectors against their formulas and on a scene with three targets."""

import numpy as np
import pytest
import torch

from hsi_toolkit.detection.scan import Scan
from hsi_toolkit.detection.targets import TargetDetector, scorer_of
from hsi_toolkit.errors import ParameterError
from hsi_toolkit.spectral.compute import Compute
from hsi_toolkit.spectral.covariance import StreamingCovariance

from .conftest import as_scene

METHODS = ["auto", "ace", "mf", "cem", "sam", "osp"]
RNG = np.random.default_rng(0)
PIXELS = (RNG.normal(size=(2000, 6)) @ RNG.normal(size=(6, 6)) + 5).astype(np.float32)
SIGNATURE = PIXELS.mean(axis=0) + 2 * RNG.normal(size=6)


def statistics(pixels=PIXELS):
    result = StreamingCovariance(pixels.shape[1])
    result.update(pixels)
    return result


def scores(detector, cube, compute=None):
    scan = Scan(as_scene(cube), passes=detector.passes, compute=compute)
    return np.concatenate([rows.data[0] for rows in detector.scores(scan)])


def test_the_matched_filter_is_its_formula():
    mean, inverse = PIXELS.mean(axis=0), np.linalg.inv(np.cov(PIXELS.T.astype(float)))
    s = SIGNATURE - mean
    expected = (PIXELS - mean) @ inverse @ s / (s @ inverse @ s)
    np.testing.assert_allclose(scorer_of(SIGNATURE, statistics(), "mf")(PIXELS), expected, atol=1e-4)


def test_ace_is_the_cosine_in_whitened_space():
    mean, inverse = PIXELS.mean(axis=0), np.linalg.inv(np.cov(PIXELS.T.astype(float)))
    s, x = SIGNATURE - mean, PIXELS - mean
    size = np.sqrt((s @ inverse @ s) * np.einsum("ij,jk,ik->i", x, inverse, x))
    np.testing.assert_allclose(
        scorer_of(SIGNATURE, statistics(), "ace")(PIXELS), x @ inverse @ s / size, atol=1e-4
    )


def test_constrained_energy_minimisation_is_its_formula():
    solved = np.linalg.solve(PIXELS.T.astype(float) @ PIXELS / len(PIXELS), SIGNATURE)
    expected = PIXELS @ solved / (SIGNATURE @ solved)
    np.testing.assert_allclose(scorer_of(SIGNATURE, statistics(), "cem")(PIXELS), expected, atol=5e-4)


@pytest.mark.parametrize("method", ["ace", "mf", "cem", "sam", "osp"])
def test_the_signature_itself_scores_one(method):
    own = scorer_of(SIGNATURE, statistics(), method)(SIGNATURE[None].astype(np.float32))
    np.testing.assert_allclose(own, 1, atol=1e-3)


def test_the_spectral_angle_does_not_see_brightness():
    score = scorer_of(SIGNATURE, statistics(), "sam")
    np.testing.assert_allclose(score(3 * PIXELS), score(PIXELS), atol=1e-5)


@pytest.mark.parametrize("method", ["auto", "ace", "mf", "cem"])
def test_targets_score_highest(method, odd_scene):
    result = scores(TargetDetector(odd_scene.signature, method), odd_scene.cube)
    assert result[odd_scene.odd].min() > result[~odd_scene.odd].max()


@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_tensors_score_as_arrays_do(method, robust, odd_scene):
    detector = TargetDetector(odd_scene.signature, method, robust)
    tensors = scores(detector, odd_scene.cube, Compute(torch.device("cpu")))
    # The background's covariance is summed in float32 on the processor, in float64 on a device.
    np.testing.assert_allclose(tensors, scores(detector, odd_scene.cube), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_of_several_signatures_the_most_alike_counts(method):
    signatures = np.stack([SIGNATURE, SIGNATURE[::-1]])
    both = scorer_of(signatures, statistics(), method)(PIXELS)
    each = [scorer_of(one, statistics(), method)(PIXELS) for one in signatures]
    np.testing.assert_allclose(both, np.maximum(*each), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_pixels_without_data_get_no_score(method, odd_scene):
    cube = odd_scene.cube.copy()
    cube[3, 10:12, 20] = np.nan
    result = scores(TargetDetector(odd_scene.signature, method), cube)
    assert np.argwhere(np.isnan(result)).tolist() == [[10, 20], [11, 20]]


@pytest.mark.parametrize("method", ["mf", "ace", "auto"])
def test_the_background_mean_is_no_target(method):
    stats = statistics()
    with pytest.raises(ParameterError, match="equals the background's mean"):
        scorer_of(stats.mean, stats, method)
