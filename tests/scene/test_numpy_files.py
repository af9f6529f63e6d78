"""NumPy files: the band axis is guessed by a stated rule, and nothing in them is executed."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hsi_toolkit.errors import HsiError
from hsi_toolkit.scene import open_scene


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<i2", ">f8", "u1"])
def test_an_array_is_read_with_its_bands_last(tmp_path, cube, order, dtype) -> None:
    np.save(tmp_path / "a.npy", np.asarray(cube.transpose(1, 2, 0), dtype, order))
    scene = open_scene(tmp_path / "a.npy")
    np.testing.assert_array_equal(scene.values, cube)
    np.testing.assert_array_equal(scene[1:3, ::2, [5, 0]].values, cube[1:3, ::2][:, :, [5, 0]])


def test_the_first_axis_is_the_bands_when_the_other_two_are_equal(tmp_path) -> None:
    patch = np.arange(9 * 4 * 4).reshape(9, 4, 4)
    np.save(tmp_path / "a.npy", patch)
    np.testing.assert_array_equal(open_scene(tmp_path / "a.npy").values, patch)
    np.testing.assert_array_equal(open_scene(tmp_path / "a.npy", ":yxb").values, patch.transpose(2, 0, 1))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_gives_its_cube_and_wavelengths(tmp_path, cube, save) -> None:
    save(
        tmp_path / "a.npz",
        data=cube,
        gt=cube[0],
        wavelength=[0.4, 0.5, 0.6, 0.7, 0.8],
        names=np.array(["a", "b"]),
    )
    scene = open_scene(tmp_path / "a.npz")
    np.testing.assert_array_equal(scene.values, cube)
    np.testing.assert_allclose(scene.wavelength, [400, 500, 600, 700, 800])
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)


def test_pickles_are_never_run(tmp_path) -> None:
    trap = tmp_path / "sprung"
    array = np.empty((2, 2, 2), object)
    array[:] = Bomb(trap)
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    np.savez(tmp_path / "a.npz", data=array)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Bomb(trap)))
    for name in ("a.npy", "a.npz", "b.npy"):
        with pytest.raises(HsiError):
            open_scene(tmp_path / name).load()
    assert not trap.exists()


def test_damaged_and_lying_files_are_refused_in_a_sentence(tmp_path, cube) -> None:
    np.save(tmp_path / "a.npy", cube)
    content = (tmp_path / "a.npy").read_bytes()
    np.savez_compressed(tmp_path / "a.npz", data=np.tile(cube, (4, 4, 4)))
    archive = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "short.npy").write_bytes(content[:-1])
    (tmp_path / "header.npy").write_bytes(content[:30])
    (tmp_path / "short.npz").write_bytes(archive[: len(archive) // 2])
    (tmp_path / "flipped.npz").write_bytes(
        archive[:300] + bytes(byte ^ 255 for byte in archive[300:400]) + archive[400:]
    )
    lie = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        lie, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**5, 66)}
    )
    (tmp_path / "lie.npy").write_bytes(lie.getvalue() + b"\0" * 100)
    with zipfile.ZipFile(tmp_path / "lie.npz", "w") as file:
        file.writestr("data.npy", lie.getvalue() + b"\0" * 100)
    for name in ("short.npy", "header.npy", "short.npz", "flipped.npz", "lie.npy", "lie.npz"):
        with pytest.raises(HsiError) as caught:
            open_scene(tmp_path / name).load()
        assert caught.value.remedy, name


def test_arrays_that_are_no_cube_are_refused(tmp_path, cube) -> None:
    for array in (cube[0], cube > 3, cube * 1j, np.empty((0, 2, 2)), np.zeros((2, 2, 2), [("a", "f4")])):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(HsiError, match="no cube"):
            open_scene(tmp_path / "a.npy")
