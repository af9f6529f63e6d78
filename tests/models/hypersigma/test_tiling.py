"""Tiles cover a scene, and margins mirror it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.models.hypersigma.tiling import mirror_pad, tiles


@given(st.integers(8, 60), st.integers(8, 60), st.integers(0, 7))
def test_every_pixel_is_kept_from_a_tile_that_computes_it(rows: int, columns: int, overlap: int) -> None:
    scene = np.arange(rows * columns).reshape(rows, columns)
    stitched = np.full_like(scene, -1)
    for tile in tiles((rows, columns), 8, overlap):
        result = scene[tile.rows, tile.columns]
        assert result.shape == (8, 8)
        stitched[tile.kept_rows, tile.kept_columns] = result[tile.inner]
    np.testing.assert_array_equal(stitched, scene)


def test_a_scene_smaller_than_a_tile_is_refused() -> None:
    with pytest.raises(ParameterError, match="do not cover a length of 7"):
        list(tiles((7, 20), 8, 2))


def test_the_edge_pixel_is_repeated() -> None:
    padded = mirror_pad(np.array([[1, 2], [3, 4]]), 1)
    assert padded[0].tolist() == [1, 1, 2, 2]
