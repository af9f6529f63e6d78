"""Colours for classes and spectra: the core's palette, without NumPy."""

from typing import List, Optional, Sequence

from qgis.PyQt.QtGui import QColor

from ..hsi_toolkit.tasks.palette import BASE, customary_colour

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
