"""Accuracy: the right way round, with intervals that hold, and never from training pixels."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics

from hsi_toolkit.errors import LabelError
from hsi_toolkit.reports.accuracy import AccuracyReport, Basis, assess, confusion_matrix, match_classes
from hsi_toolkit.reports.estimates import Sample, kappa, proportion, wilson
from hsi_toolkit.training.labelled_pixels import labels_from_array
from hsi_toolkit.training.leakage import Leakage
from hsi_toolkit.training.splits import hold_out

INDEPENDENT = Basis(True, ("Drawn for the test.",))

#: Lunetta and Lyon (eds., 2004), Remote Sensing and GIS Accuracy Assessment, table 9.4: rows are the classes
#: of a land-cover map, columns those seen in aerial photographs.
LAND_COVER = np.array(
    [
        [19, 1, 0, 0, 0, 0, 0, 0, 0],
        [3, 35, 0, 1, 0, 0, 0, 0, 0],
        [0, 0, 17, 3, 19, 0, 1, 0, 2],
        [0, 0, 12, 77, 12, 0, 1, 0, 2],
        [0, 0, 8, 13, 74, 0, 0, 0, 0],
        [0, 0, 0, 1, 1, 19, 2, 0, 0],
        [0, 0, 1, 4, 3, 2, 9, 1, 0],
        [0, 0, 0, 5, 3, 0, 0, 13, 0],
        [0, 0, 3, 10, 7, 0, 0, 0, 0],
    ]
)


def pixels(matrix: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Map and reference class of each pixel of an error matrix."""
    rows, columns = np.nonzero(matrix)
    often = matrix[rows, columns]
    return np.repeat(rows, often), np.repeat(columns, often)


def report(matrix: NDArray[np.int64], **more: object) -> AccuracyReport:
    return assess(*pixels(matrix), [str(i) for i in range(len(matrix))], INDEPENDENT, **more)


def percents(values: list[float | None]) -> list[int]:
    return [round(100 * (value or 0)) for value in values]


def test_rows_are_the_map_and_columns_the_reference() -> None:
    mapped, reference = np.array([0, 0, 0]), np.array([1, 1, 0])
    np.testing.assert_array_equal(confusion_matrix(mapped, reference, 2), [[1, 2], [0, 0]])
    found = assess(mapped, reference, ["a", "b"], INDEPENDENT)
    assert found.classes[0].users.value == pytest.approx(1 / 3), "of three mapped as a, one is"
    assert found.classes[0].producers.value == 1, "the only a was found"
    assert found.classes[1].producers.value == 0
    assert found.classes[1].users.value is None
    assert found.to_dict()["matrix"] == {"rows": "map", "columns": "reference", "counts": [[1, 2], [0, 0]]}


def test_a_published_matrix_gives_the_published_figures() -> None:
    found = report(LAND_COVER)
    assert percents([each.producers.value for each in found.classes]) == [86, 97, 41, 68, 62, 90, 69, 93, 0]
    assert percents([each.users.value for each in found.classes]) == [95, 90, 40, 74, 78, 83, 45, 62, 0]
    assert percents([found.overall.value]) == [68]
    assert found.kappa.value == pytest.approx(0.61, abs=0.005)
    assert found.kappa.standard_error == pytest.approx(0.029, abs=0.0005)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_figures_agree_with_scikit_learn(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    reference = rng.permutation(np.concatenate([np.arange(classes), rng.integers(0, classes, 60)]))
    mapped = np.where(rng.random(len(reference)) < 0.6, reference, rng.integers(0, classes, len(reference)))
    found = assess(mapped, reference, [str(i) for i in range(classes)], INDEPENDENT)
    assert found.overall.value == pytest.approx(metrics.accuracy_score(reference, mapped))
    assert found.average.value == pytest.approx(metrics.balanced_accuracy_score(reference, mapped))
    assert found.kappa.value == pytest.approx(metrics.cohen_kappa_score(reference, mapped))
    f1 = metrics.f1_score(reference, mapped, average=None, labels=range(classes), zero_division=0)
    assert [each.f1.value for each in found.classes] == pytest.approx(list(f1))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_the_order_of_the_classes_does_not_matter(seed: int, in_polygons: bool) -> None:
    rng = np.random.default_rng(seed)
    mapped, reference = rng.integers(0, 4, (2, 50))
    groups = rng.integers(0, 12, 50) if in_polygons else None
    order = rng.permutation(4)
    one = assess(mapped, reference, list("abcd"), INDEPENDENT, groups=groups)
    names = [""] * 4
    for old, new in enumerate(order):
        names[new] = "abcd"[old]
    other = assess(order[mapped], order[reference], names, INDEPENDENT, groups=groups)
    for a, b in [(one.overall, other.overall), (one.average, other.average), (one.kappa, other.kappa)]:
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))
    by_name = {each.name: each for each in other.classes}
    for each in one.classes:
        same = by_name[each.name]
        assert (each.mapped, each.reference, each.correct) == (same.mapped, same.reference, same.correct)
        assert each.f1.value == pytest.approx(same.f1.value)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.booleans())
def test_values_lie_within_their_intervals_and_bounds(seed: int, count: int, in_polygons: bool) -> None:
    rng = np.random.default_rng(seed)
    mapped, reference = rng.integers(0, 3, (2, count))
    groups = rng.integers(0, 5, count) if in_polygons else None
    found = assess(mapped, reference, list("abc"), INDEPENDENT, groups=groups, mapped_pixels=[500, 400, 300])
    estimates = [(found.kappa, -1.0), (found.overall, 0.0), (found.average, 0.0)]
    estimates += [(e, 0.0) for each in found.classes for e in (each.users, each.producers, each.f1)]
    for estimate, lowest in estimates:
        if estimate.value is None or estimate.low is None or estimate.high is None:
            assert estimate.note
        else:
            assert lowest <= estimate.low <= estimate.value + 1e-12
            assert estimate.value - 1e-12 <= estimate.high <= 1
    json.dumps(found.to_dict(), allow_nan=False)


def test_perfect_agreement_and_chance() -> None:
    perfect = report(np.diag([20, 30, 10]))
    assert (perfect.overall.value, perfect.kappa.value, perfect.average.value) == (1, 1, 1)
    assert perfect.overall.low == pytest.approx(1 / (1 + 1.959964**2 / 60)), "Wilson: no error in 60"
    assert report(np.full((3, 3), 10)).kappa.value == pytest.approx(0, abs=1e-12)


def test_wilson_is_the_published_interval() -> None:
    """Newcombe (1998), Statistics in Medicine 17, table I, method 3."""
    assert wilson(81 / 263, 263, 1.959964) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15 / 148, 148, 1.959964) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0.0, 20, 1.959964) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1 / 29, 29, 1.959964) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_an_interval_of_95_percent_is_not_forty_times_too_narrow() -> None:
    found = report(np.array([[80, 10], [20, 90]]))
    assert found.overall.standard_error == pytest.approx(0.0252, abs=1e-4)
    assert found.overall.low == pytest.approx(0.85 - 0.055, abs=0.005)
    assert found.overall.high == pytest.approx(0.85 + 0.045, abs=0.005)


def _polygons(rng: np.random.Generator, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Whether each pixel is right, and its polygon: polygons differ in size and in how right they are."""
    sizes = rng.integers(5, 60, count)
    right = rng.beta(4, 1, count)
    groups = np.repeat(np.arange(count), sizes)
    return (rng.random(len(groups)) < right[groups]).astype(int), groups


def test_intervals_from_polygons_cover_the_truth_where_those_from_pixels_do_not() -> None:
    """Polygons of pixels that resemble each other; the true share of right pixels is 0.8."""
    rng = np.random.default_rng(3)
    covered = {"polygons": 0, "pixels": 0}
    for _ in range(300):
        right, groups = _polygons(rng, 20)
        zeros = np.zeros(len(right), int)
        for name, given_groups in (("polygons", groups), ("pixels", None)):
            sample = Sample.count(right, zeros, given_groups)
            found = proportion(sample, sample.mapped == 1, np.ones(len(sample.number), bool), "pixels")
            assert found.low is not None
            assert found.high is not None
            covered[name] += found.low <= 0.8 <= found.high
    assert covered["polygons"] / 300 > 0.9
    assert covered["pixels"] / 300 < 0.75


def test_kappas_standard_error_is_that_of_repeated_samples() -> None:
    rng = np.random.default_rng(5)
    truth = np.array([[0.3, 0.05, 0.05], [0.1, 0.2, 0.0], [0.0, 0.1, 0.2]])
    draws = rng.multinomial(400, truth.ravel(), 600).reshape(-1, 3, 3)
    found = [kappa(Sample.count(*pixels(draw), None), 3) for draw in draws]
    spread = np.std([each.value for each in found])
    assert np.mean([each.standard_error for each in found]) == pytest.approx(spread, rel=0.08)


def test_one_polygon_tells_nothing_of_the_spread() -> None:
    found = assess(
        np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]), ["a", "b"], INDEPENDENT, groups=np.zeros(4, int)
    )
    assert found.overall.value == 0.75
    assert found.overall.low is None
    assert "one polygon" in found.overall.note
    assert found.polygons == 1


def test_polygons_without_error_count_as_one_observation_each() -> None:
    groups = np.repeat(np.arange(6), 100)
    found = assess(np.repeat([0, 1], 300), np.repeat([0, 1], 300), ["a", "b"], INDEPENDENT, groups=groups)
    assert found.overall.low is not None
    assert found.overall.low < 0.7
    assert any("rest on few polygons: a (3), b (3)" in warning for warning in found.warnings)


def test_training_pixels_give_no_accuracy() -> None:
    mapped, reference = pixels(np.array([[80, 10], [20, 90]]))
    found = assess(
        mapped,
        reference,
        ["a", "b"],
        Basis.trained_on(),
        groups=np.arange(200) // 10,
        mapped_pixels=[500, 600],
    )
    assert not found.independent
    assert found.measure == "Agreement with the training data"
    assert found.headline().startswith("Agreement with the training data 85.0 %, from 200 pixels")
    assert found.areas is None
    for estimate in (found.overall, found.kappa, found.average, found.classes[0].users):
        assert estimate.low is None
        assert estimate.standard_error is None
        assert "trained on" in estimate.note
    text = json.dumps(found.to_dict())
    assert "accuracy" not in text.lower()


def test_reference_pixels_that_training_saw_are_left_out() -> None:
    same = np.array([True, True, False, False, False])
    leak = Leakage(same, np.array([False, False, True, False, False]), 4)
    mapped, reference = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 1, 1])
    found = assess(mapped, reference, ["a", "b"], Basis.checked(leak))
    assert found.total == 2
    assert found.overall.value == 0.5
    assert found.independent
    assert found.basis[0] == "2 of 5 reference pixels were trained on."
    assert any("no pixel of 'a'" in warning for warning in found.warnings)


def test_nothing_but_training_pixels_is_agreement() -> None:
    leak = Leakage(np.ones(2, bool), np.zeros(2, bool), 4)
    found = assess(np.array([0, 1]), np.array([0, 1]), ["a", "b"], Basis.checked(leak))
    assert found.measure == "Agreement with the training data"
    assert found.total == 2


def test_a_map_of_unknown_origin_is_said_to_be_unchecked() -> None:
    found = assess(np.array([0, 1]), np.array([0, 1]), ["a", "b"], Basis.unchecked())
    assert "could not be checked" in found.basis[0]


def test_held_out_pixels_say_how_they_were_held_out() -> None:
    plane = np.zeros((60, 60), int)
    for i, (row, col) in enumerate([(0, 0), (0, 30), (30, 0), (30, 30)]):
        plane[row : row + 6, col : col + 6] = 1 + i % 2
    basis = Basis.held_out(hold_out(labels_from_array(plane)))
    assert basis.independent
    assert "held out as whole polygons" in basis.sentences[0]


def test_pixels_without_a_map_class_do_not_count_and_are_reported() -> None:
    found = assess(np.array([0, -1, 1]), np.array([0, 0, 1]), ["a", "b"], INDEPENDENT)
    assert found.total == 2
    assert "1 of 3 reference pixels lie where the map has no class" in found.warnings[0]
    with pytest.raises(LabelError, match="No reference pixel lies where the map has a class"):
        assess(np.array([-1]), np.array([0]), ["a"], INDEPENDENT)


@pytest.mark.parametrize("trained_on", [False, True])
def test_objects_are_called_objects_throughout(trained_on: bool) -> None:
    mapped, reference = np.array([0, 0, 0, 1, -1]), np.array([0, 0, 1, 1, 0])
    basis = Basis(not trained_on, ("Some objects were held out.",))
    found = assess(mapped, reference, list("abc"), basis, counted="objects")
    assert found.headline().endswith(", from 4 objects.")
    stored = found.to_dict()
    assert (stored["counted"], stored["objects"]) == ("objects", 4)
    assert stored["matrix"]["rows"] == "classifier"  # type: ignore[index]
    assert "1 of 5 reference objects have no class; they do not count." in found.warnings
    text = json.dumps(stored)
    assert "pixel" not in text
    assert " map" not in text
    with pytest.raises(LabelError, match="No reference object has a class"):
        assess(np.array([-1]), np.array([0]), ["a"], basis, counted="objects")


def test_pixels_stay_pixels() -> None:
    stored = report(np.array([[5, 1], [0, 4]])).to_dict()
    assert (stored["counted"], stored["pixels"]) == ("pixels", 10)
    assert stored["matrix"]["rows"] == "map"  # type: ignore[index]


def test_areas_are_estimated_where_the_maps_are_known() -> None:
    found = report(np.array([[66, 9], [5, 120]]), mapped_pixels=[2000, 8000], pixel_area=0.09, unit="ha")
    assert found.areas is not None
    assert found.areas.mapped == (180, 720)
    assert found.areas.areas[0].value == pytest.approx(0.09 * (2000 * 66 / 75 + 8000 * 5 / 125))
    unsampled = report(np.array([[66, 9, 0], [5, 120, 0], [0, 0, 0]]), mapped_pixels=[2000, 8000, 100])
    assert unsampled.areas is None
    assert any("Areas cannot be estimated" in warning for warning in unsampled.warnings)


def test_classes_are_matched_by_name() -> None:
    names, of_map, of_reference = match_classes(["Roof", "tree"], ["tree", "roof ", "water"])
    assert names == ("Roof", "tree", "water")
    assert of_map.tolist() == [0, 1]
    assert of_reference.tolist() == [1, 0, 2]
    with pytest.raises(LabelError, match=r"no class in common: the map has 'Roof', the reference '1', '2'"):
        match_classes(["Roof"], ["1", "2"])


def test_classes_without_common_names_are_matched_by_number() -> None:
    names, _, of_reference = match_classes(["class 1", "class 4"], ["4", "9"], [1, 4], [4, 9])
    assert names == ("class 1", "class 4", "9")
    assert of_reference.tolist() == [1, 2]
