"""Areas under ROC curves of detections."""

import numpy as np
import pytest

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.quality.detection import detection_areas


def test_a_perfect_detector_has_full_area_and_no_false_alarms() -> None:
    targets = np.zeros((10, 10), bool)
    targets[:3] = True
    areas = detection_areas(targets.astype(float), targets)
    assert (areas.detection, areas.false_alarm, areas.target) == (1.0, 0.5, 1.0)


def test_chance_has_half_the_area_and_ties_are_one_threshold() -> None:
    targets = np.arange(1000) % 7 == 0
    scores = np.random.default_rng(1).integers(0, 5, 1000) / 4
    areas = detection_areas(scores, targets)
    assert areas.detection == pytest.approx(0.5 - 0.5 * np.mean(scores == 1) ** 2, abs=0.06)
    assert areas == detection_areas(scores[::-1], targets[::-1])


def test_a_reference_without_targets_is_refused() -> None:
    with pytest.raises(ParameterError, match="0 target pixels of 4"):
        detection_areas(np.ones(4), np.zeros(4, bool))
