"""Bands of sensors from files, and what a scene's bands make of them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsi_toolkit.errors import ParameterError, SceneError
from hsi_toolkit.spectral.resample import CoverageError, covered, resampling_matrix, response_matrix
from hsi_toolkit.spectral.sensors import Sensor

SOURCE = np.arange(400.0, 1001.0, 5.0)


def table(folder: Path, text: str) -> Sensor:
    (folder / "bands.csv").write_text(text, encoding="utf-8")
    return Sensor.read(folder / "bands.csv")


def test_centres_and_widths_of_a_table(tmp_path: Path) -> None:
    sensor = table(tmp_path, "wavelength_nm,fwhm_nm\n450,10\n550,12\n")
    np.testing.assert_array_equal(sensor.wavelength, [450, 550])
    np.testing.assert_array_equal(sensor.fwhm, [10, 12])
    assert sensor.responses is None


@pytest.mark.parametrize(
    "text",
    [
        "wavelength (um);fwhm (um)\n0.45;0.010\n0.55;0.012\n",
        "wavelength\tfwhm\n0.45\t0.010\n0.55\t0.012\n",
        "band,wavelength,fwhm\n1,450,10\n2,550,12\n",
        "450 10\n550 12\n",
        "# made by hand\nwavelength [nm], width [um]\n450, 0.010\n550, 0.012\n",
    ],
)
def test_units_and_separators_vary(tmp_path: Path, text: str) -> None:
    sensor = table(tmp_path, text)
    np.testing.assert_allclose(sensor.wavelength, [450, 550])
    np.testing.assert_allclose(sensor.fwhm, [10, 12])


def test_response_functions_have_centres_and_widths(tmp_path: Path) -> None:
    grid = np.arange(400.0, 901.0)
    triangle = np.clip(1 - np.abs(grid - 600) / 40, 0, 1)
    box = ((grid >= 700) & (grid <= 760)).astype(float)
    rows = "\n".join(f"{w},{a},{b}" for w, a, b in zip(grid, triangle, box, strict=True))
    sensor = table(tmp_path, f"wavelength,green,red\n{rows}\n")
    np.testing.assert_allclose(sensor.wavelength, [600, 730])
    np.testing.assert_allclose(sensor.fwhm, [40, 61], atol=0.6)
    assert sensor.names == ("green", "red")


def test_a_header_gives_all_bands_and_says_which_are_good(tmp_path: Path) -> None:
    path = tmp_path / "bands.hdr"
    path.write_text(
        "ENVI\nsamples = 1\nlines = 1\nbands = 3\nwavelength units = Micrometers\n"
        "wavelength = {0.4, 0.5, 0.6}\nfwhm = {0.01, 0.01, 0.02}\nbbl = {1, 0, 1}\n"
    )
    sensor = Sensor.read(path)
    np.testing.assert_allclose(sensor.wavelength, [400, 500, 600])
    np.testing.assert_allclose(sensor.fwhm, [10, 10, 20])
    kept, matrix = sensor.resampled_from(SOURCE)
    np.testing.assert_allclose(kept.wavelength, [400, 600])
    assert matrix.shape == (len(SOURCE), 2)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("wavelength,fwhm\n", "no table of bands"),
        ("wavelength,fwhm\n450,wide\n", "row 1"),
        ("wavelength,fwhm\n450,-3\n", "width"),
        ("wavelength,a,b\n500,1,1\n400,1,1\n", "response"),
        ("wavelength,a,b\n400,0,1\n500,0,1\n", "response"),
        ("depth,a,b\n-4,0,1\n500,0,1\n", "no wavelengths"),
        ("", "no table"),
    ],
)
def test_tables_that_are_none_are_named(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(SceneError, match=match):
        table(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"none\.csv"):
        Sensor.read(tmp_path / "none.csv")


@given(st.floats(0.0, 1.0), st.floats(-1e-3, 1e-3))
def test_straight_spectra_stay_straight(level: float, slope: float) -> None:
    """Symmetric responses read a line at their centre, whatever their width."""
    grid = np.arange(450.0, 851.0, 2.0)
    responses = np.stack([np.exp(-0.5 * ((grid - centre) / 20) ** 2) for centre in (550.0, 700.0)], axis=1)
    matrix = response_matrix(SOURCE, grid, responses)
    spectrum = level + slope * SOURCE
    np.testing.assert_allclose(
        spectrum @ matrix,
        level + slope * np.array([550.0, 700.0]),
        atol=2e-5 * (1 + abs(level) + abs(slope) * 1000),
    )


def test_gaussian_responses_given_or_stated_agree() -> None:
    grid = np.arange(480.0, 720.5, 0.5)
    sigma = 30 / 2.3548
    given = response_matrix(SOURCE, grid, np.exp(-0.5 * ((grid - 600) / sigma) ** 2)[:, None])
    stated = resampling_matrix(SOURCE, [600.0], [30.0])
    spectrum = np.sin(SOURCE / 40)
    assert float((spectrum @ given)[0]) == pytest.approx(float((spectrum @ stated)[0]), abs=2e-3)


def test_columns_sum_to_one() -> None:
    grid = np.array([500.0, 510.0, 550.0, 700.0])
    matrix = response_matrix(SOURCE, grid, np.array([[0.1, 0], [1, 0.2], [0.5, 3], [0, 1]]))
    np.testing.assert_allclose(matrix.sum(axis=0), 1, rtol=1e-6)


def test_the_missing_range_is_named(tmp_path: Path) -> None:
    sensor = table(tmp_path, "wavelength_nm,fwhm_nm\n450,10\n1650,90\n2200,180\n")
    with pytest.raises(CoverageError, match="1000 to 2200 nm") as caught:
        sensor.resampled_from(SOURCE)
    assert caught.value.missing == ((1000.0, 2200.0),)
    kept, _ = sensor.resampled_from(SOURCE, partial=True)
    np.testing.assert_array_equal(kept.wavelength, [450])


def test_a_response_that_reaches_beyond_the_source_is_not_covered(tmp_path: Path) -> None:
    text = "wavelength,a,b\n" + "\n".join(f"{w},{int(w < 700)},{int(w > 900)}" for w in range(500, 1300, 10))
    sensor = table(tmp_path, text)
    with pytest.raises(CoverageError, match="1000 to"):
        sensor.resampled_from(SOURCE)
    kept, _ = sensor.resampled_from(SOURCE, partial=True)
    assert kept.names == ("a",)


def test_holes_of_the_source_are_not_covered() -> None:
    holed = SOURCE[(SOURCE < 600) | (SOURCE > 700)]
    np.testing.assert_array_equal(covered(holed, [450, 650], [460, 660]), [True, False])


def test_nothing_in_common_is_refused(tmp_path: Path) -> None:
    sensor = table(tmp_path, "wavelength_nm,fwhm_nm\n8000,100\n9000,100\n")
    with pytest.raises(ParameterError, match="None of the 2 bands"):
        sensor.resampled_from(SOURCE, partial=True)
