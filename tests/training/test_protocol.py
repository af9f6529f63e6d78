"""The published windows and split."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_toolkit.errors import LabelError, SceneError
from hsi_toolkit.training.protocol import paper_split, pixel_windows, unlabelled_windows, window_starts


@settings(deadline=None)
@given(length=st.integers(9, 200), step=st.integers(1, 9))
def test_windows_reach_from_edge_to_edge_without_a_gap(length: int, step: int) -> None:
    starts = window_starts(length, 9, step)
    assert starts[0] == 0
    assert starts[-1] == length - 9
    assert all(0 < b - a <= step for a, b in itertools.pairwise(starts))


def test_a_scene_smaller_than_a_window_is_refused() -> None:
    with pytest.raises(SceneError, match="8 pixels"):
        unlabelled_windows(np.zeros((30, 8, 2), dtype=np.float32), 9)


def test_a_pixels_window_has_it_in_the_middle_and_mirrors_the_edge() -> None:
    cube = np.arange(35, dtype=np.float32).reshape(5, 7, 1)
    windows = pixel_windows(cube, 5)
    assert windows.shape == (5, 7, 5, 5, 1)
    np.testing.assert_array_equal(windows[:, :, 2, 2], cube)
    np.testing.assert_array_equal(windows[0, 0, :, 2, 0], [7, 0, 0, 7, 14])


def test_the_split_is_drawn_per_class_and_leaves_the_rest_for_testing() -> None:
    labels = np.random.default_rng(0).integers(0, 4, size=(30, 30))
    split = paper_split(labels, 20, seed=3)
    flat = labels.ravel()
    assert np.bincount(flat[split.drawn]).tolist() == [0, 20, 20, 20]
    assert np.bincount(flat[split.train]).tolist() == [0, 10, 10, 10]
    assert sorted([*split.train, *split.validation]) == sorted(split.drawn)
    assert not split.test_labels.ravel()[split.drawn].any()
    assert (split.test_labels.ravel() > 0).sum() == (flat > 0).sum() - 60
    np.testing.assert_array_equal(split.drawn, paper_split(labels, 20, seed=3).drawn)
    assert not np.array_equal(split.drawn, paper_split(labels, 20, seed=4).drawn)


def test_a_class_of_exactly_forty_keeps_five_for_testing() -> None:
    labels = np.zeros((20, 20), dtype=np.uint8)
    labels.flat[:40] = 1
    labels.flat[40:100] = 2
    drawn = labels.ravel()[paper_split(labels, 40, seed=0).drawn]
    assert np.bincount(drawn).tolist() == [0, 35, 40]


def test_a_small_class_gives_what_it_has() -> None:
    labels = np.zeros((20, 20), dtype=np.uint8)
    labels.flat[:3] = 1
    labels.flat[40:100] = 2
    assert np.bincount(labels.ravel()[paper_split(labels, 10, seed=0).drawn]).tolist() == [0, 3, 10]


def test_no_label_at_all_is_refused() -> None:
    with pytest.raises(LabelError, match="No pixel has a label"):
        paper_split(np.zeros((9, 9), dtype=np.uint8), 10, seed=0)
