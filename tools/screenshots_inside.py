"""The tour that ``tools/screenshots.py`` lets QGIS go through; run by QGIS with ``--code``.

A tour is a generator: it does a step and yields what to wait for, seconds or a condition. A timer takes it
on, so that QGIS lives between the steps and dialogs can be looked at while they are open.
"""

import json
import os
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import processing
from processing.gui.AlgorithmDialog import AlgorithmDialog
from qgis.core import (
    QgsApplication,
    QgsFeature,
    QgsLayerTreeLayer,
    QgsPointXY,
    QgsProcessingOutputLayerDefinition,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QPoint, QRect, QSize, Qt, QTimer
from qgis.PyQt.QtGui import QImage, QPainter
from qgis.PyQt.QtWidgets import (
    QApplication,
    QDialog,
    QDockWidget,
    QProgressBar,
    QTextEdit,
    QTreeView,
    QWidget,
)
from qgis.utils import iface, plugins

WINDOW = QSize(1280, 800)
TICK_MS = 100
TRAINING, MAP, UNCERTAINTY, PLACES = "training polygons.gpkg", "map.tif", "uncertainty.tif", "places.gpkg"
PATIENCE = 900.0

Wait = float | Callable[[], bool]
Steps = Iterator[Wait]


class Tour:
    """Goes through a tour and quits QGIS; what happened is written to the plan's ``done`` file."""

    def __init__(self, plan: dict) -> None:
        self.plan, self.log = plan, []
        self.output, self.data = Path(plan["output"]), Path(plan["data"])
        self.steps = {"tutorial": tutorial, "real": real}[plan["tour"]](self)
        self._waits: Wait = 2.0
        self._since = time.monotonic()
        self._timer = QTimer()
        self._timer.timeout.connect(self._tick)
        self._busy = False
        self._timer.start(TICK_MS)

    def _tick(self) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            if self._is_over(time.monotonic() - self._since):
                self._waits = next(self.steps)
                self._since = time.monotonic()
        except StopIteration:
            self._end("")
        except Exception:
            self.shoot_screen("error")
            self._end(traceback.format_exc())
        finally:
            self._busy = False

    def _is_over(self, waited: float) -> bool:
        if callable(self._waits):
            if waited >= PATIENCE:
                raise TimeoutError(f"Nothing came of a step within {PATIENCE:.0f} seconds.")
            return bool(self._waits())
        return waited >= self._waits

    def _end(self, error: str) -> None:
        self._timer.stop()
        Path(self.plan["done"]).write_text(json.dumps({"error": error, "log": self.log}))
        QgsProject.instance().setDirty(False)
        for widget in QApplication.topLevelWidgets():
            if isinstance(widget, QDialog):
                widget.close()
        QTimer.singleShot(300, lambda: os._exit(0))

    def say(self, text: str) -> None:
        """Note something for whoever started the tour."""
        self.log.append(text)

    def shoot(self, name: str, widget: QWidget) -> None:
        """Save a picture of a widget."""
        self._save(name, widget.grab().toImage())

    def shoot_over(self, name: str, dialog: QWidget) -> None:
        """Save a picture of the window with a dialog before it, as a person sees them."""
        window = iface.mainWindow()
        picture = window.grab().toImage()
        at = QPoint((window.width() - dialog.width()) // 2, (window.height() - dialog.height()) // 2)
        painter = QPainter(picture)
        painter.drawImage(at, dialog.grab().toImage())
        painter.setPen(Qt.GlobalColor.darkGray)
        painter.drawRect(QRect(at, dialog.size()).adjusted(-1, -1, 0, 0))
        painter.end()
        self._save(name, picture)

    def shoot_screen(self, name: str) -> None:
        """Save what is on the screen."""
        self._save(name, QApplication.primaryScreen().grabWindow(0).toImage())

    def _save(self, name: str, picture: QImage) -> None:
        picture.save(str(self.output / f"{name}.png"))


def tutorial(tour: Tour) -> Steps:
    """From the plugin to a map, as docs/tutorial.md tells it."""
    yield from tidy_window()
    yield from show_toolbox(tour)
    yield from show_options(tour)
    scene = add_raster(tour.data / "scene.tif", "scene")
    dock = plugins["hsi_toolkit"]._dock
    dock.dock.controls.scene_box.setLayer(scene)
    dock.dock.show_colours("natural")
    yield from drawn()
    yield from create_training_layer(tour, scene)
    training = draw(tour.data)
    yield from drawn()
    iface.setActiveLayer(training)
    tour.shoot("polygons", iface.mainWindow())
    yield from show_profile(tour, scene, training)
    yield from polygons_to_map(tour, scene, training, "class", str(tour.data / "result"))
    yield from show_results(tour, training)
    yield from where_to_draw(tour, training)


def real(tour: Tour) -> Steps:
    """Polygons to map on a real scene."""
    yield from tidy_window()
    scene = add_raster(Path(tour.plan["scene"]), Path(tour.plan["scene"]).stem)
    training = QgsVectorLayer(tour.plan["labels"], Path(tour.plan["labels"]).stem, "ogr")
    QgsProject.instance().addMapLayer(training)
    field = tour.plan["field"] or class_field(training)
    tour.say(f"{scene.name()}: {scene.bandCount()} bands; {training.featureCount()} features, field {field}")
    dock = plugins["hsi_toolkit"]._dock
    dock.dock.controls.scene_box.setLayer(scene)
    for name in ("natural", "infrared", "swir"):
        dock.dock.show_colours(name)
        node_of(training).setItemVisibilityChecked(False)
        iface.setActiveLayer(scene)
        iface.zoomToActiveLayer()
        yield from drawn()
        tour.shoot(f"colours-{name}", iface.mapCanvas())
    dock.dock.show_colours("natural")
    node_of(training).setItemVisibilityChecked(True)
    yield from drawn()
    tour.shoot("polygons", iface.mainWindow())
    yield from show_profile(tour, scene, training, field)
    yield from polygons_to_map(tour, scene, training, field, str(tour.data / "result"))
    yield from show_results(tour, training)


def tidy_window() -> Steps:
    """The window at one size, with the layers' panel and the toolbox alone."""
    window = iface.mainWindow()
    window.showNormal()
    window.setGeometry(QRect(QPoint(0, 0), WINDOW))
    for panel in window.findChildren(QDockWidget):
        panel.setVisible(panel.objectName() in ("Layers", "ProcessingToolbox"))
    yield 1.5
    for other in QApplication.topLevelWidgets():
        if isinstance(other, QDialog) and other.isVisible():
            other.close()
    iface.messageBar().clearWidgets()
    yield 0.5


def show_toolbox(tour: Tour) -> Steps:
    toolbox = iface.mainWindow().findChild(QDockWidget, "ProcessingToolbox")
    tree = toolbox.findChild(QTreeView)
    yield lambda: find_row(tree, "Hyperspectral") is not None
    row = find_row(tree, "Hyperspectral")
    tree.expand(row)
    for child in range(tree.model().rowCount(row)):
        tree.expand(tree.model().index(child, 0, row))
    tree.scrollTo(row, QTreeView.ScrollHint.PositionAtTop)
    yield 0.5
    tour.shoot("toolbox", toolbox)


def find_row(tree: QTreeView, text: str):
    """The top row of a tree that starts with a text."""
    model = tree.model()
    rows = (model.index(row, 0) for row in range(model.rowCount()))
    return next((row for row in rows if str(row.data()).startswith(text)), None)


def show_options(tour: Tour) -> Steps:
    QTimer.singleShot(0, lambda: iface.showOptionsDialog(iface.mainWindow(), "hsi_toolkit"))
    yield lambda: QApplication.activeModalWidget() is not None
    dialog = QApplication.activeModalWidget()
    dialog.resize(980, 640)
    # The engine is looked at in the background.
    yield 15.0
    tour.shoot("options", dialog)
    dialog.reject()
    yield 0.5


def create_training_layer(tour: Tour, scene: QgsRasterLayer) -> Steps:
    """Open the algorithm's dialog with the demo's classes, and run it."""
    legend = {}
    for feature in demo_polygons(tour.data).getFeatures():
        legend[feature["class"]] = feature["colour"]
    classes = "\n".join(f"{name}={colour}" for name, colour in legend.items())
    target = str(tour.data / TRAINING)
    values = {"INPUT": scene.id(), "CLASSES": classes, "OUTPUT": load(target)}
    dialog = open_dialog("hsi:traininglayer", values)
    yield 0.8
    tour.shoot("training-layer", dialog)
    dialog.runAlgorithm()
    yield lambda: bool(layers_of(TRAINING))
    dialog.close()


def demo_polygons(data: Path) -> QgsVectorLayer:
    return QgsVectorLayer(str(data / "training.gpkg"), "drawn", "ogr")


def load(target: str) -> QgsProcessingOutputLayerDefinition:
    """An output that is opened when it is there."""
    return QgsProcessingOutputLayerDefinition(target, QgsProject.instance())


def open_dialog(algorithm: str, values: dict) -> AlgorithmDialog:
    dialog = processing.createAlgorithmDialog(algorithm, values)
    dialog.resize(820, 620)
    dialog.show()
    return dialog


def draw(data: Path) -> QgsVectorLayer:
    """Put the demo's polygons into the training layer, as if somebody had drawn them."""
    training = layers_of(TRAINING)[0]
    training.startEditing()
    for drawn_one in demo_polygons(data).getFeatures():
        feature = QgsFeature(training.fields())
        feature.setGeometry(drawn_one.geometry())
        feature.setAttribute("class", drawn_one["class"])
        training.addFeature(feature)
    training.commitChanges()
    node_of(training).setExpanded(True)
    return training


def show_profile(tour: Tour, scene: QgsRasterLayer, training: QgsVectorLayer, field: str = "class") -> Steps:
    """The dock with class means, and with a few pixels."""
    toolbox = iface.mainWindow().findChild(QDockWidget, "ProcessingToolbox")
    toolbox.hide()
    installed = plugins["hsi_toolkit"]._dock
    installed.action.trigger()
    dock = installed.dock
    dock.controls.scene_box.setLayer(scene)
    dock.controls.training_box.setLayer(training)
    dock.controls.field_box.setField(field)
    iface.mainWindow().resizeDocks([dock], [390], Qt.Orientation.Vertical)
    yield 0.5
    dock.read_means()
    yield lambda: dock._work is None
    yield from drawn()
    tour.shoot("profile-classes", dock)
    dock.clear()
    extent = scene.extent()
    for across, down in ((0.25, 0.3), (0.55, 0.5), (0.7, 0.2), (0.4, 0.75)):
        x = extent.xMinimum() + across * extent.width()
        dock.pick(QgsPointXY(x, extent.yMaximum() - down * extent.height()), True)
    dock.plot.hover(dock.plot.width() * 0.35)
    yield from drawn()
    tour.shoot("profile", iface.mainWindow())
    dock.clear()
    installed.action.trigger()
    yield 0.5


def polygons_to_map(
    tour: Tour, scene: QgsRasterLayer, training: QgsVectorLayer, field: str, folder: str
) -> Steps:
    """Open the dialog, run it, and take it while it works."""
    values = {"INPUT": scene.id(), "LABELS": training.id(), "FIELD": field, "OUTPUT": folder}
    dialog = open_dialog("hsi:map", values)
    yield 0.8
    tour.shoot("polygons-to-map", dialog)
    began = time.monotonic()
    dialog.runAlgorithm()
    bar = dialog.findChild(QProgressBar)
    yield lambda: bar.value() >= 45 or bool(layers_of(MAP))
    tour.shoot_over("progress", dialog)
    yield lambda: bool(layers_of(UNCERTAINTY))
    tour.say(f"Polygons to map took {time.monotonic() - began:.0f} s in QGIS")
    yield 1.0
    texts = [each.toPlainText() for each in dialog.findChildren(QTextEdit)]
    tour.say(next((text for text in texts if "Algorithm started" in text), ""))
    dialog.close()


def show_results(tour: Tour, training: QgsVectorLayer) -> Steps:
    """Map, uncertainty, the results viewer and the report."""
    training_node, map_node = node_of(training), node_of(layers_of(MAP)[0])
    uncertainty_node = node_of(layers_of(UNCERTAINTY)[0])
    training_node.setItemVisibilityChecked(False)
    training_node.setExpanded(False)
    map_node.setExpanded(True)
    uncertainty_node.setItemVisibilityChecked(False)
    iface.messageBar().clearWidgets()
    yield from drawn()
    tour.shoot("map", iface.mainWindow())
    for panel in iface.mainWindow().findChildren(QDockWidget):
        if panel.objectName() != "Layers":
            panel.hide()
    map_node.setItemVisibilityChecked(False)
    uncertainty_node.setItemVisibilityChecked(True)
    yield from drawn()
    tour.shoot("uncertainty", iface.mainWindow())
    map_node.setItemVisibilityChecked(True)


def where_to_draw(tour: Tour, training: QgsVectorLayer) -> Steps:
    """The points where further polygons teach most."""
    uncertainty, class_map = layers_of(UNCERTAINTY)[0], layers_of(MAP)[0]
    target = str(tour.data / PLACES)
    values = {
        "INPUT": uncertainty.id(), "MAP": class_map.id(), "LABELS": training.id(), "OUTPUT": load(target),
    }  # fmt: skip
    dialog = open_dialog("hsi:draw_next", values)
    yield 0.8
    dialog.runAlgorithm()
    yield lambda: bool(layers_of(PLACES))
    dialog.close()
    # The layer is put into its group after it has been added.
    yield 1.0
    node_of(layers_of(PLACES)[0]).setExpanded(True)
    node_of(class_map).setExpanded(False)
    yield from drawn()
    tour.shoot("draw-next", iface.mainWindow())


def drawn() -> Steps:
    """Wait until the canvas shows what it should."""
    iface.mapCanvas().refresh()
    yield 1.0
    yield lambda: not iface.mapCanvas().isDrawing()
    yield 0.4


def add_raster(path: Path, name: str) -> QgsRasterLayer:
    layer = QgsRasterLayer(str(path), name, "gdal")
    QgsProject.instance().addMapLayer(layer)
    QgsProject.instance().setCrs(layer.crs())
    iface.mapCanvas().setExtent(layer.extent())
    return layer


def layers_of(file: str) -> list[QgsRasterLayer | QgsVectorLayer]:
    """The layers from a file of this name that are in the project's tree."""
    root = QgsProject.instance().layerTreeRoot()
    layers = QgsProject.instance().mapLayers().values()
    return [
        layer
        for layer in layers
        if Path(layer.source().split("|")[0]).name == file and root.findLayer(layer.id())
    ]


def node_of(layer: QgsRasterLayer | QgsVectorLayer) -> QgsLayerTreeLayer:
    """The layer's place in the project's tree."""
    return QgsProject.instance().layerTreeRoot().findLayer(layer.id())


def class_field(layer: QgsVectorLayer) -> str:
    """The field with the class: text if there is one, else the last."""
    names = [field.name() for field in layer.fields() if field.type() == 10]
    return names[0] if names else layer.fields()[-1].name()


QgsApplication.setQuitOnLastWindowClosed(False)
_tour = Tour(json.loads(Path(os.environ["HSI_TOUR"]).read_text()))
