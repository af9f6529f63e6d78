"""Image folders: pairs by name, classes by sub-folder, proportions kept."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

from hsi_toolkit.bimodal.folders import is_image_folder, pairs_from_folder
from hsi_toolkit.bimodal.pairs import Preparation
from hsi_toolkit.errors import SceneError

SMALL = Preparation(patch=4, side=16)


def write_pair(
    folder: Path, name: str, shape: tuple[int, int] = (20, 30), bands: int = 6, grey: int = 128
) -> None:
    colour, cube = folder / "rgb" / f"{name}.png", folder / "hs" / f"{name}.npy"
    for path in (colour, cube):
        path.parent.mkdir(parents=True, exist_ok=True)
    height, width = shape
    image = np.full((3, height, width), grey, np.uint8)
    image[:, :, : width // 2] = 20
    with rasterio.open(
        colour, "w", driver="PNG", width=width, height=height, count=3, dtype="uint8"
    ) as target:
        target.write(image)
    ramp = np.linspace(0, 1, bands, dtype=np.float32)
    np.save(cube, np.broadcast_to(ramp, (height // 2, width // 2, bands)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("wheat/1", "wheat/2", "rye/1"):
        write_pair(tmp_path, name)
    return tmp_path


def test_pairs_with_classes(folder: Path) -> None:
    assert is_image_folder(folder)
    pairs = pairs_from_folder(folder, SMALL)
    assert pairs.called == ("rye/1", "wheat/1", "wheat/2")
    assert pairs.classes.names == ("rye", "wheat")
    assert pairs.labels is not None
    assert pairs.labels.tolist() == [0, 1, 1]
    assert pairs.rgb.shape == (3, 16, 16, 3)
    assert pairs.hs.shape == (3, 4, 4, 6)


def test_proportions_are_kept_and_the_rest_is_white(folder: Path) -> None:
    image = pairs_from_folder(folder, SMALL).rgb[0]
    # 20 × 30 pixels become 11 × 16.
    assert (image[:2] == 1.0).all()
    assert (image[-2:] == 1.0).all()
    assert image[8, 2, 0] == pytest.approx(0.0, abs=0.01)
    assert image[8, 13, 0] == pytest.approx(1.0, abs=0.01)


def test_without_classes_there_are_no_labels(tmp_path: Path) -> None:
    write_pair(tmp_path, "one")
    write_pair(tmp_path, "two")
    assert pairs_from_folder(tmp_path, SMALL).labels is None


def test_an_image_without_partner_is_named(folder: Path) -> None:
    (folder / "hs" / "rye" / "1.npy").unlink()
    with pytest.raises(SceneError, match="The image rgb/rye/1 has no partner hs/rye/1"):
        pairs_from_folder(folder, SMALL)


def test_other_bands_are_named(folder: Path) -> None:
    write_pair(folder, "wheat/3", bands=9)
    with pytest.raises(SceneError, match=r"3\.npy has 9 bands, the first image 6"):
        pairs_from_folder(folder, SMALL)
