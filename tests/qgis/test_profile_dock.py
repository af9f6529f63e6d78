"""The dock shows what is in the file: spectra of clicked pixels and of classes, to read, copy and export."""

import csv
import statistics

import pytest
import tiny

WIDTH_NM = tiny.STEP_NM


class FakeInterface:
    """The few parts of QGIS's window that the dock needs."""

    def __init__(self):
        from qgis.gui import QgsMapCanvas, QgsMessageBar
        from qgis.PyQt.QtCore import QObject, pyqtSignal
        from qgis.PyQt.QtWidgets import QMainWindow

        class Signals(QObject):
            changed = pyqtSignal("QgsMapLayer*")

        self._signals = Signals()
        self.currentLayerChanged = self._signals.changed
        self.window, self.canvas, self.bar = QMainWindow(), QgsMapCanvas(), QgsMessageBar()
        self.active, self.in_toolbar, self.in_menu = None, [], []

    def mapCanvas(self):
        return self.canvas

    def mainWindow(self):
        return self.window

    def messageBar(self):
        return self.bar

    def activeLayer(self):
        return self.active

    def addDockWidget(self, area, dock):
        self.window.addDockWidget(area, dock)

    def removeDockWidget(self, dock):
        self.window.removeDockWidget(dock)

    def addRasterToolBarIcon(self, action):
        self.in_toolbar.append(action)

    def removeRasterToolBarIcon(self, action):
        self.in_toolbar.remove(action)

    def addPluginToRasterMenu(self, name, action):
        self.in_menu.append((name, action))

    def removePluginRasterMenu(self, name, action):
        self.in_menu.remove((name, action))


@pytest.fixture
def project(qgis_app):
    from qgis.core import QgsProject

    project = QgsProject.instance()
    yield project
    project.clear()


@pytest.fixture
def scene(project, tmp_path):
    return add_scene(project, tmp_path / "tiny.img")


@pytest.fixture
def installed(scene):
    from hsi_toolkit.qgis_plugin import profile_dock

    iface = FakeInterface()
    iface.canvas.setDestinationCrs(scene.crs())
    iface.active = scene
    installed = profile_dock.install(iface)
    yield installed
    installed.remove()


@pytest.fixture
def dock(installed):
    return installed.dock


def add_scene(project, path, *lines, centres=()):
    """The tiny scene as a layer of the project, with further lines in its header."""
    from qgis.core import QgsRasterLayer

    tiny.write_scene(path, centres=centres)
    header = path.with_suffix(".hdr")
    header.write_text(header.read_text() + "\n".join(lines) + "\n")
    layer = QgsRasterLayer(str(path), path.stem, "gdal")
    assert layer.isValid()
    project.addMapLayer(layer)
    return layer


def point(column, row):
    """A point within a pixel, away from its middle, in the scene's coordinates."""
    from qgis.core import QgsPointXY

    return QgsPointXY(tiny.LEFT + tiny.PIXEL * (column + 0.2), tiny.TOP - tiny.PIXEL * (row + 0.7))


def stored(layer, column, row):
    """What the file of a BSQ float scene holds for a pixel."""
    import array
    from pathlib import Path

    values = array.array("f")
    values.frombytes(Path(layer.source()).read_bytes())
    return [values[(band * tiny.SIDE + row) * tiny.SIDE + column] for band in range(tiny.BANDS)]


def wait_for(work, then=None):
    """Let QGIS do a task and deliver what it brings; ``then`` is done as soon as somebody listens."""
    from qgis.PyQt.QtCore import QEventLoop, QTimer

    loop, told = QEventLoop(), []
    work.done.connect(lambda *_: (told.append(True), loop.quit()))
    if then is not None:
        then()
    if not told:
        QTimer.singleShot(20_000, loop.quit)
        loop.exec()
    assert told, "the task has not ended"


def read_means(dock, layer, field="class"):
    dock.controls.training_box.setLayer(layer)
    dock.controls.field_box.setField(field)
    dock.read_means()
    wait_for(dock._work)
    return {spectrum.name: spectrum for spectrum in dock.means}


def test_installing_adds_a_button_a_menu_entry_and_a_hidden_dock_and_removing_takes_them_away(scene):
    from hsi_toolkit.qgis_plugin import profile_dock

    iface = FakeInterface()
    installed = profile_dock.install(iface)
    assert iface.in_toolbar == [installed.action]
    assert [action for _, action in iface.in_menu] == [installed.action]
    assert installed.dock.isHidden()
    installed.remove()
    assert iface.in_toolbar == iface.in_menu == []
    assert iface.canvas.mapTool() is None


def test_the_active_layer_is_the_scene_and_rasters_with_few_bands_are_none(dock, scene, project, tmp_path):
    from osgeo import gdal
    from qgis.core import QgsRasterLayer

    few = tmp_path / "few.tif"
    gdal.GetDriverByName("GTiff").Create(str(few), 4, 4, 10).FlushCache()
    other = QgsRasterLayer(str(few), "few", "gdal")
    project.addMapLayer(other)
    assert dock.scene() == scene
    dock.use_layer(other)
    assert dock.scene() == scene
    assert other in dock.controls.scene_box.exceptedLayerList()


def test_a_click_shows_the_pixels_spectrum_as_it_is_in_the_file(dock, scene):
    dock.pick(point(30, 7))
    figure = dock.plot.figure
    assert [spectrum.name for spectrum in figure.spectra] == ["Pixel 31, 8"]
    assert list(figure.spectra[0].values) == pytest.approx(stored(scene, 30, 7))
    assert figure.axis.is_wavelength
    assert list(figure.axis.positions) == tiny.wavelengths()


def test_a_canvas_in_another_projection_hits_the_same_pixel(dock, scene):
    from qgis.core import QgsCoordinateReferenceSystem, QgsCoordinateTransform, QgsProject

    degrees = QgsCoordinateReferenceSystem("EPSG:4326")
    to_degrees = QgsCoordinateTransform(scene.crs(), degrees, QgsProject.instance())
    dock.canvas.setDestinationCrs(degrees)
    dock.pick(to_degrees.transform(point(30, 7)))
    assert list(dock.picked[0].spectrum.values) == pytest.approx(stored(scene, 30, 7))
    assert dock.picked[0].marker.centre.x() == pytest.approx(13.53, abs=0.1)
    dock.canvas.setDestinationCrs(scene.crs())
    assert dock.picked[0].marker.centre.x() == pytest.approx(tiny.LEFT + 30.5 * tiny.PIXEL, abs=1e-3)


def test_a_second_click_replaces_the_first_unless_it_is_to_be_kept(dock):
    dock.pick(point(1, 1))
    dock.pick(point(2, 2))
    assert [each.pixel for each in dock.picked] == [(2, 2)]
    dock.pick(point(20, 2), True)
    dock.controls.actions_by_name["add"].setChecked(True)
    dock.pick(point(35, 2))
    dock.pick(point(35, 2))
    assert [each.pixel for each in dock.picked] == [(2, 2), (20, 2), (35, 2)]
    colours = [each.spectrum.colour for each in dock.picked]
    assert len(set(colours)) == 3


def test_clicking_the_canvas_with_the_tool_picks_and_ctrl_adds(dock, scene, installed):
    from qgis.gui import QgsMapMouseEvent
    from qgis.PyQt.QtCore import QEvent, QPoint, Qt

    canvas = dock.canvas
    canvas.setExtent(scene.extent())
    dock.start_picking()
    assert canvas.mapTool() is dock.tool
    assert dock.controls.actions_by_name["pick"].isChecked()
    left, released = Qt.MouseButton.LeftButton, QEvent.Type.MouseButtonRelease
    for column, modifier in (
        (10, Qt.KeyboardModifier.NoModifier),
        (30, Qt.KeyboardModifier.ControlModifier),
    ):
        at = canvas.getCoordinateTransform().transform(point(column, 20))
        place = QPoint(round(at.x()), round(at.y()))
        dock.tool.canvasReleaseEvent(QgsMapMouseEvent(canvas, released, place, left, left, modifier))
    assert [each.pixel for each in dock.picked] == [(10, 20), (30, 20)]


def test_outside_the_scene_there_is_a_sentence_and_no_spectrum(dock):
    dock.pick(point(-3, 5))
    assert dock.picked == []
    assert "outside" in dock.status.text()


def test_pixels_without_data_are_told(dock, project, tmp_path):
    layer = add_scene(project, tmp_path / "empty.img", "data ignore value = 0")
    path = tmp_path / "empty.img"
    path.write_bytes(bytes(len(path.read_bytes())))
    layer.reload()
    dock.controls.scene_box.setLayer(layer)
    dock.pick(point(5, 5))
    assert dock.picked == []
    assert "no data" in dock.status.text()


def test_bad_bands_are_greyed_and_break_the_line(dock, project, tmp_path):
    flags = ["1"] * tiny.BANDS
    flags[10] = flags[11] = "0"
    layer = add_scene(project, tmp_path / "bad.img", f"bbl = {{{', '.join(flags)}}}")
    dock.controls.scene_box.setLayer(layer)
    dock.pick(point(5, 5))
    axis = dock.plot.figure.axis
    assert axis.runs() == [list(range(10)), list(range(12, tiny.BANDS))]
    centres = tiny.wavelengths()
    assert axis.bad_ranges() == [(centres[10] - WIDTH_NM / 2, centres[11] + WIDTH_NM / 2)]
    assert axis.nearest_band(centres[10]) == 9


def test_without_wavelengths_the_axis_counts_bands_and_says_so(dock, project, tmp_path):
    layer = add_scene(project, tmp_path / "plain.img")
    header = tmp_path / "plain.hdr"
    header.write_text("\n".join(line for line in header.read_text().splitlines() if "wavelength" not in line))
    dock.controls.scene_box.setLayer(layer)
    dock.pick(point(5, 5))
    axis = dock.plot.figure.axis
    assert axis.positions[:3] == (1.0, 2.0, 3.0)
    assert "no wavelengths" in axis.label


def test_values_of_a_scaled_file_are_shown_as_reflectance(dock, project, tmp_path):
    layer = add_scene(project, tmp_path / "scaled.img", "reflectance scale factor = 4")
    dock.controls.scene_box.setLayer(layer)
    dock.pick(point(5, 5))
    assert dock.plot.figure.quantity == "Reflectance"
    quarter = [value / 4 for value in stored(layer, 5, 5)]
    assert list(dock.picked[0].spectrum.values) == pytest.approx(quarter)


def test_choosing_another_scene_clears_what_belonged_to_the_first(dock, project, tmp_path):
    dock.pick(point(5, 5))
    other = add_scene(project, tmp_path / "other.img")
    dock.controls.scene_box.setLayer(other)
    assert dock.picked == []
    assert dock.plot.figure.spectra == ()


def test_class_means_are_those_of_the_polygons_pixels_with_the_layers_colours(dock, scene, project):
    layer = tiny.polygon_layer()
    project.addMapLayer(layer)
    means = read_means(dock, layer)
    assert list(means) == list(tiny.CLASSES)
    assert [means[name].colour for name in tiny.CLASSES] == list(tiny.COLOURS)
    squares = [square for square in tiny.squares() if square.name == "soil"]
    pixels = [
        stored(scene, square.column + column, square.row + row)
        for square in squares
        for column in range(square.side)
        for row in range(square.side)
    ]
    soil = means["soil"]
    assert soil.pixels == len(pixels)
    for band in (0, 17, 39):
        values = [pixel[band] for pixel in pixels]
        assert soil.values[band] == pytest.approx(statistics.mean(values))
        assert soil.deviation[band] == pytest.approx(statistics.stdev(values), rel=1e-5)


def test_class_means_of_numbered_classes_take_the_forms_names(dock, project):
    layer = tiny.polygon_layer("integer")
    project.addMapLayer(layer)
    assert list(read_means(dock, layer)) == list(tiny.CLASSES)


def test_class_means_of_polygons_in_another_projection_are_the_same(dock, project):
    import processing

    layer = tiny.polygon_layer()
    project.addMapLayer(layer)
    here = read_means(dock, layer)
    moved = processing.run(
        "native:reprojectlayer", {"INPUT": layer, "TARGET_CRS": "EPSG:4326", "OUTPUT": "memory:"}
    )["OUTPUT"]
    project.addMapLayer(moved)
    there = read_means(dock, moved)
    assert there["water"].values == pytest.approx(here["water"].values)


def test_polygons_that_are_not_saved_yet_count(dock, project):
    from qgis.core import QgsFeature, QgsGeometry

    layer = tiny.polygon_layer()
    project.addMapLayer(layer)
    layer.startEditing()
    feature = QgsFeature(layer.fields())
    feature.setGeometry(QgsGeometry.fromWkt(tiny.Square(30, 30, 3, "new").wkt()))
    feature.setAttributes(["", "new"])
    layer.addFeature(feature)
    means = read_means(dock, layer)
    layer.rollBack()
    assert means["new"].pixels == 9


def test_the_sample_of_a_large_class_is_bounded_and_always_the_same(dock, scene, project):
    from hsi_toolkit.qgis_plugin import class_spectra

    pixels = {(column, row) for column in range(100) for row in range(100)}
    chosen = class_spectra.choose(pixels, 300, 1)
    assert len(set(chosen)) == 300
    assert chosen == class_spectra.choose(pixels, 300, 1)
    assert chosen != class_spectra.choose(pixels, 300, 2)
    assert 35 < statistics.mean(column for column, _ in chosen) < 65


def test_polygons_smaller_than_a_pixel_give_the_pixel_they_lie_in(dock, scene, project):
    from qgis.core import QgsFeature, QgsGeometry

    layer = tiny.polygon_layer()
    layer.dataProvider().truncate()
    feature = QgsFeature(layer.fields())
    feature.setGeometry(QgsGeometry.fromPointXY(point(3, 4)).buffer(1.0, 4))
    feature.setAttributes(["", "dot"])
    layer.dataProvider().addFeature(feature)
    project.addMapLayer(layer)
    assert list(read_means(dock, layer)["dot"].values) == pytest.approx(stored(scene, 3, 4))


def test_a_layer_elsewhere_gives_a_sentence(dock, project):
    layer = tiny.polygon_layer()
    project.addMapLayer(layer)
    shifted = {feature.id(): feature.geometry() for feature in layer.getFeatures()}
    for geometry in shifted.values():
        geometry.translate(1e5, 0)
    layer.dataProvider().changeGeometryValues(shifted)
    assert read_means(dock, layer) == {}
    assert "No feature with a class lies on data" in dock.status.text()


def test_a_cancelled_reading_leaves_what_was_shown(dock, project):
    layer = tiny.polygon_layer()
    project.addMapLayer(layer)
    before = read_means(dock, layer)
    dock.read_means()
    wait_for(dock._work, dock.read_means)
    assert {spectrum.name for spectrum in dock.means} == set(before)
    assert dock.controls.means_button.text() == "Class means"


def test_the_table_has_a_row_per_band_and_the_values_shown(dock, project, tmp_path):
    layer = tiny.polygon_layer()
    project.addMapLayer(layer)
    read_means(dock, layer)
    dock.pick(point(5, 5))
    target = tmp_path / "spectra.csv"
    target.write_text("an earlier file")
    dock.export_to(str(target))
    rows = list(csv.reader(target.open(encoding="utf-8")))
    means = [f"{name} {what}" for name in tiny.CLASSES for what in ("mean", "standard deviation")]
    assert rows[0] == ["band", "wavelength_nm", "bad_band", *means, "Pixel 6, 6"]
    assert len(rows) == 1 + tiny.BANDS
    assert rows[4][:3] == ["4", "525", "0"]
    assert float(rows[4][-1]) == pytest.approx(dock.picked[0].spectrum.values[3])
    assert list(tmp_path.glob("spectra*")) == [target]


def test_a_table_that_cannot_be_written_is_told_in_the_message_bar(dock, tmp_path):
    dock.pick(point(5, 5))
    dock.export_to(str(tmp_path / "absent" / "spectra.csv"))
    assert "cannot be written" in dock.iface.messageBar().currentItem().text()


def test_the_picture_is_a_png_on_white_whatever_the_theme(dock, tmp_path):
    from qgis.PyQt.QtGui import QColor, QImage

    dock.pick(point(5, 5))
    dock.export_to(str(tmp_path / "spectra.png"))
    picture = QImage(str(tmp_path / "spectra.png"))
    assert picture.width() == 2 * picture.height() * 900 // 840
    assert picture.pixelColor(3, 3) == QColor("white")
    assert len({picture.pixel(x, y) for x in range(0, 1800, 3) for y in range(0, 840, 3)}) > 20


def test_colour_buttons_style_the_scene_and_say_which_wavelengths(dock, scene):
    dock.show_colours("natural")
    assert scene.renderer().type() == "multibandcolor"
    assert "650, 550, 475 nm" in dock.status.text()


def test_colours_without_wavelengths_are_a_sentence_in_the_message_bar(dock, project, tmp_path):
    layer = add_scene(project, tmp_path / "plain.img")
    header = tmp_path / "plain.hdr"
    header.write_text("\n".join(line for line in header.read_text().splitlines() if "wavelength" not in line))
    dock.controls.scene_box.setLayer(layer)
    dock.show_colours("natural")
    assert "no wavelengths" in dock.iface.messageBar().currentItem().text()


def test_wavelengths_of_the_engine_are_kept_with_the_layer(dock, project, tmp_path):
    layer = add_scene(project, tmp_path / "plain.img")
    header = tmp_path / "plain.hdr"
    header.write_text("\n".join(line for line in header.read_text().splitlines() if "wavelength" not in line))
    dock.controls.scene_box.setLayer(layer)
    dock._take_wavelengths(layer.id(), {"wavelengths_nm": tiny.wavelengths(), "bad_bands": [1]})
    assert list(dock.figure().axis.positions) == tiny.wavelengths()
    assert dock.figure().axis.bad == {0}
    dock._take_wavelengths(layer.id(), {"wavelengths_nm": [400.0, 500.0], "bad_bands": []})
    assert list(dock.figure().axis.positions) == tiny.wavelengths()


def test_what_qgis_does_not_show_the_engine_is_asked_for(dock, project, tmp_path, engine_python, monkeypatch):
    from osgeo import gdal
    from qgis.core import QgsRasterLayer
    from qgis.PyQt.QtCore import QEventLoop, QTimer

    from hsi_toolkit.qgis_plugin import client

    monkeypatch.setenv("HSI_PYTHON", str(engine_python))
    path = tmp_path / "imagery.tif"
    raster = gdal.GetDriverByName("GTiff").Create(str(path), 4, 4, 12)
    for band in range(12):
        # A domain of its own, stored in the file: QGIS's page about the layer leaves it out.
        centre = f"{0.4 + 0.1 * band:.3f}"
        raster.GetRasterBand(band + 1).SetMetadataItem("CENTRAL_WAVELENGTH_UM", centre, "IMAGERY")
    raster = None
    layer = QgsRasterLayer(str(path), "imagery", "gdal")
    project.addMapLayer(layer)
    dock.iface.window.show()
    dock.show()
    loop = QEventLoop()
    take = dock._take_wavelengths
    monkeypatch.setattr(dock, "_take_wavelengths", lambda *told: (take(*told), loop.quit()))
    dock.controls.scene_box.setLayer(layer)
    assert not dock.figure().axis.is_wavelength
    QTimer.singleShot(60_000, loop.quit)
    loop.exec()
    client.stop()
    assert list(dock.figure().axis.positions) == pytest.approx([400 + 100 * band for band in range(12)])


def test_hovering_reads_out_the_nearest_band(dock):
    from qgis.PyQt.QtCore import QRectF

    dock.pick(point(5, 5))
    plot = dock.plot
    plot.resize(500, 300)
    frame = plot.figure.frame(QRectF(plot.rect()), plot.font())
    plot.hover(frame.x(12) + 1)
    assert plot.hovered == 12
    plot.hover(2)
    assert plot.hovered is None


@pytest.mark.parametrize("width", [240, 420, 700, 1200])
def test_the_plot_paints_within_its_area_at_any_width(dock, project, width):
    from qgis.PyQt.QtCore import QRectF

    layer = tiny.polygon_layer()
    project.addMapLayer(layer)
    read_means(dock, layer)
    figure = dock.figure()
    frame = figure.frame(QRectF(0, 0, width, 260), dock.font())
    assert frame.plot.left() > 0
    assert frame.plot.right() < width
    assert frame.plot.bottom() < 260
    assert 2 <= len(frame.x_ticks) <= 12
    assert 2 <= len(frame.y_ticks) <= 12
    dock.plot.resize(width, 260)
    dock.plot.grab()


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0.0, 0.53, 6, ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]),
        (400.0, 2450.0, 5, ["500", "1000", "1500", "2000"]),
        (0.0, 4100.0, 5, ["0", "1000", "2000", "3000", "4000"]),
        (-0.02, 0.02, 4, ["-0.02", "-0.01", "0.00", "0.01", "0.02"]),
        (0.0, 3e7, 3, ["0", "1e+07", "2e+07", "3e+07"]),
    ],
)
def test_ticks_are_round_numbers(qgis_app, low, high, most, expected):
    from hsi_toolkit.qgis_plugin.spectrum_axes import nice_ticks

    assert [text for _, text in nice_ticks(low, high, most)] == expected


def test_lines_break_at_holes_and_where_detectors_overlap(qgis_app):
    from hsi_toolkit.qgis_plugin.spectrum_axes import Axis

    positions = (400.0, 410.0, 420.0, 415.0, 425.0, 435.0, 600.0, 610.0)
    assert Axis(positions, True).runs() == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_colours_do_not_run_out_and_can_be_seen_on_light_and_dark(qgis_app):
    from qgis.PyQt.QtGui import QColor

    from hsi_toolkit.qgis_plugin.colours import contrast, next_colour, visible_on

    taken = []
    for _ in range(40):
        taken.append(next_colour(taken))
    assert len(set(taken)) == 40
    for background in (QColor("#ffffff"), QColor("#202124")):
        assert min(contrast(visible_on(QColor(each), background, 1.9), background) for each in taken) >= 1.9
