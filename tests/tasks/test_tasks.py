"""Task declarations: checked once, readable everywhere."""

import ast
import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.tasks import TASKS, Task
from hsi_toolkit.tasks.base import parameter

ROOT = Path(__file__).resolve().parents[2]
EVERY_TASK = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


def minimal(task: type[Task]) -> dict[str, object]:
    """The required parameters alone."""
    values = {"rasters": ["a.tif"], "files": ["a.pth"], "vector_output": "a.gpkg"}
    return {
        declared.name: values.get(declared.kind, "a.tif")
        for declared in task.parameters()
        if declared.required
    }


@EVERY_TASK
def test_a_task_survives_json(task: type[Task]) -> None:
    made = task.from_dict(minimal(task))
    assert task.from_dict(json.loads(json.dumps(made.to_dict()))) == made


@EVERY_TASK
def test_each_required_parameter_is_asked_for_by_name(task: type[Task]) -> None:
    for name in minimal(task):
        values = {key: value for key, value in minimal(task).items() if key != name}
        with pytest.raises(ParameterError, match=rf"'{name}'.*is missing"):
            task.from_dict(values)


@EVERY_TASK
def test_every_parameter_has_help_that_is_a_sentence(task: type[Task]) -> None:
    for declared in task.parameters():
        assert declared.help.endswith("."), declared.name
        assert declared.label, declared.name
    assert task.summary.endswith(".")
    assert task.examples


@EVERY_TASK
def test_every_numeric_default_lies_within_its_bounds(task: type[Task]) -> None:
    for declared in task.parameters():
        if declared.kind in ("integer", "number", "choice") and declared.default is not None:
            assert declared.check(declared.default) == declared.default


def test_a_value_outside_the_bounds_is_refused_with_the_range() -> None:
    with pytest.raises(ParameterError, match=r"'epochs' is 0\. Give a value from 1 to 10000 epochs"):
        TASKS["train"].from_dict({**minimal(TASKS["train"]), "epochs": 0})


@pytest.mark.parametrize("value", ["three", 1.5, True, float("nan")])
def test_a_whole_number_is_nothing_else(value: object) -> None:
    with pytest.raises(ParameterError, match="'epochs'"):
        TASKS["train"].from_dict({**minimal(TASKS["train"]), "epochs": value})


@dataclass(frozen=True)
class Points(Task):
    """A task that writes a vector layer."""

    name: ClassVar[str] = "points"
    output: str = parameter("vector_output", "Points", "The points.", suffixes=(".gpkg",))


@pytest.mark.parametrize("path", ["points.gpkg", "/a folder/Points.GPKG"])
def test_a_vector_output_is_the_path_of_a_geopackage(path: str) -> None:
    assert Points(output=path).output == path


@pytest.mark.parametrize("path", ["points.shp", "points", "points.gpkg.txt"])
def test_a_vector_output_of_another_format_is_refused_with_the_suffix(path: str) -> None:
    with pytest.raises(ParameterError, match=r"'output' is .* Give a name that ends in \.gpkg"):
        Points(output=path)


def test_an_unknown_choice_names_the_known_ones() -> None:
    with pytest.raises(ParameterError, match="exact, fast"):
        TASKS["classify"].from_dict({**minimal(TASKS["classify"]), "mode": "quick"})


def test_an_unknown_parameter_names_the_known_ones() -> None:
    with pytest.raises(ParameterError, match=r"no parameter 'scnee'.*scene"):
        TASKS["info"].from_dict({"scnee": "a.tif"})


def test_declarations_load_nothing_but_the_standard_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import hsi_toolkit.tasks; "
        "loaded = {name.split('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(loaded - set(sys.stdlib_module_names) - {'hsi_toolkit'}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


@pytest.mark.parametrize(
    "path",
    [ROOT / "hsi_toolkit" / name for name in ("__init__.py", "errors.py")]
    + sorted((ROOT / "hsi_toolkit" / "tasks").glob("*.py")),
    ids=lambda path: path.name,
)
def test_what_qgis_reads_is_python_3_9_and_imports_relatively(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0]
    assert not [node.module for node in imports if (node.module or "").startswith("hsi_toolkit")]


def test_the_documentation_is_made_from_the_declarations() -> None:
    script = ROOT / "docs" / "make_tasks_page.py"
    spec = importlib.util.spec_from_file_location("make_tasks_page", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8") == module.page(), (
        "run: python docs/make_tasks_page.py"
    )
