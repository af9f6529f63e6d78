"""Say what the engine runs on and whether it works."""

import os
import platform
import re
import sys
import time
from html import escape
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from qgis.core import (
    Qgis,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterFileDestination,
)
from qgis.PyQt.QtCore import QT_VERSION_STR, QSysInfo

from ..hsi_toolkit import __version__
from ..hsi_toolkit.tasks import TASKS
from ..qgis_plugin import client, environment
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.installation import recommended_build
from ..qgis_plugin.parameters import file_filter
from ..qgis_plugin.results import fixed
from ..qgis_plugin.settings import Settings

_VARIABLES = (
    "HSI_PYTHON",
    "PYTHONHOME",
    "PYTHONPATH",
    "PROJ_LIB",
    "PROJ_DATA",
    "GDAL_DATA",
    "PIP_CONFIG_FILE",
)


class CheckEngine(TaskAlgorithm):
    """Runs with or without an engine: what QGIS knows comes first, what the engine says of itself after."""

    task = TASKS["doctor"]
    when = (
        "When the engine does not start, when something fails that should not, and before reporting a "
        "defect: the report holds what somebody who is to help has to know, without the names of the home "
        "folder and of the user, and can be pasted as it is."
    )
    example = fixed(OUTPUT="engine.html")

    def initAlgorithm(self, configuration: Optional[Mapping[str, Any]] = None) -> None:
        report = QgsProcessingParameterFileDestination(
            "OUTPUT", "Report", file_filter((".html", ".txt")), None, True
        )
        report.setHelp("The report as a page for the results viewer, or as plain text with the ending .txt.")
        self.addParameter(report)
        self.addOutput(QgsProcessingOutputString("REPORT", "Report as text"))
        self.addOutput(QgsProcessingOutputNumber("FAILED", "Number of checks that failed"))
        self.addOutput(QgsProcessingOutputNumber("SECONDS", "Seconds that the run took"))
        self.addOutput(QgsProcessingOutputString("SUMMARY", "Summary"))

    def canExecute(self) -> Tuple[bool, str]:
        return True, ""

    def processAlgorithm(
        self, parameters: Mapping[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> Dict[str, Any]:
        started = time.monotonic()
        problem, engine, failed = self._engine(feedback)
        here = _table({**_qgis_facts(), **_engine_facts(), "Engine": problem or "works"})
        text = nameless("\n".join(["QGIS", *here, "", *engine])).rstrip() + "\n"
        for line in text.splitlines():
            feedback.pushInfo(line)
        if problem:
            feedback.pushWarning(problem)
        path = self.parameterAsFileOutput(parameters, "OUTPUT", context)
        if path:
            _write(path, text)
        results = {"OUTPUT": path} if path else {}
        return {
            **results,
            "REPORT": text,
            "FAILED": failed,
            "SUMMARY": problem or "The engine works.",
            "SECONDS": round(time.monotonic() - started, 3),
        }

    def _engine(self, feedback: QgsProcessingFeedback) -> Tuple[str, List[str], int]:
        """What is wrong with the engine, what it says of itself, and how many of its checks failed."""
        feedback.setProgressText("Checking the interpreter")
        interpreter = environment.find_interpreter()
        problem = environment.missing_sentence()
        if interpreter is not None and not problem:
            problem = environment.examine(interpreter, feedback)[0]
        if problem or feedback.isCanceled():
            return problem or "not checked: cancelled", [], 1
        try:
            result = client.run_task("doctor", {}, feedback)
        except client.EngineCancelled as error:
            raise QgsProcessingException(str(error)) from None
        except client.EngineError as error:
            return error.message, error.details.splitlines(), 1
        failed = int(result.get("failed") or 0)
        return str(result["summary"]) if failed else "", str(result["report"]).splitlines(), failed


def _qgis_facts() -> Dict[str, str]:
    return {
        "QGIS": Qgis.QGIS_VERSION,
        "Qt": QT_VERSION_STR,
        "System": f"{QSysInfo.prettyProductName()}, {platform.platform()}, {platform.machine()}",
        "QGIS's Python": f"{platform.python_version()} ({sys.base_prefix})",
        "Plugin": f"hsi_toolkit {__version__} ({environment.ROOT})",
        "Profile": str(environment.profile_folder().parent),
    }


def _engine_facts() -> Dict[str, str]:
    interpreter, origin = environment.locate()
    settings = Settings.load()
    indexes = {"package index": settings.package_index, "PyTorch index": settings.torch_index}
    named = [f"{name} {without_user(address)}" for name, address in indexes.items() if address]
    set_here = [f"{name}={os.environ[name]}" for name in _VARIABLES if os.environ.get(name)]
    return {
        "Interpreter": f"{interpreter} ({origin})" if interpreter else "none",
        "NVIDIA driver": "found" if recommended_build() == "cuda" else "not found",
        "Device": settings.device,
        "Memory limit": f"{settings.memory_limit} MB" if settings.memory_limit else "what is free",
        "Model folder": settings.model_folder or "the user's data folder",
        "Ends when idle": f"after {settings.idle_minutes} minutes",
        "Packages from": settings.wheel_folder or ", ".join(named) or "pip's own index",
        "Variables": ", ".join(set_here) or "none set",
    }


def without_user(address: str) -> str:
    """An index's address without the name and key that may stand in it."""
    return re.sub(r"(?<=://)[^/\s]*@", "", address)


def nameless(text: str) -> str:
    """The text with ``~`` for the home folder and without the user's name in paths."""
    home = str(Path.home())
    if len(home) > 1:
        for spelling in (home, home.replace("\\", "/")):
            text = re.sub(re.escape(spelling) + r"(?![\w.-])", "~", text)
    user = os.environ.get("USERNAME") or os.environ.get("USER")
    return re.sub(rf"(?<=[/\\]){re.escape(user)}(?=[/\\\s]|$)", "<user>", text) if user else text


def _table(facts: Mapping[str, str]) -> List[str]:
    width = max(map(len, facts)) + 2
    return [f"{label + ':':<{width}}{text}" for label, text in facts.items()]


def _write(path: str, text: str) -> None:
    page = (
        '<!doctype html><html><head><meta charset="utf-8"><title>hsi_toolkit</title></head>'
        f"<body><pre>{escape(text)}</pre></body></html>"
    )
    try:
        Path(path).write_text(text if path.lower().endswith(".txt") else page, encoding="utf-8")
    except OSError as error:
        raise QgsProcessingException(
            f"The report cannot be written to {path} ({error.strerror}). Choose another file."
        ) from None
