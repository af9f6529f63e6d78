"""Tiles of a scene to train on, and their scale."""

import numpy as np
import pytest
import torch
import xarray as xr

from hsi_toolkit.errors import SceneError
from hsi_toolkit.progress import Progress
from hsi_toolkit.training.scene_tiles import (
    Scaling,
    padded,
    quantile_scaling,
    random_pixels,
    training_tiles,
)


def scene_of(cube: np.ndarray) -> xr.DataArray:
    return xr.DataArray(cube.astype(np.float32), dims=("band", "y", "x"))


def test_quantiles_bring_each_band_to_zero_and_one_whatever_a_few_pixels_hold() -> None:
    values = np.random.default_rng(0).uniform(size=(2, 60, 60)) * np.array([4, 900])[:, None, None]
    values[:, 3, 3] = 1e6
    values[:, 9] = np.nan
    scaled = quantile_scaling(scene_of(values), seed=1).apply(values.astype(np.float32))
    assert (scaled[:, 9] == 0).all()
    rest = np.delete(scaled, (3, 9), axis=1)
    np.testing.assert_allclose(rest.min(axis=(1, 2)), 0, atol=0.01)
    np.testing.assert_allclose(rest.max(axis=(1, 2)), 1, atol=0.01)


def test_a_band_that_never_changes_keeps_its_unit() -> None:
    scaling = quantile_scaling(scene_of(np.full((1, 5, 5), 7.0)), seed=0)
    assert (scaling.offset, scaling.scale) == (7, 1)
    cube = np.full((1, 2, 2), 9, np.float32)
    np.testing.assert_array_equal(scaling.undo(scaling.apply(cube)), cube)


def test_a_scene_without_data_is_refused() -> None:
    with pytest.raises(SceneError, match="No pixel of the scene has data"):
        quantile_scaling(scene_of(np.full((2, 5, 5), np.nan)), seed=0)


def test_empty_bands_come_behind_the_tiles() -> None:
    tiles = torch.rand(2, 3, 4, 4)
    wide = padded(tiles, 5)
    assert wide.shape == (2, 5, 4, 4)
    assert torch.equal(wide[:, :3], tiles)
    assert not wide[:, 3:].any()


@pytest.mark.parametrize("shape", [(1, 1), (40, 3), (30, 90)])
def test_tiles_lie_around_their_pixels_and_all_over_the_scene(shape: tuple[int, int]) -> None:
    cube = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    rows, cols = random_pixels(scene_of(cube), 12, seed=3)
    assert rows[0] <= shape[0] / 12
    assert rows[-1] >= np.floor(shape[0] * 11 / 12)
    one = Scaling(np.zeros(1, np.float32), np.ones(1, np.float32))
    tiles = training_tiles(scene_of(cube), rows, cols, 8, one.apply, Progress())
    assert tiles.shape == (12, 1, 8, 8)
    np.testing.assert_array_equal(tiles[:, 0, 4, 4], cube[0, rows, cols])
