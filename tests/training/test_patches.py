"""Patches for pretraining: from scenes of any size and sensor, and from archives."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import scipy.io

from hsi_toolkit.errors import SceneError
from hsi_toolkit.training.patches import PatchPool, _stretched


def write_tif(path: Path, cube: np.ndarray, nodata: float | None = None) -> Path:
    profile = {"driver": "GTiff", "count": cube.shape[0], "height": cube.shape[1], "width": cube.shape[2]}
    with rasterio.open(path, "w", dtype=cube.dtype, nodata=nodata, **profile) as file:
        file.write(cube)
    return path


def cube(bands: int, rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1000, (bands, rows, columns)).astype(np.float32)


def pool(*paths: Path, bands: int = 12, side: int = 16, per_scene: int = 3) -> PatchPool:
    return PatchPool(paths, bands=bands, side=side, per_scene=per_scene, seed=1)


@pytest.mark.parametrize(
    "shape", [(60, 40, 50), (200, 17, 16), (425, 20, 20), (5, 1, 1), (1, 9, 30), (12, 16, 16)]
)
def test_scenes_of_any_size_and_number_of_bands_give_patches(
    tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    patches = pool(write_tif(tmp_path / "scene.tif", cube(*shape)))
    assert len(patches) == 3
    values = [patches.patch(0, 0, number) for number in range(3)]
    assert all(each.shape == (12, 16, 16) and each.dtype == np.float32 for each in values)
    assert np.isfinite(values).all()
    assert 0.1 < np.mean(values) < 2


def test_a_patch_is_a_run_of_neighbouring_bands_at_one_place_and_scaled(tmp_path: Path) -> None:
    band, row, column = np.mgrid[0:40, 0:30, 0:30].astype(np.float32)
    patches = pool(write_tif(tmp_path / "scene.tif", 10_000 * band + 100 * row + column))
    patch = patches.patch(0, 0, 0)
    assert np.allclose(np.diff(patch, axis=0), np.diff(patch, axis=0).mean(), rtol=1e-3)
    steps = [np.diff(patch, axis=axis).mean() for axis in (1, 2)]
    assert steps[0] == pytest.approx(100 * steps[1], rel=1e-2)


def test_patches_depend_on_their_numbers_alone(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "scene.tif", cube(20, 40, 40))
    first, second = pool(path), pool(path)
    second.patch(0, 0, 5)
    assert np.array_equal(first.patch(0, 3, 7), second.patch(0, 3, 7))
    assert not np.array_equal(first.patch(0, 3, 7), first.patch(0, 4, 7))
    assert not np.array_equal(first.patch(0, 3, 7), first.patch(0, 3, 8))


def test_hyperglobal_files_are_scaled_as_published(tmp_path: Path) -> None:
    for number in range(3):
        scipy.io.savemat(tmp_path / f"{number}.mat", {"img": np.full((30, 16, 16), 1000 * number, np.int16)})
    patches = pool(tmp_path)
    assert len(patches) == 3
    assert sorted(patches.order(0).tolist()) == [0, 1, 2]
    assert [float(patches.patch(file, 0, 0).mean()) for file in range(3)] == [0.0, 0.25, 0.5]


def test_of_an_archive_like_hyspecnet_the_spectral_images_are_taken(tmp_path: Path) -> None:
    for number in (1, 2):
        folder = tmp_path / "patches" / f"tile_001-patch_{number:02d}"
        folder.mkdir(parents=True)
        write_tif(folder / f"a{number}-SPECTRAL_IMAGE.TIF", np.full((20, 32, 32), 2000, np.int16))
        write_tif(folder / f"a{number}-QL_QUALITY_CLASSES.TIF", np.zeros((1, 32, 32), np.uint8))
    patches = pool(tmp_path)
    assert patches.identity == ["a1-SPECTRAL_IMAGE.TIF", "a2-SPECTRAL_IMAGE.TIF"]
    assert float(patches.patch(1, 0, 0).mean()) == 0.5


def test_scenes_and_archives_go_together(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    for number in range(2):
        write_tif(folder / f"{number}.tif", cube(12, 16, 16))
    scene = write_tif(tmp_path / "scene.tif", cube(12, 30, 30))
    patches = pool(scene, folder)
    assert np.bincount(patches.order(0)).tolist() == [3, 1, 1]


def test_what_has_no_data_is_filled_or_refused(tmp_path: Path) -> None:
    values = cube(12, 16, 16) + 1
    values[:, :4] = -1
    half = pool(write_tif(tmp_path / "half.tif", values, nodata=-1)).patch(0, 0, 0)
    assert np.isfinite(half).all()
    empty = write_tif(tmp_path / "empty.tif", np.full((12, 40, 40), -1, np.float32), nodata=-1)
    with pytest.raises(SceneError, match="No pixel of the scene has data"):
        pool(empty)
    archive = tmp_path / "archive"
    archive.mkdir()
    for number in range(2):
        write_tif(archive / f"{number}.tif", np.full((12, 16, 16), -1, np.float32), nodata=-1)
    with pytest.raises(SceneError, match="no square of 16 pixels of which half has data"):
        pool(archive).patch(0, 0, 0)


def test_a_folder_without_patches_is_named(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=str(tmp_path)):
        pool(tmp_path)


def test_few_bands_are_stretched_linearly() -> None:
    values = np.array([0.0, 1.0, 4.0], np.float32)[:, None, None]
    assert _stretched(values, 5).ravel().tolist() == [0.0, 0.5, 1.0, 2.5, 4.0]
    assert _stretched(values[:1], 3).ravel().tolist() == [0.0, 0.0, 0.0]
