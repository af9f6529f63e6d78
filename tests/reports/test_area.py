"""Area estimates: the worked examples of Olofsson et al. (2014) and Stehman (2014), and what is refused."""

import json

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from hsi_toolkit.errors import LabelError
from hsi_toolkit.reports.area import AreaEstimates, olofsson, pixel_area, stratified
from hsi_toolkit.reports.estimates import Estimate
from hsi_toolkit.training.grid import Grid

Z = 1.959964


def values(estimates: tuple[Estimate, ...]) -> list[float | None]:
    return [each.value for each in estimates]


def half_widths(estimates: tuple[Estimate, ...]) -> list[float]:
    return [Z * (each.standard_error or 0) for each in estimates]


@pytest.fixture(scope="module")
def deforestation() -> AreaEstimates:
    """Table 8 of Olofsson et al. (2014): Landsat pixels of 0.09 ha."""
    return olofsson(
        [[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]],
        [200_000, 150_000, 3_200_000, 6_450_000],
        ["deforestation", "forest gain", "stable forest", "stable non-forest"],
        pixel_area=0.09,
        unit="ha",
    )


def test_olofsson_accuracies_are_the_papers(deforestation: AreaEstimates) -> None:
    """Page 54: OA 0.95 ± 0.02, UA 0.88 ± 0.07 …, PA 0.75 ± 0.21 … ."""
    assert deforestation.overall.value == pytest.approx(0.95, abs=0.005)
    assert half_widths((deforestation.overall,)) == pytest.approx([0.02], abs=0.005)
    assert values(deforestation.users) == pytest.approx([0.88, 0.73, 0.93, 0.96], abs=0.005)
    assert half_widths(deforestation.users) == pytest.approx([0.07, 0.10, 0.04, 0.02], abs=0.005)
    assert values(deforestation.producers) == pytest.approx([0.75, 0.85, 0.93, 0.96], abs=0.005)
    assert half_widths(deforestation.producers) == pytest.approx([0.21, 0.25, 0.03, 0.02], abs=0.0055)


def test_olofsson_areas_are_the_papers(deforestation: AreaEstimates) -> None:
    """Deforestation: 235,086 pixels, 21,158 ± 6,158 ha, where the map has 18,000 ha."""
    assert deforestation.mapped is not None
    assert deforestation.mapped[0] == pytest.approx(18_000)
    assert values(deforestation.areas) == pytest.approx([21_158, 11_686, 285_770, 581_386], abs=0.5)
    assert half_widths(deforestation.areas) == pytest.approx([6_158, 3_756, 15_510, 16_282], abs=1.5)
    first = deforestation.areas[0]
    assert (first.low, first.high) == pytest.approx((21_158 - 6_158, 21_158 + 6_158), abs=1.5)
    assert sum(v or 0 for v in values(deforestation.shares)) == pytest.approx(1)


def test_olofsson_matrix_holds_shares_of_the_area(deforestation: AreaEstimates) -> None:
    np.testing.assert_allclose(deforestation.matrix.sum(axis=1), [0.020, 0.015, 0.320, 0.645])
    np.testing.assert_allclose(deforestation.matrix.sum(axis=0), values(deforestation.shares))
    assert deforestation.matrix[0, 2] == pytest.approx(0.02 * 5 / 75), "map deforestation, reference forest"


STRATA = "A" * 10 + "B" * 10 + "C" * 10 + "D" * 10
MAP = "AAAAAAABBB" + "ABBBBBBBBB" + "BBCCCCCCBB" + "DDDDDDDDDD"
REFERENCE = "AAAAACBABC" + "ABBBBBAABB" + "CCCCCDDBBA" + "DDDDDDDCCB"
SIZES = [40_000, 30_000, 20_000, 10_000]


def numbers(letters: str) -> NDArray[np.int64]:
    return np.array([ord(letter) - ord("A") for letter in letters])


def test_stehman_2014_estimates_are_the_papers() -> None:
    """Section 4: strata that are not the map's classes. For the standard error of the producer's accuracy
    of B, the paper prints 0.114, from rounded terms; its formula gives 0.117."""
    found = stratified(numbers(MAP), numbers(REFERENCE), numbers(STRATA), SIZES, list("ABCD"))
    assert found.overall.value == pytest.approx(0.63)
    assert found.overall.standard_error == pytest.approx(0.085, abs=0.0005)
    assert (found.shares[0].value, found.shares[2].value) == pytest.approx((0.35, 0.20))
    assert found.shares[0].standard_error == pytest.approx(0.082, abs=0.0005)
    assert found.shares[2].standard_error == pytest.approx(0.064, abs=0.0005)
    assert found.users[1].value == pytest.approx(0.574, abs=0.0005)
    assert found.users[1].standard_error == pytest.approx(0.125, abs=0.0005)
    assert found.producers[1].value == pytest.approx(0.794, abs=0.0005)
    assert found.producers[1].standard_error == pytest.approx(0.1165, abs=0.0005)
    assert found.matrix[1, 2] == pytest.approx(0.08)
    assert found.mapped is None


def test_with_polygons_the_spread_is_that_between_polygons() -> None:
    """Every pixel drawn ten times over as one polygon: ten times the pixels, no more known."""
    mapped, reference = numbers(MAP), numbers(REFERENCE)
    once = stratified(mapped, reference, numbers(STRATA), SIZES, list("ABCD"))
    clones = [np.repeat(each, 10) for each in (mapped, reference, numbers(STRATA), np.arange(40))]
    honest = stratified(*clones[:3], SIZES, list("ABCD"), groups=clones[3])
    naive = stratified(*clones[:3], SIZES, list("ABCD"))
    assert honest.overall.value == pytest.approx(once.overall.value)
    assert honest.overall.standard_error == pytest.approx(once.overall.standard_error, rel=0.06)
    assert (naive.overall.standard_error or 0) < (once.overall.standard_error or 0) / 3
    assert any("between reference polygons" in note for note in honest.notes)


def test_a_stratum_of_one_pixel_has_no_spread_which_is_said() -> None:
    found = olofsson([[1, 0], [2, 8]], [100, 900], ["a", "b"])
    assert found.overall.value == pytest.approx(0.1 + 0.9 * 0.8)
    assert found.overall.standard_error is None
    assert "one reference pixel only" in found.overall.note
    assert found.users[0].standard_error is None
    assert found.users[1].standard_error is not None, "its stratum has ten pixels"
    assert any("Only one reference pixel lies in 'a'" in note for note in found.notes)
    assert "NaN" not in json.dumps(found.to_dict())


def test_a_class_without_reference_pixels_is_unknown_not_zero() -> None:
    found = olofsson([[5, 1, 0], [2, 8, 0], [1, 1, 0]], [100, 900, 50], ["a", "b", "c"])
    assert found.producers[2].value is None
    assert "no reference pixels of 'c'" in found.producers[2].note
    assert found.users[2].value == 0
    assert "NaN" not in json.dumps(found.to_dict())


def test_an_unsampled_class_of_the_map_is_refused() -> None:
    with pytest.raises(LabelError, match=r"no reference pixel lies in 'c' \(10.0% of the map\)"):
        olofsson([[5, 1, 0], [2, 8, 0], [0, 0, 0]], [100, 800, 100], ["a", "b", "c"])
    assert olofsson([[5, 1, 0], [2, 8, 1], [0, 0, 0]], [100, 900, 0], ["a", "b", "c"]).overall.value


def test_standard_errors_are_those_of_repeated_samples() -> None:
    """Samples of 300 pixels a map class from a known population."""
    rng = np.random.default_rng(0)
    truth = np.array([[0.08, 0.02], [0.05, 0.85]])
    found = [
        olofsson([rng.multinomial(300, row / row.sum()) for row in truth], [10_000, 90_000], ["a", "b"])
        for _ in range(400)
    ]
    for name in ("overall", "producers", "shares"):
        each = [getattr(one, name) if name == "overall" else getattr(one, name)[0] for one in found]
        spread = np.std([one.value for one in each])
        assert np.mean([one.standard_error for one in each]) == pytest.approx(spread, rel=0.1)
    assert np.mean([one.shares[0].value for one in found]) == pytest.approx(0.13, abs=0.002)


def test_pixel_areas_are_hectares_where_there_are_lengths() -> None:
    assert pixel_area(Grid(1, 1, Affine(30, 0, 0, 0, -30, 0), CRS.from_epsg(32633))) == (0.09, "ha")
    feet = pixel_area(Grid(1, 1, Affine(100, 0, 0, 0, -100, 0), CRS.from_epsg(2263)))
    assert feet[0] == pytest.approx(0.0929, abs=1e-4)
    assert pixel_area(Grid(1, 1, Affine(0.1, 0, 0, 0, -0.1, 0), CRS.from_epsg(4326))) == (1.0, "pixels")
    assert pixel_area(Grid(1, 1, Affine.identity(), None)) == (1.0, "pixels")
