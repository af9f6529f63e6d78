"""Units, times and names as files spell them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsi_toolkit.scene.metadata import (
    normalise_unit,
    parse_number,
    parse_time,
    split_list,
    to_nanometres,
    wavelengths_in_names,
    widths_to_nanometres,
)


@given(
    st.lists(st.floats(300, 15_000), min_size=1),
    st.sampled_from([("um", 1e3), ("mm", 1e6), ("m", 1e9), ("Å", 0.1)]),
)
def test_lengths_convert_by_their_factor(nanometres, unit) -> None:
    name, factor = unit
    np.testing.assert_allclose(to_nanometres(np.array(nanometres) / factor, name), nanometres)


@given(st.lists(st.floats(300, 15_000), min_size=1))
def test_without_a_unit_small_numbers_are_micrometres(nanometres) -> None:
    np.testing.assert_allclose(to_nanometres(nanometres, None), nanometres)
    np.testing.assert_allclose(to_nanometres(np.array(nanometres) / 1e3, "Unknown"), nanometres)


def test_reciprocal_units_convert_centre_and_width() -> None:
    np.testing.assert_allclose(to_nanometres([10_000.0, 5_000.0], "Wavenumber"), [1000, 2000])
    np.testing.assert_allclose(widths_to_nanometres([10.0, 10.0], [10_000.0, 5_000.0], "cm-1"), [1, 4])
    np.testing.assert_allclose(to_nanometres([299_792.458], "GHz"), [1000])
    np.testing.assert_allclose(to_nanometres([299_792_458.0], "MHz"), [1000])


@pytest.mark.parametrize("unit", ["Index", "decimal year", "DOY", "time"])
def test_axes_that_are_no_spectrum_give_no_wavelengths(unit) -> None:
    assert to_nanometres([400.0, 500.0], unit) is None


@pytest.mark.parametrize("values", [[], [400, np.nan], [400, np.inf], [0, 400], [-400, 500], [1, 2, 120]])
def test_numbers_that_cannot_be_wavelengths_give_none(values) -> None:
    assert to_nanometres(values, None) is None


@pytest.mark.parametrize(
    ("spelling", "unit"),
    [
        ("Nanometers", "nanometer"),
        (" µm ", "um"),
        ("μm", "um"),
        ("{Microns}", "micron"),
        ("Unknown", None),
        ("", None),
    ],
)
def test_spellings_of_units_come_down_to_one(spelling, unit) -> None:
    assert normalise_unit(spelling) == unit


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2020-05-06T10:11:12Z", "2020-05-06T10:11:12Z"),
        ("2020-05-06 10:11:12", "2020-05-06T10:11:12Z"),
        ("2020-05-06T12:11:12.500+0200", "2020-05-06T10:11:12Z"),
        ("2020-05-06", "2020-05-06T00:00:00Z"),
        ("2020:05:06 10:11:12", "2020-05-06T10:11:12Z"),
        ("2020-05-06 10:11:12 UTC", "2020-05-06T10:11:12Z"),
        ("{2020-05-06T10:11:12.123456789Z}", "2020-05-06T10:11:12Z"),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_times_become_utc(text, time) -> None:
    assert parse_time(text) == time


def test_numbers_and_lists_are_read_from_text() -> None:
    assert parse_number(" 2284.74 Nanometers") == 2284.74
    assert parse_number("3.0000000000e+01") == 30
    assert parse_number(".5") == 0.5
    assert parse_number("2band") is None
    assert split_list("{ a, b ,c}") == ["a", "b", "c"]
    assert split_list("{}") == []


def test_names_that_only_count_bands_hold_no_wavelengths() -> None:
    assert wavelengths_in_names([f"Band_{number}" for number in range(400, 420)]) is None
    assert wavelengths_in_names([f"band {number}" for number in range(1, 6)]) is None
    assert wavelengths_in_names(["area (1)", "area (2)"]) is None
    assert wavelengths_in_names(["450 nm", "elevation"]) is None
    assert wavelengths_in_names([None, "450 nm"]) is None
    np.testing.assert_allclose(wavelengths_in_names(["Band_503", "Band_510", "Band_712"]), [503, 510, 712])
