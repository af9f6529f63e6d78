"""The plugin's zip: what QGIS's plugin repository demands, and that it is built from its sources alone.

Blocking checks of the repository: one folder, its files, metadata, Bandit, detect-secrets, the move to Qt 6.
"""

import ast
import configparser
import importlib.util
import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import ModuleType

import pytest

import hsi_toolkit

ROOT = Path(__file__).resolve().parents[1]
TOP = "hsi_toolkit"


def load_tool(name: str) -> ModuleType:
    """The module ``tools/<name>.py``, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build_plugin = load_tool("build_plugin")


@pytest.fixture(scope="session")
def zip_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built zip."""
    path: Path = build_plugin.build(tmp_path_factory.mktemp("dist"))
    return path


@pytest.fixture(scope="session")
def names(zip_path: Path) -> list[PurePosixPath]:
    with zipfile.ZipFile(zip_path) as archive:
        assert archive.testzip() is None
        return [PurePosixPath(name) for name in archive.namelist()]


@pytest.fixture(scope="session")
def unpacked(zip_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin's folder as the plugin manager leaves it."""
    folder = tmp_path_factory.mktemp("plugins")
    with zipfile.ZipFile(zip_path) as archive:
        archive.extractall(folder)
    return folder / TOP


@pytest.fixture(scope="session")
def sources(unpacked: Path) -> dict[str, ast.Module]:
    """Every Python file of the plugin, parsed with the oldest grammar that QGIS runs it with."""
    return {
        path.relative_to(unpacked).as_posix(): ast.parse(
            path.read_text(encoding="utf-8"), filename=str(path), feature_version=(3, 9)
        )
        for path in sorted(unpacked.rglob("*.py"))
    }


def test_the_zip_is_small_and_named_by_its_version(zip_path: Path) -> None:
    assert zip_path.name == f"hsi_toolkit-{hsi_toolkit.__version__}.zip"
    assert zip_path.stat().st_size < 2_000_000


def test_it_has_one_top_folder_that_python_can_import(names: list[PurePosixPath]) -> None:
    assert {name.parts[0] for name in names} == {TOP}
    assert TOP.isidentifier()
    assert not [name for name in names if name.is_absolute() or ".." in name.parts]


def test_the_files_that_the_repository_asks_for_are_there(names: list[PurePosixPath]) -> None:
    for needed in ("__init__.py", "metadata.txt", "LICENSE"):
        assert PurePosixPath(TOP, needed) in names


def test_nothing_is_there_that_the_repository_refuses(names: list[PurePosixPath]) -> None:
    refused = [
        str(name)
        for name in names
        if name.suffix in (".pyc", ".pyo", ".so", ".pyd", ".dll", ".exe")
        or any(part.startswith(".") or part in ("__pycache__", "__MACOSX") for part in name.parts)
    ]
    assert refused == []


def test_the_core_comes_as_one_wheel_of_the_same_version_that_holds_all_of_it(
    unpacked: Path, names: list[PurePosixPath]
) -> None:
    (wheel,) = [name for name in names if name.suffix == ".whl"]
    assert str(wheel.parent) == f"{TOP}/qgis_plugin/wheels"
    assert wheel.name == f"hsi_toolkit-{hsi_toolkit.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(unpacked.parent / wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("hsi_toolkit/")}
    core = ROOT / "hsi_toolkit"
    files = {
        path.relative_to(ROOT).as_posix()
        for path in core.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    assert held == files


def test_the_core_outside_the_wheel_is_declarations_alone(names: list[PurePosixPath]) -> None:
    core = {str(PurePosixPath(*name.parts[2:])) for name in names if name.parts[1] == "hsi_toolkit"}
    assert {name for name in core if not name.startswith("tasks/")} == {"__init__.py", "errors.py"}


def test_the_same_sources_give_the_same_bytes(zip_path: Path, tmp_path: Path) -> None:
    assert build_plugin.build(tmp_path).read_bytes() == zip_path.read_bytes()


def test_building_leaves_nothing_behind_in_the_clone(zip_path: Path, tmp_path: Path) -> None:
    before = {path.name for path in ROOT.iterdir()}
    build_plugin.build(tmp_path)
    assert {path.name for path in ROOT.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == [zip_path.name]


def test_another_version_in_metadata_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hsi_toolkit").mkdir()
    (tmp_path / "hsi_toolkit" / "__init__.py").write_text('__version__ = "9.9.9"\n')
    (tmp_path / "metadata.txt").write_text("[general]\nversion=0.1.0\n")
    with pytest.raises(build_plugin.BuildError, match=r"0\.1\.0.*9\.9\.9"):
        build_plugin.build(tmp_path / "dist", tmp_path)


def test_metadata_says_what_the_repository_asks_for(unpacked: Path) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string((unpacked / "metadata.txt").read_text(encoding="utf-8"))
    general = parser["general"]
    needed = (
        "name", "description", "version", "qgisMinimumVersion", "qgisMaximumVersion", "author", "email",
        "about", "tracker", "repository", "homepage",
    )  # fmt: skip
    assert [key for key in needed if not general.get(key, "").strip()] == []
    assert general["version"] == hsi_toolkit.__version__
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?", general["version"])
    assert general["qgisMinimumVersion"] == "3.22"
    assert general["qgisMaximumVersion"] == "4.99"
    assert general["hasProcessingProvider"] == "yes"
    assert "supportsQt6" not in general
    assert re.fullmatch(r"[^@\s]+@[^@\s]+\.\w+", general["email"])
    for key in ("tracker", "repository", "homepage"):
        assert general[key].startswith("https://")
    assert "plugin" not in general["name"].lower()
    assert (unpacked / general["icon"]).is_file()
    assert (unpacked / general["icon"]).suffix in (".svg", ".png")


def test_bandit_finds_nothing(unpacked: Path) -> None:
    command = [sys.executable, "-m", "bandit", "--recursive", "--format", "json", "--quiet", str(unpacked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    assert report["errors"] == []
    found = [f"{Path(each['filename']).relative_to(unpacked)}:{each['line_number']} {each['test_id']} "
             f"{each['issue_text']}" for each in report["results"]]  # fmt: skip
    assert found == []
    assert report["metrics"]["_totals"]["loc"] > 1000
    assert report["metrics"]["_totals"]["nosec"] == 0


def test_detect_secrets_finds_nothing(unpacked: Path) -> None:
    command = [sys.executable, "-m", "detect_secrets", "-C", str(unpacked), "scan", "--all-files", "."]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["results"]
    # The wheel is a binary of which the repository reads nothing.
    assert {path: each for path, each in found.items() if not path.endswith(".whl")} == {}


def test_no_finding_is_silenced(unpacked: Path) -> None:
    marks = re.compile(r"nosec|pragma: ?allowlist|allowlist secret", re.IGNORECASE)
    silenced = [
        path.name
        for path in unpacked.rglob("*")
        if path.suffix in (".py", ".txt", ".json", ".svg") and marks.search(path.read_text(encoding="utf-8"))
    ]
    assert silenced == []


def test_the_plugin_imports_the_standard_library_and_qgis_alone(sources: dict[str, ast.Module]) -> None:
    foreign = []
    for file, tree in sources.items():
        for node in ast.walk(tree):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module or ""]
            for module in modules:
                top = module.split(".")[0]
                if top not in sys.stdlib_module_names and top not in ("qgis", "processing"):
                    foreign.append(f"{file}: {module}")
    assert foreign == []


def running(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes but for what type checkers alone look at."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from running(node)


def test_relative_imports_meet_what_is_in_the_zip(unpacked: Path, sources: dict[str, ast.Module]) -> None:
    missing = []
    for file, tree in sources.items():
        for node in running(tree):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            base = (unpacked / file).parents[node.level - 1]
            target = base.joinpath(*(node.module or "").split("."))
            for name in [alias.name for alias in node.names]:
                found = (
                    target.with_suffix(".py"), target / "__init__.py", target / f"{name}.py",
                    target / name / "__init__.py",
                )  # fmt: skip
                if not any(each.is_file() for each in found):
                    missing.append(f"{file}: {'.' * node.level}{node.module or ''} import {name}")
    assert missing == []


def test_nothing_runs_other_programs_or_code_from_text(sources: dict[str, ast.Module]) -> None:
    """Never waived on an upload; processes are QProcess's, which the scanners know to be safe."""
    modules = {
        "subprocess",
        "pickle",
        "marshal",
        "shelve",
        "ctypes",
        "multiprocessing",
        "telnetlib",
        "ftplib",
    }
    calls = {"eval", "exec", "compile", "__import__", "input"}
    found = []
    for file, tree in sources.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                imported = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                found += [f"{file}: import {each}" for each in imported if each.split(".")[0] in modules]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in calls:
                found.append(f"{file}:{node.lineno} {node.func.id}()")
            elif isinstance(node, ast.Assert):
                found.append(f"{file}:{node.lineno} assert")
    assert found == []


def test_qt_is_imported_through_qgis_and_nothing_of_qt_5_alone_is_used(
    sources: dict[str, ast.Module],
) -> None:
    """The rules of QGIS's migration checker that need no Qt; tests/qgis has the one of scoped enums."""
    gone = {"QRegExp", "QDesktopWidget", "QStringListModel5", "qApp", "QMatrix", "QGLWidget", "QSignalMapper"}
    found = []
    for file, tree in sources.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                module = node.module or ""
                if module.startswith(("PyQt5", "PyQt6", "PySide", "sip")) or module == "qgis.PyQt.Qt":
                    found.append(f"{file}:{node.lineno} from {module}")
                found += [f"{file}:{node.lineno} {a.name}" for a in node.names if a.name in gone or
                          a.name.endswith("resources_rc")]  # fmt: skip
                if module == "qgis.PyQt.QtGui":
                    moved = {"QAction", "QShortcut", "QUndoCommand", "QActionGroup", "QUndoStack"}
                    found += [
                        f"{file}:{node.lineno} {a.name} of QtGui" for a in node.names if a.name in moved
                    ]
            elif isinstance(node, ast.Import):
                found += [f"{file}: import {a.name}" for a in node.names if a.name.startswith("PyQt")]
            elif isinstance(node, ast.Attribute) and node.attr in ("exec_", "print_", "toPyObject"):
                found.append(f"{file}:{node.lineno} .{node.attr}")
            elif isinstance(node, ast.FunctionDef) and node.name == "exec_":
                found.append(f"{file}:{node.lineno} def exec_")
            elif (
                isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "QVariant"
            ):
                found.append(f"{file}:{node.lineno} QVariant()")
    assert found == []


def test_sources_are_utf_8_with_unix_line_ends(zip_path: Path) -> None:
    with zipfile.ZipFile(zip_path) as archive:
        for name in archive.namelist():
            if name.endswith((".py", ".txt", ".md", ".svg")):
                data = archive.read(name)
                assert b"\r" not in data, name
                io.TextIOWrapper(io.BytesIO(data), encoding="utf-8").read()
