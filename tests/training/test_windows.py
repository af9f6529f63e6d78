"""Windows, pixels and samples of a scene."""

import numpy as np
import pytest
import xarray as xr

from hsi_toolkit.errors import SceneError
from hsi_toolkit.training.windows import SceneWindows


def make_scene(height: int = 70, width: int = 50, bands: int = 4) -> xr.DataArray:
    values = np.arange(bands * height * width, dtype=np.float32).reshape(bands, height, width)
    return xr.DataArray(values, dims=("band", "y", "x"))


def test_windows_mirror_the_edge_and_agree_with_pixels() -> None:
    scene = make_scene()
    source = SceneWindows(scene)
    rows, cols = np.array([0, 30]), np.array([0, 49])
    windows = source.windows(rows, cols, 2)
    assert windows.shape == (2, 4, 5, 5)
    np.testing.assert_array_equal(windows[:, :, 2, 2], source.pixels(rows, cols))
    np.testing.assert_array_equal(windows[0, :, 1, 1], windows[0, :, 2, 2])
    assert source.good.all()


def test_samples_are_pixels_with_data_each_once_and_repeatable() -> None:
    scene = make_scene()
    scene[:, :40] = np.nan
    source = SceneWindows(scene)
    rows, cols = source.sample(300, seed=1)
    assert len(rows) == 300
    assert len(set(zip(rows.tolist(), cols.tolist(), strict=True))) == 300
    assert rows.min() >= 40
    again = source.sample(300, seed=1)
    np.testing.assert_array_equal(rows, again[0])
    assert not np.array_equal(rows, source.sample(300, seed=2)[0])


def test_a_bad_band_without_data_does_not_empty_the_scene() -> None:
    scene = make_scene().assign_coords(good=("band", [True, True, False, True]))
    scene[2] = np.nan
    assert len(SceneWindows(scene).sample(100, seed=0)[0]) == 100


def test_an_empty_scene_is_refused() -> None:
    with pytest.raises(SceneError, match="No pixel"):
        SceneWindows(make_scene() * np.nan).sample(10, seed=0)
