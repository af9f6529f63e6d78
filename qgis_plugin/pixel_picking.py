"""Pixels picked on the canvas: the map tool, and markers that stay at their place in any projection."""

from typing import Optional

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsPointXY,
    QgsProject,
    QgsRasterLayer,
)
from qgis.gui import QgsMapCanvas, QgsMapMouseEvent, QgsMapTool, QgsVertexMarker
from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtGui import QColor


class PixelTool(QgsMapTool):
    """Tells where the canvas was clicked, and whether with Ctrl, which adds to what was picked before."""

    picked = pyqtSignal(QgsPointXY, bool)

    def __init__(self, canvas: QgsMapCanvas) -> None:
        super().__init__(canvas)
        self.setCursor(Qt.CursorShape.CrossCursor)

    def canvasReleaseEvent(self, event: QgsMapMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            adds = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
            self.picked.emit(event.mapPoint(), adds)


class Marker:
    """A circle on the canvas at a point of a layer."""

    def __init__(
        self, canvas: QgsMapCanvas, point: QgsPointXY, crs: QgsCoordinateReferenceSystem, colour: str
    ) -> None:
        self._canvas, self._point, self._crs = canvas, point, crs
        self._item = QgsVertexMarker(canvas)
        self._item.setIconType(QgsVertexMarker.IconType.ICON_CIRCLE)
        self._item.setIconSize(12)
        self._item.setPenWidth(3)
        self._item.setColor(QColor(colour))
        self._item.setFillColor(QColor(255, 255, 255, 150))
        self.place()

    @property
    def centre(self) -> QgsPointXY:
        """Where it is, in the canvas's coordinates."""
        return self._item.center()

    def place(self) -> None:
        """Put it where its point is in the canvas's coordinates; hide it where it has no place there."""
        point = transformed(self._point, self._crs, canvas_crs(self._canvas))
        self._item.setVisible(point is not None)
        if point is not None:
            self._item.setCenter(point)

    def show(self, visible: bool) -> None:
        """Show or hide it."""
        self._item.setVisible(visible)

    def remove(self) -> None:
        """Take it off the canvas."""
        self._canvas.scene().removeItem(self._item)


def canvas_crs(canvas: QgsMapCanvas) -> QgsCoordinateReferenceSystem:
    """The reference system of the canvas."""
    return canvas.mapSettings().destinationCrs()


def point_in_layer(point: QgsPointXY, canvas: QgsMapCanvas, layer: QgsRasterLayer) -> Optional[QgsPointXY]:
    """A point of the canvas in the layer's coordinates; None where it has no place there."""
    return transformed(point, canvas_crs(canvas), layer.crs())


def transformed(
    point: QgsPointXY, source: QgsCoordinateReferenceSystem, target: QgsCoordinateReferenceSystem
) -> Optional[QgsPointXY]:
    """A point in another reference system; as it is where one of the two is unknown, None where it fails."""
    try:
        return QgsCoordinateTransform(source, target, QgsProject.instance()).transform(point)
    except QgsCsException:
        return None
