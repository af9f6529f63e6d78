"""What scripts and models rely on: ids, names, types, defaults. Renaming one of them breaks somebody's model.

After a change that is meant: ``HSI_WRITE_CONTRACT=1 python3 -m pytest test_contract.py``, and look at what
differs.
"""

import json
import os
import re
import sys
from pathlib import Path

import pytest
from qgis.core import QgsProcessingParameterDefinition as Definition
from qgis.core import QgsProcessingParameterEnum, QgsProcessingParameterNumber
from qgis.PyQt.QtCore import QProcess, QProcessEnvironment

from hsi_toolkit.hsi_toolkit.tasks import TASKS
from hsi_toolkit.qgis_plugin.algorithm import TaskAlgorithm

CONTRACT = Path(__file__).with_name("contract.json")


def describe_parameter(parameter):
    flags = Definition.Flag
    said = {
        "type": parameter.type(),
        "default": parameter.defaultValue(),
        "optional": bool(parameter.flags() & flags.FlagOptional),
        "advanced": bool(parameter.flags() & flags.FlagAdvanced),
    }
    if parameter.isDestination():
        said["created"] = parameter.createByDefault()
    if isinstance(parameter, QgsProcessingParameterEnum):
        said["options"] = parameter.options()
    if isinstance(parameter, QgsProcessingParameterNumber):
        said["range"] = [
            bound if abs(bound) < 1e300 else None for bound in (parameter.minimum(), parameter.maximum())
        ]
    return said


def describe(algorithm):
    return {
        "group": algorithm.groupId(),
        "flags": int(getattr(algorithm.flags(), "value", algorithm.flags())),
        "parameters": {each.name(): describe_parameter(each) for each in algorithm.parameterDefinitions()},
        "outputs": {each.name(): each.type() for each in algorithm.outputDefinitions()},
    }


@pytest.fixture(scope="module")
def algorithms(provider):
    return {algorithm.name(): algorithm for algorithm in provider.algorithms()}


@pytest.fixture(scope="module")
def task_algorithms(algorithms):
    return {name: each for name, each in algorithms.items() if isinstance(each, TaskAlgorithm)}


def test_the_contract_is_kept(algorithms):
    found = {name: describe(algorithms[name]) for name in sorted(algorithms)}
    if os.environ.get("HSI_WRITE_CONTRACT"):
        CONTRACT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    kept = json.loads(CONTRACT.read_text(encoding="utf-8"))
    assert list(found) == list(kept)
    for name, said in found.items():
        assert said == kept[name], name


def test_the_provider_keeps_its_id_and_has_an_icon(provider):
    assert provider.id() == "hsi"
    assert not provider.icon().isNull()
    assert Path(provider.svgIconPath()).is_file()
    assert provider.defaultRasterFileExtension() == "tif"
    assert provider.defaultVectorFileExtension() == "gpkg"
    assert not provider.supportsNonFileBasedOutput()


def test_every_task_is_an_algorithm(task_algorithms):
    missing = set(TASKS) - {algorithm.task.name for algorithm in task_algorithms.values()}
    # A demonstration on made-up data is for a first look at the command line.
    assert missing - {"demo"} == set()


def test_names_are_fixed_and_lower_case(algorithms):
    for name, algorithm in algorithms.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert algorithm.displayName()[0].isupper()
        assert algorithm.groupId() == algorithm.group().lower().replace(" ", "_")
        for parameter in algorithm.parameterDefinitions():
            assert re.fullmatch(r"[A-Z][A-Z0-9_]*", parameter.name())


def test_a_first_raster_is_the_input_and_the_main_output_the_output(task_algorithms):
    for algorithm in task_algorithms.values():
        names = [each.name() for each in algorithm.parameterDefinitions()]
        kinds = [each.kind for each in algorithm.declared.values()]
        assert ("INPUT" in names) == any(kind in ("raster", "rasters") for kind in kinds), algorithm.name()
        assert ("OUTPUT" in names) == ("output" in algorithm.declared or algorithm.name() == "info")


def test_every_parameter_has_help(algorithms):
    for algorithm in algorithms.values():
        for parameter in algorithm.parameterDefinitions():
            assert len(parameter.help()) > 10, f"{algorithm.id()} {parameter.name()}"
            assert parameter.description(), f"{algorithm.id()} {parameter.name()}"


def test_every_algorithm_has_tags_help_and_examples(algorithms):
    for name, algorithm in algorithms.items():
        assert len(algorithm.tags()) >= 3, name
        assert algorithm.shortDescription(), name
        page = algorithm.shortHelpString()
        assert f'processing.run("hsi:{name}"' in page, name
        assert f"qgis_process run hsi:{name}" in page, name
        assert "When to use it" in page, name
        for parameter in algorithm.parameterDefinitions():
            assert parameter.name() in page, f"{name} {parameter.name()}"


def test_examples_name_parameters_that_exist(task_algorithms):
    for name, algorithm in task_algorithms.items():
        parameters = {each.name(): each for each in algorithm.parameterDefinitions()}
        assert set(algorithm.example) <= set(parameters), name
        required = {
            key for key, each in parameters.items() if not each.flags() & Definition.Flag.FlagOptional
        }
        defaulted = {key for key, each in parameters.items() if each.defaultValue() is not None}
        assert required - defaulted <= set(algorithm.example), name


def test_choices_are_their_own_texts(algorithms):
    for algorithm in algorithms.values():
        for parameter in algorithm.parameterDefinitions():
            if isinstance(parameter, QgsProcessingParameterEnum):
                assert parameter.usesStaticStrings(), f"{algorithm.id()} {parameter.name()}"
                assert parameter.defaultValue() is None or parameter.defaultValue() in parameter.options()


def test_every_algorithm_runs_in_batches_and_can_be_cancelled(algorithms):
    for algorithm in algorithms.values():
        flags = type(algorithm).Flag
        assert algorithm.flags() & flags.FlagSupportsBatch, algorithm.id()
        assert algorithm.flags() & flags.FlagCanCancel, algorithm.id()


def test_without_an_engine_the_algorithms_stay_and_say_what_to_do(algorithms, monkeypatch):
    monkeypatch.setattr("hsi_toolkit.qgis_plugin.environment.missing_sentence", lambda: "Set it up.")
    assert algorithms["classify"].canExecute() == (False, "Set it up.")


HEAVY = ("numpy", "torch", "rasterio", "pandas", "scipy", "xarray", "osgeo", "matplotlib")
FRESH = """
import sys
from qgis.core import QgsApplication
application = QgsApplication([], False)
application.initQgis()
before = set(sys.modules)
import hsi_toolkit
plugin = hsi_toolkit.classFactory(None)
plugin.initProcessing()
assert len(plugin.provider.algorithms()) > 5
print("LOADED", *sorted({name.split(".")[0] for name in set(sys.modules) - before}))
plugin.unload()
"""


def test_loading_the_provider_imports_nothing_heavy(profile):
    """In a process of its own: here somebody may have imported anything."""
    process = QProcess()
    variables = QProcessEnvironment.systemEnvironment()
    variables.insert("QT_QPA_PLATFORM", "offscreen")
    variables.insert("PYTHONPATH", str(profile / "python" / "plugins"))
    process.setProcessEnvironment(variables)
    process.start(sys.executable, ["-c", FRESH])
    assert process.waitForFinished(60_000)
    output = bytes(process.readAllStandardOutput()).decode()
    assert "LOADED" in output, bytes(process.readAllStandardError()).decode()
    assert not set(output.split("LOADED", 1)[1].split()) & set(HEAVY)
