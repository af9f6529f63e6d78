"""The geometry of a plot of spectra: where bands and values lie, which bands a line joins, round numbers."""

import math
from dataclasses import dataclass
from typing import FrozenSet, Iterable, List, Optional, Sequence, Tuple

from qgis.PyQt.QtCore import QRectF, Qt
from qgis.PyQt.QtGui import QFontMetricsF

#: A step between neighbouring bands of more than this many median steps is a hole in the spectrum.
HOLE = 5.0
#: From this width on the legend stands beside the plot, not below it.
LEGEND_BESIDE_FROM = 620
#: From this width on a legend that is too long for one column has two.
TWO_COLUMNS_FROM = 860
PADDING, SWATCH = 8.0, 22.0


@dataclass(frozen=True)
class Spectrum:
    """One line: a value per band (None where the pixel has none) and, for a mean, the standard deviation.

    ``pixels`` is how many a mean comes from.
    """

    name: str
    colour: str
    values: Tuple[Optional[float], ...]
    deviation: Tuple[Optional[float], ...] = ()
    pixels: int = 1

    @property
    def title(self) -> str:
        """The name in the legend."""
        return f"{self.name} (n = {self.pixels})" if self.deviation else self.name


@dataclass(frozen=True)
class Axis:
    """Where the bands lie: wavelengths in nm or, without them, band numbers from one; and the bad ones."""

    positions: Tuple[float, ...] = ()
    is_wavelength: bool = False
    bad: FrozenSet[int] = frozenset()

    @property
    def label(self) -> str:
        return "Wavelength (nm)" if self.is_wavelength else "Band number (the layer has no wavelengths)"

    def runs(self) -> List[List[int]]:
        """The bands that a line joins: broken at bad bands, at holes and where wavelengths go back."""
        steps = sorted(b - a for a, b in zip(self.positions, self.positions[1:]) if b > a)
        widest = HOLE * steps[len(steps) // 2] if steps else math.inf
        runs: List[List[int]] = [[]]
        for band, position in enumerate(self.positions):
            before = self.positions[band - 1] if band else position
            if band in self.bad or not 0 <= position - before <= widest:
                runs.append([])
            if band not in self.bad:
                runs[-1].append(band)
        return [run for run in runs if run]

    def bad_ranges(self) -> List[Tuple[float, float]]:
        """From where to where the bad bands reach: half way to their neighbours."""
        ranges: List[Tuple[float, float]] = []
        last = len(self.positions) - 1
        for band in sorted(self.bad & frozenset(range(last + 1))):
            here = self.positions[band]
            low = (here + self.positions[max(band - 1, 0)]) / 2
            high = (here + self.positions[min(band + 1, last)]) / 2
            if ranges and ranges[-1][1] >= low:
                ranges[-1] = (ranges[-1][0], max(high, ranges[-1][1]))
            else:
                ranges.append((min(low, high), max(low, high)))
        return ranges

    def nearest_band(self, position: float) -> int:
        """The band nearest to a place on the axis, a good one if there is any."""
        every = range(len(self.positions))
        good = [band for band in every if band not in self.bad]
        return min(good or every, key=lambda band: abs(self.positions[band] - position))


class Frame:
    """Where everything is painted: plot, ticks and legend, and the way between values and places."""

    def __init__(
        self, axis: Axis, limits: Tuple[float, float], names: Sequence[str], area: QRectF, font: QFontMetricsF
    ) -> None:
        self.axis, self.area, self.metrics = axis, area, font
        self.low, self.high = limits
        positions = axis.positions or (0.0, 1.0)
        self.first, self.last = min(positions), max(positions)
        if self.first == self.last:
            self.first, self.last = self.first - 1, self.last + 1
        line = font.height()
        self.names = [font.elidedText(name, Qt.TextElideMode.ElideMiddle, 22 * line / 2) for name in names]
        widths = [SWATCH + font.horizontalAdvance(name) for name in self.names]
        self.column_width = 0.0
        self.legend_beside = area.width() >= LEGEND_BESIDE_FROM
        right, bottom = PADDING + 6, 2 * line + 16
        if self.legend_beside:
            most = max(1, int((area.height() - 2 * PADDING) / (line + 3)))
            columns = 2 if len(names) > most and area.width() >= TWO_COLUMNS_FROM else 1
            self.column_width = max(widths, default=0.0) + 12
            right += columns * self.column_width
            rows = in_columns(len(names), columns)
        else:
            rows = wrapped([width + 10 for width in widths], area.width() - 2 * PADDING)
            most = max(1, int(0.3 * area.height() / (line + 3)))
            bottom += min(len(rows), most) * (line + 3) + 4
        self.legend = rows[:most]
        height = max(area.height() - bottom - PADDING - line / 2, 20.0)
        self.y_ticks = nice_ticks(self.low, self.high, max(2, int(height / (1.9 * line))))
        left = PADDING + line + 8 + max(font.horizontalAdvance(text) for _, text in self.y_ticks) + 6
        width = max(area.width() - left - right, 20.0)
        self.plot = QRectF(area.left() + left, area.top() + PADDING + line / 2, width, height)
        most = max(2, int(width / (1.5 * font.horizontalAdvance("0000"))))
        ticks = nice_ticks(self.first, self.last, most)
        self.x_ticks = ticks if axis.is_wavelength else [tick for tick in ticks if tick[0] == round(tick[0])]

    def x(self, band: int) -> float:
        """Where a band is painted."""
        return self.x_of(self.axis.positions[band])

    def x_of(self, position: float) -> float:
        """Where a place on the horizontal axis is painted."""
        return self.plot.left() + (position - self.first) / (self.last - self.first) * self.plot.width()

    def y(self, value: float) -> float:
        """Where a value is painted."""
        return self.plot.bottom() - (value - self.low) / (self.high - self.low) * self.plot.height()

    def position(self, x: float) -> float:
        """The place on the horizontal axis that is painted at ``x``."""
        return self.first + (x - self.plot.left()) / self.plot.width() * (self.last - self.first)


def limits(spectra: Iterable[Spectrum], axis: Axis) -> Tuple[float, float]:
    """What the vertical axis spans: the good bands, means with their deviation, and zero if it is near."""
    values: List[float] = []
    for spectrum in spectra:
        for band, value in enumerate(spectrum.values):
            if value is not None and band not in axis.bad:
                spread = (spectrum.deviation[band] or 0.0) if spectrum.deviation else 0.0
                values += [value - spread, value + spread]
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    if 0 < low < 0.5 * high:
        low = 0.0
    if high == low:
        low, high = low - 0.5 * abs(low or 1.0), high + 0.5 * abs(high or 1.0)
    room = 0.05 * (high - low)
    return (low if low == 0.0 else low - room), high + room


def nice_ticks(low: float, high: float, most: int) -> List[Tuple[float, str]]:
    """Round numbers (1, 2 or 5 times a power of ten) between two others, about ``most``, with their texts."""
    span = high - low
    if not (span > 0 and math.isfinite(span)):
        return [(low, f"{low:g}")]
    power = 10.0 ** math.floor(math.log10(span / most))
    steps = [power * factor for factor in (0.5, 1, 2, 5, 10, 20)]
    wanted = next(index for index, step in enumerate(steps) if span / step <= most)
    # Two numbers at least make a scale.
    step = next(step for step in reversed(steps[: wanted + 1]) if high // step - -(-low // step) >= 1)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    far = max(abs(low), abs(high)) >= 1e6 or step < 1e-6
    values = [index * step for index in range(first, last + 1)]
    return [(value, f"{value:.3g}" if far else f"{value:.{decimals}f}") for value in values]


def number_text(value: float, span: float) -> str:
    """A value for reading out, with the digits that matter on an axis that spans ``span``."""
    if max(abs(value), span) >= 1e6 or span < 1e-4:
        return f"{value:.3e}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(span)))}f}"


def in_columns(count: int, columns: int) -> List[List[int]]:
    """Indices in rows, so that they read down the columns."""
    height = -(-count // columns)
    return [list(range(row, count, height)) for row in range(height)]


def wrapped(widths: Sequence[float], available: float) -> List[List[int]]:
    """Indices in rows, as many in a row as fit, one at least."""
    rows: List[List[int]] = []
    filled = math.inf
    for index, width in enumerate(widths):
        if filled + width > available:
            rows.append([])
            filled = 0.0
        rows[-1].append(index)
        filled += width
    return rows
