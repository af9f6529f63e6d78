"""Predictions from overlapping tiles: every pixel once, no seams, any size."""

import numpy as np
import pytest
import xarray as xr

from hsi_toolkit.errors import Cancelled
from hsi_toolkit.inference import blending
from hsi_toolkit.inference.blending import Tiling, predict_blended
from hsi_toolkit.progress import Progress

TILING = Tiling(side=16, overlap=6, batch=3)


def scene_of(rows, columns, bands=3, seed=0):
    cube = np.random.default_rng(seed).normal(size=(bands, rows, columns)).astype(np.float32)
    return xr.DataArray(cube, dims=("band", "y", "x"))


def whole(scene, predict, channels, tiling=TILING, **more):
    parts = list(predict_blended(scene, predict, channels, tiling, **more))
    ends = [part.y0 + part.data.shape[1] for part in parts]
    assert [part.y0 for part in parts] == [0, *ends[:-1]]
    return np.concatenate([part.data for part in parts], axis=1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (5, 3), (16, 16), (17, 90), (61, 33)])
def test_pixelwise_predictions_are_the_scene_whatever_its_size(shape):
    scene = scene_of(*shape)
    found = whole(scene, lambda tiles: tiles[:, :2] * 2, 2)
    np.testing.assert_allclose(found, scene.to_numpy()[:2] * 2, rtol=1e-6)


def test_reading_in_parts_changes_nothing(monkeypatch):
    scene = scene_of(40, 70)
    found = whole(scene, lambda tiles: tiles, 3)
    monkeypatch.setattr(blending, "_READ_BYTES", 1)
    np.testing.assert_array_equal(whole(scene, lambda tiles: tiles, 3), found)


def test_pixels_without_data_have_no_prediction():
    scene = scene_of(30, 30)
    scene[1, 4, 5] = np.nan
    found = whole(scene, lambda tiles: np.nan_to_num(tiles[:, :1]), 1)
    assert np.isnan(found[0, 4, 5])
    assert np.isnan(found).sum() == 1


def test_the_rim_of_a_tile_counts_only_where_no_other_sees_the_pixel():
    def wrong_at_the_rim(tiles):
        found = np.zeros((len(tiles), 1, 16, 16), np.float32)
        found[:, :, 0], found[:, :, -1], found[:, :, :, 0], found[:, :, :, -1] = 1, 1, 1, 1
        return found

    found = whole(scene_of(46, 46), wrong_at_the_rim, 1)[0]
    assert found[1:-1, 1:-1].max() < 0.05
    assert (found[0] == 1).all()


def test_neighbouring_tiles_that_disagree_leave_no_seam():
    levels = iter(range(1000))

    def a_level_a_tile(tiles):
        return np.stack([np.full((1, 16, 16), next(levels), np.float32) for _ in tiles])

    found = whole(scene_of(16, 26), a_level_a_tile, 1, Tiling(16, 6))[0]
    assert (found[0, 0], found[0, -1]) == (0, 1)
    assert np.abs(np.diff(found, axis=1)).max() < 0.35


def test_a_cancel_stops_between_batches():
    class Asked(Progress):
        def cancelled(self):
            return True

    with pytest.raises(Cancelled):
        whole(scene_of(20, 20), lambda tiles: tiles, 3, progress=Asked())
