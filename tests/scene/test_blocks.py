"""Blocks cover the scene once, in order, and hold no more than they may."""

import threading

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from hsi_toolkit.errors import HsiError, OutOfMemoryError
from hsi_toolkit.scene import iter_blocks, open_scene


def scene_of(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values.astype(np.float32), dims=("band", "y", "x"))


@given(
    height=st.integers(1, 23),
    rows=st.integers(1, 30),
    halo=st.integers(0, 40),
)
def test_blocks_with_halo_are_the_mirrored_scene(height, rows, halo) -> None:
    values = np.arange(2 * height * 3).reshape(2, height, 3)
    padded = np.pad(values, ((0, 0), (halo, halo), (0, 0)), mode="symmetric")
    expected = 0
    for block in iter_blocks(scene_of(values), rows=rows, halo=halo):
        assert block.y0 == expected
        np.testing.assert_array_equal(block.data, padded[:, block.y0 : block.y1 + 2 * halo])
        np.testing.assert_array_equal(block.core, values[:, block.y0 : block.y1])
        assert block.data.dtype == np.float32
        expected = block.y1
    assert expected == height


def test_blocks_of_a_file_are_its_values(write_envi, cube) -> None:
    scene = open_scene(write_envi(cube, interleave="bil"))
    for part in (
        scene,
        scene[[4, 0]],
        scene[:, 2:6, ::2],
        scene.transpose("y", "x", "band"),
        scene.chunk(y=2),
    ):
        blocks = [block.data for block in iter_blocks(part, rows=3, halo=0)]
        np.testing.assert_array_equal(np.concatenate(blocks, axis=1), part.transpose("band", "y", "x").values)


def test_three_blocks_fit_into_the_memory_limit() -> None:
    scene = scene_of(np.zeros((10, 400, 50)))
    limit = 3 * 4 * 10 * 50 * 21
    assert {block.y1 - block.y0 for block in iter_blocks(scene, memory_limit=limit)} == {21, 400 % 21}
    assert next(iter_blocks(scene, memory_limit=limit, halo=4)).data.shape == (10, 21, 50)
    with pytest.raises(OutOfMemoryError, match="memory"):
        next(iter_blocks(scene, memory_limit=limit, halo=11))


def test_without_a_limit_even_the_widest_scene_is_read() -> None:
    scene = scene_of(np.zeros((1000, 10, 2000)))
    assert next(iter_blocks(scene)).y1 == 3
    assert next(iter_blocks(scene, halo=2)).y1 == 4


def test_blocks_keep_the_rows_of_tiles_together_where_memory_allows() -> None:
    scene = scene_of(np.zeros((1, 100, 10)))
    scene.encoding["stored_rows"] = 16
    assert [block.y0 for block in iter_blocks(scene, memory_limit=3 * 40 * 40)] == [0, 32, 64, 96]
    assert [block.y1 for block in iter_blocks(scene, memory_limit=3 * 40 * 50)][:2] == [48, 96]
    assert next(iter_blocks(scene, memory_limit=3 * 40 * 5)).y1 == 5


def test_the_next_block_is_read_while_this_one_is_used(monkeypatch) -> None:
    reading = threading.Event()
    names: list[str] = []

    def read(scene, y0, y1, halo):
        names.append(threading.current_thread().name)
        if y0 == 1:
            reading.set()
        return np.zeros((1, 1, 1), np.float32)

    monkeypatch.setattr("hsi_toolkit.scene.blocks.read_rows", read)
    blocks = iter_blocks(scene_of(np.zeros((1, 3, 1))), rows=1)
    next(blocks)
    assert reading.wait(timeout=30)
    blocks.close()
    assert all(name.startswith("hsi-read") for name in names)


def test_stopping_early_ends_the_reading_thread() -> None:
    for _block in iter_blocks(scene_of(np.zeros((1, 50, 1))), rows=1):
        break
    reading = [thread for thread in threading.enumerate() if thread.name.startswith("hsi-read")]
    for thread in reading:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in reading)


def test_reading_errors_reach_the_caller(write_envi, cube, tmp_path) -> None:
    scene = open_scene(write_envi(cube, interleave="bil"))
    with (tmp_path / "cube.img").open("r+b") as file:
        file.truncate(5 * 6 * 2 * 4)
    seen = []
    with pytest.raises(HsiError, match="cut short"):
        seen.extend(block.y0 for block in iter_blocks(scene, rows=2))
    assert seen == [0, 2]


@pytest.mark.parametrize("arguments", [{"rows": 0}, {"halo": -1}])
def test_nonsense_is_refused(arguments) -> None:
    with pytest.raises(HsiError):
        next(iter_blocks(scene_of(np.zeros((1, 3, 1))), **arguments))
