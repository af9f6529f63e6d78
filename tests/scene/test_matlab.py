"""MATLAB files of both kinds: cube and wavelengths are found, everything else is refused in a sentence."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from hsi_toolkit.errors import HsiError
from hsi_toolkit.scene import open_scene


@pytest.fixture
def stored(cube: np.ndarray) -> np.ndarray:
    """The cube as MATLAB users hold it: rows, columns, bands."""
    return cube.transpose(1, 2, 0).astype(np.uint16)


def save_5(path: Path, **arrays: object) -> Path:
    scipy.io.savemat(path, arrays, do_compression=True)
    return path


def save_5_plain(path: Path, **arrays: object) -> Path:
    scipy.io.savemat(path, arrays)
    return path


def save_73(path: Path, **arrays: object) -> Path:
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            file[name] = np.atleast_2d(np.asarray(values)).T
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
    return path


Save = Callable[..., Path]
every_version = pytest.mark.parametrize("save", [save_5, save_5_plain, save_73])


@every_version
def test_the_cube_is_found_and_read_in_rows_columns_bands(save: Save, tmp_path, stored, cube) -> None:
    scene = open_scene(save(tmp_path / "a.mat", anything=stored, gt=stored[:, :, 0], pair=np.arange(2.0)))
    np.testing.assert_array_equal(scene.values, cube)
    np.testing.assert_array_equal(scene[[4, 1], 2:4, -1].values, cube[[4, 1], 2:4, -1])
    assert scene.attrs["quantity"] == "dn"


@every_version
def test_wavelengths_in_the_file_are_used_and_tell_the_band_axis(save: Save, tmp_path, stored, cube) -> None:
    centres = [0.45, 0.55, 0.65, 0.85, 2.2]
    scene = open_scene(save(tmp_path / "a.mat", data=stored, wavelengths=np.array([centres]).T))
    np.testing.assert_allclose(scene.wavelength, np.array(centres) * 1e3)
    scene = open_scene(
        save(tmp_path / "b.mat", data=stored.transpose(2, 0, 1), wavelengths=np.array(centres))
    )
    np.testing.assert_array_equal(scene.values, cube)


@every_version
def test_the_clearly_larger_cube_wins_and_equal_ones_are_asked_about(
    save: Save, tmp_path, stored, cube
) -> None:
    path = save(tmp_path / "a.mat", small=stored[:2, :2], large=stored)
    np.testing.assert_array_equal(open_scene(path).values, cube)
    np.testing.assert_array_equal(open_scene(path, "small").values, cube[:, :2, :2])
    path = save(tmp_path / "b.mat", first=stored, second=stored + 1)
    with pytest.raises(HsiError, match=r"first \(7 x 6 x 5 uint16\), second"):
        open_scene(path)
    np.testing.assert_array_equal(open_scene(path, "second").values, cube + 1)
    path = save(tmp_path / "c.mat", data=stored, second=stored + 1)
    np.testing.assert_array_equal(open_scene(path).values, cube)


@every_version
def test_the_order_of_axes_can_be_stated(save: Save, tmp_path, stored, cube) -> None:
    path = save(tmp_path / "a.mat", data=stored.transpose(2, 0, 1))
    np.testing.assert_array_equal(open_scene(path, "data:byx").values, cube)
    np.testing.assert_array_equal(open_scene(path, ":bxy").values, cube.transpose(0, 2, 1))
    with pytest.raises(HsiError, match="'zyx' is no order"):
        open_scene(path, "data:zyx")


def test_a_table_of_pixels_is_unfolded_when_the_file_states_its_grid(tmp_path, cube) -> None:
    table = cube.reshape(5, -1, order="F").astype(float)
    path = save_5(tmp_path / "a.mat", Y=table, nRow=7, nCol=6, A=table[:3], S=np.zeros((7, 6, 3)))
    np.testing.assert_array_equal(open_scene(path).values, cube)
    with pytest.raises(HsiError, match="no cube"):
        open_scene(save_5(tmp_path / "b.mat", Y=table))


@every_version
def test_files_without_a_real_cube_say_what_they_hold(save: Save, tmp_path, stored) -> None:
    for arrays in ({"gt": stored[:, :, 0]}, {"data": stored * 1j}, {"data": np.empty((0, 3, 3))}):
        with pytest.raises(HsiError, match="no cube"):
            open_scene(save(tmp_path / "a.mat", **arrays))
    with pytest.raises(HsiError, match="'b'"):
        open_scene(save(tmp_path / "a.mat", a=stored), "b")


def test_cells_structures_and_text_are_passed_over(tmp_path, stored, cube) -> None:
    cells = np.full((2, 2, 2), "cell", object)
    path = save_5(tmp_path / "a.mat", c=cells, s={"field": stored}, t="text", flags=stored > 3, data=stored)
    np.testing.assert_array_equal(open_scene(path).values, cube)


@pytest.mark.parametrize("save", [save_5, save_5_plain, save_73])
@pytest.mark.parametrize("keep", [0, 3, 100, 140, 300, 0.5])
def test_damaged_files_are_refused_in_a_sentence(save: Save, keep: float, tmp_path, stored) -> None:
    path = save(tmp_path / "a.mat", data=np.tile(stored, (9, 9, 9)))
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep == 0.5 else int(keep)])
    with pytest.raises(HsiError) as caught:
        open_scene(path).load()
    assert caught.value.remedy


def test_links_to_other_files_are_not_followed(tmp_path, stored) -> None:
    target = save_73(tmp_path / "target.mat", data=stored)
    path = save_73(tmp_path / "a.mat", gt=stored[:, :, 0])
    with h5py.File(path, "r+") as file:
        file["data"] = h5py.ExternalLink(str(target), "/data")
        file["loop"] = h5py.SoftLink("/loop")
    with pytest.raises(HsiError, match="no cube"):
        open_scene(path)
    with pytest.raises(HsiError, match="'data'"):
        open_scene(path, "data")


def test_a_cube_of_terabytes_that_the_file_does_not_hold_is_refused(tmp_path) -> None:
    path = save_73(tmp_path / "a.mat", scalar=1.0)
    with h5py.File(path, "r+") as file:
        file.create_dataset("data", (66, 10**6, 10**6), np.int16, chunks=(66, 16, 16))
    with pytest.raises(HsiError, match="claims 132000 GB and holds 0 bytes"):
        open_scene(path)
