"""How results look: colours in the file, names and groups in the project."""

import array

import pytest
import tiny
from qgis.core import (
    QgsMultiBandColorRenderer,
    QgsPalettedRasterRenderer,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsRasterLayer,
    QgsSingleBandPseudoColorRenderer,
    QgsVectorFileWriter,
    QgsVectorLayer,
)

from hsi_toolkit.qgis_plugin import styling


def write_raster(path, bands, scale=1.0):
    """Rising numbers times ``scale``, as ENVI."""
    count = bands * 20 * 20
    path.write_bytes(array.array("f", [scale * index / count for index in range(count)]).tobytes())
    lines = ["ENVI", "samples = 20", "lines = 20", f"bands = {bands}", "data type = 4", "interleave = bsq"]
    path.with_suffix(".hdr").write_text("\n".join([*lines, "byte order = 0", "header offset = 0"]) + "\n")
    return path


def reopened(path):
    """The raster as QGIS opens it later on, with the style beside it; its renderer lives as long as it."""
    assert path.with_suffix(".qml").is_file()
    return QgsRasterLayer(str(path), path.stem, "gdal")


def colour_at(renderer, value):
    function = renderer.shader().rasterShaderFunction()
    return function.shade(value)[1:4]


@pytest.mark.usefixtures("qgis_app")
class TestStyles:
    def test_certain_is_white_and_undecided_is_dark(self, tmp_path):
        path = write_raster(tmp_path / "uncertainty.bsq", 1)
        styling.write_style(path, styling.uncertainty)
        layer = reopened(path)
        renderer = layer.renderer()
        assert isinstance(renderer, QgsSingleBandPseudoColorRenderer)
        assert (renderer.classificationMin(), renderer.classificationMax()) == (0.0, 1.0)
        lightness = [sum(colour_at(renderer, step / 10)) for step in range(11)]
        assert lightness[0] == 3 * 255
        assert lightness[-1] < 100
        assert lightness == sorted(lightness, reverse=True)

    def test_probabilities_show_the_first_class_from_0_to_1(self, tmp_path):
        path = write_raster(tmp_path / "probabilities.bsq", 3)
        styling.write_style(path, styling.shares)
        layer = reopened(path)
        renderer = layer.renderer()
        assert renderer.band() == 1
        assert (renderer.classificationMin(), renderer.classificationMax()) == (0.0, 1.0)
        assert colour_at(renderer, 0.0) == (0x44, 0x01, 0x54)
        assert colour_at(renderer, 1.0) == (0xFD, 0xE7, 0x25)

    def test_features_are_red_green_and_blue_without_their_extremes(self, tmp_path):
        path = write_raster(tmp_path / "features.bsq", 5)
        styling.write_style(path, styling.first_three)
        layer = reopened(path)
        renderer = layer.renderer()
        assert isinstance(renderer, QgsMultiBandColorRenderer)
        assert (renderer.redBand(), renderer.greenBand(), renderer.blueBand()) == (1, 2, 3)
        red = renderer.redContrastEnhancement()
        assert red.minimumValue() == pytest.approx(0.02 * 0.2, abs=0.002)
        assert red.maximumValue() == pytest.approx(0.98 * 0.2, abs=0.002)

    def test_fractions_are_red_green_and_blue_from_0_to_1(self, tmp_path):
        path = write_raster(tmp_path / "fractions.bsq", 4)
        styling.write_style(path, styling.fractions)
        layer = reopened(path)
        green = layer.renderer().greenContrastEnhancement()
        assert (green.minimumValue(), green.maximumValue()) == (0.0, 1.0)
        few = write_raster(tmp_path / "few.bsq", 2)
        styling.write_style(few, styling.fractions)
        layer = reopened(few)
        assert layer.renderer().classificationMax() == 1.0

    def test_a_raster_of_two_bands_is_shown_by_its_first(self, tmp_path):
        path = write_raster(tmp_path / "few.bsq", 2)
        styling.write_style(path, styling.first_three)
        layer = reopened(path)
        assert isinstance(layer.renderer(), QgsSingleBandPseudoColorRenderer)

    def test_scores_leave_out_the_extremes(self, tmp_path):
        path = write_raster(tmp_path / "scores.bsq", 1, scale=50.0)
        styling.write_style(path, styling.scores)
        layer = reopened(path)
        renderer = layer.renderer()
        assert renderer.classificationMin() == pytest.approx(1.0, abs=0.3)
        assert renderer.classificationMax() == pytest.approx(49.0, abs=0.3)

    def test_equal_scores_still_make_a_range(self, tmp_path):
        path = write_raster(tmp_path / "flat.bsq", 1, scale=0.0)
        styling.write_style(path, styling.scores)
        layer = reopened(path)
        renderer = layer.renderer()
        assert renderer.classificationMin() < renderer.classificationMax()

    def test_a_cube_is_shown_in_natural_colours_by_wavelength(self, tmp_path):
        path = tiny.write_scene(tmp_path / "scene.bsq")
        styling.write_style(path, styling.natural)
        layer = reopened(path)
        renderer = layer.renderer()
        chosen = (renderer.redBand(), renderer.greenBand(), renderer.blueBand())
        nearest = [round((wanted - tiny.FIRST_NM) / tiny.STEP_NM) + 1 for wanted in (660, 550, 470)]
        assert list(chosen) == nearest

    def test_without_wavelengths_the_first_three_bands_do(self, tmp_path):
        path = write_raster(tmp_path / "cube.bsq", 4)
        styling.write_style(path, styling.natural)
        layer = reopened(path)
        assert layer.renderer().redBand() == 1

    def test_what_is_no_raster_gets_no_style(self, tmp_path):
        path = tmp_path / "broken.tif"
        path.write_bytes(b"nothing")
        styling.write_style(path, styling.uncertainty)
        assert not path.with_suffix(".qml").exists()


CLASS_STYLE = """<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.28.0" styleCategories="Symbology"><pipe>
<rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1" nodataColor=""><colorPalette>
<paletteEntry value="1" color="#12a03c" alpha="255" label="meadow"/>
</colorPalette></rasterrenderer></pipe></qgis>"""


@pytest.fixture
def context(project):
    context = QgsProcessingContext()
    context.setProject(project)
    return context


def dress(path, dresser, context, project):
    """What QGIS does with a layer that a run loads."""
    layer = QgsRasterLayer(str(path), "raw name", "gdal")
    project.addMapLayer(layer)
    dresser.postProcessLayer(layer, context, QgsProcessingFeedback())
    return layer


def test_a_loaded_map_takes_the_style_of_its_file_and_its_name(context, project, tmp_path):
    path = write_raster(tmp_path / "map.bsq", 1)
    path.with_suffix(".qml").write_text(CLASS_STYLE)
    layer = dress(path, styling.Dresser("Class map – tiny", 0, None), context, project)
    assert layer.name() == "Class map – tiny"
    assert isinstance(layer.renderer(), QgsPalettedRasterRenderer)
    assert [(each.label, each.color.name()) for each in layer.renderer().classes()] == [("meadow", "#12a03c")]


def test_a_name_that_was_chosen_is_kept(context, project, tmp_path):
    path = write_raster(tmp_path / "map.bsq", 1)
    assert dress(path, styling.Dresser("", 0, None), context, project).name() == "raw name"


def test_layers_of_one_run_share_a_group_in_their_order(context, project, tmp_path):
    run = styling.Run("first", "Classify – tiny")
    paths = [write_raster(tmp_path / f"{name}.bsq", 1) for name in ("c", "a", "b")]
    for place, path in ((2, paths[2]), (0, paths[0]), (1, paths[1])):
        dress(path, styling.Dresser(f"layer {place}", place, run), context, project)
    (group,) = project.layerTreeRoot().children()
    assert group.name() == "Classify – tiny"
    assert [child.name() for child in group.children()] == ["layer 0", "layer 1", "layer 2"]


def test_another_run_of_the_same_name_has_its_own_group(context, project, tmp_path):
    for number in ("first", "second"):
        path = write_raster(tmp_path / f"{number}.bsq", 1)
        dress(path, styling.Dresser(number, 0, styling.Run(number, "Classify – tiny")), context, project)
    groups = project.layerTreeRoot().children()
    assert [[child.name() for child in group.children()] for group in groups] == [["second"], ["first"]]


def test_the_group_is_made_where_the_user_wants_results(context, project, tmp_path):
    results = project.layerTreeRoot().addGroup("Results")
    layer = QgsRasterLayer(str(write_raster(tmp_path / "map.bsq", 1)), "raw name", "gdal")
    project.addMapLayer(layer, False)
    results.addLayer(layer)
    dresser = styling.Dresser("map", 0, styling.Run("run", "Classify – tiny"))
    dresser.postProcessLayer(layer, context, QgsProcessingFeedback())
    assert [child.name() for child in results.children()] == ["Classify – tiny"]


def test_points_take_the_style_their_geopackage_stores(context, project, tmp_path):
    path = str(tmp_path / "places.gpkg")
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = "GPKG"
    QgsVectorFileWriter.writeAsVectorFormatV3(tiny.polygon_layer(), path, context.transformContext(), options)
    styled = QgsVectorLayer(path, "styled", "ogr")
    tiny.style(styled)
    styled.saveStyleToDatabase("ranked", "", True, "")
    plain = QgsVectorLayer(path, "plain", "ogr", QgsVectorLayer.LayerOptions(loadDefaultStyle=False))
    assert plain.renderer().type() == "singleSymbol"
    project.addMapLayer(plain)
    dresser = styling.Dresser("Where to draw next – tiny", 0, None)
    dresser.postProcessLayer(plain, context, QgsProcessingFeedback())
    assert plain.renderer().type() == "categorizedSymbol"


def test_a_layer_that_is_not_in_the_tree_is_styled_all_the_same(context, tmp_path, qgis_app):
    path = write_raster(tmp_path / "map.bsq", 1)
    layer = QgsRasterLayer(str(path), "raw name", "gdal")
    dresser = styling.Dresser("map", 0, styling.Run("run", "Classify – tiny"))
    dresser.postProcessLayer(layer, context, QgsProcessingFeedback())
    assert layer.name() == "map"


def test_processors_live_until_their_layer_is_loaded(context, project, tmp_path):
    waiting = len(styling.Dresser._waiting)
    dresser = styling.Dresser("map", 0, None)
    assert len(styling.Dresser._waiting) == waiting + 1
    dress(write_raster(tmp_path / "map.bsq", 1), dresser, context, project)
    assert len(styling.Dresser._waiting) == waiting
