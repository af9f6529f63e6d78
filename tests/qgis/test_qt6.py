"""The rules of QGIS's move to Qt 6, held against the classes of the QGIS that runs.

QGIS's own checker (``pyqt5_to_pyqt6.py``) rewrites enum values that are taken from the class instead of from
the enum. It cannot be installed, so its rule is checked here against the classes themselves.
"""

import ast
import importlib
import types
from enum import Enum
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    [
        ROOT / "__init__.py",
        *(ROOT / "qgis_plugin").rglob("*.py"),
        *(ROOT / "processing_algorithms").rglob("*.py"),
    ]
)

#: What the checker calls renamed or removed, whatever the class.
GONE = {
    ("Qt", "MidButton"), ("Qt", "TextColorRole"), ("Qt", "BackgroundColorRole"),
    ("QPainter", "HighQualityAntialiasing"), ("QVariant", "Type"),
}  # fmt: skip
#: ``QVariant.Int`` and its like have no other form that QGIS 3.22 knows; the checker lets them pass.
LEFT_ALONE = {"QVariant"}
REMOVED_CALLS = {"exec_", "desktop"}


def is_enum_type(value):
    """Whether it is an enum: SIP's kind, which is an int of PyQt's own, or Python's."""
    if not isinstance(value, type):
        return False
    nested_int = "." in value.__qualname__ and issubclass(value, int)
    return issubclass(value, Enum) or type(value).__name__ == "enumtype" or nested_int


def imported(tree):
    """What the names of a module stand for that it takes from QGIS and Qt, local imports included."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("qgis"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                found[alias.asname or alias.name] = getattr(module, alias.name)
    return found


def dotted(node):
    """``a.b.c`` as a list of names; None for anything else."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return [node.id, *reversed(names)]


def unscoped(tree, known):
    """Enum values taken from something else than their enum, as ``line: text``."""
    found = []
    for node in ast.walk(tree):
        names = dotted(node) if isinstance(node, ast.Attribute) else None
        if names is None or names[0] not in known or names[0] in LEFT_ALONE:
            continue
        holder = known[names[0]]
        for name in names[1:-1]:
            holder = getattr(holder, name, None)
        value = getattr(holder, names[-1], None)
        if value is None or isinstance(holder, types.ModuleType):
            continue
        if is_enum_type(type(value)) and not is_enum_type(holder):
            found.append(f"{node.lineno}: {'.'.join(names)}")
    return found


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from qgis.PyQt.QtCore import Qt\nx = Qt.UserRole", ["2: Qt.UserRole"]),
        ("from qgis.PyQt.QtCore import Qt\nx = Qt.ItemDataRole.UserRole", []),
        (
            "from qgis.core import QgsProcessing\nx = QgsProcessing.TypeRaster",
            ["2: QgsProcessing.TypeRaster"],
        ),
        ("from qgis.core import QgsProcessing\nx = QgsProcessing.SourceType.TypeRaster", []),
        ("from qgis.core import Qgis\nx = Qgis.Warning", ["2: Qgis.Warning"]),
        ("from qgis.core import Qgis\nx = Qgis.MessageLevel.Warning", []),
        (
            "from qgis.core import QgsProcessingParameterNumber as N\nx = N.Integer\ny = N.Type.Integer",
            ["2: N.Integer"],
        ),
        (
            "from qgis.core import QgsProcessingParameterRasterLayer as P\nx = P.FlagOptional",
            ["2: P.FlagOptional"],
        ),
        ("from qgis.PyQt.QtWidgets import QSizePolicy\nx = QSizePolicy.Policy.Expanding", []),
        ("from qgis.core import QgsSettings\nx = QgsSettings.value", []),
    ],
)
def test_the_rule_knows_a_scoped_value_from_an_unscoped_one(qgis_app, code, expected):
    tree = ast.parse(code)
    assert unscoped(tree, imported(tree)) == expected


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_enum_values_are_taken_from_their_enum(qgis_app, path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert unscoped(tree, imported(tree)) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_nothing_is_used_that_qt_6_lacks(path):
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            names = dotted(node) or []
            if tuple(names[-2:]) in GONE:
                found.append(f"{node.lineno}: {'.'.join(names)}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            removed = node.func.attr in REMOVED_CALLS and not (node.func.attr == "desktop" and node.args)
            metrics = node.func.attr == "width" and "fontMetrics" in ast.dump(node.func.value)
            shortcut = node.func.attr == "addAction" and len(node.args) >= 4
            if removed or metrics or shortcut:
                found.append(f"{node.lineno}: {node.func.attr}()")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "QVariant":
            found.append(f"{node.lineno}: QVariant()")
    assert found == []
