"""Anomaly detectors on a scene with three odd pixels."""

import numpy as np
import pytest
import torch

from hsi_toolkit.detection.anomalies import GlobalRX, QuasiLocalRX, SubspaceRX
from hsi_toolkit.detection.local import LocalRX
from hsi_toolkit.detection.scan import Scan
from hsi_toolkit.errors import Cancelled, ParameterError
from hsi_toolkit.progress import Progress
from hsi_toolkit.spectral.compute import Compute

from .conftest import as_scene

DETECTORS = pytest.mark.parametrize(
    "detector",
    [GlobalRX(), GlobalRX(robust=True), SubspaceRX(2), QuasiLocalRX(components=8), LocalRX(components=12)],
    ids=["global", "robust", "subspace", "quasi-local", "local"],
)


def scores(detector, cube, memory_limit=None, compute=None):
    scan = Scan(as_scene(cube), passes=detector.passes, memory_limit=memory_limit, compute=compute)
    return np.concatenate([rows.data[0] for rows in detector.scores(scan)])


@DETECTORS
def test_odd_pixels_score_highest(detector, odd_scene):
    result = scores(detector, odd_scene.cube)
    assert result[odd_scene.odd].min() > np.quantile(result[~odd_scene.odd], 0.99)


@DETECTORS
def test_blocks_do_not_matter(detector, odd_scene):
    line = odd_scene.cube[:, 0].nbytes
    whole, parts = (scores(detector, odd_scene.cube, limit) for limit in (None, 15 * line))
    np.testing.assert_allclose(parts, whole, rtol=2e-3)


@DETECTORS
def test_tensors_score_as_arrays_do(detector, odd_scene):
    tensors = scores(detector, odd_scene.cube, compute=Compute(torch.device("cpu")))
    np.testing.assert_allclose(tensors, scores(detector, odd_scene.cube), rtol=2e-3)


@DETECTORS
def test_pixels_without_data_get_no_score_and_change_little(detector, odd_scene):
    cube = odd_scene.cube.copy()
    cube[:, 30:33, 30:33] = np.nan
    result = scores(detector, cube)
    missing = np.isnan(cube[0])
    assert np.array_equal(np.isnan(result), missing)
    assert result[odd_scene.odd].min() > np.quantile(result[~odd_scene.odd & ~missing], 0.99)


@DETECTORS
def test_units_do_not_matter(detector, odd_scene):
    np.testing.assert_allclose(
        scores(detector, 3 * odd_scene.cube + 7), scores(detector, odd_scene.cube), rtol=0.02
    )


def test_a_quiet_neighbourhood_makes_the_same_difference_more_unusual():
    rng = np.random.default_rng(4)
    cube = rng.normal(size=(6, 60, 60)).astype(np.float32)
    cube[:, :, 30:] *= 8
    cube[:, 30, 15] += 60
    cube[:, 30, 45] += 60
    result = scores(QuasiLocalRX(components=6), cube)
    assert result[30, 15] > 2 * result[30, 45]


def test_leaving_out_every_component_is_refused(odd_scene):
    with pytest.raises(ParameterError, match="12 components cannot be left out of 12 bands"):
        scores(SubspaceRX(12), odd_scene.cube)


def test_a_cancel_is_heeded_at_the_next_block(odd_scene):
    class Cancelling(Progress):
        def cancelled(self):
            return True

    with pytest.raises(Cancelled):
        list(GlobalRX().scores(Scan(odd_scene.scene(), Cancelling())))
