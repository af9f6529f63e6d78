"""Real scenes take no more than they should, and come back whole."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.compression import SIX_BANDS, real_cube
from hsi_toolkit.compression.tile import decode_tile, encode_tile

TOLERANCE = 1.03


@pytest.mark.slow
@pytest.mark.parametrize("name", SIX_BANDS)
def test_a_real_scene_is_coded_as_well_as_six_band_least_squares_promise(
    shared: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HSI_SHARED", str(shared))
    cube = real_cube(name)
    data, _ = encode_tile(cube)
    assert 8 * len(data) / cube.size < TOLERANCE * SIX_BANDS[name]
    np.testing.assert_array_equal(decode_tile(data, cube.shape, cube.dtype), cube)


@pytest.mark.slow
@pytest.mark.parametrize("error", [1, 5, 20])
def test_no_sample_of_a_real_scene_is_off_by_more(
    shared: Path, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HSI_SHARED", str(shared))
    cube = real_cube("berlin")
    data, _ = encode_tile(cube, None, error)
    assert np.abs(decode_tile(data, cube.shape, cube.dtype).astype(int) - cube).max() == error
