"""The training layer comes empty, in the scene's coordinates, with classes in its style and its form."""

import sqlite3

import pytest
import tiny

from hsi_toolkit.hsi_toolkit.tasks.palette import customary_colour


@pytest.fixture(scope="module")
def scene(qgis_app, tmp_path_factory):
    from qgis.core import QgsRasterLayer

    layer = QgsRasterLayer(
        str(tiny.write_scene(tmp_path_factory.mktemp("scene") / "tiny.img")), "tiny", "gdal"
    )
    assert layer.isValid()
    return layer


def run(parameters, context=None):
    """Run the algorithm as Processing does; its results and what it told."""
    from qgis.core import QgsProcessingContext, QgsProcessingFeedback

    from hsi_toolkit.processing_algorithms.training_layer import CreateTrainingLayer

    algorithm = CreateTrainingLayer().create()
    context, feedback = context or QgsProcessingContext(), QgsProcessingFeedback(False)
    fine, sentence = algorithm.checkParameterValues(parameters, context)
    assert fine, sentence
    results, done = algorithm.run(parameters, context, feedback, {}, False)
    assert done
    return results, feedback.textLog()


def opened(path):
    from qgis.core import QgsVectorLayer

    layer = QgsVectorLayer(str(path), "training", "ogr")
    assert layer.isValid()
    return layer


def test_the_layer_is_an_empty_polygon_geopackage_in_the_scenes_coordinates(scene, tmp_path):
    from qgis.core import QgsWkbTypes

    target = tmp_path / "training.gpkg"
    results, log = run({"INPUT": scene, "CLASSES": "water, trees", "OUTPUT": str(target)})
    layer = opened(results["OUTPUT"])
    assert layer.featureCount() == 0
    assert layer.crs() == scene.crs()
    assert layer.geometryType() == QgsWkbTypes.GeometryType.PolygonGeometry
    assert [field.name() for field in layer.fields()] == ["fid", "class"]
    assert "2 classes: water, trees" in log
    assert [each.name for each in tmp_path.iterdir()] == ["training.gpkg"]


def test_opened_anywhere_it_shows_its_classes_and_offers_them_in_the_form(scene, tmp_path):
    target = tmp_path / "training.gpkg"
    run({"INPUT": scene, "CLASSES": "water, grass=#12AB34, my crop", "OUTPUT": str(target)})
    layer = opened(target)
    renderer = layer.renderer()
    shown = {each.value(): each.symbol().color().name() for each in renderer.categories()}
    assert renderer.classAttribute() == "class"
    assert list(shown) == ["water", "grass", "my crop", ""]
    assert shown["water"] == customary_colour("water")
    assert shown["grass"] == "#12ab34"
    assert len(set(shown.values())) == 4
    setup = layer.editorWidgetSetup(layer.fields().lookupField("class"))
    assert setup.type() == "ValueMap"
    assert [next(iter(each.values())) for each in setup.config()["map"]] == ["water", "grass", "my crop"]


def test_polygons_are_seen_through(scene, tmp_path):
    target = tmp_path / "training.gpkg"
    run({"INPUT": scene, "CLASSES": "water", "OUTPUT": str(target)})
    layer = opened(target)
    category = layer.renderer().categories()[0]
    symbol = category.symbol()
    assert symbol.color().alphaF() == pytest.approx(0.3, abs=0.01)
    assert symbol.symbolLayer(0).strokeColor().alphaF() == 1


def test_a_drawn_polygon_keeps_its_class_and_the_style_stays_the_default(scene, tmp_path):
    from qgis.core import QgsFeature, QgsGeometry

    target = tmp_path / "training.gpkg"
    run({"INPUT": scene, "CLASSES": "water, trees", "OUTPUT": str(target)})
    layer = opened(target)
    layer.startEditing()
    feature = QgsFeature(layer.fields())
    feature.setGeometry(QgsGeometry.fromWkt(tiny.Square(3, 3, 4, "water").wkt()))
    feature.setAttribute("class", "water")
    assert layer.addFeature(feature)
    assert layer.commitChanges()
    assert [each["class"] for each in opened(target).getFeatures()] == ["water"]
    with sqlite3.connect(target) as database:
        rows = database.execute("SELECT f_table_name, useAsDefault FROM layer_styles").fetchall()
    assert [(name, bool(default)) for name, default in rows] == [("training", True)]


def test_the_engine_takes_classes_and_colours_over(scene, tmp_path, engine_python):
    import json
    import subprocess

    target = tmp_path / "training.gpkg"
    run({"INPUT": scene, "CLASSES": "water, grass=#12ab34", "OUTPUT": str(target)})
    code = (
        "import json, sys; from pathlib import Path; from hsi_toolkit.training.styles import vector_style;"
        "found = vector_style(Path(sys.argv[1]), 'training', 'class');"
        "print(json.dumps([[entry.value, entry.colour] for entry in found]))"
    )
    done = subprocess.run(
        [str(engine_python), "-I", "-c", code, str(target)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout) == [["water", customary_colour("water")], ["grass", "#12ab34"]]


def test_a_layer_that_somebody_has_drawn_in_is_never_replaced(scene, tmp_path):
    from qgis.core import QgsFeature, QgsGeometry, QgsProcessingException

    target = tmp_path / "training.gpkg"
    parameters = {"INPUT": scene, "CLASSES": "water", "OUTPUT": str(target)}
    run(parameters)
    run(parameters)
    layer = opened(target)
    feature = QgsFeature(layer.fields())
    feature.setGeometry(QgsGeometry.fromWkt(tiny.Square(3, 3, 4, "water").wkt()))
    layer.dataProvider().addFeature(feature)
    del layer
    with pytest.raises(QgsProcessingException, match=r"holds 1 features\. Choose another name"):
        process(parameters)
    assert opened(target).featureCount() == 1


def test_another_format_is_refused(scene, tmp_path):
    from qgis.core import QgsProcessingException

    with pytest.raises(QgsProcessingException, match=r"training\.shp is no GeoPackage.*end in \.gpkg"):
        process({"INPUT": scene, "CLASSES": "water", "OUTPUT": str(tmp_path / "training.shp")})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_a_sentence(scene, tmp_path):
    from qgis.core import QgsProcessingException

    with pytest.raises(QgsProcessingException, match=r"cannot be written.*Choose another folder"):
        process({"INPUT": scene, "CLASSES": "water", "OUTPUT": str(tmp_path / "absent" / "t.gpkg")})


def process(parameters):
    """What the algorithm raises, which ``run`` would hide in its log."""
    from qgis.core import QgsProcessingContext, QgsProcessingFeedback

    from hsi_toolkit.processing_algorithms.training_layer import CreateTrainingLayer

    algorithm = CreateTrainingLayer().create()
    context, feedback = QgsProcessingContext(), QgsProcessingFeedback(False)
    algorithm.prepareAlgorithm(parameters, context, feedback)
    return algorithm.processAlgorithm(parameters, context, feedback)


def test_a_scene_without_coordinates_is_told_to_get_some(qgis_app, tmp_path):
    from qgis.core import QgsProcessingException, QgsRasterLayer

    path = tiny.write_scene(tmp_path / "plain.img")
    header = path.with_suffix(".hdr")
    header.write_text("\n".join(line for line in header.read_text().splitlines() if "map info" not in line))
    layer = QgsRasterLayer(str(path), "plain", "gdal")
    target = tmp_path / "training.gpkg"
    with pytest.raises(QgsProcessingException, match="plain has no coordinate system"):
        process({"INPUT": layer, "CLASSES": "water", "OUTPUT": str(target)})
    assert not target.exists()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("water, trees ,grass", ["water", "trees", "grass"]),
        ("water\ntrees, broad-leaved\n\ngrass\n", ["water", "trees, broad-leaved", "grass"]),
        ("water; trees", ["water", "trees"]),
        ("water,", ["water"]),
        ("Wiese mit Bäumen", ["Wiese mit Bäumen"]),
    ],
)
def test_classes_are_read_from_lines_or_commas(qgis_app, text, names):
    from hsi_toolkit.processing_algorithms.training_layer import read_classes

    assert [name for name, _ in read_classes(text)] == names


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no classes"),
        (" , ,", "no classes"),
        ("water, Water", "there twice"),
        ("water=blue", "gives no colour. Write it as water=#7fbf3f"),
        ("=#112233", "no class name"),
        ("x" * 81, "no class name"),
    ],
)
def test_a_list_that_is_none_is_told_before_the_run(scene, tmp_path, text, sentence):
    from qgis.core import QgsProcessingContext

    from hsi_toolkit.processing_algorithms.training_layer import CreateTrainingLayer, read_classes

    with pytest.raises(Exception, match=sentence):
        read_classes(text)
    parameters = {"INPUT": scene, "CLASSES": text, "OUTPUT": str(tmp_path / "t.gpkg")}
    fine, said = CreateTrainingLayer().create().checkParameterValues(parameters, QgsProcessingContext())
    assert not fine
    assert not text.strip(" ,") or sentence in said


def test_the_default_classes_have_their_customary_colours(qgis_app):
    from hsi_toolkit.processing_algorithms.training_layer import CLASSES, read_classes

    classes = read_classes(CLASSES)
    assert all(colour == customary_colour(name) for name, colour in classes)
    assert len({colour for _, colour in classes}) == len(classes)


def test_it_runs_without_the_engine_and_says_how(qgis_app, monkeypatch):
    from hsi_toolkit.processing_algorithms.training_layer import CreateTrainingLayer
    from hsi_toolkit.qgis_plugin import environment

    monkeypatch.setattr(environment, "find_interpreter", lambda: None)
    algorithm = CreateTrainingLayer().create()
    assert algorithm.canExecute()[0]
    page = algorithm.shortHelpString()
    assert "When to use it" in page
    assert "qgis_process run hsi:traininglayer" in page
    assert all(parameter.help() for parameter in algorithm.parameterDefinitions())


def test_in_a_project_the_loaded_layer_wears_its_style(scene, tmp_path):
    from qgis.core import QgsNullSymbolRenderer, QgsProcessingContext, QgsProcessingFeedback, QgsProject

    project = QgsProject()
    context = QgsProcessingContext()
    context.setProject(project)
    target = str(tmp_path / "training.gpkg")
    context.addLayerToLoadOnCompletion(target, QgsProcessingContext.LayerDetails("Training layer", project))
    run({"INPUT": scene, "CLASSES": "water, trees", "OUTPUT": target}, context)
    layer = opened(target)
    layer.setRenderer(QgsNullSymbolRenderer())
    processor = context.layerToLoadOnCompletionDetails(target).postProcessor()
    processor.postProcessLayer(layer, context, QgsProcessingFeedback(False))
    assert [each.label() for each in layer.renderer().categories()] == ["water", "trees", "no class yet"]
