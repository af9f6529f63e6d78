"""The numbers a file stores, to the last bit, whatever the reader."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from hsi_toolkit.scene import open_scene
from hsi_toolkit.scene.bands import SelectedBands, StackedSource
from hsi_toolkit.scene.contract import make_scene
from hsi_toolkit.scene.lazy import Calibration
from hsi_toolkit.scene.raw import PlainFile, RawSource
from hsi_toolkit.scene.stored import stored_scene

WINDOW = slice(1, 6), slice(2, 4)


def cube(dtype: str) -> np.ndarray:
    kind = np.dtype(dtype)
    return np.frombuffer(np.random.default_rng(0).bytes(5 * 7 * 6 * kind.itemsize), kind).reshape(5, 7, 6)


def raw(path: Path, values: np.ndarray, calibration: Calibration | None = None) -> RawSource:
    path.write_bytes(values.tobytes())
    return RawSource(PlainFile(path), 0, values.dtype, "byx", values.shape, calibration or Calibration())


@pytest.mark.parametrize("dtype", ["int8", "uint16", ">i2", ">f4", "<i4", ">u8", "<f8"])
def test_flat_files_give_their_bits(tmp_path: Path, dtype: str) -> None:
    values = cube(dtype)
    half = Calibration(np.full(5, 0.5), None, -1.0)
    stored = stored_scene(make_scene(raw(tmp_path / "a", values, half), path=tmp_path)).numbers
    native = values.astype(values.dtype.newbyteorder("="))
    assert stored.dtype == native.dtype
    assert stored.read(*WINDOW).tobytes() == native[:, *WINDOW].tobytes()
    assert stored.calibration is half


def test_matlab_files_give_theirs(tmp_path: Path) -> None:
    values = cube("uint16")
    scipy.io.savemat(tmp_path / "a.mat", {"data": values.transpose(1, 2, 0)})
    stored = stored_scene(open_scene(tmp_path / "a.mat")).numbers
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored.read(*WINDOW), values[:, *WINDOW])


def test_bands_of_several_files_are_put_together_with_their_scales(tmp_path: Path) -> None:
    one, other = cube("int16"), cube("int16") // 2
    scaled = raw(tmp_path / "b", other, Calibration(np.arange(1.0, 6.0), None, 7.0))
    source = StackedSource((raw(tmp_path / "a", one), SelectedBands(scaled, np.array([4, 0]))))
    stored = stored_scene(make_scene(source, path=tmp_path)).numbers
    np.testing.assert_array_equal(stored.read(*WINDOW), np.concatenate([one, other[[4, 0]]])[:, *WINDOW])
    np.testing.assert_array_equal(stored.calibration.scale, [1, 1, 1, 1, 1, 5, 1])
    np.testing.assert_array_equal(stored.calibration.nodata, [np.nan] * 5 + [7, 7])


def test_bands_sorted_by_wavelength_know_their_places(tmp_path: Path) -> None:
    scene = make_scene(
        raw(tmp_path / "a", cube("int16")), path=tmp_path, wavelength=np.array([500.0, 400, 900, 700, 600])
    )
    stored = stored_scene(scene)
    np.testing.assert_array_equal(stored.places, [1, 0, 4, 3, 2])
    np.testing.assert_array_equal(stored.numbers.read(slice(0, 7), slice(0, 6)), cube("int16"))


def test_parts_of_scenes_and_other_arrays_give_their_values(tmp_path: Path) -> None:
    scene = make_scene(raw(tmp_path / "a", cube("int16")), path=tmp_path)
    for part in (scene[1:], scene[:, 2:], scene[:, :, ::2], scene.load()):
        stored = stored_scene(part).numbers
        assert stored.dtype == np.float32
        np.testing.assert_array_equal(stored.read(slice(0, 3), slice(0, 2)), part.values[:, :3, :2])
