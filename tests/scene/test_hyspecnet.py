"""HySpecNet-11k: patches and the lists of its splits."""

from pathlib import Path

import numpy as np
import pytest

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene import open_scene
from hsi_toolkit.scene.readers.hyspecnet import VALID_BANDS, WAVELENGTHS, read_split

from .made_products import CRS, PATCH_NAME, write_patch


def test_a_patch_is_its_image(tmp_path: Path) -> None:
    folder = write_patch(tmp_path / "tile_001-patch_01")
    scene = open_scene(folder)
    assert scene.shape == (224, 4, 4)
    np.testing.assert_array_equal(scene.wavelength, WAVELENGTHS)
    np.testing.assert_array_equal(np.flatnonzero(scene.good), VALID_BANDS)
    assert float(scene[10, 1, 1]) == pytest.approx((10 * 16 + 5) * 3e-4)
    assert np.isnan(scene[:, 0, 0]).all()
    assert (scene.rio.crs, scene.attrs["quantity"]) == (CRS, "reflectance")
    assert scene.attrs["acquired"] == "2022-11-04T02:31:11Z"
    assert np.argwhere(scene["cloud"].values).tolist() == [[1, 1]]
    image = open_scene(folder / f"{PATCH_NAME}-SPECTRAL_IMAGE.TIF")
    np.testing.assert_array_equal(image.values, scene.values)


def test_data_are_the_202_bands(tmp_path: Path) -> None:
    folder = write_patch(tmp_path / "tile_001-patch_01")
    data = open_scene(folder / f"{PATCH_NAME}-DATA.npy")
    assert (data.shape, data.rio.crs) == ((202, 4, 4), None)
    np.testing.assert_array_equal(data.wavelength, np.array(WAVELENGTHS)[list(VALID_BANDS)])
    np.testing.assert_array_equal(data.band - 1, VALID_BANDS)
    np.testing.assert_array_equal(open_scene(folder, "data").values, data.values)
    image = open_scene(folder).isel(band=list(VALID_BANDS))
    np.testing.assert_allclose(data[:, 1:].values, np.clip(image[:, 1:].values, 0, 1), rtol=1e-6)
    assert data.attrs["quantity"] == "reflectance"


def test_patches_by_number_have_no_time(tmp_path: Path) -> None:
    scene = open_scene(write_patch(tmp_path / "tile_001-patch_01", "tile_001-patch_01"))
    assert "acquired" not in scene.attrs
    assert scene.attrs["sensor"] == "EnMAP (HySpecNet-11k)"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two patches, the second listed first."""
    for number in (1, 2):
        write_patch(tmp_path / "patches" / "tile_001" / f"tile_001-patch_{number:02d}")
    (tmp_path / "splits" / "hard").mkdir(parents=True)
    lines = [f"tile_001/tile_001-patch_{number:02d}/{PATCH_NAME}-DATA.npy\n" for number in (2, 1)]
    (tmp_path / "splits" / "hard" / "val.csv").write_text("".join(lines))
    return tmp_path


def test_a_split_lists_its_patches_in_order(dataset: Path) -> None:
    patches = read_split(dataset, "hard", "val")
    assert [patch.folder.name for patch in patches] == ["tile_001-patch_02", "tile_001-patch_01"]
    assert all(patch.data.is_file() and patch.image.is_file() for patch in patches)


def test_missing_files_are_named(dataset: Path) -> None:
    gone = read_split(dataset, "hard", "val")[0].data
    gone.unlink()
    with pytest.raises(SceneError, match=r"1 of 2 files.*patch_02.*DATA\.npy"):
        read_split(dataset, "hard", "val")
    assert len(read_split(dataset, "hard", "val", needs="image")) == 2
    with pytest.raises(SceneError, match=r"no list .*train\.csv"):
        read_split(dataset, "hard", "train")


@pytest.mark.parametrize(
    "line", ["../../x/tile_001-patch_01-DATA.npy", "/etc/passwd", "a\\b-DATA.npy", "x,y"]
)
def test_lines_that_lead_elsewhere_are_refused(dataset: Path, line: str) -> None:
    (dataset / "splits" / "hard" / "val.csv").write_text(line + "\n")
    with pytest.raises(SceneError, match="Line 1"):
        read_split(dataset, "hard", "val")
