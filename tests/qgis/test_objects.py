"""Training and classifying objects from two layers inside QGIS, with the real engine."""

import os
from pathlib import Path

import pytest
import tiny
from qgis.core import (
    QgsFeature,
    QgsGeometry,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProject,
    QgsVectorLayer,
)

from hsi_toolkit.qgis_plugin import client
from hsi_toolkit.qgis_plugin.models import read_model

pytestmark = pytest.mark.usefixtures("engine", "project")

#: As small as the published network can be had.
SIZES = {"PATCH_SIZE": 4, "IMAGE_SIZE": 8, "EPOCHS": 1}


@pytest.fixture(scope="module")
def engine(engine_python, provider):
    """The real engine, ended when the module is done."""
    before = os.environ.get("HSI_PYTHON")
    os.environ["HSI_PYTHON"] = str(engine_python)
    yield
    client.stop()
    if before is None:
        del os.environ["HSI_PYTHON"]
    else:
        os.environ["HSI_PYTHON"] = before


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("objects")


@pytest.fixture(scope="module")
def layers(folder):
    """A scene, and the same ground three times as sharp."""
    sharp = tiny.write_scene(folder / "sharp.bsq", finer=3)
    return {"INPUT": str(sharp), "SCENE": str(tiny.write_scene(folder / "scene.bsq"))}


@pytest.fixture(scope="module")
def trained(engine, processing, folder, layers):
    targets = {"OUTPUT": str(folder / "model.safetensors"), "REPORT": str(folder / "report.html")}
    parameters = {"LABELS": tiny.polygon_layer(), "FIELD": "class", "MARGIN": 0.0, **SIZES}
    return processing.run("hsi:bimae_finetune", {**layers, **parameters, **targets})


def test_names_and_colours_of_the_layer_are_the_model_s(trained, folder):
    model = read_model(Path(trained["OUTPUT"]))
    assert (model.kind, model.classes) == ("object_classifier", tiny.CLASSES)
    assert 0 <= trained["OVERALL_ACCURACY"] <= 1
    assert "held out" in (folder / "report.html").read_text(encoding="utf-8")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert all(colour in page for colour in tiny.COLOURS)


def test_objects_keep_their_attributes_and_are_styled_by_class(processing, layers, trained, folder):
    objects = tiny.polygon_layer()
    far = QgsFeature(objects.fields())
    far.setGeometry(QgsGeometry.fromWkt("POLYGON((0 0, 9 0, 9 9, 0 9, 0 0))"))
    far.setAttributes(["far away", "soil"])
    objects.dataProvider().addFeature(far)
    objects.updateExtents()
    output = str(folder / "classified.gpkg")
    result = processing.run(
        "hsi:bimae_classify", {**layers, "OBJECTS": objects, "MODEL": trained["OUTPUT"], "OUTPUT": output}
    )
    assert (result["COUNT"], result["WITHOUT_CLASS"]) == (16, 1)
    made = QgsVectorLayer(output, "classified", "ogr")
    assert made.isValid()
    names = made.fields().names()
    # The layer's own field of that name stays.
    assert {"note", "class", "class_", "probability", *(f"p_{each}" for each in tiny.CLASSES)} <= set(names)
    features = list(made.getFeatures())
    assert [feature["note"] for feature in features] == ["a note"] * 15 + ["far away"]
    assert all(feature["class_"] in tiny.CLASSES for feature in features[:15])
    assert not features[15]["class_"]
    renderer = made.renderer()
    assert renderer.type() == "categorizedSymbol"
    shown = {each.value(): each.symbol().color().name() for each in renderer.categories()}
    assert {name: shown[name] for name in tiny.CLASSES} == dict(zip(tiny.CLASSES, tiny.COLOURS))


def test_pretraining_needs_no_classes(processing, layers, folder):
    objects = tiny.polygon_layer(styled=False)
    output = str(folder / "pretrained.safetensors")
    result = processing.run("hsi:bimae_pretrain", {**layers, "OBJECTS": objects, "OUTPUT": output, **SIZES})
    assert result["OBJECTS"] == 15
    assert read_model(Path(output)).kind == "pretrained"


def test_what_does_not_fit_is_said_before_the_run(processing, layers, trained, folder, provider):
    algorithm = provider.algorithm("bimae_classify").create()
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    far = QgsVectorLayer("Polygon?crs=EPSG:32633", "far", "memory")
    feature = QgsFeature()
    feature.setGeometry(QgsGeometry.fromWkt("POLYGON((0 0, 9 0, 9 9, 0 9, 0 0))"))
    far.dataProvider().addFeature(feature)
    far.updateExtents()
    given = {**layers, "OBJECTS": far, "MODEL": trained["OUTPUT"], "OUTPUT": str(folder / "o.gpkg")}
    fine, said = algorithm.checkParameterValues(given, context)
    assert not fine
    assert "No feature of far" in said
    wrong = {**given, "OBJECTS": tiny.polygon_layer(), "MODEL": str(folder / "pretrained.safetensors")}
    fine, said = algorithm.checkParameterValues(wrong, context)
    assert not fine
    assert "an object_classifier is needed" in said or "object_classifier" in said


def test_layers_are_required_and_data_sets_hidden(provider):
    for name in ("bimae_finetune", "bimae_classify", "bimae_pretrain"):
        algorithm = provider.algorithm(name)
        parameters = {each.name(): each for each in algorithm.parameterDefinitions()}
        assert list(parameters)[:2] == ["INPUT", "SCENE"]
        assert "DATA" not in parameters
        for layer in ("INPUT", "SCENE"):
            assert not parameters[layer].flags() & type(parameters[layer]).Flag.FlagOptional


def test_an_error_of_the_engine_ends_the_algorithm(processing, layers, folder):
    parameters = {"LABELS": tiny.polygon_layer(), "FIELD": "class", "CLASSES": 7, **SIZES}
    with pytest.raises(QgsProcessingException, match="The objects have 3 classes instead of 7"):
        processing.run(
            "hsi:bimae_finetune", {**layers, **parameters, "OUTPUT": str(folder / "no.safetensors")}
        )
