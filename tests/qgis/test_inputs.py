"""Layers as files for the engine: what is written, and that it is what the layer shows."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import tiny
from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsFillSymbol,
    QgsGeometry,
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingFeedback,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameters,
    QgsRasterLayer,
    QgsRendererCategory,
    QgsVectorFileWriter,
    QgsVectorLayer,
    QgsWkbTypes,
)
from qgis.PyQt.QtXml import QDomDocument

from hsi_toolkit.qgis_plugin.inputs import RasterInput, VectorInput, file_name, own_file, source_layer
from hsi_toolkit.qgis_plugin.legends import Category, legend
from hsi_toolkit.qgis_plugin.wavelengths import layer_wavelengths


@pytest.fixture
def context(project):
    context = QgsProcessingContext()
    context.setProject(project)
    return context


@pytest.fixture
def feedback():
    return QgsProcessingFeedback()


@pytest.fixture
def scene(tmp_path, qgis_app):
    return QgsRasterLayer(str(tiny.write_scene(tmp_path / "tiny.bsq")), "tiny", "gdal")


def vector_input(context, layer, field="class", definition=None):
    """The input as an algorithm makes it."""
    kinds = [QgsProcessing.SourceType.TypeVectorAnyGeometry]
    parameter = QgsProcessingParameterFeatureSource("L", "L", kinds)
    values = {"L": definition or layer}
    source = QgsProcessingParameters.parameterAsSource(parameter, values, context)
    found = source_layer(values["L"], context)
    made = VectorInput(source, found, field, context.transformContext())
    # As the dictionary of parameters does while an algorithm runs.
    made.layer = layer
    return made


def written(path):
    layer = QgsVectorLayer(path, "written", "ogr")
    assert layer.isValid()
    return layer


def written_legend(path):
    """The style beside the file as value, label and colour, read back by QGIS itself."""
    layer = written(path)
    layer.loadNamedStyle(str(Path(path).with_suffix(".qml")))
    return [(each.value, each.label, each.colour) for each in legend(layer, "class")]


def test_a_file_that_the_engine_opens_is_used_as_it_is(scene, context, feedback, tmp_path):
    assert RasterInput(scene, context.transformContext()).file(tmp_path, feedback) == scene.source()


def test_a_raster_within_an_archive_is_written_out_with_its_values(scene, context, feedback, tmp_path):
    inside = Path(scene.source())
    archive = tmp_path / "scene.zip"
    _zip(archive, [inside, inside.with_suffix(".hdr")])
    layer = QgsRasterLayer(f"/vsizip/{archive}/tiny.bsq", "zipped", "gdal")
    assert layer.isValid()
    assert own_file(layer) is None
    path = RasterInput(layer, context.transformContext()).file(tmp_path, feedback)
    copy = QgsRasterLayer(path, "copy", "gdal")
    assert (copy.width(), copy.height(), copy.bandCount()) == (tiny.SIDE, tiny.SIDE, tiny.BANDS)
    assert copy.crs() == layer.crs()
    assert copy.extent() == layer.extent()
    for band in (1, tiny.BANDS):
        assert _same_values(copy, band, scene, band)


def test_wavelengths_survive_when_a_raster_is_written_out(scene, context, feedback, tmp_path):
    scene.setCrs(QgsCoordinateReferenceSystem("EPSG:25833"))
    path = RasterInput(scene, context.transformContext()).file(tmp_path / "tiny_out", feedback)
    copy = QgsRasterLayer(path, "copy", "gdal")
    assert layer_wavelengths(copy) == pytest.approx(tiny.wavelengths())


@pytest.fixture(autouse=True)
def _folder(tmp_path):
    (tmp_path / "tiny_out").mkdir()


def test_a_coordinate_system_set_in_qgis_counts(scene, context, feedback, tmp_path):
    scene.setCrs(QgsCoordinateReferenceSystem("EPSG:25833"))
    path = RasterInput(scene, context.transformContext()).file(tmp_path / "tiny_out", feedback)
    assert path != scene.source()
    assert QgsRasterLayer(path, "copy", "gdal").crs().authid() == "EPSG:25833"


def test_a_virtual_raster_is_written_out_because_the_engine_opens_none(scene, context, feedback, tmp_path):
    virtual = tmp_path / "virtual.vrt"
    virtual.write_text(
        f'<VRTDataset rasterXSize="{tiny.SIDE}" rasterYSize="{tiny.SIDE}"><VRTRasterBand dataType="Float32" '
        f'band="1"><SimpleSource><SourceFilename>{scene.source()}</SourceFilename><SourceBand>3</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    layer = QgsRasterLayer(str(virtual), "virtual", "gdal")
    path = RasterInput(layer, context.transformContext()).file(tmp_path / "tiny_out", feedback)
    assert path.endswith("virtual.tif")
    assert _same_values(QgsRasterLayer(path, "copy", "gdal"), 1, scene, 3)


def test_writing_out_stops_when_it_is_cancelled(scene, context, feedback, tmp_path):
    scene.setCrs(QgsCoordinateReferenceSystem("EPSG:25833"))
    source = RasterInput(scene, context.transformContext())
    feedback.cancel()
    with pytest.raises(QgsProcessingException, match="Cancelled"):
        source.file(tmp_path / "tiny_out", feedback)


def test_a_memory_layer_arrives_with_its_classes_and_coordinate_system(context, feedback, tmp_path):
    path = vector_input(context, tiny.polygon_layer()).file(tmp_path, feedback)
    layer = written(path)
    assert layer.crs().authid() == tiny.CRS
    assert layer.fields().names() == ["fid", "class"]
    assert [feature["class"] for feature in layer.getFeatures()] == [each.name for each in tiny.squares()]
    assert layer.featureCount() == len(tiny.squares())


def test_whole_numbers_stay_whole_numbers(context, feedback, tmp_path):
    path = vector_input(context, tiny.polygon_layer("integer")).file(tmp_path, feedback)
    assert {feature["class"] for feature in written(path).getFeatures()} == {1, 2, 3}


def test_colours_are_those_of_the_layers_style(context, feedback, tmp_path):
    path = vector_input(context, tiny.polygon_layer()).file(tmp_path, feedback)
    expected = [(name, name, colour) for name, colour in zip(tiny.CLASSES, tiny.COLOURS)]
    assert written_legend(path) == expected


def test_numbers_are_called_what_the_form_calls_them(context, feedback, tmp_path):
    path = vector_input(context, tiny.polygon_layer("integer")).file(tmp_path, feedback)
    names = [(str(number + 1), name) for number, name in enumerate(tiny.CLASSES)]
    assert written_legend(path) == [(*each, colour) for each, colour in zip(names, tiny.COLOURS)]


def test_a_value_map_alone_gives_names_and_the_palette_colours(context, feedback, tmp_path):
    path = vector_input(context, tiny.polygon_layer("integer", styled=False)).file(tmp_path, feedback)
    found = written_legend(path)
    assert [label for _, label, _ in found] == list(tiny.CLASSES)
    assert len({colour for _, _, colour in found}) == len(tiny.CLASSES)


def test_one_object_as_value_map_is_read_as_well(qgis_app):
    from qgis.core import QgsEditorWidgetSetup

    layer = tiny.polygon_layer("integer", styled=False)
    layer.setEditorWidgetSetup(1, QgsEditorWidgetSetup("ValueMap", {"map": {"meadow": "1", "soil": "2"}}))
    assert legend(layer, "class") == [Category("1", "meadow", ""), Category("2", "soil", "")]


def test_a_category_of_several_values_gives_each_its_colour(qgis_app):
    layer = tiny.polygon_layer("integer", named=False)
    symbol = QgsFillSymbol.createSimple({"color": "#aa0000"})
    rest = QgsRendererCategory("", QgsFillSymbol.createSimple({"color": "#000000"}), "all others")
    several = QgsRendererCategory([1, 2], symbol, "land")
    layer.setRenderer(QgsCategorizedSymbolRenderer("class", [several, rest]))
    assert legend(layer, "class") == [Category("1", "land", "#aa0000"), Category("2", "land", "#aa0000")]


def test_a_style_of_another_field_says_nothing(qgis_app):
    layer = tiny.polygon_layer()
    layer.setRenderer(QgsCategorizedSymbolRenderer("note", layer.renderer().categories()))
    assert legend(layer, "class") == []


def test_a_layer_given_by_its_path_brings_its_stored_style(context, feedback, tmp_path):
    source = _saved(tiny.polygon_layer(), tmp_path / "stored.gpkg")
    styled = written(str(source))
    tiny.style(styled)
    styled.saveNamedStyle(str(source.with_suffix(".qml")))
    path = vector_input(context, str(source)).file(tmp_path / "tiny_out", feedback)
    assert [colour for _, _, colour in written_legend(path)] == list(tiny.COLOURS)


def test_without_a_style_a_column_of_colours_goes_along(context, feedback, tmp_path):
    layer = QgsVectorLayer(f"Polygon?crs={tiny.CRS}&field=class:string&field=Colour:string", "l", "memory")
    feature = QgsFeature(layer.fields())
    feature.setGeometry(QgsGeometry.fromWkt(tiny.squares()[0].wkt()))
    feature.setAttributes(["meadow", "#123456"])
    layer.dataProvider().addFeature(feature)
    path = vector_input(context, layer).file(tmp_path, feedback)
    assert [each["Colour"] for each in written(path).getFeatures()] == ["#123456"]


def test_only_selected_features_are_written_when_that_is_asked_for(context, feedback, tmp_path, project):
    layer = tiny.polygon_layer()
    project.addMapLayer(layer)
    layer.selectByIds([2, 9])
    chosen = QgsProcessingFeatureSourceDefinition(layer.id(), selectedFeaturesOnly=True)
    path = vector_input(context, layer, definition=chosen).file(tmp_path, feedback)
    assert [each["class"] for each in written(path).getFeatures()] == ["meadow", "soil"]
    assert [colour for _, _, colour in written_legend(path)] == list(tiny.COLOURS)


def test_nothing_selected_is_one_sentence(context, feedback, tmp_path, project):
    layer = tiny.polygon_layer()
    project.addMapLayer(layer)
    chosen = QgsProcessingFeatureSourceDefinition(layer.id(), selectedFeaturesOnly=True)
    with pytest.raises(QgsProcessingException, match="training polygons has no features to work with"):
        vector_input(context, layer, definition=chosen).file(tmp_path, feedback)


def test_edits_that_are_not_saved_yet_count(context, feedback, tmp_path, project):
    layer = tiny.polygon_layer()
    project.addMapLayer(layer)
    layer.startEditing()
    layer.deleteFeature(next(layer.getFeatures()).id())
    path = vector_input(context, layer).file(tmp_path, feedback)
    assert written(path).featureCount() == len(tiny.squares()) - 1
    layer.rollBack()


@pytest.mark.parametrize(
    ("kind", "wkt"),
    [
        ("PolygonZ", "PolygonZ((0 0 5, 10 0 5, 10 10 5, 0 0 5))"),
        ("CurvePolygon", "CurvePolygon(CircularString(0 0, 10 10, 20 0, 10 -10, 0 0))"),
        ("MultiPolygonZM", "MultiPolygonZM(((0 0 1 2, 9 0 1 2, 9 9 1 2, 0 0 1 2)))"),
        ("Polygon", "Polygon((0 0, 10 10, 10 0, 0 10, 0 0))"),
    ],
)
def test_any_polygon_becomes_a_flat_multipolygon(context, feedback, tmp_path, kind, wkt):
    layer = QgsVectorLayer(f"{kind}?crs={tiny.CRS}&field=class:string", "shapes", "memory")
    feature = QgsFeature(layer.fields())
    feature.setGeometry(QgsGeometry.fromWkt(wkt))
    feature.setAttributes(["one"])
    assert layer.dataProvider().addFeature(feature)
    made = written(vector_input(context, layer).file(tmp_path, feedback))
    (only,) = made.getFeatures()
    assert only.geometry().wkbType() == QgsWkbTypes.Type.MultiPolygon
    area = QgsGeometry(feature.geometry().constGet().segmentize()).area()
    assert only.geometry().area() == pytest.approx(area)


def test_points_become_multipoints_and_null_classes_stay_null(context, feedback, tmp_path):
    layer = QgsVectorLayer(f"Point?crs={tiny.CRS}&field=class:integer", "points", "memory")
    for value in (4, None):
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromWkt("Point(1 2)"))
        feature.setAttributes([value])
        layer.dataProvider().addFeature(feature)
    layer.dataProvider().addFeature(QgsFeature(layer.fields()))
    path = vector_input(context, layer).file(tmp_path, feedback)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute('SELECT class FROM "points" ORDER BY fid').fetchall() == [(4,), (None,)]


def test_a_class_field_may_have_the_name_of_a_geopackage_column(context, feedback, tmp_path):
    layer = QgsVectorLayer(f"Polygon?crs={tiny.CRS}&field=fid:string&field=geom:string", "odd", "memory")
    feature = QgsFeature(layer.fields())
    feature.setGeometry(QgsGeometry.fromWkt(tiny.squares()[0].wkt()))
    feature.setAttributes(["meadow", "soil"])
    layer.dataProvider().addFeature(feature)
    for field, value in (("fid", "meadow"), ("geom", "soil")):
        folder = tmp_path / field
        folder.mkdir()
        path = vector_input(context, layer, field).file(folder, feedback)
        (only,) = written(path).getFeatures()
        assert only[field] == value


def test_without_a_field_the_outlines_alone_are_written(context, feedback, tmp_path):
    path = vector_input(context, tiny.polygon_layer(), field=None).file(tmp_path, feedback)
    assert written(path).fields().names() == ["fid"]
    assert not Path(path).with_suffix(".qml").exists()


def test_every_field_goes_along_where_the_engine_is_to_choose(context, feedback, tmp_path):
    layer = tiny.polygon_layer()
    parameter = QgsProcessingParameterFeatureSource("L", "L")
    source = QgsProcessingParameters.parameterAsSource(parameter, {"L": layer}, context)
    made = VectorInput(source, layer, None, context.transformContext(), every_field=True)
    assert written(made.file(tmp_path, feedback)).fields().names() == ["fid", "note", "class"]


def test_names_of_layers_become_names_of_files():
    assert file_name('a/b:c*"d') == "a_b_c_d"
    assert file_name("Äcker & Wiesen 2024") == "Äcker & Wiesen 2024"
    assert file_name("..") == "layer"


def test_the_style_is_plain_xml_whatever_the_names(context, feedback, tmp_path):
    layer = tiny.polygon_layer("integer", styled=False, named=False)
    symbol = QgsFillSymbol.createSimple({"color": "#aa0000"})
    category = QgsRendererCategory(1, symbol, 'wet & "wild" <meadow> ñ')
    layer.setRenderer(QgsCategorizedSymbolRenderer("class", [category]))
    path = vector_input(context, layer).file(tmp_path, feedback)
    document = QDomDocument()
    assert document.setContent(Path(path).with_suffix(".qml").read_bytes())[0]
    assert written_legend(path) == [("1", 'wet & "wild" <meadow> ñ', "#aa0000")]


def _saved(layer, path):
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = "GPKG"
    error = QgsVectorFileWriter.writeAsVectorFormatV3(layer, str(path), _transforms(), options)
    assert error[0] == QgsVectorFileWriter.WriterError.NoError
    return path


def _transforms():
    return QgsProcessingContext().transformContext()


def _same_values(one, band, other, other_band):
    def values(layer, number):
        # The block owns its data.
        block = layer.dataProvider().block(number, layer.extent(), tiny.SIDE, tiny.SIDE)
        return bytes(block.data())

    # A comparison of the bytes themselves would fill the terminal.
    return values(one, band) == values(other, other_band)


def _zip(archive, files):
    import zipfile

    with zipfile.ZipFile(archive, "w") as made:
        for file in files:
            made.write(file, file.name)
