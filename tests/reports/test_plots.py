"""Pictures: of the right size, in the classes' colours, and never touching global state."""

from io import BytesIO
from xml.etree.ElementTree import fromstring

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from hsi_toolkit.reports.map_preview import Pixels, map_preview_png, outline_segments
from hsi_toolkit.reports.plots import ClassSpectra, TrainingCurve, curve_svg, spectra_svg
from hsi_toolkit.scene.class_map import ClassEntry

LEGEND = (ClassEntry(2, "water", (43, 123, 186)), ClassEntry(7, "roof", (179, 38, 42)))


def opened(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


def share(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> float:
    return float((picture == colour).all(axis=2).mean())


@pytest.mark.parametrize("shape", [(40, 40), (400, 60), (30, 500), (1, 3)])
def test_the_map_shows_each_class_in_its_colour(shape: tuple[int, int]) -> None:
    classes = np.full(shape, 2, np.uint8)
    classes[:, shape[1] // 3 : 2 * shape[1] // 3] = 7
    classes[:, 2 * shape[1] // 3 :] = 0
    picture = opened(map_preview_png(classes, LEGEND, rgb=np.full((*shape, 3), 90, np.uint8), title="A map"))
    assert share(picture, LEGEND[0].colour) == pytest.approx(share(picture, LEGEND[1].colour), rel=0.25)
    assert share(picture, LEGEND[0].colour) > 0.01
    assert max(picture.shape) < 4000


def test_numbers_outside_the_legend_are_empty() -> None:
    picture = opened(map_preview_png(np.full((20, 20), 5), LEGEND))
    assert share(picture, LEGEND[0].colour) < 0.01
    assert share(picture, (0xEE, 0xF0, 0xF3)) > 0.3


def test_where_neither_scene_nor_map_has_data_both_are_empty() -> None:
    classes = np.zeros((20, 40), np.uint8)
    classes[:, :20] = 2
    rgb = np.zeros((20, 40, 3), np.uint8)
    rgb[:, :10] = 200
    picture = opened(map_preview_png(classes, LEGEND, rgb=rgb))
    assert share(picture, (0, 0, 0)) > 0.05, "black where the map has a class"
    assert share(picture, (0xEE, 0xF0, 0xF3)) > 0.1


def test_training_and_held_out_pixels_are_outlined() -> None:
    classes = np.full((40, 40), 2, np.uint8)
    rgb = np.full((40, 40, 3), 90, np.uint8)
    test = Pixels(*np.divmod(np.arange(1600)[::7], 40))
    plain = opened(map_preview_png(classes, LEGEND, rgb=rgb))
    outlined = opened(map_preview_png(classes, LEGEND, rgb=rgb, test=test))
    assert share(outlined, (0xFF, 0xB0, 0x00)) > 0.01
    assert share(plain, (0xFF, 0xB0, 0x00)) == 0


def test_outlines_run_around_the_set_and_not_through_it() -> None:
    square = Pixels(np.repeat([3, 4], 2), np.tile([5, 6], 2))
    segments = outline_segments(square)
    assert len(segments) == 8
    assert segments.reshape(-1, 2).min(axis=0).tolist() == [4.5, 2.5]
    assert segments.reshape(-1, 2).max(axis=0).tolist() == [6.5, 4.5]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 60))
def test_outlines_have_the_length_of_the_boundary(seed: int, count: int) -> None:
    plane = np.zeros((12, 14), bool)
    plane.ravel()[np.random.default_rng(seed).permutation(plane.size)[:count]] = True
    padded = np.pad(plane, 1).astype(int)
    boundary = np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()
    assert len(outline_segments(Pixels(*np.nonzero(plane)))) == boundary


def test_thinned_pixels_lie_where_the_thinned_map_has_them() -> None:
    thin = Pixels(np.array([0, 5, 6, 9]), np.array([1, 0, 1, 9])).thinned(3)
    assert list(zip(thin.rows.tolist(), thin.cols.tolist(), strict=True)) == [(0, 0), (1, 0), (2, 0), (3, 3)]


def spectra(bands: int = 40) -> ClassSpectra:
    rng = np.random.default_rng(0)
    good = np.ones(bands, bool)
    good[10:14] = False
    wavelength = np.concatenate([np.linspace(420, 1000, 20), np.linspace(900, 2400, 20)])
    values = rng.random((30, bands))
    values[:, 3] = np.nan
    return ClassSpectra.of(values, np.arange(30) % 2, LEGEND, wavelength=wavelength, good=good)


def test_class_spectra_are_mean_and_standard_deviation_of_what_is_there() -> None:
    values = np.array([[1.0, np.nan], [3.0, 5.0], [9.0, np.nan]])
    found = ClassSpectra.of(values, np.array([0, 0, 1]), LEGEND)
    np.testing.assert_array_equal(found.mean, [[2.0, 5.0], [9.0, np.nan]])
    np.testing.assert_allclose(found.deviation, [[np.sqrt(2), np.nan], [np.nan, np.nan]])
    assert found.counts.tolist() == [2, 1]


def test_charts_are_wellformed_and_the_same_every_time() -> None:
    curve = TrainingCurve({"training": [2.0, 1.0], "held out": [2.1, 1.4]}, {"overall": [0.4, 0.6]}, best=2)
    for draw in (lambda: spectra_svg(spectra()), lambda: curve_svg(curve)):
        first = draw()
        assert fromstring(first).tag.endswith("svg")
        assert first == draw()


def test_spectra_break_at_bad_bands_steps_back_and_gaps() -> None:
    found = spectra()
    text = spectra_svg(found).decode()
    assert LEGEND[0].hex_colour in text
    plain = spectra_svg(ClassSpectra.of(np.ones((4, 5)), np.zeros(4, int), LEGEND)).decode()
    assert plain.count(LEGEND[0].hex_colour) < text.count(LEGEND[0].hex_colour)


def test_a_scene_without_wavelengths_or_a_class_without_pixels_can_be_drawn() -> None:
    found = ClassSpectra.of(np.full((3, 6), np.nan), np.zeros(3, int), LEGEND, quantity="dn")
    assert fromstring(spectra_svg(found)).tag.endswith("svg")


def test_drawing_leaves_the_programs_style_alone() -> None:
    before = dict(matplotlib.rcParams)
    map_preview_png(np.full((5, 5), 2), LEGEND)
    curve_svg(TrainingCurve({"training": [1.0]}, {}))
    assert dict(matplotlib.rcParams) == before
