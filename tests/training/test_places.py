"""Places to draw at: uncertain ones, spread over classes and ground, the same however the raster is read."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.ensemble import RandomForestClassifier

from hsi_toolkit.training.places import PlaceFinder, PlaceRule, Places

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def find(
    uncertainty: Floats,
    rule: PlaceRule,
    classes: Ints | None = None,
    outlines: list[shapely.Geometry] | None = None,
    rows: int | None = None,
) -> Places:
    """The places of a raster that is handed over in blocks of ``rows``."""
    height = len(uncertainty)
    labelled = None if outlines is None else np.array(outlines, dtype=object)
    finder = PlaceFinder(rule, (height, uncertainty.shape[1]), labelled)
    given_classes = np.full(uncertainty.shape, -1) if classes is None else classes
    # Beyond the edge a block may hold anything.
    padded = np.pad(uncertainty, ((finder.halo, finder.halo), (0, 0)), constant_values=1e6)
    step = rows or height
    for y0 in range(0, height, step):
        y1 = min(height, y0 + step)
        finder.add(padded[y0 : y1 + 2 * finder.halo], given_classes[y0:y1], y0)
    return finder.places()


def cloudy(shape: tuple[int, int], seed: int = 0) -> Floats:
    """Uncertainty that changes gently over the ground, 0 to 1."""
    field = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 5)
    return (field - field.min()) / np.ptp(field)


def test_places_are_where_the_uncertainty_is() -> None:
    uncertainty = np.full((90, 90), 0.02)
    uncertainty[30:48, 50:68] = 0.8
    for seed in range(10):
        found = find(uncertainty, PlaceRule(count=1, window=9, seed=seed))
        assert 27 <= found.rows[0] < 52
        assert 46 <= found.cols[0] < 72
        assert found.uncertainty[0] > 0.3


def test_a_place_is_as_uncertain_as_its_window() -> None:
    uncertainty = cloudy((60, 80))
    found = find(uncertainty, PlaceRule(count=5, window=7))
    for row, col, mean in zip(found.rows, found.cols, found.uncertainty, strict=True):
        window = uncertainty[max(0, row - 3) : row + 4, max(0, col - 3) : col + 4]
        assert mean == pytest.approx(window.mean(), abs=1e-5)


def test_an_uncertain_edge_counts_less_than_uncertain_ground() -> None:
    """A line of pixels as uncertain as can be against a patch half as uncertain, of as many windows."""
    uncertainty = np.zeros((81, 90))
    uncertainty[:, 20] = 1.0
    uncertainty[27:54, 54:81] = 0.5
    on_ground = [
        find(uncertainty, PlaceRule(count=1, window=9, seed=seed)).cols[0] > 40 for seed in range(20)
    ]
    assert np.mean(on_ground) > 0.8


def test_places_keep_apart_and_do_not_overlap() -> None:
    found = find(cloudy((200, 150)), PlaceRule(count=25, window=9))
    assert len(found) == 25
    rows, cols = np.subtract.outer(found.rows, found.rows), np.subtract.outer(found.cols, found.cols)
    away = np.hypot(rows, cols) + 1e9 * np.eye(25)
    assert away.min() >= found.distance >= 9
    assert (np.maximum(np.abs(rows), np.abs(cols)) + 1e9 * np.eye(25)).min() >= 9


def test_a_distance_that_is_given_is_kept_even_if_places_become_fewer() -> None:
    found = find(cloudy((60, 60)), PlaceRule(count=50, window=5, distance=30))
    assert 1 < len(found) < 10
    away = np.hypot(np.subtract.outer(found.rows, found.rows), np.subtract.outer(found.cols, found.cols))
    assert (away + 1e9 * np.eye(len(found))).min() >= 30


def test_places_crowd_where_little_ground_is_uncertain() -> None:
    uncertainty = np.full((300, 300), 0.01)
    uncertainty[100:145, 100:145] = 0.5 + cloudy((45, 45)) / 10
    found = find(uncertainty, PlaceRule(count=9, window=9))
    assert len(found) == 9
    assert (found.uncertainty > 0.1).all()


def test_the_more_uncertain_ground_gets_more_places() -> None:
    uncertainty = np.full((200, 200), 0.3)
    uncertainty[:, 100:] = 0.6
    right = [
        (find(uncertainty, PlaceRule(count=10, window=5, seed=seed)).cols >= 100).mean() for seed in range(10)
    ]
    assert 0.65 < np.mean(right) < 1.0


def test_classes_get_places_by_the_uncertainty_that_lies_in_them() -> None:
    classes = np.ones((120, 120), np.int64)
    classes[:, 60:90] = 2
    classes[:, 90:] = 3
    uncertainty = np.where(classes == 1, 0.6, np.where(classes == 2, 0.3, 0.05)) + cloudy((120, 120)) / 100
    found = find(uncertainty, PlaceRule(count=20, window=5), classes)
    share = np.bincount(found.classes, minlength=4)[1:] / 20
    mass = np.array([uncertainty[classes == number].sum() for number in (1, 2, 3)])
    np.testing.assert_allclose(share, mass / mass.sum(), atol=0.05)
    # The first places are spread as well.
    assert set(found.classes[:6].tolist()) == {1, 2}


def test_places_keep_away_from_what_is_labelled() -> None:
    uncertainty = np.full((100, 100), 0.2)
    uncertainty[20:40, 20:40] = 0.9
    uncertainty[70:80, 70:80] = 0.5
    polygon = shapely.box(25, 25, 35, 35)
    found = find(uncertainty, PlaceRule(count=5, window=9), outlines=[polygon, shapely.Point(75, 75)])
    for row, col in zip(found.rows, found.cols, strict=True):
        place = shapely.box(col - 4, row - 4, col + 5, row + 5)
        assert place.distance(polygon) >= 4
        assert place.distance(shapely.Point(75, 75)) >= 4


def test_labels_in_another_block_are_seen() -> None:
    uncertainty = np.full((90, 40), 0.2)
    uncertainty[45:54] = 0.9
    labelled = [shapely.box(0, 42, 40, 44.5)]
    whole = find(uncertainty, PlaceRule(count=3, window=9), outlines=labelled)
    blocks = find(uncertainty, PlaceRule(count=3, window=9), outlines=labelled, rows=45)
    assert whole.rows.tolist() == blocks.rows.tolist()
    assert (np.abs(whole.rows - 43) > 9).all()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.sampled_from([1, 5, 8, 9]), st.integers(1, 12), st.booleans())
def test_blocks_give_the_places_of_the_whole(seed: int, window: int, blocks: int, flat: bool) -> None:
    rng = np.random.default_rng(seed)
    uncertainty = np.full((70, 53), 0.5) if flat else cloudy((70, 53), seed)
    uncertainty[rng.random(uncertainty.shape) < 0.1] = np.nan
    classes = rng.integers(1, 4, (70, 53))
    rule = PlaceRule(count=8, window=window, seed=seed)
    whole = find(uncertainty, rule, classes)
    parts = find(uncertainty, rule, classes, rows=blocks * window)
    for name in ("rows", "cols", "classes", "uncertainty"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


def test_the_seed_is_that_of_the_sample() -> None:
    uncertainty = cloudy((100, 100))
    places = {
        seed: find(uncertainty, PlaceRule(count=5, window=9, seed=seed)).rows.tolist() for seed in (0, 1)
    }
    assert places[0] != places[1]
    assert places[0] == find(uncertainty, PlaceRule(count=5, window=9, seed=0)).rows.tolist()


def test_where_there_is_no_data_there_is_no_place() -> None:
    uncertainty = cloudy((80, 80))
    uncertainty[:, :50] = np.nan
    found = find(uncertainty, PlaceRule(count=6, window=9))
    assert len(found) == 6
    assert (found.cols >= 50).all()


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_without_uncertainty_there_is_none(value: float) -> None:
    assert len(find(np.full((40, 40), value), PlaceRule(count=3))) == 0


def test_what_is_kept_does_not_grow_with_the_raster() -> None:
    kept = []
    for height in (500, 2000):
        finder = PlaceFinder(PlaceRule(count=10, window=5), (height, 500))
        rows = np.random.default_rng(0)
        for y0 in range(0, height, 100):
            finder.add(rows.random((104, 500)), np.ones((100, 500), np.int64), y0)
        kept.append(len(finder._found))
    assert max(kept) <= 32 * 32 * 4
    assert kept[1] < kept[0]


class Fields:
    """A farmland of square fields: crops that differ from field to field, with mixed pixels on the edges."""

    def __init__(self, seed: int, side: int = 120, field: int = 15, crops: int = 5, bands: int = 8) -> None:
        rng = np.random.default_rng(seed)
        fields = (side // field) ** 2
        crop = rng.integers(0, crops, fields)
        spectra = rng.standard_normal((crops, bands))[crop] * 1.2 + rng.standard_normal((fields, bands)) * 0.8
        rows, cols = np.mgrid[:side, :side]
        self.parcel = (rows // field) * (side // field) + cols // field
        self.truth = crop[self.parcel]
        pure = gaussian_filter(spectra[self.parcel], (0.7, 0.7, 0))
        self.cube = pure + 0.5 * rng.standard_normal(pure.shape)
        # One field of each crop is known to begin with.
        known = [np.flatnonzero(crop == each)[0] for each in range(crops) if (crop == each).any()]
        inside = ((rows % field > 2) & (rows % field < 12)) & ((cols % field > 2) & (cols % field < 12))
        self.labelled = np.isin(self.parcel, known) & inside

    def classify(self, labelled: NDArray[np.bool_]) -> tuple[Ints, Floats]:
        """Classes and normalised entropy of a forest trained on these pixels."""
        forest = RandomForestClassifier(60, random_state=0, n_jobs=1)
        forest.fit(self.cube[labelled], self.truth[labelled])
        likely = forest.predict_proba(self.cube.reshape(-1, self.cube.shape[-1]))
        entropy = -(likely * np.log(np.maximum(likely, 1e-12))).sum(axis=1) / np.log(likely.shape[1])
        return (
            forest.classes_[likely.argmax(axis=1)].reshape(self.truth.shape),
            entropy.reshape(self.truth.shape),
        )

    def drawn(self, rows: Ints, cols: Ints) -> NDArray[np.bool_]:
        """The labels, and what an analyst draws at these places: the field's pixels within the window."""
        labelled = self.labelled.copy()
        for row, col in zip(rows, cols, strict=True):
            window = (slice(max(0, row - 4), row + 5), slice(max(0, col - 4), col + 5))
            labelled[window] |= self.parcel[window] == self.parcel[row, col]
        return labelled


def test_errors_are_where_places_are_and_drawing_there_helps_more_than_elsewhere() -> None:
    """On six farmlands: more errors at the places, and a larger gain than from places at random."""
    errors, gains, gains_elsewhere = [], [], []
    for seed in range(6):
        fields = Fields(seed)
        mapped, uncertainty = fields.classify(fields.labelled)
        wrong = mapped != fields.truth

        def gain(rows: Ints, cols: Ints, fields: Fields = fields, before: float = wrong.mean()) -> float:
            after, _ = fields.classify(fields.drawn(rows, cols))
            return before - float((after != fields.truth).mean())

        for attempt in range(2):
            found = find(uncertainty, PlaceRule(count=8, window=9, seed=attempt), mapped + 1)
            errors.append(wrong[found.rows, found.cols].mean() / wrong.mean())
            gains.append(gain(found.rows, found.cols))
            gains_elsewhere.append(gain(*np.random.default_rng(attempt).integers(4, 116, (2, 8))))
    assert np.mean(errors) > 1.25
    assert np.mean(gains) > np.mean(gains_elsewhere) + 0.01
