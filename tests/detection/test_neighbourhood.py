"""Rows with neighbours, ring means and smoothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_toolkit.detection.neighbourhood import Rows, ring_mean, smoothed, with_neighbours
from hsi_toolkit.spectral.compute import Compute

RNG = np.random.default_rng(2)
CUBE = RNG.normal(size=(2, 17, 13)).astype(np.float32)
COMPUTES = pytest.mark.parametrize(
    "compute", [Compute(), Compute(torch.device("cpu"))], ids=["numpy", "tensors"]
)


def stream(cube, step):
    return [Rows(cube[:, y : y + step], y) for y in range(0, cube.shape[1], step)]


def padded(cube, reach):
    return np.pad(cube, ((0, 0), (reach, reach), (0, 0)), constant_values=np.nan)


@settings(max_examples=30, deadline=None)
@given(step=st.integers(1, 20), reach=st.integers(0, 6))
def test_rows_get_their_neighbours_however_they_come(step, reach):
    parts = list(with_neighbours(stream(CUBE, step), reach, CUBE.shape[1], Compute()))
    assert np.array_equal(np.concatenate([rows.data for rows, _ in parts], axis=1), CUBE)
    for rows, around in parts:
        expected = padded(CUBE, reach)[:, rows.y0 : rows.y0 + rows.data.shape[1] + 2 * reach]
        assert np.array_equal(around, expected, equal_nan=True)


@COMPUTES
@pytest.mark.parametrize(("guard", "window"), [(0, 1), (1, 3), (2, 5)])
def test_a_ring_mean_is_the_mean_of_the_valid_pixels_of_the_ring(guard, window, compute):
    cube = CUBE.copy()
    cube[:, 4:7, 5] = np.nan
    result = compute.get(ring_mean(compute.put(padded(cube, window)), guard, window, compute))
    rows, cols = np.mgrid[:17, :13]
    for row, col in ((0, 0), (5, 5), (16, 12), (9, 2)):
        away = np.maximum(abs(rows - row), abs(cols - col))
        ring = (away > guard) & (away <= window)
        np.testing.assert_allclose(result[:, row, col], np.nanmean(cube[:, ring], axis=1), atol=1e-5)


@COMPUTES
def test_smoothing_keeps_a_constant_and_the_gaps(compute):
    plane = np.full((1, 9, 8), 3.0, np.float32)
    plane[0, 4, 4] = np.nan
    result = compute.get(smoothed(compute.put(padded(plane, 2)), 0.5, 2, compute))
    assert np.isnan(result[0, 4, 4])
    np.testing.assert_allclose(result[np.isfinite(plane)], 3.0, rtol=1e-6)
