"""Labels from the scores of a training-free method, and the tiles they are for."""

import numpy as np
import pytest
import xarray as xr

from hsi_toolkit.detection.neighbourhood import Rows
from hsi_toolkit.errors import SceneError
from hsi_toolkit.progress import Progress
from hsi_toolkit.training import pseudo_labels
from hsi_toolkit.training.pseudo_labels import BACKGROUND, FOUND, UNSURE, PseudoLabels, kept_on_disk
from hsi_toolkit.training.scene_tiles import Scaling, most_tiles, random_pixels, read_tiles, training_tiles

SHAPE = (40, 50)


@pytest.fixture
def scores():
    """Scores that ascend in raster order, the first pixel without."""
    values = np.arange(1, 2001, dtype=np.float32).reshape(SHAPE)
    values[0, 0] = np.nan
    with kept_on_disk((Rows(values[None, y : y + 7], y) for y in range(0, 40, 7)), SHAPE) as kept:
        yield kept


def test_the_lowest_and_highest_shares_are_labelled_and_the_rest_is_unsure(scores):
    labels = PseudoLabels.of_shares(scores, 0.3, 0.01)
    found = labels.windows(np.array([20]), np.array([25]), 100)[0, 30:70, 25:75]
    assert found.shape == SHAPE
    assert (found == BACKGROUND).mean() == pytest.approx(0.3, abs=0.01)
    assert (found == FOUND).sum() == pytest.approx(20, abs=1)
    assert found[0, 0] == found[30, 0] == UNSURE
    assert found[0, 1] == BACKGROUND
    assert found[-1, -1] == FOUND


def test_two_pixels_are_found_however_small_the_scene(scores):
    labels = PseudoLabels.of_shares(scores, 0.3, 1e-9)
    rows, _ = labels.draw(FOUND, 10, np.random.default_rng(0))
    assert 1 <= len(rows) <= 3
    assert (rows == 39).all()


def test_pixels_are_drawn_once_each_from_all_over(scores, monkeypatch):
    labels = PseudoLabels.of_shares(scores, 0.5, 0.1)
    monkeypatch.setattr(pseudo_labels, "_PIXELS_AT_ONCE", 100)
    rows, cols = labels.draw(BACKGROUND, 300, np.random.default_rng(0))
    assert len({*zip(rows.tolist(), cols.tolist(), strict=True)}) == 300
    assert (scores.values[rows, cols] <= labels.low).all()
    assert rows.min() < 3 < 17 < rows.max()


def test_a_scene_without_scores_is_refused():
    nothing = np.full((1, 4, 4), np.nan, np.float32)
    with kept_on_disk([Rows(nothing, 0)], (4, 4)) as scores, pytest.raises(SceneError, match="No pixel"):
        PseudoLabels.of_shares(scores, 0.3, 0.1)


def test_tiles_are_cut_as_their_labels_are_and_mirrored_at_the_edges(scores):
    cube = np.stack([scores.values, -scores.values])
    scene = xr.DataArray(cube, dims=("band", "y", "x"))
    rows, cols = np.array([0, 39, 20]), np.array([0, 49, 3])
    tiles = read_tiles(scene, rows, cols, 8)
    labels = PseudoLabels(scores, 500.0, 1500.0).windows(rows, cols, 8)
    assert tiles.shape == (3, 2, 8, 8)
    assert np.array_equal(labels == FOUND, tiles[:, 0] > 1500)
    assert np.array_equal(labels == BACKGROUND, tiles[:, 0] <= 500)


def test_scaled_tiles_are_zero_where_there_is_no_data():
    cube = np.arange(2 * 9, dtype=np.float32).reshape(2, 3, 3)
    cube[1, 0, 0] = np.nan
    scene = xr.DataArray(cube, dims=("band", "y", "x"))
    scaling = Scaling.of(np.array([4.0, 13.0]), np.array([2.0, 0.0]))
    (tile,) = training_tiles(scene, np.array([1]), np.array([1]), 2, scaling.apply, Progress()).numpy()
    np.testing.assert_array_equal(tile[0], [[0, -1.5], [-0.5, 0]])
    np.testing.assert_array_equal(tile[1], [[0, -3], [-1, 0]])


def test_a_sample_of_pixels_spreads_over_the_scene_and_fits_into_memory():
    scene = xr.DataArray(np.broadcast_to(np.float32(0), (425, 5000, 4)), dims=("band", "y", "x"))
    rows, cols = random_pixels(scene, 50, seed=1)
    assert (np.diff(rows) <= 200).all()
    assert rows[-1] < 5000
    assert cols.max() < 4
    assert 2 <= most_tiles(scene, 64) < 40
    assert np.array_equal(rows, random_pixels(scene, 50, seed=1)[0])
