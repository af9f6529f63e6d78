"""Splits: whole polygons or blocks, never a neighbour of a training pixel among the test pixels."""

import json
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.crs import CRS

from hsi_toolkit.errors import LabelError
from hsi_toolkit.training.grid import Grid
from hsi_toolkit.training.labelled_pixels import Labels, labels_from_array
from hsi_toolkit.training.leakage import TrainingPixels
from hsi_toolkit.training.splits import Split, hold_out, k_folds, near


def squares(places: list[tuple[int, int, int]], side: int = 6, shape: tuple[int, int] = (120, 120)) -> Labels:
    """Square polygons of a class at (row, column, class number from 1)."""
    plane = np.zeros(shape, np.uint8)
    for row, col, number in places:
        plane[row : row + side, col : col + side] = number
    return labels_from_array(plane)


def scattered(classes: int = 3, each: int = 5, seed: int = 0) -> Labels:
    """Polygons of several classes on a lattice, 20 pixels apart."""
    rng = np.random.default_rng(seed)
    places = [(row, col) for row in range(2, 118, 20) for col in range(2, 118, 20)]
    chosen = rng.permutation(len(places))[: classes * each]
    return squares([(*places[i], 1 + n % classes) for n, i in enumerate(chosen)])


def dense() -> Labels:
    """A plane full of small fields, none without a neighbour."""
    fields = np.random.default_rng(1).integers(1, 5, (13, 13))
    return labels_from_array(np.kron(fields, np.ones((6, 6), int)))


def isolated(labels: Labels, split: Split) -> bool:
    """Whether no test pixel is within the radius of a training pixel, by brute force."""
    rows = np.abs(labels.rows[split.test][:, None] - labels.rows[split.train][None])
    cols = np.abs(labels.cols[split.test][:, None] - labels.cols[split.train][None])
    return bool((np.maximum(rows, cols) > split.radius).all())


def complete(labels: Labels, split: Split) -> bool:
    """Whether each labelled pixel is in exactly one of the three parts."""
    return sorted([*split.train, *split.test, *split.apart]) == list(range(len(labels)))


def held(labels: Labels, split: Split) -> NDArray[np.int64]:
    return np.bincount(labels.classes[split.test], minlength=len(labels.names))


def test_whole_polygons_are_held_out_of_every_class() -> None:
    labels = scattered()
    split = hold_out(labels, fraction=0.3, radius=4)
    assert split.method == "polygons"
    assert not np.intersect1d(labels.groups[split.train], labels.groups[split.test]).size
    assert len(split.apart) == 0
    assert (held(labels, split) > 0).all()
    assert split.notes == ()
    np.testing.assert_allclose(held(labels, split) / labels.counts, 0.3, atol=0.15)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    radius=st.integers(0, 8),
    fraction=st.floats(0.05, 0.9),
    dense_labels=st.booleans(),
)
def test_no_test_pixel_lies_within_the_radius_of_a_training_pixel(
    seed: int, radius: int, fraction: float, dense_labels: bool
) -> None:
    labels = dense() if dense_labels else scattered(seed=seed % 7)
    split = hold_out(labels, fraction=fraction, radius=radius, seed=seed)
    assert isolated(labels, split)
    assert complete(labels, split)
    assert (np.bincount(labels.classes[split.train], minlength=len(labels.names)) > 0).all()


def test_the_seed_decides() -> None:
    labels = scattered(each=8)
    first, again, other = (hold_out(labels, seed=seed).test for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_two_polygons_of_unlike_size_leave_the_larger_for_training() -> None:
    plane = np.zeros((60, 60), int)
    plane[0:20, 0:20], plane[40:44, 40:44] = 1, 1
    plane[0:10, 40:50], plane[40:50, 0:10] = 2, 2
    labels = labels_from_array(plane)
    split = hold_out(labels, fraction=0.25)
    assert held(labels, split)[0] == 16


def test_dense_polygons_are_divided_by_blocks_which_is_said() -> None:
    labels = dense()
    split = hold_out(labels, radius=4)
    assert split.method == "blocks"
    assert split.block >= 9
    assert any("too close together" in note for note in split.notes)
    assert (held(labels, split) > 0).all()
    forced = hold_out(labels, radius=4, method="polygons")
    assert forced.method == "polygons"
    assert isolated(labels, forced)
    assert len(forced.test) < len(split.test)


def test_points_are_divided_by_blocks() -> None:
    rng = np.random.default_rng(0)
    plane = np.zeros((150, 150), int)
    plane[rng.integers(0, 150, 200), rng.integers(0, 150, 200)] = rng.integers(1, 4, 200)
    found = labels_from_array(plane)
    labels = replace(found, groups=np.arange(len(found)), geometry="point")
    split = hold_out(labels, radius=4)
    assert (split.method, split.block, split.notes) == ("blocks", 27, ())
    assert isolated(labels, split)
    assert "blocks of 27 × 27 pixels" in split.describe()


def test_a_lone_long_polygon_is_cut_with_a_gap_which_is_said() -> None:
    plane = np.zeros((100, 100), int)
    plane[50:56, 10:90] = 1
    plane[0:6, 0:6], plane[0:6, 40:46] = 2, 2
    labels = labels_from_array(plane)
    split = hold_out(labels, fraction=0.25, radius=4)
    assert isolated(labels, split)
    assert held(labels, split)[0] == 16 * 6
    assert "class '1' has a single polygon; one end of it was held out" in split.notes[0]


def test_a_lone_small_polygon_is_kept_for_training_which_is_said() -> None:
    labels = squares([(0, 0, 1), (50, 50, 2), (90, 90, 2)], side=4)
    split = hold_out(labels, radius=4)
    assert held(labels, split).tolist() == [0, 16]
    assert split.notes == ("The class '1' has a single polygon, which is all used for training.",)


def test_labels_of_which_nothing_can_be_held_out_are_refused() -> None:
    with pytest.raises(LabelError, match="No labelled pixel can be held out"):
        hold_out(squares([(0, 0, 1), (10, 10, 2)], side=3), radius=4)


@pytest.mark.parametrize("radius", [0, 4])
@pytest.mark.parametrize("labels", [scattered(each=6), dense()], ids=["scattered", "dense"])
def test_folds_test_each_pixel_once_at_most(labels: Labels, radius: int) -> None:
    splits = k_folds(labels, folds=5, radius=radius)
    assert len(splits) == 5
    for split in splits:
        assert isolated(labels, split)
        assert complete(labels, split)
        assert (np.bincount(labels.classes[split.train], minlength=len(labels.names)) > 0).all()
    everything = np.concatenate([split.test for split in splits])
    assert len(everything) == len(np.unique(everything)) == len(labels)


def test_folds_keep_polygons_whole_and_classes_spread() -> None:
    labels = scattered(each=10)
    splits = k_folds(labels, folds=5, radius=2)
    assert all(not np.intersect1d(labels.groups[s.train], labels.groups[s.test]).size for s in splits)
    assert all((held(labels, split) == 2 * 36).all() for split in splits)


def test_a_class_with_one_unit_is_always_trained_on() -> None:
    labels = squares([(0, 0, 1), (0, 40, 2), (40, 0, 2), (40, 40, 2), (80, 80, 2)])
    splits = k_folds(labels, folds=4, radius=4)
    assert all((labels.classes[split.train] == 0).sum() == 36 for split in splits)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 5), st.integers(0, 2**16))
def test_near_means_rows_and_columns(radius: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, cols, other_rows, other_cols = rng.integers(0, 30, (4, 20))
    apart = np.maximum(np.abs(rows[:, None] - other_rows), np.abs(cols[:, None] - other_cols)).min(axis=1)
    np.testing.assert_array_equal(near(rows, cols, other_rows, other_cols, radius), apart <= radius)


UTM = CRS.from_epsg(32633)


def trained(grid: Grid) -> TrainingPixels:
    return TrainingPixels(grid, np.array([5, 5, 6]), np.array([5, 6, 5]), radius=2)


def test_leakage_tells_training_pixels_from_their_neighbours() -> None:
    grid = Grid(50, 50, Affine(30, 0, 4e5, 0, -30, 58e5), UTM)
    leak = trained(grid).leakage(np.array([5, 7, 20]), np.array([6, 7, 20]), grid)
    assert leak.same.tolist() == [True, False, False]
    assert leak.beside.tolist() == [False, True, False]
    assert leak.independent.tolist() == [False, False, True]
    assert "1 of 3 reference pixels were trained on" in leak.describe()[0]


def test_leakage_is_found_on_another_grid_over_the_same_ground() -> None:
    grid = Grid(50, 50, Affine(30, 0, 4e5, 0, -30, 58e5), UTM)
    finer = Grid(60, 60, Affine(10, 0, 4e5 + 30, 0, -10, 58e5 - 30), UTM)
    leak = trained(grid).leakage(np.array([12, 59]), np.array([14, 59]), finer)
    assert leak.same.tolist() == [True, False]
    assert leak.independent.tolist() == [False, True]


def test_leakage_is_not_claimed_for_another_scene_without_georeference() -> None:
    plain = Grid(50, 50, Affine.identity(), None)
    rows, cols = np.array([5]), np.array([5])
    assert trained(plain).leakage(rows, cols, plain).same.all()
    assert trained(plain).leakage(rows, cols, Grid(51, 50, Affine.identity(), None)).independent.all()
    assert trained(plain).leakage(rows, cols, Grid(50, 50, Affine.identity(), UTM)).independent.all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.integers(0, 2**16))
def test_training_pixels_survive_being_stored(count: int, seed: int) -> None:
    places = np.random.default_rng(seed).permutation(20 * 30)[:count]
    grid = Grid(20, 30, Affine(26, 15, 4e5, 15, -26, 58e5), UTM)
    stored = json.loads(json.dumps(TrainingPixels(grid, places // 30, places % 30, 4).to_dict()))
    back = TrainingPixels.from_dict(stored)
    assert back.grid == grid
    np.testing.assert_array_equal(np.sort(places), back.rows * 30 + back.cols)


@pytest.mark.parametrize(
    "damage", [{"runs": [1, 2]}, {"runs": [0, 0, 10**12]}, {"shape": "x"}, {"crs": "x"}, {"transform": None}]
)
def test_a_damaged_record_is_refused(damage: dict[str, object]) -> None:
    stored = trained(Grid(50, 50, Affine.identity(), None)).to_dict() | damage
    with pytest.raises(LabelError, match="record of the training pixels is damaged"):
        TrainingPixels.from_dict(stored)
