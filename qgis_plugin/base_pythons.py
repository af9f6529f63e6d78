"""The Pythons of this machine that the engine's environment can be made with."""

import os
import re
import sys
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from qgis.core import QgsApplication, QgsFeedback
from qgis.PyQt.QtCore import QStandardPaths

from .environment import OLDEST, ask, dotted, file_problem

#: The newest Python that every package of the locked list has a wheel for.
NEWEST = (3, 14)

_EXECUTABLE = re.compile(r"python(3(\.\d+)?)?(\.exe)?")


class Base(NamedTuple):
    """A Python that an environment can be made with; without ``has_venv`` after a package is installed."""

    path: Path
    version: Tuple[int, ...]
    has_venv: bool


def examine_base(path: Path, feedback: Optional[QgsFeedback] = None) -> Tuple[str, Optional[Base]]:
    """What is wrong with a Python as the base of an environment and the cure, and the base."""
    problem = file_problem(path)
    found, output = ({}, "") if problem else ask(path, feedback=feedback)
    if problem or not found:
        return problem or f"{path} does not work as a Python ({output}). Choose another base Python.", None
    base = Base(path, tuple(found["python"]), bool(found["venv"]))
    if not OLDEST <= base.version[:2] <= NEWEST:
        return f"{path} is Python {dotted(base.version)}. {wanted_python()}", base
    if not base.has_venv:
        package = f"python{dotted(base.version[:2])}-venv"
        return (
            f"{path} cannot make virtual environments. Install its module venv (on Debian and Ubuntu: "
            f"apt install {package}), or choose another base Python.",
            base,
        )
    return "", base


def wanted_python() -> str:
    """Which Python to install where none fits."""
    if sys.platform in ("win32", "darwin"):
        where = "with Python's own installer"
    else:
        where = "from the system's packages (Debian 12, Ubuntu 24.04 and newer: apt install python3-venv)"
    return f"Install Python {dotted(OLDEST)} to {dotted(NEWEST)} {where} and choose it as the base Python."


def base_interpreters(feedback: Optional[QgsFeedback] = None) -> List[Base]:
    """The Pythons of this machine that an environment can be made with, the best first.

    Starts each of them for a moment. A Python of the system comes before QGIS's own, which the next update
    of QGIS may replace.
    """
    found: Dict[str, Base] = {}
    for candidate in _candidates():
        real = os.path.realpath(candidate)
        if real in found or file_problem(candidate) or (feedback is not None and feedback.isCanceled()):
            continue
        base = examine_base(candidate, feedback)[1]
        if base and OLDEST <= base.version[:2] <= NEWEST:
            found[real] = base
    return sorted(found.values(), key=lambda base: not base.has_venv)


def _candidates() -> Iterator[Path]:
    # sys.executable is QGIS itself on Windows and macOS, so it is not among them.
    own, qgis = Path(sys.base_prefix), Path(QgsApplication.prefixPath())
    if os.name == "nt":
        local = Path(os.environ.get("LOCALAPPDATA", "C:/"))
        folders = (
            (local / "Programs" / "Python", "Python3*/python.exe"),
            (local / "Python", "pythoncore-3*/python.exe"),
            (Path(os.environ.get("PROGRAMFILES", "C:/Program Files")), "Python3*/python.exe"),
            (Path("C:/"), "Python3*/python.exe"),
            (own, "python.exe"),
            (qgis.parent, "Python3*/python.exe"),
        )
    else:
        folders = (
            (Path("/usr/bin"), "python3*"),
            (Path("/usr/local/bin"), "python3*"),
            (Path("/opt/homebrew/bin"), "python3*"),
            (Path("/Library/Frameworks/Python.framework/Versions"), "3.*/bin/python3"),
            (own / "bin", "python3*"),
            (qgis / "bin", "python3*"),
            (qgis.parent / "Frameworks/Python.framework/Versions", "3.*/bin/python3"),
        )
    for folder, pattern in folders:
        pythons = (path for path in folder.glob(pattern) if _EXECUTABLE.fullmatch(path.name))
        yield from sorted(pythons, key=_minor_version, reverse=True)
    on_path = "" if os.name == "nt" else QStandardPaths.findExecutable("python3")
    if on_path:
        yield Path(on_path)


def _minor_version(path: Path) -> int:
    digits = re.search(r"3[.]?(\d+)", str(path))
    return int(digits.group(1)) if digits else 0
