"""DESIS products of each level."""

from pathlib import Path

import numpy as np
import pytest

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene import open_scene

from .made_products import CRS, stored_numbers, write_desis, write_tif, zipped


def test_l2a_is_reflectance_with_its_quality_layers(tmp_path: Path) -> None:
    product = write_desis(tmp_path)
    scene = open_scene(product)
    np.testing.assert_array_equal(scene.wavelength, [450, 500, 550, 600])
    np.testing.assert_allclose(scene[:, 1:].values, stored_numbers(4)[:, 1:] * 1e-4, rtol=1e-6)
    assert np.isnan(scene[:, 0, 0]).all()
    assert (scene.rio.crs, scene.attrs["quantity"], scene.attrs["sensor"]) == (CRS, "reflectance", "DESIS")
    assert scene.attrs["acquired"] == "2019-12-03T02:11:28Z"
    assert np.argwhere(scene["cloud_land"].values).tolist() == [[1, 2]]
    assert (scene["water_vapour"].values == 70).all()
    for part in ("METADATA.xml", "SPECTRAL_IMAGE.tif", "SPECTRAL_IMAGE.hdr"):
        np.testing.assert_array_equal(open_scene(product / f"{product.name}-{part}").values, scene.values)
    np.testing.assert_array_equal(open_scene(zipped(product)).values, scene.values)


@pytest.mark.parametrize("level", ["L1B", "L1C"])
def test_l1_is_radiance_by_each_bands_own_gain_and_offset(tmp_path: Path, level: str) -> None:
    scene = open_scene(write_desis(tmp_path, level))
    gain = np.arange(1, 5)[:, None, None]
    np.testing.assert_allclose(scene[:, 1:].values, (stored_numbers(4) * 0.5 * gain + gain)[:, 1:], rtol=1e-6)
    assert (scene.attrs["quantity"], scene.attrs["units"]) == ("radiance", "mW/cm2/sr/um")
    assert (scene.rio.crs is None) == (level == "L1B")


def test_error_codes_are_a_scene_of_their_own(tmp_path: Path) -> None:
    product = write_desis(tmp_path, "L1C")
    codes = np.arange(4 * 6 * 4, dtype=np.uint8).reshape(4, 6, 4)
    write_tif(product / f"{product.name}-QL_QUALITY.tif", codes)
    np.testing.assert_array_equal(open_scene(product, "errors").values, codes)


def test_there_is_one_image(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="holds one image"):
        open_scene(write_desis(tmp_path), "vnir")
