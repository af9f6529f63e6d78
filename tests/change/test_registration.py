"""Shifts between two scenes."""

import numpy as np
import pytest
from scipy import ndimage

from hsi_toolkit.change.pair import ScenePair
from hsi_toolkit.change.registration import check_registration

from .conftest import as_scene


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.4), (1.6, 2.2), (-5.0, 0.5)])
def test_a_known_shift_is_found(shift):
    rng = np.random.default_rng(1)
    ground = ndimage.gaussian_filter(rng.normal(size=(3, 90, 100)), (0, 1.5, 1.5))
    moved = np.stack([ndimage.shift(band, shift, mode="reflect") for band in ground])
    pair = ScenePair.of(as_scene(ground), as_scene(1.3 * moved + 0.02 * rng.normal(size=ground.shape)))
    found = check_registration(pair)
    assert (found.rows, found.columns) == pytest.approx(shift, abs=0.08)


def test_change_and_brightness_are_no_shift(two_dates):
    found = check_registration(ScenePair.of(as_scene(two_dates.before), as_scene(two_dates.after)))
    assert found.distance < 0.15


def test_scenes_too_small_to_tell_say_so():
    pair = ScenePair.of(as_scene(np.ones((2, 8, 8))), as_scene(np.ones((2, 8, 8))))
    assert check_registration(pair) is None


def test_scenes_without_texture_say_so():
    pair = ScenePair.of(as_scene(np.ones((2, 40, 40))), as_scene(np.ones((2, 40, 40))))
    assert check_registration(pair) is None
