"""ENVI images of AVIRIS: what their names and the files beside them tell where the header is silent."""

from pathlib import Path

import numpy as np
import pytest

from hsi_toolkit.scene import open_scene

LISTS = "wavelength = {667.5, 655.5, 665, 675, 685}\nwavelength units = Nanometers\n"
ROTATED = (
    "map info = {UTM, 1, 1, 583000, 4138000, 15.5, 15.5, 10, North, WGS-84, units=Meters, rotation=-42.0}\n"
)


@pytest.mark.parametrize(
    ("name", "sensor", "acquired", "quantity"),
    [
        ("ang20160910t185702_2rdn_img", "AVIRIS-NG", "2016-09-10T18:57:02Z", "radiance"),
        ("ang20180814t224053_rfl_v2r2_img", "AVIRIS-NG", "2018-08-14T22:40:53Z", "reflectance"),
        ("ang20180814t224053_corr_v2r2_img", "AVIRIS-NG", "2018-08-14T22:40:53Z", "reflectance"),
        ("ang20160910t185702_rdn_obs_ort", "AVIRIS-NG", "2016-09-10T18:57:02Z", "dn"),
        ("AV320231005t181518_000_L2A_OE_main_RFL_ORT", "AVIRIS-3", "2023-10-05T18:15:18Z", "reflectance"),
        ("AV520250508t173511_000_L1B_RDN_RDN", "AVIRIS-5", "2025-05-08T17:35:11Z", "radiance"),
        ("f080611t01p00r06rdn_c_sc01_ort_img", "AVIRIS-Classic", "2008-06-11", "radiance"),
        ("f970620t01p02_r03_sc01.a.rfl", "AVIRIS-Classic", "1997-06-20", "reflectance"),
        ("f970620.img", None, None, "dn"),
    ],
)
def test_names_tell_instrument_time_and_quantity(
    write_envi, cube, name: str, sensor: str | None, acquired: str | None, quantity: str
) -> None:
    scene = open_scene(write_envi(cube, name=name, suffix="", dtype="f4", extra=LISTS))
    assert scene.attrs.get("sensor") == sensor
    assert scene.attrs.get("acquired") == acquired
    assert scene.attrs["quantity"] == quantity
    if quantity == "radiance":
        assert scene.attrs["units"] == "uW/cm2/sr/nm"


def test_the_header_goes_before_the_name(write_envi, cube) -> None:
    extra = "sensor type = Other\nacquisition time = 2020-05-06T10:11:12Z\nreflectance scale factor = 100\n"
    scene = open_scene(write_envi(cube, name="ang20160910t185702_2rdn_img", suffix="", extra=extra))
    assert (scene.attrs["sensor"], scene.attrs["acquired"]) == ("Other", "2020-05-06T10:11:12Z")
    assert scene.attrs["quantity"] == "reflectance"


def test_classic_radiance_is_divided_by_its_gains_and_sorted_and_stays_rotated(
    write_envi, cube, tmp_path: Path
) -> None:
    stored = cube + 300
    stored[:, 0, 0] = -50
    (tmp_path / "f080611t01p00r06rdn_c.gain").write_text("300. 1\n300. 2\n300. 3\n600. 4\n1200. 5\n")
    header = write_envi(
        stored, name="f080611t01p00r06rdn_c_sc01_ort_img", suffix="", big_endian=True, interleave="bip",
        extra=LISTS + ROTATED,
    )  # fmt: skip
    scene = open_scene(header)
    assert np.all(np.diff(scene.wavelength) > 0)
    physical = stored / np.array([300, 300, 300, 600, 1200])[:, None, None]
    physical[:, 0, 0] = np.nan
    np.testing.assert_allclose(scene.values, physical[[1, 2, 0, 3, 4]], rtol=1e-6)
    assert scene.attrs["quantity"] == "radiance"
    a, b, c, d, e, f = scene.rio.transform()[:6]
    turn = np.radians(-42)
    np.testing.assert_allclose((a, b, c), (15.5 * np.cos(turn), 15.5 * np.sin(turn), 583_000))
    np.testing.assert_allclose((d, e, f), (15.5 * np.sin(turn), -15.5 * np.cos(turn), 4_138_000))


def test_classic_whole_numbers_without_gains_stay_numbers(write_envi, cube) -> None:
    scene = open_scene(write_envi(cube, name="f080611t01p00r06rdn_c_img", suffix="", extra=LISTS))
    assert scene.attrs["quantity"] == "dn"
    assert "units" not in scene.attrs
