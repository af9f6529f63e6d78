"""Colours for classes and spectra: the core's palette, without NumPy."""

import re
from typing import List, Optional, Sequence

from qgis.PyQt.QtGui import QColor

#: Okabe and Ito (2008) without black, then what stays apart from it of Tol's "muted" scheme (2021).
BASE = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#f0e442",
    "#332288", "#117733", "#882255", "#999933", "#7f7f7f", "#6b4423", "#ddcc77",
)  # fmt: skip

#: Covers that everybody expects in a certain colour.
CUSTOMARY = (
    (r"water|river|lake|\bsea\b|wasser|fluss", "#2b7bba"),
    (r"tree|forest|\bwoods?\b|conifer|deciduous|baum|wald", "#1b7a43"),
    (r"grass|meadow|pasture|lawn|low vegetation|wiese|rasen", "#a5d86e"),
    (r"soil|bare|\bsand|boden", "#c79a6b"),
    (r"roof|building|house|dach|gebäude", "#b3262a"),
    (r"pavement|road|asphalt|impervious|street|straße", "#8d9096"),
    (r"crop|arable|agricult|acker", "#e3b93c"),
)

#: The next hue lies this far round the circle: the golden ratio never comes back to an earlier one.
_GOLDEN_ANGLE = 0.61803398875


def next_colour(taken: Sequence[str]) -> str:
    """The first colour of the palette that is not taken yet; beyond it, ever new hues."""
    used = {colour.lower() for colour in taken}
    for colour in BASE:
        if colour not in used:
            return colour
    turn = len(used)
    while True:
        colour = QColor.fromHslF((turn * _GOLDEN_ANGLE) % 1.0, 0.55, 0.42 + 0.16 * (turn % 2)).name()
        if colour not in used:
            return colour
        turn += 1


def class_colours(names: Sequence[str], given: Sequence[Optional[str]] = ()) -> List[str]:
    """A colour ``#rrggbb`` for each class: the one given, the customary one of its name, or the next free."""
    given = [*given, *[None] * len(names)][: len(names)]
    chosen = [colour or "" for colour in given]
    for index, name in enumerate(names):
        customary = customary_colour(name)
        if not chosen[index] and customary and customary not in chosen:
            chosen[index] = customary
    for index, colour in enumerate(chosen):
        if not colour:
            chosen[index] = next_colour([each for each in chosen if each])
    return chosen


def customary_colour(name: str) -> Optional[str]:
    """The colour that maps usually give a cover of this name, such as blue for water; None for others."""
    words = name.casefold()
    return next((colour for pattern, colour in CUSTOMARY if re.search(pattern, words)), None)


def contrast(one: QColor, other: QColor) -> float:
    """The contrast ratio of WCAG 2, from 1 (the same) to 21 (black on white)."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def visible_on(colour: QColor, background: QColor, ratio: float) -> QColor:
    """The colour, made lighter or darker until it stands out from the background."""
    shown = QColor(colour)
    lighter = _luminance(background) < 0.3
    for _ in range(12):
        if contrast(shown, background) >= ratio:
            break
        hue, saturation, lightness, alpha = shown.getHslF()
        lightness = min(1.0, lightness + 0.06) if lighter else max(0.0, lightness - 0.06)
        shown = QColor.fromHslF(max(hue, 0.0), saturation, lightness, alpha)
    return shown


def _luminance(colour: QColor) -> float:
    channels = (colour.redF(), colour.greenF(), colour.blueF())
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
