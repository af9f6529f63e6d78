"""``scene.hsi`` and ``engine="hsi"``."""

import numpy as np
import pytest
import xarray as xr

from hsi_toolkit.errors import HsiError
from hsi_toolkit.scene import open_scene

LISTS = "wavelength = {2200, 480, 560, 660, 840}\nwavelength units = nm\nbbl = {0, 1, 1, 1, 1}\n"


def test_wavelengths_select_bands(write_envi, cube) -> None:
    scene = open_scene(write_envi(cube, extra=LISTS))
    np.testing.assert_array_equal(scene.hsi.wavelength, [480, 560, 660, 840, 2200])
    assert scene.hsi.sel_wavelength(850).dims == ("y", "x")
    np.testing.assert_array_equal(scene.hsi.sel_wavelength(850).values, cube[4])
    np.testing.assert_array_equal(scene.hsi.sel_wavelength([2100, 500], tolerance=100).values, cube[[0, 1]])
    with pytest.raises(HsiError, match="the nearest is 840 nm"):
        scene.hsi.sel_wavelength([500, 1000], tolerance=100)
    np.testing.assert_array_equal(scene.hsi.good_bands.values, cube[1:])


def test_a_scene_without_wavelengths_says_so(write_envi, cube) -> None:
    with pytest.raises(HsiError, match="no wavelengths"):
        open_scene(write_envi(cube)).hsi.sel_wavelength(500)


def test_natural_colour_shows_red_green_and_blue(write_envi) -> None:
    cube = np.zeros((5, 20, 30))
    cube[3, :, :10], cube[2, :, 10:20], cube[1, :, 20:] = 100, 200, 300
    picture = open_scene(write_envi(cube, extra=LISTS)).hsi.rgb()
    assert picture.dims == ("y", "x", "rgb")
    assert picture.dtype == np.uint8
    assert [picture.values[5, x].tolist() for x in (5, 15, 25)] == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def test_other_scenes_get_bands_spread_over_the_good_ones(write_envi, cube) -> None:
    ramp = np.stack([np.roll(cube[0], shift, axis=1) for shift in range(5)])
    infrared = "wavelength = {1000, 1100, 1200, 1300, 1400}\nwavelength units = nm\n"
    for extra in ("", infrared):
        picture = open_scene(write_envi(ramp, extra=extra)).hsi.rgb(percentiles=(0, 100))
        for channel, band in enumerate((4, 2, 0)):
            np.testing.assert_allclose(picture[:, :, channel], ramp[band] / 41 * 255, atol=1)
    single = open_scene(write_envi(cube[:1])).hsi.rgb()
    np.testing.assert_array_equal(single[:, :, 0], single[:, :, 2])


def test_pixels_without_data_and_flat_bands_are_black(write_envi, cube) -> None:
    scene = open_scene(write_envi(cube * 0 + 7, extra="data ignore value = 7\n"))
    assert (scene.hsi.rgb() == 0).all()
    assert (open_scene(write_envi(cube * 0 + 7)).hsi.rgb() == 0).all()


def test_a_thinned_picture_stays_on_the_map(write_envi) -> None:
    cube = np.random.default_rng(0).integers(0, 100, (3, 60, 40))
    for rotation in (0, 30):
        extra = f"map info = {{UTM, 1, 1, 500000, 5e6, 20, 10, 33, North, WGS-84, rotation={rotation}}}\n"
        scene = open_scene(write_envi(cube, extra=extra))
        picture = scene.hsi.rgb(max_size=20)
        assert picture.shape == (20, 14, 3)
        whole, thin = scene.rio.transform(), picture.rio.transform()
        np.testing.assert_allclose(thin @ (2.5, 4.5), whole @ (6.5, 12.5))
        assert picture.rio.crs == scene.rio.crs


def test_nonsense_percentiles_are_refused(write_envi, cube) -> None:
    for arguments in ({"percentiles": (98, 2)}, {"percentiles": (-1, 50)}, {"max_size": 0}):
        with pytest.raises(HsiError):
            open_scene(write_envi(cube)).hsi.rgb(**arguments)


def test_xarray_opens_scenes_by_engine(write_envi, cube, tmp_path) -> None:
    header = write_envi(cube, extra=LISTS)
    data = xr.open_dataset(header, engine="hsi")
    np.testing.assert_array_equal(data["scene"].values, cube[[1, 2, 3, 4, 0]])
    np.testing.assert_array_equal(data["wavelength"], [480, 560, 660, 840, 2200])
    assert "scene" not in xr.open_dataset(header, engine="hsi", drop_variables="scene")
    lazy = xr.open_dataset(header, engine="hsi", chunks={})["scene"]
    assert lazy.chunks is not None
    np.testing.assert_array_equal(lazy.mean("band").values, cube.mean(axis=0))
    np.save(tmp_path / "a.npy", cube)
    stated = xr.open_dataset(tmp_path / "a.npy", engine="hsi", variable=":byx")
    np.testing.assert_array_equal(stated["scene"].values, cube)


def test_xarray_finds_the_engine_of_an_envi_header_by_itself(write_envi, cube) -> None:
    np.testing.assert_array_equal(xr.open_dataset(write_envi(cube))["scene"].values, cube)
