"""Pixels and windows are those of the scene, whatever their order and however near the edge."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_toolkit.errors import HsiError
from hsi_toolkit.scene import open_scene, read_pixels, read_windows, sample_pixels, sampling


def scene_of(values: np.ndarray, good: np.ndarray | None = None) -> xr.DataArray:
    coords = {} if good is None else {"good": ("band", good)}
    return xr.DataArray(values.astype(np.float32), dims=("band", "y", "x"), coords=coords)


@settings(deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 9)),
    radius=st.integers(0, 6),
    seed=st.integers(0, 99),
    group_bytes=st.sampled_from([64, 400, 10_000]),
)
def test_windows_are_cut_from_the_mirrored_scene(shape, radius, seed, group_bytes) -> None:
    values = np.arange(2 * shape[0] * shape[1]).reshape(2, *shape)
    generator = np.random.default_rng(seed)
    rows, cols = generator.integers(0, shape[0], 12), generator.integers(0, shape[1], 12)
    padded = np.pad(values, ((0, 0), (radius, radius), (radius, radius)), mode="symmetric")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "GROUP_BYTES", group_bytes)
        windows = read_windows(scene_of(values), rows, cols, radius)
    side = 2 * radius + 1
    for window, row, col in zip(windows, rows, cols, strict=True):
        np.testing.assert_array_equal(window, padded[:, row : row + side, col : col + side])


def test_pixels_come_in_the_order_asked_for(write_envi, cube) -> None:
    scene = open_scene(write_envi(cube, interleave="bip"))
    rows, cols = [6, 0, 3, 3, 0], [5, 0, 2, 2, 5]
    np.testing.assert_array_equal(read_pixels(scene, rows, cols), cube[:, rows, cols].T)
    np.testing.assert_array_equal(read_pixels(scene[[3, 1]], rows, cols), cube[[3, 1]][:, rows, cols].T)
    assert read_pixels(scene, [], []).shape == (0, 5)
    assert read_windows(scene, [], [], 4).shape == (0, 5, 9, 9)


def test_distant_pixels_do_not_pull_in_what_lies_between(monkeypatch) -> None:
    read: list[int] = []
    scene = scene_of(np.zeros((3, 1000, 4)))
    original = sampling.values_of

    def counting(part):
        read.append(part.sizes["y"])
        return original(part)

    monkeypatch.setattr(sampling, "values_of", counting)
    read_windows(scene, [3, 500, 501, 990], [0, 1, 2, 3], 2)
    assert sorted(read) == [5, 5, 6]


@pytest.mark.parametrize(("rows", "cols"), [([7], [0]), ([0], [6]), ([-1], [0]), ([0, 1], [0])])
def test_pixels_outside_the_scene_are_refused(cube, rows, cols) -> None:
    with pytest.raises(HsiError):
        read_pixels(scene_of(cube), rows, cols)


def test_a_sample_is_of_valid_pixels_spread_over_the_scene_and_repeats_itself() -> None:
    values = np.stack([np.repeat(np.arange(200.0), 30).reshape(200, 30)] * 3)
    values[:, :, :10] = np.nan
    scene = scene_of(values)
    sample = sample_pixels(scene, 500, seed=3)
    assert sample.shape == (500, 3)
    assert np.isfinite(sample).all()
    rows = np.unique(sample[:, 0])
    assert rows.min() < 15
    assert rows.max() > 185
    assert len(rows) >= 60
    np.testing.assert_array_equal(sample, sample_pixels(scene, 500, seed=3))
    assert not np.array_equal(sample, sample_pixels(scene, 500, seed=4))


def test_a_sample_of_more_than_there_is_is_everything_valid() -> None:
    values = np.arange(3 * 100 * 4.0).reshape(3, 100, 4)
    values[:, 50:, :2] = np.nan
    sample = sample_pixels(scene_of(values), 10_000)
    expected = values.reshape(3, -1).T
    expected = expected[np.isfinite(expected).all(axis=1)]
    np.testing.assert_array_equal(np.sort(sample, axis=0), np.sort(expected, axis=0))


def test_empty_and_bad_bands_do_not_make_pixels_invalid() -> None:
    values = np.random.default_rng(0).random((4, 20, 20))
    values[1] = np.nan
    values[2, ::2] = np.nan
    values[3, :, ::2] = np.nan
    sample = sample_pixels(scene_of(values, np.array([True, True, False, True])), 50)
    assert len(sample) == 50
    assert np.isfinite(sample[:, [0, 3]]).all()
    assert np.isnan(sample[:, 1]).all()


def test_a_mostly_empty_scene_still_gives_the_sample() -> None:
    values = np.random.default_rng(0).random((2, 64, 100))
    values[:, :60] = np.nan
    sample = sample_pixels(scene_of(values), 390)
    assert sample.shape == (390, 2)
    assert len(np.unique(sample[:, 0])) == 390


def test_a_scene_without_data_gives_an_empty_sample() -> None:
    assert sample_pixels(scene_of(np.full((2, 9, 9), np.nan)), 10).shape == (0, 2)
