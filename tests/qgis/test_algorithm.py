"""What an algorithm asks the engine for, and what it makes of the answer; a stub stands in for the engine."""

from pathlib import Path

import pytest
import tiny
from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProcessingOutputLayerDefinition,
    QgsRasterLayer,
    QgsSettings,
)

from hsi_toolkit.qgis_plugin import client
from hsi_toolkit.qgis_plugin.results import Figure
from hsi_toolkit.qgis_plugin.settings import Settings

pytestmark = pytest.mark.usefixtures("provider", "project")

RASTER_OUTPUTS = ("output", "uncertainty", "probabilities", "difference", "detections")


class Engine:
    """Takes requests and answers at once, with rasters where rasters are wanted."""

    def __init__(self):
        self.task, self.request, self.seen = None, None, {}
        self.answer = {"summary": "Done.", "facts": {"Size": "small"}, "warnings": ["Few polygons."]}
        self.error = None

    def __call__(self, task, parameters, feedback):
        self.task, self.request = task, dict(parameters)
        for name, value in parameters.items():
            if isinstance(value, str) and Path(value).is_file():
                self.seen[name] = Path(value).suffix
        if self.error:
            raise self.error
        for name in RASTER_OUTPUTS:
            if str(parameters.get(name, "")).endswith(".tif"):
                tiny.write_scene(Path(parameters[name]))
        if task == "map":
            self.answer["outputs"] = self._map(Path(parameters["output"]))
        return self.answer

    def _map(self, folder):
        folder.mkdir(exist_ok=True)
        files = {"map": "map.tif", "uncertainty": "uncertainty.tif", "model": "m.safetensors"}
        for name in ("map", "uncertainty"):
            tiny.write_scene(folder / files[name])
        return {name: str(folder / file) for name, file in (*files.items(), ("report", "report.html"))}


class Log(QgsProcessingFeedback):
    """Keeps what is shown."""

    def __init__(self):
        super().__init__(False)
        self.infos, self.warnings, self.debug = [], [], []

    def pushInfo(self, info):
        self.infos.append(info)

    def pushWarning(self, warning):
        self.warnings.append(warning)

    def pushDebugInfo(self, info):
        self.debug.append(info)


@pytest.fixture
def engine(monkeypatch):
    stub = Engine()
    monkeypatch.setattr(client, "run_task", stub)
    return stub


@pytest.fixture
def scene(tmp_path):
    return QgsRasterLayer(str(tiny.write_scene(tmp_path / "tiny.bsq")), "tiny", "gdal")


@pytest.fixture
def classifying(scene, tmp_path):
    return {"INPUT": scene, "MODEL": "some-model", "OUTPUT": str(tmp_path / "map.tif")}


@pytest.fixture
def mapping(scene, tmp_path):
    labels = tiny.polygon_layer()
    return {"INPUT": scene, "LABELS": labels, "FIELD": "class", "OUTPUT": str(tmp_path / "result")}


@pytest.fixture
def options():
    """Options that a test sets, forgotten afterwards."""
    yield
    QgsSettings().remove("hsi_toolkit")


def test_the_request_is_the_tasks_parameters(processing, engine, classifying, scene):
    processing.run("hsi:classify", {**classifying, "MODE": "fast"})
    assert engine.task == "classify"
    assert engine.request == {
        "scene": scene.source(),
        "model": "some-model",
        "output": classifying["OUTPUT"],
        "mode": "fast",
        "device": "auto",
        "overwrite": True,
    }


def test_the_options_page_decides_what_the_dialog_leaves_open(processing, engine, classifying, options):
    Settings(device="cpu", memory_limit=2000).save()
    processing.run("hsi:classify", classifying)
    assert (engine.request["device"], engine.request["memory_limit"]) == ("cpu", 2000)
    processing.run("hsi:classify", {**classifying, "DEVICE": "cuda", "MEMORY_LIMIT": 512})
    assert (engine.request["device"], engine.request["memory_limit"]) == ("cuda", 512)


def test_labels_go_over_as_a_geopackage_that_is_gone_afterwards(processing, engine, mapping):
    processing.run("hsi:map", mapping)
    assert engine.seen["labels"] == ".gpkg"
    assert engine.request["field"] == "class"
    assert not Path(engine.request["labels"]).parent.exists()


def test_several_scenes_go_over_as_a_list(processing, engine, scene, tmp_path):
    other = QgsRasterLayer(str(tiny.write_scene(tmp_path / "other.bsq")), "other", "gdal")
    target = str(tmp_path / "m.safetensors")
    processing.run("hsi:pretrain", {"INPUT": [scene, other], "OUTPUT": target, "MASK_RATIO": 0.25})
    assert engine.request["scenes"] == [scene.source(), other.source()]
    assert engine.request["mask_ratio"] == 0.25


@pytest.mark.parametrize(
    ("given", "endmembers"),
    [
        ({}, "auto"),
        ({"COUNT": 4}, "4"),
        ({"LIBRARY": "/a/library.sli", "COUNT": 4}, "/a/library.sli"),
    ],
)
def test_unmixing_is_asked_with_a_number_a_file_or_nothing(
    processing, engine, scene, tmp_path, given, endmembers
):
    processing.run("hsi:unmix", {"INPUT": scene, "OUTPUT": str(tmp_path / "a.tif"), **given})
    assert engine.request["endmembers"] == endmembers
    assert not {"count", "library", "labels"} & set(engine.request)


def test_unmixing_by_polygons_sends_their_file_and_field(processing, engine, scene, tmp_path):
    parameters = {"INPUT": scene, "OUTPUT": str(tmp_path / "a.tif"), "LABELS": tiny.polygon_layer()}
    processing.run("hsi:unmix", {**parameters, "FIELD": "class"})
    assert engine.seen["endmembers"] == ".gpkg"
    assert engine.request["field"] == "class"


def test_what_is_left_out_is_not_sent(processing, engine, scene, tmp_path):
    processing.run("hsi:draw_next", {"INPUT": scene, "OUTPUT": str(tmp_path / "places.gpkg")})
    assert set(engine.request) == {"uncertainty", "output", "count", "window", "seed", "overwrite"}


def test_info_is_not_asked_to_overwrite(processing, engine, scene):
    engine.answer.update(shape=[40, 30, 20], wavelengths_nm=None, fwhm_nm=None, bad_bands=[])
    results = processing.run("hsi:info", {"INPUT": scene})
    assert engine.request == {"scene": scene.source()}
    assert (results["BANDS"], results["ROWS"], results["COLUMNS"]) == (40, 30, 20)
    assert (results["SHORTEST"], results["BAD_BANDS"]) == (None, 0)


def test_scene_information_is_a_page(processing, engine, scene, tmp_path):
    engine.answer.update(shape=[2, 3, 4], wavelengths_nm=[500.0, 600.0], fwhm_nm=None, bad_bands=[2])
    engine.answer["facts"] = {"Sensor": "<EnMAP>"}
    page = tmp_path / "info.html"
    results = processing.run("hsi:info", {"INPUT": scene, "OUTPUT": str(page)})
    text = page.read_text(encoding="utf-8")
    assert results["OUTPUT"] == str(page)
    assert "&lt;EnMAP&gt;" in text
    assert "<td>2</td><td>600.00</td><td></td><td>bad</td>" in text
    assert "Few polygons." in text


def test_numbers_and_summary_are_returned(processing, engine, mapping):
    engine.answer["accuracy"] = {
        "overall": {"value": 0.9},
        "average": {"value": 0.8},
        "kappa": {"value": None},
    }
    results = processing.run("hsi:map", mapping)
    assert (results["OVERALL_ACCURACY"], results["AVERAGE_ACCURACY"], results["KAPPA"]) == (0.9, 0.8, None)
    assert results["SUMMARY"] == "Done."
    assert results["SECONDS"] >= 0


def test_without_accuracy_there_are_no_numbers(processing, engine, mapping):
    engine.answer["accuracy"] = None
    assert processing.run("hsi:map", mapping)["OVERALL_ACCURACY"] is None


@pytest.mark.parametrize(
    ("path", "reduce", "number"),
    [
        (("a", "b"), None, 1),
        (("list", 1), None, 5),
        (("list",), max, 5),
        (("empty",), min, None),
        (("empty",), len, 0),
        (("text",), None, None),
        (("list", "b"), len, None),
        (("nothing", "at", "all"), None, None),
    ],
)
def test_a_figure_is_a_number_or_nothing(path, reduce, number):
    result = {"a": {"b": 1}, "list": [4, 5], "empty": [], "text": "four"}
    assert Figure("F", "F", path, reduce).of(result) == number


def test_what_the_engine_says_is_in_the_log(processing, engine, classifying):
    log = Log()
    processing.run("hsi:classify", classifying, feedback=log)
    assert "Size: small" in log.infos
    assert "Done." in log.infos
    assert log.warnings == ["Few polygons."]


def test_an_error_is_its_sentence_and_the_details_are_in_the_log(processing, engine, classifying):
    engine.error = client.EngineError("internal", "This is a defect.", "Traceback")
    log = Log()
    with pytest.raises(QgsProcessingException, match=r"^This is a defect\.$"):
        processing.run("hsi:classify", classifying, feedback=log)
    assert log.debug == ["Traceback"]


def test_cancelling_is_no_success(processing, engine, mapping):
    engine.error = client.EngineCancelled("Cancelled.")
    with pytest.raises(QgsProcessingException, match="Cancelled"):
        processing.run("hsi:map", mapping)
    assert not Path(engine.request["labels"]).exists()


def test_styles_are_written_beside_the_outputs(processing, engine, classifying, tmp_path):
    uncertainty = tmp_path / "uncertainty.tif"
    processing.run("hsi:classify", {**classifying, "UNCERTAINTY": str(uncertainty)})
    assert "singlebandpseudocolor" in uncertainty.with_suffix(".qml").read_text(encoding="utf-8")


def test_a_style_that_cannot_be_written_is_a_warning(processing, engine, classifying, tmp_path):
    (tmp_path / "u.qml").mkdir()
    log = Log()
    results = processing.run(
        "hsi:classify", {**classifying, "UNCERTAINTY": str(tmp_path / "u.tif")}, feedback=log
    )
    assert results["UNCERTAINTY"] == str(tmp_path / "u.tif")
    assert any("The style of" in warning for warning in log.warnings)


def test_loaded_layers_are_named_grouped_and_styled(processing, engine, classifying, tmp_path, project):
    wanted = {"UNCERTAINTY": str(tmp_path / "u.tif"), "PROBABILITIES": "TEMPORARY_OUTPUT"}
    processing.runAndLoadResults("hsi:classify", {**classifying, **wanted})
    (group,) = project.layerTreeRoot().children()
    assert group.name() == "Classify – tiny"
    names = [child.name() for child in group.children()]
    assert names == ["Class map – tiny", "Uncertainty – tiny", "Probability – tiny"]
    uncertainty = group.children()[1].layer()
    assert uncertainty.renderer().type() == "singlebandpseudocolor"


def test_a_single_layer_needs_no_group(processing, engine, classifying, project):
    processing.runAndLoadResults("hsi:classify", classifying)
    (node,) = project.layerTreeRoot().children()
    assert node.name() == "Class map – tiny"


def test_map_and_uncertainty_of_the_folder_are_opened(processing, engine, mapping, project):
    results = processing.runAndLoadResults("hsi:map", mapping)
    (group,) = project.layerTreeRoot().children()
    assert group.name() == "Polygons to map – tiny"
    assert [child.name() for child in group.children()] == ["Class map – tiny", "Uncertainty – tiny"]
    assert results["MAP"] == str(Path(mapping["OUTPUT"]) / "map.tif")
    assert results["REPORT"].endswith("report.html")
    assert results["MODEL"].endswith("m.safetensors")


def test_nothing_is_opened_where_that_is_not_wanted(processing, engine, mapping, project):
    processing.runAndLoadResults("hsi:map", {**mapping, "LOAD": False})
    processing.run("hsi:map", mapping)
    assert not project.layerTreeRoot().children()


def test_a_temporary_folder_will_do(processing, engine, mapping):
    results = processing.run("hsi:map", {**mapping, "OUTPUT": "TEMPORARY_OUTPUT"})
    assert Path(results["MAP"]).is_file()


def test_a_name_given_by_the_user_is_kept(processing, engine, classifying, project):
    output = QgsProcessingOutputLayerDefinition(classifying["OUTPUT"], project)
    output.destinationName = "My map"
    context = QgsProcessingContext()
    context.setProject(project)
    processing.runAndLoadResults("hsi:classify", {**classifying, "OUTPUT": output}, context=context)
    assert [child.name() for child in project.layerTreeRoot().children()] == ["My map"]


def test_a_models_layer_is_called_what_the_model_calls_it(processing, engine, classifying, project):
    model = QgsProcessingModelAlgorithm("model", "tests")
    child = QgsProcessingModelChildAlgorithm("hsi:classify")
    child.setChildId("classify")
    for name in ("INPUT", "MODEL"):
        value = classifying[name].source() if name == "INPUT" else classifying[name]
        source = QgsProcessingModelChildParameterSource.fromStaticValue(value)
        child.addParameterSources(name, [source])
    output = QgsProcessingModelOutput("Land cover")
    output.setChildId("classify")
    output.setChildOutputName("OUTPUT")
    child.setModelOutputs({"Land cover": output})
    model.addChildAlgorithm(child)
    model.initAlgorithm()
    (destination,) = (each.name() for each in model.destinationParameterDefinitions())
    processing.runAndLoadResults(model, {destination: "TEMPORARY_OUTPUT"})
    assert [child.name() for child in project.layerTreeRoot().children()] == ["Land cover"]


def test_the_dialog_opens_with_the_layers_and_the_class_field(processing, provider, project, scene):
    from processing.gui.AlgorithmDialog import AlgorithmDialog

    project.addMapLayers([scene, tiny.polygon_layer()])
    for algorithm in provider.algorithms():
        dialog = AlgorithmDialog(algorithm.create())
        if algorithm.name() == "map":
            chosen = dialog.createProcessingParameters()
            assert chosen["INPUT"] == scene.id()
            assert chosen["FIELD"] == "class"
            assert chosen["OUTPUT"] == "TEMPORARY_OUTPUT"
        dialog.close()
