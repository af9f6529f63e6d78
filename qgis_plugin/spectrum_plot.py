"""A plot of spectra, painted with Qt alone: round numbers, bad bands greyed, a read-out at the mouse.

``SpectrumFigure`` knows what is shown and paints it anywhere; ``SpectrumPlot`` is the widget around it.
"""

from dataclasses import dataclass, field
from typing import List, Optional, Tuple

from qgis.PyQt.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from qgis.PyQt.QtGui import (
    QBrush,
    QColor,
    QFont,
    QFontMetricsF,
    QImage,
    QLinearGradient,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QPen,
    QPolygonF,
)
from qgis.PyQt.QtWidgets import QSizePolicy, QWidget

from .colours import visible_on
from .spectrum_axes import PADDING, SWATCH, Axis, Frame, Spectrum, limits, number_text

NOTHING = "Click a pixel on the map to see its spectrum."
BAD_BANDS = "Bad bands"
#: Lines in the read-out at most.
MOST_READ_OUT = 10
#: Contrast a line needs with the background (WCAG 2).
LINE_CONTRAST = 1.9
#: The colours of the light from 400 to 700 nm, for the strip along the axis.
_VISIBLE_NM = (
    (400, "#6a3fb0"), (450, "#2b5fd0"), (500, "#22a3a0"), (550, "#3fae3a"), (585, "#e0c92a"),
    (620, "#e0782a"), (700, "#b3201f"),
)  # fmt: skip


@dataclass(frozen=True)
class Theme:
    """The colours of everything but the spectra."""

    background: QColor
    text: QColor

    @classmethod
    def of(cls, palette: QPalette) -> "Theme":
        """The colours of a widget, light or dark."""
        return cls(palette.color(QPalette.ColorRole.Base), palette.color(QPalette.ColorRole.Text))

    @classmethod
    def light(cls) -> "Theme":
        """Black on white, for pictures that go into documents."""
        return cls(QColor("#ffffff"), QColor("#1c1c1c"))

    def mixed(self, share: float) -> QColor:
        """The background with ``share`` of the text's colour in it."""
        parts = zip(self.background.getRgbF(), self.text.getRgbF())
        return QColor.fromRgbF(*((1 - share) * behind + share * front for behind, front in parts))

    def line(self, colour: str) -> QColor:
        """A spectrum's colour, so that it can be seen."""
        return visible_on(QColor(colour), self.background, LINE_CONTRAST)


@dataclass(frozen=True)
class SpectrumFigure:
    """Spectra, their axis, and what their values are; paints itself into any rectangle."""

    axis: Axis = field(default_factory=Axis)
    spectra: Tuple[Spectrum, ...] = ()
    quantity: str = "Value"

    def frame(self, area: QRectF, font: QFont) -> Frame:
        """Where everything lies when the figure is painted into ``area``."""
        names = [spectrum.title for spectrum in self.spectra]
        if self.axis.bad:
            names.append(BAD_BANDS)
        return Frame(self.axis, limits(self.spectra, self.axis), names, area, QFontMetricsF(font))

    def paint(
        self, painter: QPainter, area: QRectF, font: QFont, theme: Theme, hovered: Optional[int] = None
    ) -> None:
        """Paint into ``area``; ``hovered`` is the band whose values are read out."""
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(font)
        painter.fillRect(area, theme.background)
        if not self.spectra or not self.axis.positions:
            painter.setPen(theme.mixed(0.65))
            inside = area.adjusted(PADDING, PADDING, -PADDING, -PADDING)
            painter.drawText(inside, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, NOTHING)
            return
        frame = self.frame(area, font)
        _paint_grid(painter, frame, theme)
        painter.save()
        painter.setClipRect(frame.plot.adjusted(-1, -1, 1, 1))
        for spectrum in self.spectra:
            _paint_deviation(painter, spectrum, frame, theme)
        for spectrum in self.spectra:
            _paint_line(painter, spectrum, frame, theme)
        painter.restore()
        _paint_axes(painter, frame, theme, self.quantity)
        _paint_legend(painter, self.spectra, frame, theme)
        if hovered is not None:
            _paint_read_out(painter, self.spectra, hovered, frame, theme)

    def picture(self, size: QSize, font: QFont, scale: float = 2.0) -> QImage:
        """The plot on white, at ``scale`` times the resolution of a screen."""
        image = QImage(size * scale, QImage.Format.Format_RGB32)
        image.setDevicePixelRatio(scale)
        painter = QPainter(image)
        self.paint(painter, QRectF(0, 0, size.width(), size.height()), font, Theme.light())
        painter.end()
        return image


class SpectrumPlot(QWidget):
    """Shows a ``SpectrumFigure`` and reads it out where the mouse is."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        self.figure = SpectrumFigure()
        self.hovered: Optional[int] = None
        self.setMouseTracking(True)
        self.setMinimumSize(220, 140)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    def sizeHint(self) -> QSize:
        return QSize(620, 280)

    def show_figure(self, figure: SpectrumFigure) -> None:
        """Show another figure from now on."""
        self.figure, self.hovered = figure, None
        self.update()

    def hover(self, x: float) -> None:
        """Read out the band nearest to a horizontal position of the widget; outside the plot, none."""
        hovered = None
        if self.figure.spectra and self.figure.axis.positions:
            frame = self.figure.frame(QRectF(self.rect()), self.font())
            if frame.plot.left() - 3 <= x <= frame.plot.right() + 3:
                hovered = self.figure.axis.nearest_band(frame.position(x))
        if hovered != self.hovered:
            self.hovered = hovered
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        area, theme = QRectF(self.rect()), Theme.of(self.palette())
        self.figure.paint(painter, area, self.font(), theme, self.hovered)
        painter.end()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self.hover(event.pos().x())

    def leaveEvent(self, event: QEvent) -> None:
        self.hovered = None
        self.update()


def _paint_grid(painter: QPainter, frame: Frame, theme: Theme) -> None:
    plot = frame.plot
    for low, high in frame.axis.bad_ranges():
        left, right = frame.x_of(low), frame.x_of(high)
        painter.fillRect(QRectF(left, plot.top(), max(right - left, 1.5), plot.height()), theme.mixed(0.11))
    painter.setPen(QPen(theme.mixed(0.17), 1))
    for value, _ in frame.y_ticks:
        y = round(frame.y(value)) + 0.5
        painter.drawLine(QPointF(plot.left(), y), QPointF(plot.right(), y))


def _paint_axes(painter: QPainter, frame: Frame, theme: Theme, quantity: str) -> None:
    plot, line = frame.plot, frame.metrics.height()
    painter.setPen(theme.mixed(0.75))
    right_middle = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
    for value, text in frame.y_ticks:
        room = QRectF(frame.area.left(), frame.y(value) - line, plot.left() - 6 - frame.area.left(), 2 * line)
        painter.drawText(room, right_middle, text)
    baseline = round(plot.bottom()) + 0.5
    painter.drawLine(QPointF(plot.left(), baseline), QPointF(plot.right(), baseline))
    for value, text in frame.x_ticks:
        x = round(frame.x_of(value)) + 0.5
        painter.drawLine(QPointF(x, baseline), QPointF(x, baseline + 4))
        room = QRectF(x - 50, baseline + 5, 100, line + 2)
        painter.drawText(room, Qt.AlignmentFlag.AlignCenter, text)
    if frame.axis.is_wavelength:
        _paint_visible_light(painter, frame, baseline)
    painter.setPen(theme.text)
    below = QRectF(frame.area.left() + PADDING, baseline + 7 + line, 0, line + 2)
    below.setRight(plot.right() if frame.legend_beside else frame.area.right() - PADDING)
    label = frame.metrics.elidedText(frame.axis.label, Qt.TextElideMode.ElideRight, below.width())
    if frame.metrics.horizontalAdvance(label) < plot.width():
        below.setLeft(plot.left())
    painter.drawText(below, Qt.AlignmentFlag.AlignCenter, label)
    painter.save()
    painter.translate(frame.area.left() + PADDING / 2, plot.center().y())
    painter.rotate(-90)
    beside = QRectF(-plot.height() / 2, 0, plot.height(), line + 2)
    painter.drawText(beside, Qt.AlignmentFlag.AlignCenter, quantity)
    painter.restore()


def _paint_visible_light(painter: QPainter, frame: Frame, baseline: float) -> None:
    """A strip in the colours of the light on the axis, where the axis covers them."""
    first, last = _VISIBLE_NM[0][0], _VISIBLE_NM[-1][0]
    low, high = max(first, frame.first), min(last, frame.last)
    if low >= high:
        return
    gradient = QLinearGradient(frame.x_of(first), 0, frame.x_of(last), 0)
    for wavelength, colour in _VISIBLE_NM:
        gradient.setColorAt((wavelength - first) / (last - first), QColor(colour))
    left, right = frame.x_of(low), frame.x_of(high)
    painter.fillRect(QRectF(left, baseline - 1.5, right - left, 3), QBrush(gradient))


def _paint_deviation(painter: QPainter, spectrum: Spectrum, frame: Frame, theme: Theme) -> None:
    if not spectrum.deviation:
        return
    colour = theme.line(spectrum.colour)
    colour.setAlphaF(0.17)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(colour)
    for run in frame.axis.runs():
        upper: List[QPointF] = []
        lower: List[QPointF] = []
        for band in run:
            value, spread = spectrum.values[band], spectrum.deviation[band]
            if value is not None and spread is not None:
                upper.append(QPointF(frame.x(band), frame.y(value + spread)))
                lower.append(QPointF(frame.x(band), frame.y(value - spread)))
        painter.drawPolygon(QPolygonF(upper + lower[::-1]))


def _paint_line(painter: QPainter, spectrum: Spectrum, frame: Frame, theme: Theme) -> None:
    colour = theme.line(spectrum.colour)
    pen = QPen(colour, 1.6)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    for run in frame.axis.runs():
        points: List[QPointF] = []
        for band in [*run, None]:
            value = None if band is None else spectrum.values[band]
            if value is not None and band is not None:
                points.append(QPointF(frame.x(band), frame.y(value)))
                continue
            painter.setPen(pen)
            painter.setBrush(Qt.BrushStyle.NoBrush)
            if len(points) == 1:
                painter.setBrush(colour)
                painter.drawEllipse(points[0], 1.2, 1.2)
            elif points:
                painter.drawPolyline(QPolygonF(points))
            points = []


def _paint_legend(painter: QPainter, spectra: Tuple[Spectrum, ...], frame: Frame, theme: Theme) -> None:
    step = frame.metrics.height() + 3
    top = frame.plot.top() - 2
    if not frame.legend_beside:
        top = frame.area.bottom() - PADDING / 2 - step * len(frame.legend)
    hidden = len(frame.names) - sum(len(row) for row in frame.legend)
    for number, row in enumerate(frame.legend):
        x = frame.plot.right() + 14 if frame.legend_beside else frame.area.left() + PADDING
        for index in row:
            name = frame.names[index]
            if hidden and number == len(frame.legend) - 1 and index == row[-1]:
                painter.setPen(theme.mixed(0.7))
                name = f"and {hidden + 1} more"
            else:
                spectrum = spectra[index] if index < len(spectra) else None
                _paint_swatch(painter, spectrum, x, top + number * step + step / 2, theme)
                painter.setPen(theme.text)
            width = frame.metrics.horizontalAdvance(name) + 4
            room = QRectF(x + SWATCH, top + number * step, width, step)
            painter.drawText(room, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, name)
            x += frame.column_width if frame.legend_beside else SWATCH + width + 6


def _paint_swatch(
    painter: QPainter, spectrum: Optional[Spectrum], x: float, middle: float, theme: Theme
) -> None:
    if spectrum is None:
        painter.fillRect(QRectF(x + 1, middle - 5, 15, 10), theme.mixed(0.16))
        return
    colour = theme.line(spectrum.colour)
    if spectrum.deviation:
        band = QColor(colour)
        band.setAlphaF(0.25)
        painter.fillRect(QRectF(x + 1, middle - 5, 15, 10), band)
    painter.setPen(QPen(colour, 2.4))
    painter.drawLine(QPointF(x + 1, middle), QPointF(x + 16, middle))


def _paint_read_out(
    painter: QPainter, spectra: Tuple[Spectrum, ...], band: int, frame: Frame, theme: Theme
) -> None:
    """A line at the band, a dot on each spectrum, and a box with the values, the highest first."""
    plot, metrics = frame.plot, frame.metrics
    x = frame.x(band)
    painter.setPen(QPen(theme.mixed(0.55), 1, Qt.PenStyle.DashLine))
    painter.drawLine(QPointF(x, plot.top()), QPointF(x, plot.bottom()))
    values = [(spectrum.values[band], spectrum) for spectrum in spectra]
    present = sorted(((v, s) for v, s in values if v is not None), key=lambda each: -each[0])
    title = f"{frame.axis.positions[band]:.1f} nm · band {band + 1}"
    if not frame.axis.is_wavelength:
        title = f"Band {band + 1}"
    for value, spectrum in present:
        painter.setPen(QPen(theme.background, 1.2))
        painter.setBrush(theme.line(spectrum.colour))
        painter.drawEllipse(QPointF(x, frame.y(value)), 3.4, 3.4)
    span = frame.high - frame.low
    lines = [(number_text(value, span), spectrum) for value, spectrum in present[:MOST_READ_OUT]]
    values_width = max((metrics.horizontalAdvance(text) for text, _ in lines), default=0.0)
    names = [metrics.elidedText(s.name, Qt.TextElideMode.ElideMiddle, 150) for _, s in lines]
    width = SWATCH + values_width + 10 + max((metrics.horizontalAdvance(name) for name in names), default=0.0)
    width = max(width, metrics.horizontalAdvance(title)) + 16
    step = metrics.height() + 1
    left = x + 10 if x + 10 + width <= plot.right() or x - 10 - width < plot.left() else x - 10 - width
    left = max(frame.area.left() + 2, min(left, frame.area.right() - width - 2))
    box = QRectF(left, plot.top() + 2, width, step * (len(lines) + 1) + 10)
    painter.setPen(QPen(theme.mixed(0.3), 1))
    fill = QColor(theme.background)
    fill.setAlphaF(0.93)
    painter.setBrush(fill)
    painter.drawRoundedRect(box, 4, 4)
    painter.setPen(theme.text)
    left_middle = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
    room = QRectF(box.left() + 8, box.top() + 5, width - 16, step)
    painter.drawText(room, left_middle, title)
    for (text, spectrum), name in zip(lines, names):
        room.translate(0, step)
        painter.setPen(QPen(theme.line(spectrum.colour), 2.4))
        painter.drawLine(
            QPointF(room.left(), room.center().y()), QPointF(room.left() + 13, room.center().y())
        )
        painter.setPen(theme.text)
        right = room.adjusted(SWATCH - 4, 0, 0, 0)
        right.setWidth(values_width)
        painter.drawText(right, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, text)
        painter.drawText(room.adjusted(SWATCH + values_width + 4, 0, 0, 0), left_middle, name)
