"""The palette: apart from each other, for colour-blind readers too, and always the same."""

from itertools import combinations

import pytest

from hsi_toolkit.tasks.palette import customary_colour
from hsi_toolkit.training.palette import colour_difference, ink, palette


def test_the_first_colours_stay_apart_for_every_reader() -> None:
    colours = palette(10)
    assert min(colour_difference(a, [b]) for a, b in combinations(colours, 2)) >= 15


@pytest.mark.parametrize("count", [0, 1, 14, 60, 255])
def test_there_are_as_many_different_colours_as_asked_for(count: int) -> None:
    colours = palette(count)
    assert len(set(colours)) == count
    assert colours == palette(count)


def test_more_classes_do_not_change_the_first_colours() -> None:
    assert palette(40)[:12] == palette(12)


def test_colours_in_use_are_avoided() -> None:
    taken = palette(3)
    assert colour_difference(palette(1, taken)[0], taken) >= 15


def test_ink_reads_on_its_ground() -> None:
    assert ink("#ffff00") == "#000000"
    assert ink("#332288") == "#ffffff"


def test_common_covers_have_their_customary_colours() -> None:
    assert customary_colour("Inland water") == customary_colour("Wasser")
    assert customary_colour("Woodland") is None
    covers = ["water", "forest", "grass", "bare soil", "roof", "road", "crop"]
    colours = [customary_colour(cover) or "" for cover in covers]
    assert min(colour_difference(a, [b]) for a, b in combinations(colours, 2)) >= 15
