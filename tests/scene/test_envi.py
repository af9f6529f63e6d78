"""ENVI: every layout is read right, and a header is believed only as far as the data file bears it out."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from rasterio.crs import CRS

from hsi_toolkit.errors import HsiError
from hsi_toolkit.scene import open_scene


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8", "u2", "u4", "i8", "u8"])
@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("big_endian", [False, True])
def test_all_layouts_give_the_same_cube(write_envi, cube, dtype, interleave, big_endian) -> None:
    header = write_envi(cube, dtype=dtype, interleave=interleave, big_endian=big_endian, offset=13)
    np.testing.assert_array_equal(open_scene(header).values, cube)


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
def test_compressed_data_are_read_and_leave_nothing_behind(write_envi, cube, interleave, tmp_path) -> None:
    header = write_envi(cube, interleave=interleave, compressed=True, offset=5)
    scene = open_scene(header)
    np.testing.assert_array_equal(scene[1:3, 2:4].values, cube[1:3, 2:4])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cube.hdr", "cube.img"]


def test_compression_is_recognised_without_the_header_saying_so(write_envi, cube) -> None:
    big = np.tile(cube, (1, 20, 20))
    header = write_envi(big, compressed=True, replace={"file compression": "0"})
    np.testing.assert_array_equal(open_scene(header).values, big)


def test_windows_read_the_same_as_slices_of_the_whole(write_envi, cube) -> None:
    for interleave in ("bsq", "bil", "bip"):
        scene = open_scene(write_envi(cube, interleave=interleave))
        for key in (
            np.s_[:, 2:5, 1:4],
            np.s_[[4, 0, 2], 3, ::-2],
            np.s_[::-1, ::3, [5, 1]],
            np.s_[-1, -1, -1],
            np.s_[:, 3:3],
            np.s_[1:4:2, [6, 0, 3], :],
        ):
            expected = cube
            for axis, part in reversed(list(enumerate(key))):
                expected = expected[(slice(None),) * axis + (part,)]
            np.testing.assert_array_equal(scene[key].values, expected)


def test_windows_of_lines_too_long_to_read_through(write_envi) -> None:
    wide = np.arange(3 * 4 * 20_000).reshape(3, 4, 20_000)
    for interleave in ("bsq", "bil", "bip"):
        scene = open_scene(write_envi(wide, dtype="i4", interleave=interleave))
        np.testing.assert_array_equal(scene[1:, 1:3, 9_000:9_010].values, wide[1:, 1:3, 9_000:9_010])


def test_a_large_window_is_read_by_threads_without_a_seam(write_envi) -> None:
    large = np.random.default_rng(0).integers(-(2**15), 2**15, (40, 300, 200))
    for interleave in ("bsq", "bil", "bip"):
        scene = open_scene(write_envi(large, interleave=interleave))
        np.testing.assert_array_equal(scene.values, large)
        np.testing.assert_array_equal(scene[::2].values, large[::2])


def test_a_cube_of_two_hundred_gigabytes_opens_without_reading_it(write_envi, tmp_path) -> None:
    sizes = {"samples": "10000", "lines": "20000", "bands": "500"}
    header = write_envi(np.zeros((1, 1, 1)), interleave="bil", replace=sizes)
    with (tmp_path / "cube.img").open("r+b") as file:
        file.truncate(10_000 * 20_000 * 500 * 2)
    scene = open_scene(header)
    assert scene.nbytes == 400_000_000_000
    assert scene[:, 19_999:, 9_990:].values.shape == (500, 1, 10)


def test_the_scene_can_be_pickled_and_read_by_many_threads(write_envi, cube) -> None:
    scene = pickle.loads(pickle.dumps(open_scene(write_envi(cube, compressed=True))))  # noqa: S301  own data
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda y: scene[:, y].values, list(range(7)) * 8))
    for y, row in zip(list(range(7)) * 8, rows, strict=True):
        np.testing.assert_array_equal(row, cube[:, y])


def test_scale_gain_and_nodata_are_applied(write_envi, cube) -> None:
    scene = open_scene(write_envi(cube, extra="reflectance scale factor = 200\ndata ignore value = 0\n"))
    expected = np.where(cube == 0, np.nan, cube / 200)
    np.testing.assert_allclose(scene.values, expected, rtol=1e-6)
    assert scene.attrs["quantity"] == "reflectance"
    assert scene.rio.encoded_nodata == 0
    gains = "data gain values = {1, 2, 3, 4, 5}\ndata offset values = {0, 0, 0, 0, -7}\n"
    scene = open_scene(write_envi(cube, extra=gains))
    np.testing.assert_array_equal(scene[:, 3, 3].values, cube[:, 3, 3] * [1, 2, 3, 4, 5] + [0, 0, 0, 0, -7])
    assert scene.attrs["quantity"] == "radiance"


def test_nodata_beyond_the_type_marks_nothing_and_rounded_huge_values_match(write_envi, cube) -> None:
    assert np.isfinite(
        open_scene(write_envi(cube, dtype="u2", extra="data ignore value = -9999\n")).values
    ).all()
    holes = np.where(cube % 7 == 0, np.finfo(np.float32).min, cube)
    scene = open_scene(write_envi(holes, dtype="f4", extra="data ignore value = -3.40282e+38\n"))
    np.testing.assert_array_equal(np.isnan(scene.values), cube % 7 == 0)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("Nanometers", 1),
        ("nm", 1),
        ("Nanometer", 1),
        ("Micrometers", 1e-3),
        ("µm", 1e-3),
        ("um", 1e-3),
        ("microns", 1e-3),
        ("Angstroms", 10),
        ("Meters", 1e-9),
        ("Unknown", 1),
        ("Unknown", 1e-3),
        ("{Micrometers}", 1e-3),
    ],
)
def test_wavelengths_become_nanometres(write_envi, cube, unit, factor) -> None:
    nanometres = np.array([2400.5, 450, 550, 650, 1600])
    lists = f"wavelength = {{{', '.join(str(value * factor) for value in nanometres)}}}\n"
    lists += f"fwhm = {{{', '.join([str(10 * factor)] * 5)}}}\nwavelength units = {unit}\n"
    scene = open_scene(write_envi(cube, extra=lists))
    np.testing.assert_allclose(scene.wavelength, np.sort(nanometres))
    np.testing.assert_allclose(scene.fwhm, 10)


def test_bands_are_sorted_by_wavelength_and_keep_their_numbers(write_envi, cube) -> None:
    lists = "wavelength = {700, 600, 500, 600, 400}\nbbl = {0, 1, 1, 0, 1}\nfwhm = {7, 6, 5, 6.5, 4}\n"
    scene = open_scene(write_envi(cube, extra=lists))
    np.testing.assert_array_equal(scene.wavelength, [400, 500, 600, 600, 700])
    np.testing.assert_array_equal(scene.band, [5, 3, 2, 4, 1])
    np.testing.assert_array_equal(scene.good, [True, True, True, False, False])
    np.testing.assert_array_equal(scene.fwhm, [4, 5, 6, 6.5, 7])
    np.testing.assert_array_equal(scene.values, cube[[4, 2, 1, 3, 0]])
    np.testing.assert_array_equal(scene[1:3, 2:5, 1].values, cube[[2, 1], 2:5, 1])
    assert scene.encoding["preferred_chunks"]["band"] == 5


def test_wavelengths_hide_in_band_names(write_envi, cube) -> None:
    names = "band names = {Resize (Band 1:x) (426.82), b (437.0), c (447.17), d (457.34), e (467.52)}\n"
    np.testing.assert_allclose(open_scene(write_envi(cube, extra=names)).wavelength[[0, 4]], [426.82, 467.52])
    names = "band names = {\n376.44 Nanometers,\n381.4 Nanometers, 386 nm, 391 nm, 2.4 Micrometers}\n"
    np.testing.assert_allclose(open_scene(write_envi(cube, extra=names)).wavelength[[0, 4]], [376.44, 2400])
    names = "band names = {band 1, band 2, band 3, band 4, band 5}\n"
    assert "wavelength" not in open_scene(write_envi(cube, extra=names)).coords


def test_years_of_a_time_series_are_no_wavelengths(write_envi, cube) -> None:
    lists = "description = {FORCE time series}\nwavelength = {1990.1, 1991, 1992, 1993, 1994}\n"
    assert "wavelength" not in open_scene(write_envi(cube, extra=lists)).coords


def test_bad_bands_time_and_sensor_are_kept(write_envi, cube) -> None:
    extra = "bbl = {1, 1.0, 0, 1, 0.0}\nacquisition time = 2020-05-06T12:11:12+02:00\nsensor type = HyMap\n"
    scene = open_scene(write_envi(cube, extra=extra))
    assert scene.good.values.tolist() == [True, True, False, True, False]
    assert scene.attrs["acquired"] == "2020-05-06T10:11:12Z"
    assert scene.attrs["sensor"] == "HyMap"


@pytest.mark.parametrize(
    "ending", ["units=Meters, rotation=30", "rotation=30, units=Meters", "rotation = 30"]
)
def test_a_rotated_scene_stays_rotated(write_envi, cube, ending) -> None:
    scene = open_scene(
        write_envi(
            cube, extra=f"map info = {{UTM, 1, 1, 500000, 5e6, 20, 10, 33, South, WGS-84, {ending}}}\n"
        )
    )
    transform = scene.rio.transform()
    expected = [20 * np.sqrt(0.75), 10, 500_000, 5, -10 * np.sqrt(0.75), 5e6]
    np.testing.assert_allclose(list(transform)[:6], expected)
    assert scene.rio.crs == CRS.from_epsg(32733)
    assert "x" not in scene.coords


def test_map_info_alone_names_the_reference_system(write_envi, cube) -> None:
    scene = open_scene(
        write_envi(cube, extra="map info = {UTM, 1.5, 1.5, 100, 200, 2, 4, 11, North, North America 1983}\n")
    )
    assert scene.rio.crs == CRS.from_epsg(26911)
    assert list(scene.rio.transform())[:6] == [2, 0, 99, 0, -4, 202]
    np.testing.assert_array_equal(scene.x[:2], [100, 102])


def test_a_scene_without_map_info_stays_ungeoreferenced(write_envi, cube) -> None:
    scene = open_scene(write_envi(cube))
    assert scene.rio.crs is None
    assert scene.rio.transform().is_identity


@pytest.mark.parametrize("suffix", ["", ".img", ".DAT", ".bin", ".weird", ".hyspex"])
def test_header_and_data_find_each_other(write_envi, cube, suffix, tmp_path) -> None:
    header = write_envi(cube, suffix=suffix)
    (tmp_path / "cube.txt").write_text("notes")
    np.testing.assert_array_equal(open_scene(header).values, cube)
    np.testing.assert_array_equal(open_scene(tmp_path / f"cube{suffix}").values, cube)


def test_headers_named_after_the_whole_data_file_are_found(write_envi, cube, tmp_path) -> None:
    write_envi(cube).rename(tmp_path / "cube.img.HDR")
    np.testing.assert_array_equal(open_scene(tmp_path / "cube.img").values, cube)
    np.testing.assert_array_equal(open_scene(tmp_path / "cube.img.HDR").values, cube)


@pytest.mark.parametrize(
    ("replace", "word"),
    [
        ({"lines": "8"}, "bytes"),
        ({"lines": "8.5"}, "lines"),
        ({"lines": "0"}, "lines"),
        ({"samples": "-6"}, "samples"),
        ({"bands": "99999999999"}, "bands"),
        ({"samples": "4000000000"}, "samples"),
        ({"lines": "1" * 40}, "lines"),
        ({"samples": "2000000000", "lines": "2000000000"}, "bytes"),
        ({"interleave": "xyz"}, "interleave"),
        ({"byte order": "7"}, "byte order"),
        ({"data type": "6"}, "complex"),
        ({"data type": "7"}, "data type"),
        ({"data type": "i2"}, "data type"),
        ({"header offset": "-4"}, "header offset"),
        ({"major frame offsets": "{16, 0}"}, "major frame offsets"),
        ({"file type": "ENVI Spectral Library"}, "library"),
        ({"wavelength": "{1, 2, 3, 4}"}, "wavelength"),
        ({"wavelength": "{a, b, c, d, e}"}, "wavelength"),
        ({"wavelength": "{400, nan, 500, 600, 700}"}, "wavelength"),
        ({"wavelength": "{400, -450, 500, 600, 700}"}, "wavelength"),
        ({"wavelength": "{400, 450, 500, 600, 700"}, "never ends"),
        ({"bbl": "{1, 1}"}, "bbl"),
        ({"data ignore value": "none"}, "data ignore value"),
        ({"reflectance scale factor": "0"}, "reflectance scale factor"),
        ({"map info": "{UTM, 1, 1}"}, "map info"),
        ({"map info": "{UTM, 1, 1, a, b, 30, 30}"}, "map info"),
        ({"map info": "{UTM, 1, 1, 0, 0, 0, 30}"}, "map info"),
        ({"file compression": "1", "lines": "99"}, "gzip"),
    ],
)
def test_a_wrong_header_is_refused_in_a_sentence_that_names_what_is_wrong(
    write_envi, cube, replace, word
) -> None:
    header = write_envi(cube, replace=replace)
    with pytest.raises(HsiError) as caught:
        open_scene(header)
    assert word in str(caught.value)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_an_image_has_no_variables_to_choose(write_envi, cube) -> None:
    with pytest.raises(HsiError, match="no array 'data'"):
        open_scene(write_envi(cube), "data")


def test_missing_keys_and_missing_files_are_named(write_envi, cube, tmp_path) -> None:
    header = write_envi(cube)
    text = header.read_text()
    header.write_text(text.replace("bands = 5\n", ""))
    with pytest.raises(HsiError, match="'bands'"):
        open_scene(header)
    header.write_text(text)
    (tmp_path / "cube.img").unlink()
    with pytest.raises(HsiError, match="data file"):
        open_scene(header)
    with pytest.raises(HsiError, match="no file"):
        open_scene(tmp_path / "absent.hdr")


def test_data_cut_short_after_opening_is_an_error_not_a_crash(write_envi, cube, tmp_path) -> None:
    scene = open_scene(write_envi(cube))
    with (tmp_path / "cube.img").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(HsiError, match="cut short"):
        scene.load()


def test_compressed_data_are_never_expanded_beyond_the_cube(write_envi, cube, tmp_path) -> None:
    huge = write_envi(np.zeros((5, 7, 6)), compressed=True, replace={"lines": str(10**9), "samples": "1000"})
    with pytest.raises(HsiError, match="too few"):
        open_scene(huge)
    header = write_envi(cube, compressed=True)
    data = tmp_path / "cube.img"
    data.write_bytes(data.read_bytes()[:-40])
    with pytest.raises(HsiError, match=r"cut short|decompressed"):
        open_scene(header).load()


def test_an_unreadable_folder_name_or_text_is_no_scene(tmp_path: Path) -> None:
    (tmp_path / "notes.hdr").write_text("nothing of the kind")
    for path in (tmp_path, tmp_path / "notes.hdr"):
        with pytest.raises(HsiError, match="known kind"):
            open_scene(path)
