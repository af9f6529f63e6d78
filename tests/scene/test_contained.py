"""A folder with one scene in it opens; archives and folders of several say what to do."""

import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from hsi_toolkit.errors import HsiError
from hsi_toolkit.scene import open_scene


def write(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["cube"] = np.arange(24.0).reshape(4, 3, 2)
    return path


def test_a_folder_opens_its_only_scene(tmp_path: Path, write_envi, cube) -> None:
    folder = tmp_path / "delivered" / "inner"
    folder.mkdir(parents=True)
    file = write(folder / "scene.h5")
    shutil.copy(file, folder / "EMIT_L2A_MASK_x.h5")
    np.testing.assert_array_equal(open_scene(tmp_path / "delivered").values, open_scene(file).values)
    header = write_envi(cube)
    image = tmp_path / "image"
    image.mkdir()
    for part in (header, header.with_suffix(".img")):
        shutil.move(part, image)
    np.testing.assert_array_equal(open_scene(image).values, cube)


def test_a_folder_of_several_scenes_names_them(tmp_path: Path) -> None:
    write(tmp_path / "a.h5")
    write(tmp_path / "b.he5")
    with pytest.raises(HsiError, match=r"2 scenes: a\.h5, b\.he5"):
        open_scene(tmp_path)


def test_an_archived_scene_asks_to_be_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(write(tmp_path / "scene.he5"), "scene.he5")
    with pytest.raises(HsiError, match=r"holds scene\.he5.*Unpack it"):
        open_scene(tmp_path / "a.zip")


def test_a_folder_without_a_scene_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(HsiError, match="no raster of a known kind"):
        open_scene(tmp_path)
