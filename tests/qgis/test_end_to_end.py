"""Whole runs inside QGIS with the real engine, on a scene of 40 × 40 pixels."""

import json
import os
import shutil
from pathlib import Path

import pytest
import tiny
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsProcessingAlgRunnerTask,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProcessingModelParameter,
    QgsProcessingOutputLayerDefinition,
    QgsProcessingParameterField,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterVectorLayer,
    QgsRasterLayer,
    QgsVectorFileWriter,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QEventLoop, QProcess, QProcessEnvironment

from hsi_toolkit.qgis_plugin import client
from hsi_toolkit.qgis_plugin.models import read_model

pytestmark = pytest.mark.usefixtures("engine", "project")


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
    return tmp_path_factory.mktemp("end_to_end")


@pytest.fixture(scope="module")
def scene(folder):
    return str(tiny.write_scene(folder / "tiny.bsq"))


@pytest.fixture(scope="module")
def labels(folder, provider):
    """The polygons as a user has them: a GeoPackage with whole numbers, a style and a value map."""
    path = str(folder / "polygons.gpkg")
    layer, options = tiny.polygon_layer("integer"), QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = "GPKG"
    QgsVectorFileWriter.writeAsVectorFormatV3(layer, path, QgsProcessingContext().transformContext(), options)
    saved = QgsVectorLayer(path, "polygons", "ogr")
    saved.setEditorWidgetSetup(saved.fields().lookupField("class"), layer.editorWidgetSetup(1))
    tiny.style(saved, "integer")
    saved.saveNamedStyle(str(folder / "polygons.qml"))
    return path


@pytest.fixture(scope="module")
def trained(engine, processing, folder, scene, labels):
    """A script's call: what it returned."""
    parameters = {"INPUT": scene, "LABELS": labels, "FIELD": "class", "EPOCHS": 1}
    targets = {"OUTPUT": str(folder / "model.safetensors"), "REPORT": str(folder / "report.html")}
    return processing.run("hsi:train", {**parameters, **targets})


def test_a_built_in_network_goes_by_its_name(processing, folder, scene, labels):
    target = str(folder / "built_in.safetensors")
    parameters = {"INPUT": scene, "LABELS": labels, "FIELD": "class", "EPOCHS": 1, "WEIGHTS": "hsimae-small"}
    trained = processing.run("hsi:train", {**parameters, "OUTPUT": target})
    assert trained["OUTPUT"] == target
    assert os.path.getsize(target) > 0


@pytest.fixture(scope="module")
def mapped(processing, folder, scene, trained):
    """A script's call that writes all that Classify writes."""
    names = ("OUTPUT", "UNCERTAINTY", "PROBABILITIES")
    targets = {name: str(folder / f"{name.lower()}.tif") for name in names}
    return processing.run("hsi:classify", {"INPUT": scene, "MODEL": trained["OUTPUT"], **targets})


def shown_classes(path):
    """Value, name and colour of the classes as QGIS shows a map that is opened later."""
    layer = QgsRasterLayer(path, "map", "gdal")
    return [(each.value, each.label, each.color.name()) for each in layer.renderer().classes()]


LEGEND = [(number + 1, name, tiny.COLOURS[number]) for number, name in enumerate(tiny.CLASSES)]


def share_right(path):
    """The share of pixels that a map gives the class they have."""
    layer = QgsRasterLayer(path, "map", "gdal")
    block = layer.dataProvider().block(1, layer.extent(), tiny.SIDE, tiny.SIDE)
    right = sum(
        block.value(row, column) == tiny.class_of(column) + 1
        for row in range(tiny.SIDE)
        for column in range(tiny.SIDE)
    )
    return right / tiny.SIDE**2


def run_in_background(algorithm, parameters, context, feedback):
    """Run as the toolbox's dialog does: prepared here, processed in a thread, results loaded here."""
    from processing.gui.Postprocessing import handleAlgorithmResults

    outcome, loop = {}, QEventLoop()
    task = QgsProcessingAlgRunnerTask(algorithm, parameters, context, feedback)

    def executed(fine, results):
        outcome.update(fine=fine, results=results)
        if fine:
            handleAlgorithmResults(algorithm, context, feedback, parameters=parameters)
        loop.quit()

    task.executed.connect(executed)
    QgsApplication.taskManager().addTask(task)
    loop.exec()
    return outcome


def test_a_script_trains_with_names_and_colours_of_the_layer(trained, folder):
    model = read_model(folder / "model.safetensors")
    assert (model.kind, model.classes) == ("classifier", tiny.CLASSES)
    assert model.wavelengths == pytest.approx(tiny.wavelengths())
    assert trained["OVERALL_ACCURACY"] > 0.9
    assert "Overall accuracy" in (folder / "report.html").read_text(encoding="utf-8")


def test_the_map_is_right_and_keeps_names_and_colours(mapped):
    assert share_right(mapped["OUTPUT"]) > 0.95
    assert shown_classes(mapped["OUTPUT"]) == LEGEND
    assert mapped["PIXELS_WITHOUT_DATA"] == 0


def test_uncertainty_and_probabilities_are_shown_from_0_to_1(mapped):
    for name, bands in (("UNCERTAINTY", 1), ("PROBABILITIES", 3)):
        layer = QgsRasterLayer(mapped[name], name, "gdal")
        assert layer.bandCount() == bands
        renderer = layer.renderer()
        assert (renderer.classificationMin(), renderer.classificationMax()) == (0.0, 1.0)
        assert 0.0 <= layer.dataProvider().bandStatistics(1).maximumValue <= 1.0
    assert "meadow" in QgsRasterLayer(mapped["PROBABILITIES"], "p", "gdal").bandName(1)


@pytest.mark.slow
def test_the_toolbox_goes_from_polygons_to_a_styled_map(provider, project, scene, tmp_path):
    layers = [QgsRasterLayer(scene, "tiny", "gdal"), tiny.polygon_layer()]
    project.addMapLayers(layers)
    context, feedback = QgsProcessingContext(), QgsProcessingFeedback(False)
    context.setProject(project)
    parameters = {"INPUT": layers[0].id(), "LABELS": layers[1].id(), "FIELD": "class"}
    parameters["OUTPUT"] = str(tmp_path / "result")
    algorithm = provider.algorithm("map").create()
    outcome = run_in_background(algorithm, parameters, context, feedback)
    assert outcome["fine"], feedback.textLog()
    (group,) = [child for child in project.layerTreeRoot().children() if child.name().startswith("Polygons")]
    assert [child.name() for child in group.children()] == ["Class map – tiny", "Uncertainty – tiny"]
    classes = group.children()[0].layer().renderer().classes()
    assert [(each.label, each.color.name()) for each in classes] == list(zip(tiny.CLASSES, tiny.COLOURS))
    assert Path(outcome["results"]["REPORT"]).is_file()
    assert share_right(outcome["results"]["MAP"]) > 0.95


def test_a_batch_of_two(provider, trained, folder, scene, tmp_path):
    other = str(tiny.write_scene(tmp_path / "other.bsq", seed=2))
    algorithm, results = provider.algorithm("classify").create(), []
    for number, raster in enumerate((scene, other)):
        context, feedback = QgsProcessingContext(), QgsProcessingFeedback(False)
        row = {"INPUT": raster, "MODEL": trained["OUTPUT"], "OUTPUT": str(tmp_path / f"map{number}.tif")}
        found, fine = algorithm.run(row, context, feedback)
        assert fine, feedback.textLog()
        results.append(found)
    for found in results:
        assert share_right(found["OUTPUT"]) > 0.95
        assert shown_classes(found["OUTPUT"]) == LEGEND
    assert results[1]["SECONDS"] < 60


def chain():
    """A model of three algorithms: train, classify with that model, judge that map."""
    model = QgsProcessingModelAlgorithm("train classify evaluate", "tests")
    inputs = (
        QgsProcessingParameterRasterLayer("scene", "Scene"),
        QgsProcessingParameterVectorLayer("polygons", "Polygons"),
        QgsProcessingParameterField("field", "Class field", parentLayerParameterName="polygons"),
    )
    for each in inputs:
        model.addModelParameter(each, QgsProcessingModelParameter(each.name()))
    source = QgsProcessingModelChildParameterSource
    given = {each.name(): source.fromModelParameter(each.name()) for each in inputs}
    labelled = {"LABELS": given["polygons"], "FIELD": given["field"]}
    training = {"INPUT": given["scene"], **labelled, "EPOCHS": source.fromStaticValue(1)}
    mapping = {"INPUT": given["scene"], "MODEL": source.fromChildOutput("train", "OUTPUT")}
    judging = {"INPUT": source.fromChildOutput("classify", "OUTPUT"), **labelled}
    for name, parameters in (("train", training), ("classify", mapping), ("evaluate", judging)):
        child = QgsProcessingModelChildAlgorithm(f"hsi:{name}")
        child.setChildId(name)
        for parameter, value in parameters.items():
            child.addParameterSources(parameter, [value])
        if name != "train":
            output = QgsProcessingModelOutput(name)
            output.setChildId(name)
            output.setChildOutputName("OUTPUT" if name == "classify" else "REPORT")
            child.setModelOutputs({name: output})
        model.addChildAlgorithm(child)
    return model


@pytest.mark.slow
def test_a_model_chains_training_classifying_and_evaluating(scene, labels, tmp_path):
    file, model = tmp_path / "chain.model3", QgsProcessingModelAlgorithm()
    assert chain().toFile(str(file))
    assert model.fromFile(str(file))
    model.initAlgorithm()
    report, context = tmp_path / "accuracy.html", QgsProcessingContext()
    parameters = {"scene": scene, "polygons": labels, "field": "class"}
    parameters.update({"classify:classify": str(tmp_path / "map.tif"), "evaluate:evaluate": str(report)})
    names = {each.name() for each in model.destinationParameterDefinitions()}
    assert names == {"classify:classify", "evaluate:evaluate"}
    feedback = QgsProcessingFeedback(False)
    results, fine = model.run(parameters, context, feedback)
    assert fine, feedback.textLog()
    assert shown_classes(results["classify:classify"]) == LEGEND
    figures = json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))
    assert figures["accuracy"]["overall"]["value"] > 0.9
    assert results["CHILD_RESULTS"]["evaluate"]["OVERALL_ACCURACY"] > 0.9


def qgis_process(profile_root, arguments):
    """Run ``qgis_process`` with a profile of its own; its answer and its log."""
    program = shutil.which("qgis_process.bin") or shutil.which("qgis_process")
    if program is None:
        pytest.skip("needs qgis_process, which is part of QGIS")
    process, variables = QProcess(), QProcessEnvironment.systemEnvironment()
    variables.insert("QGIS_CUSTOM_CONFIG_PATH", str(profile_root))
    variables.insert("QT_QPA_PLATFORM", "offscreen")
    process.setProcessEnvironment(variables)
    process.start(program, arguments)
    assert process.waitForFinished(120_000)
    log = bytes(process.readAllStandardError()).decode("utf-8", "replace")
    return bytes(process.readAllStandardOutput()).decode("utf-8", "replace"), log, process.exitCode()


@pytest.mark.slow
def test_qgis_process_classifies(profile, trained, scene, tmp_path):
    own = tmp_path / "config" / "profiles" / "default"
    shutil.copytree(profile / "python", own / "python", symlinks=True)
    (own / "QGIS").mkdir()
    (own / "QGIS" / "QGIS3.ini").write_text("[PythonPlugins]\nhsi_toolkit=true\n")
    target = tmp_path / "map.tif"
    values = {"INPUT": scene, "MODEL": trained["OUTPUT"], "MODE": "fast", "OUTPUT": str(target)}
    arguments = ["--json", "run", "hsi:classify", *(f"--{name}={value}" for name, value in values.items())]
    output, log, code = qgis_process(tmp_path / "config", arguments)
    assert code == 0, log
    results = json.loads(output[output.index("{") :])["results"]
    assert results["OUTPUT"] == str(target)
    assert shown_classes(str(target)) == LEGEND


def test_wavelengths_reach_the_engine_when_a_layer_is_written_out(processing, scene):
    layer = QgsRasterLayer(scene, "tiny", "gdal")
    layer.setCrs(QgsCoordinateReferenceSystem("EPSG:25833"))
    results = processing.run("hsi:info", {"INPUT": layer})
    assert results["BANDS"] == tiny.BANDS
    assert (results["SHORTEST"], results["LONGEST"]) == (tiny.wavelengths()[0], tiny.wavelengths()[-1])


def test_features_are_shown_by_their_first_three(processing, scene, tmp_path):
    results = processing.run("hsi:features", {"INPUT": scene, "OUTPUT": str(tmp_path / "features.tif")})
    layer = QgsRasterLayer(results["OUTPUT"], "features", "gdal")
    assert layer.bandCount() == results["FEATURES"] == 64
    assert layer.renderer().type() == "multibandcolor"


def test_a_model_card_is_a_page(processing, trained, tmp_path):
    results = processing.run("hsi:card", {"MODEL": trained["OUTPUT"], "OUTPUT": str(tmp_path / "card.html")})
    page = Path(results["OUTPUT"]).read_text(encoding="utf-8")
    assert all(name in page for name in tiny.CLASSES)


def test_evaluating_leaves_out_what_was_trained_on(processing, mapped, labels, tmp_path):
    parameters = {"INPUT": mapped["OUTPUT"], "LABELS": labels, "FIELD": "class"}
    results = processing.run("hsi:evaluate", {**parameters, "REPORT": str(tmp_path / "accuracy.html")})
    assert results["OVERALL_ACCURACY"] > 0.9
    assert "6 polygons" in results["SUMMARY"]


def test_places_to_draw_are_styled_points(processing, project, labels, tmp_path):
    # A scene's first band as an uncertainty that is high somewhere.
    raster = tiny.write_scene(tmp_path / "uncertainty.bsq")
    output = QgsProcessingOutputLayerDefinition(str(tmp_path / "places.gpkg"), project)
    parameters = {"INPUT": str(raster), "LABELS": labels, "COUNT": 3, "WINDOW": 3, "OUTPUT": output}
    processing.runAndLoadResults("hsi:draw_next", parameters)
    (node,) = project.layerTreeRoot().children()
    assert node.name() == "Where to draw next – uncertainty"
    assert node.layer().featureCount() == 3
    assert node.layer().renderer().type() != "singleSymbol"


EXAMPLES = {"FIELD": "class", "OUTPUT": "a.tif"}
ANALYSES = {
    "anomalies": {"OUTPUT": "a.tif", "DETECTIONS": "b.tif", "METHOD": "rx"},
    "target": {"TARGET": "polygons", "VALUE": "water", "DETECTIONS": "b.tif", **EXAMPLES},
    "change": {"AFTER": "later", "OUTPUT": "a.tif", "MAP": "b.tif", "TYPES": "c.tif"},
    "denoise": {"OUTPUT": "a.tif", "DIFFERENCE": "b.tif", "NOISE_TABLE": "noise.csv"},
    "superresolve": {"GUIDE": "finer", "OUTPUT": "a.tif"},
    "compare": {"REFERENCE": "later", "OUTPUT": "a.tif", "REPORT": "quality.html"},
    "unmix": {"LABELS": "polygons", "SPECTRA": "s.csv", "ERROR": "b.tif", **EXAMPLES},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ANALYSES)
def test_every_analysis_writes_what_is_asked_for(processing, provider, scene, labels, tmp_path, name):
    rasters = {"later": {"seed": 2}, "finer": {"finer": 2}}
    parameters = {"INPUT": scene}
    for key, value in ANALYSES[name].items():
        if value in rasters:
            value = str(tiny.write_scene(tmp_path / f"{value}.bsq", **rasters[value]))
        elif value == "polygons":
            value = labels
        elif "." in value:
            value = str(tmp_path / value)
        parameters[key] = value
    results = processing.run(f"hsi:{name}", parameters)
    looks = provider.algorithm(name).looks
    for key, value in ANALYSES[name].items():
        if "." in value:
            assert (tmp_path / value).is_file()
            assert results[key] == parameters[key]
        if value.endswith(".tif"):
            assert (tmp_path / value).with_suffix(".qml").is_file(), key
            assert key.lower() in looks
    assert results["SUMMARY"]


def test_what_the_engine_refuses_is_one_sentence(processing, scene, tmp_path):
    parameters = {"INPUT": scene, "MODEL": "no-such-model", "OUTPUT": str(tmp_path / "map.tif")}
    with pytest.raises(QgsProcessingException, match="neither a model file no-such-model nor a published"):
        processing.run("hsi:classify", parameters)


def test_a_cancelled_run_leaves_what_was_there(provider, mapped, scene, trained, tmp_path):
    target = tmp_path / "map.tif"
    target.write_bytes(b"an older map")
    feedback = QgsProcessingFeedback(False)
    feedback.cancel()
    parameters = {"INPUT": scene, "MODEL": trained["OUTPUT"], "OUTPUT": str(target)}
    _, fine = provider.algorithm("classify").create().run(parameters, QgsProcessingContext(), feedback)
    assert not fine
    assert target.read_bytes() == b"an older map"
    assert [path.name for path in tmp_path.iterdir()] == ["map.tif"]
