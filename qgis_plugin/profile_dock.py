"""The dock *Spectral profile*: spectra of clicked pixels and of a training layer's classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Set

from qgis.core import Qgis, QgsMapLayer, QgsPointXY, QgsProject, QgsRasterLayer
from qgis.gui import QgisInterface, QgsDockWidget
from qgis.PyQt.QtCore import QSize, Qt
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import QAction, QApplication, QFileDialog, QLabel, QVBoxLayout, QWidget

from . import client, environment
from .background import Work
from .band_tags import layer_path
from .class_spectra import PIXELS, ClassSampler, Grid, Pixel, read_pixel
from .colours import next_colour
from .composites import COMPOSITES, CompositeError, show_composite
from .pixel_picking import Marker, PixelTool, point_in_layer
from .profile_controls import ProfileControls, is_scene
from .spectra_files import SpectraFileError, write_csv, write_png
from .spectrum_axes import Axis, Spectrum
from .spectrum_plot import SpectrumFigure, SpectrumPlot
from .wavelengths import layer_bands, store_bands

TITLE = "Spectral profile"
ICON = Path(__file__).parent / "icons" / "spectral_profile.svg"
MENU = "&hsi_toolkit"
QUANTITIES = {"reflectance": "Reflectance", "radiance": "Radiance"}
PICTURE = QSize(900, 420)


@dataclass(frozen=True)
class PickedPixel:
    """A pixel that was clicked: where, its spectrum, and its marker on the canvas."""

    pixel: Pixel
    spectrum: Spectrum
    marker: Marker


class ProfileDock(QgsDockWidget):
    """Shows spectra of the chosen scene; picks them with a tool of the canvas."""

    def __init__(self, iface: QgisInterface) -> None:
        super().__init__(TITLE)
        self.setObjectName("hsi_toolkit_spectral_profile")
        self.iface, self.canvas = iface, iface.mapCanvas()
        self.picked: List[PickedPixel] = []
        self.means: List[Spectrum] = []
        self._asked: Set[str] = set()
        self._work: Optional[Work] = None
        self._inquiries: List[Work] = []
        self.tool = PixelTool(self.canvas)
        self.tool.picked.connect(self.pick)
        self.controls, self.plot, self.status = ProfileControls(), SpectrumPlot(), QLabel()
        self.status.setWordWrap(True)
        self.status.hide()
        self._add_actions()
        self._lay_out()
        self._connect()
        self.use_layer(iface.activeLayer())
        self._refresh()

    # What is shown.

    def scene(self) -> Optional[QgsRasterLayer]:
        """The scene whose spectra are shown."""
        return self.controls.scene()

    def figure(self) -> SpectrumFigure:
        """What the plot shows."""
        scene = self.scene()
        if scene is None:
            return SpectrumFigure()
        bands = layer_bands(scene)
        positions = bands.wavelengths or tuple(float(band) for band in range(1, scene.bandCount() + 1))
        axis = Axis(positions, bands.wavelengths is not None, bands.bad)
        spectra = (*self.means, *(each.spectrum for each in self.picked))
        return SpectrumFigure(axis, spectra, QUANTITIES.get(bands.quantity, "Value"))

    def use_layer(self, layer: Optional[QgsMapLayer]) -> None:
        """Take a layer as the scene if it is one and nothing is shown yet."""
        if is_scene(layer) and not self._shows_spectra():
            self.controls.scene_box.setLayer(layer)

    def _shows_spectra(self) -> bool:
        return bool(self.picked or self.means)

    def clear(self) -> None:
        """Forget all spectra."""
        for each in self.picked:
            each.marker.remove()
        self.picked, self.means = [], []
        self._refresh()

    def _refresh(self) -> None:
        self.plot.show_figure(self.figure())
        for name in ("export", "copy", "clear"):
            self.controls.actions_by_name[name].setEnabled(self._shows_spectra())
        for name in COMPOSITES:
            self.controls.actions_by_name[name].setEnabled(self.scene() is not None)

    # Pixels.

    def start_picking(self) -> None:
        """Make clicks on the canvas show spectra."""
        self.canvas.setMapTool(self.tool)

    def pick(self, point: QgsPointXY, adds: bool = False) -> None:
        """Show the spectrum at a point of the canvas, besides the earlier ones if ``adds`` or so set."""
        scene = self.scene()
        if scene is None:
            self._say("Add a raster layer with more than ten bands, and choose it as the scene.")
            return
        grid, place = Grid.of(scene), point_in_layer(point, self.canvas, scene)
        pixel = grid.pixel(place) if place is not None else None
        if pixel is None:
            self._say("That place is outside the scene.")
            return
        if not (adds or self.controls.actions_by_name["add"].isChecked()):
            for each in self.picked:
                each.marker.remove()
            self.picked = []
        if pixel in [each.pixel for each in self.picked]:
            return
        centre = grid.centre(pixel)
        values = read_pixel(scene.dataProvider(), centre, scene.bandCount(), layer_bands(scene).scale)
        if all(value is None for value in values):
            self._say("The scene has no data there.")
        else:
            colour = next_colour([each.spectrum.colour for each in self.picked])
            name = f"Pixel {pixel[0] + 1}, {pixel[1] + 1}"
            marker = Marker(self.canvas, centre, scene.crs(), colour)
            self.picked.append(PickedPixel(pixel, Spectrum(name, colour, tuple(values)), marker))
            self._say("")
        self._refresh()

    # Class means.

    def read_means(self) -> None:
        """Read the chosen training layer's class means in the background, or stop reading them."""
        if self._work is not None:
            self._work.cancel()
            return
        scene, training = self.scene(), self.controls.training()
        field = self.controls.field_box.currentField()
        if scene is None or training is None or not field:
            self._say("Choose a scene, a training layer and its class field.")
            return
        sampler = ClassSampler(scene, training, field, layer_bands(scene).scale)
        self._work = Work(f"Class means of {training.name()}", sampler.read)
        self._work.progressChanged.connect(lambda percent: self.controls.progress.setValue(round(percent)))
        self._work.done.connect(self._take_means)
        self.controls.set_busy(True)
        self._work.start()

    def _take_means(self, spectra: Optional[List[Spectrum]], error: Optional[Exception]) -> None:
        cancelled = self._work is None or self._work.isCanceled()
        self._work = None
        self.controls.set_busy(False)
        if cancelled:
            self._say("Cancelled.")
        elif error is not None:
            self._say(str(error))
        else:
            self.means = spectra or []
            self._say(f"Mean and standard deviation of up to {PIXELS} pixels a class, chosen at random.")
        self._refresh()

    # Colours and files.

    def show_colours(self, name: str) -> None:
        """Show the scene in one of ``COMPOSITES``."""
        scene = self.scene()
        if scene is None:
            return
        try:
            chosen = show_composite(scene, name)
        except CompositeError as error:
            self.iface.messageBar().pushMessage(TITLE, str(error), Qgis.MessageLevel.Warning, 8)
            return
        wavelengths = layer_bands(scene).wavelengths or ()
        text = ", ".join(f"{wavelengths[band - 1]:.0f}" for band in chosen)
        self._say(f"{COMPOSITES[name].title}: {text} nm in red, green and blue.")

    def export(self) -> None:
        """Ask where to, and write the spectra as a table or a picture."""
        filters = "Table (*.csv);;Picture (*.png)"
        path, chosen = QFileDialog.getSaveFileName(self, "Export spectra", "spectra.csv", filters)
        if path:
            self.export_to(path if Path(path).suffix else path + (".png" if "png" in chosen else ".csv"))

    def export_to(self, path: str) -> None:
        """Write the spectra to ``path``, a picture if it ends in .png, else a table."""
        figure = self.figure()
        try:
            if path.lower().endswith(".png"):
                write_png(path, figure.picture(PICTURE, self.font()))
            else:
                write_csv(path, figure)
        except SpectraFileError as error:
            self.iface.messageBar().pushMessage(TITLE, str(error), Qgis.MessageLevel.Warning, 8)
            return
        self._say(f"Written to {path}.")

    def copy(self) -> None:
        """Copy the plot as a picture."""
        QApplication.clipboard().setImage(self.figure().picture(PICTURE, self.font()))
        self._say("The plot is in the clipboard.")

    # Wavelengths from the engine.

    def _ask_engine(self, scene: QgsRasterLayer) -> None:
        """Ask the engine, once and in the background, for wavelengths that QGIS does not see."""
        path = layer_path(scene)
        known = layer_bands(scene).wavelengths is not None or scene.source() in self._asked
        if known or path is None or not self.isVisible() or environment.find_interpreter() is None:
            return
        self._asked.add(scene.source())
        task, layer_id = {"scene": str(path)}, scene.id()
        work = Work(
            f"Wavelengths of {scene.name()}", lambda feedback: client.run_task("info", task, feedback)
        )
        work.done.connect(lambda result, error: self._take_wavelengths(layer_id, result))
        self._inquiries.append(work)
        work.start()

    def _take_wavelengths(self, layer_id: str, result: Optional[Dict[str, Any]]) -> None:
        """Keep what the engine found; a scene it cannot read, or reads otherwise, stays as it is."""
        layer = QgsProject.instance().mapLayer(layer_id)
        centres = (result or {}).get("wavelengths_nm")
        if isinstance(layer, QgsRasterLayer) and centres and len(centres) == layer.bandCount():
            # The engine counts bands from one.
            store_bands(layer, centres, [band - 1 for band in result.get("bad_bands", [])])
            self._refresh()

    # Widgets.

    def _add_actions(self) -> None:
        add = self.controls.add_action
        pick = add("pick", "Pick pixels on the map", "mActionIdentify.svg", self.start_picking)
        pick.setCheckable(True)
        self.tool.setAction(pick)
        keep = add("add", "Keep earlier pixels (or hold Ctrl)", "symbologyAdd.svg", self.start_picking)
        keep.setCheckable(True)
        self.controls.bar.addSeparator()
        for name, composite in COMPOSITES.items():
            action = add(name, composite.title, "", lambda _, name=name: self.show_colours(name))
            centres = ", ".join(f"{wavelength:.0f}" for wavelength in composite.wavelengths)
            action.setToolTip(f"{composite.help} ({centres} nm)")
        self.controls.bar.addSeparator()
        add("export", "Export as table or picture…", "mActionFileSave.svg", self.export)
        add("copy", "Copy as picture", "mActionEditCopy.svg", self.copy)
        add("clear", "Clear", "mActionDeleteSelected.svg", self.clear)

    def _lay_out(self) -> None:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(6, 2, 6, 4)
        column.setSpacing(4)
        column.addWidget(self.controls)
        column.addWidget(self.plot, 1)
        column.addWidget(self.status)
        self.setWidget(content)

    def _connect(self) -> None:
        project = QgsProject.instance()
        project.layersAdded.connect(self.controls.offer_scenes)
        project.layersRemoved.connect(self.controls.offer_scenes)
        self.iface.currentLayerChanged.connect(self.use_layer)
        self.canvas.destinationCrsChanged.connect(self._place_markers)
        self.controls.scene_box.layerChanged.connect(self._change_scene)
        self.controls.means_button.clicked.connect(self.read_means)
        self.visibilityChanged.connect(self._change_visibility)

    def _change_scene(self, layer: Optional[QgsMapLayer]) -> None:
        if self._work is not None:
            self._work.cancel()
        self.clear()
        self._say("")
        if isinstance(layer, QgsRasterLayer):
            self._ask_engine(layer)

    def _change_visibility(self, visible: bool) -> None:
        for each in self.picked:
            each.marker.show(visible)
        scene = self.scene()
        if visible and scene is not None:
            self._ask_engine(scene)
        if self.isHidden():
            self.canvas.unsetMapTool(self.tool)

    def _place_markers(self) -> None:
        for each in self.picked:
            each.marker.place()

    def _say(self, text: str) -> None:
        self.status.setText(text)
        self.status.setVisible(bool(text))

    def stop(self) -> None:
        """End what runs and let go of the canvas and the project."""
        for work in filter(None, [self._work, *self._inquiries]):
            work.done.disconnect()
            work.cancel()
        self._work, self._inquiries = None, []
        project = QgsProject.instance()
        project.layersAdded.disconnect(self.controls.offer_scenes)
        project.layersRemoved.disconnect(self.controls.offer_scenes)
        self.iface.currentLayerChanged.disconnect(self.use_layer)
        self.canvas.destinationCrsChanged.disconnect(self._place_markers)
        self.clear()
        self.canvas.unsetMapTool(self.tool)


class InstalledDock:
    """The dock in QGIS's window, with its button and menu entry."""

    def __init__(self, iface: QgisInterface) -> None:
        self._iface = iface
        self.dock = ProfileDock(iface)
        self.action = QAction(QIcon(str(ICON)), TITLE, iface.mainWindow())
        self.action.setCheckable(True)
        self.action.setToolTip("Spectral profile: click the map to see the spectra of a hyperspectral scene")
        self.dock.setToggleVisibilityAction(self.action)
        self.action.triggered.connect(self._start)
        iface.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, self.dock)
        self.dock.hide()
        iface.addRasterToolBarIcon(self.action)
        iface.addPluginToRasterMenu(MENU, self.action)

    def _start(self, shown: bool) -> None:
        if shown:
            self.dock.use_layer(self._iface.activeLayer())
            self.dock.start_picking()

    def remove(self) -> None:
        """Take everything out of the window again."""
        self.dock.stop()
        self._iface.removeRasterToolBarIcon(self.action)
        self._iface.removePluginRasterMenu(MENU, self.action)
        self._iface.removeDockWidget(self.dock)
        self.dock.deleteLater()
        self.action.deleteLater()


def install(iface: QgisInterface) -> InstalledDock:
    """Add the dock, hidden, its toolbar button and its menu entry."""
    return InstalledDock(iface)
