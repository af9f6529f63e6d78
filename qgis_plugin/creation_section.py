"""The part of the options page that creates the engine's environment."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from qgis.core import Qgis, QgsMessageLog
from qgis.gui import QgsCollapsibleGroupBox, QgsFileWidget
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QRadioButton,
    QToolButton,
    QWidget,
)

from . import environment
from .background import Work
from .base_pythons import Base, base_interpreters, examine_base, wanted_python
from .environment import dotted
from .installation import InstallationCancelled, create, recommended_build
from .settings import Settings
from .status_line import StatusLine

_INTRODUCTION = (
    "A Python environment for the engine alone, in your QGIS profile. QGIS's own Python stays as it is, and "
    "an environment already in use is replaced only once the new one works."
)

# The environment that is being made, which outlives the page that started it.
_creation: Optional[Work] = None


class CreationSection(QGroupBox):
    """Asks for what an environment is made of, makes it and shows how far it is."""

    created = pyqtSignal()

    def __init__(self, settings: Settings) -> None:
        super().__init__("Create an environment")
        introduction = QLabel(_INTRODUCTION)
        introduction.setWordWrap(True)
        self.base = QComboBox()
        self.base.setToolTip("The Python that the environment is made with.")
        self.browse = QToolButton()
        self.browse.setText("…")
        self.browse.setToolTip("Choose another Python")
        self.cpu, self.cuda = QRadioButton("CPU"), QRadioButton("CUDA (NVIDIA GPU)")
        self.hint = StatusLine()
        self.sources = _Sources(settings)
        self.button, self.cancel = QPushButton("Create environment"), QPushButton("Cancel")
        self.progress = QProgressBar()
        for each in (self.progress, self.cancel):
            policy = each.sizePolicy()
            policy.setRetainSizeWhenHidden(True)
            each.setSizePolicy(policy)
        self.status = StatusLine()
        self._work: Optional[Work] = None
        self._lay_out(introduction)
        (self.cuda if recommended_build() == "cuda" else self.cpu).setChecked(True)
        self.cuda.setEnabled(sys.platform != "darwin")
        self.cuda.toggled.connect(self._hint)
        self.sources.torch_index.textChanged.connect(self._hint)
        self.sources.wheel_folder.fileChanged.connect(self._hint)
        self.browse.clicked.connect(self._browse)
        self.button.clicked.connect(self.start)
        self.cancel.clicked.connect(self._cancel)
        self._hint()
        self._show_running(None)
        if _creation is not None:
            self._follow(_creation)
        self._look_for_pythons()

    def _lay_out(self, introduction: QLabel) -> None:
        form = QFormLayout(self)
        form.addRow(introduction)
        form.addRow("Base Python", _row((self.base, 1), (self.browse, 0)))
        form.addRow("PyTorch for", _row((self.cpu, 0), (self.cuda, 1)))
        form.addRow(self.hint)
        form.addRow(self.sources)
        form.addRow(_row((self.button, 0), (self.progress, 1), (self.cancel, 0)))
        form.addRow(self.status)

    def values(self) -> Dict[str, Any]:
        """The settings of this section."""
        return self.sources.values()

    def build(self) -> str:
        """The build of PyTorch that is chosen."""
        return "cuda" if self.cuda.isChecked() else "cpu"

    def start(self) -> None:
        """Create the environment beside the GUI."""
        global _creation
        settings = replace(Settings.load(), **self.values())
        making = partial(create, Path(self.base.currentData()), self.build(), settings)
        _creation = Work("Creating the engine's environment", making)
        _creation.done.connect(_announce)
        self._follow(_creation)
        _creation.start()

    def _look_for_pythons(self) -> None:
        self.base.addItem("Looking for Python …")
        self.button.setEnabled(False)
        work = Work("Looking for Python", base_interpreters)
        work.done.connect(self._show_pythons)
        work.start()

    def _show_pythons(self, found: Optional[List[Base]], error: Optional[Exception]) -> None:
        self.base.clear()
        for base in found or []:
            self._add(base)
        if not found and _creation is None:
            self.status.say("warning", f"No Python that fits was found. {wanted_python()}")
        self._show_running(_creation)

    def _add(self, base: Base) -> None:
        self.base.addItem(f"Python {dotted(base.version)}  –  {base.path}", str(base.path))

    def _browse(self) -> None:
        path = QFileDialog.getOpenFileName(
            self, "Base Python", str(Path(self.base.currentData() or "").parent)
        )[0]
        if path:
            work = Work("Looking at Python", partial(examine_base, Path(path)))
            work.done.connect(self._take_python)
            work.start()

    def _take_python(self, result: Optional[Tuple[str, Optional[Base]]], error: Optional[Exception]) -> None:
        problem, base = result or (str(error), None)
        if problem or base is None:
            self.status.say("warning", problem)
            return
        self._add(base)
        self.base.setCurrentIndex(self.base.count() - 1)
        self._show_running(_creation)

    def _hint(self) -> None:
        sources = self.values()
        named = bool(sources["torch_index"] or sources["wheel_folder"])
        self.hint.say("info", build_hint(self.build(), named, sys.platform))

    def _follow(self, work: Work) -> None:
        self._work = work
        work.feedback.progressChanged.connect(self._show_progress)
        work.feedback.staged.connect(self._show_stage)
        work.done.connect(self._show_outcome)
        self._show_progress(work.feedback.progress())
        self._show_stage(work.feedback.stage or "Starting")
        self._show_running(work)

    def _show_running(self, work: Optional[Work]) -> None:
        self.progress.setVisible(work is not None)
        self.cancel.setVisible(work is not None)
        self.cancel.setEnabled(True)
        self.button.setEnabled(work is None and self.base.currentData() is not None)

    def _show_progress(self, percent: float) -> None:
        self.progress.setValue(round(percent))

    def _show_stage(self, text: str) -> None:
        self.status.say("info", f"{text} …")

    def _cancel(self) -> None:
        self.cancel.setEnabled(False)
        if _creation is not None:
            _creation.cancel()

    def _show_outcome(self, interpreter: Optional[Path], error: Optional[Exception]) -> None:
        self._show_running(None)
        if interpreter is not None:
            warning = self._work.feedback.warning if self._work else ""
            if environment.locate("")[0] != interpreter:
                warning = "The environment is ready, but the environment variable HSI_PYTHON comes first."
            self.status.say("warning" if warning else "success", warning or "The environment is ready.")
            self.created.emit()
        elif error is None or isinstance(error, InstallationCancelled):
            self.status.say("info", "Cancelled. Everything is as it was.")
        else:
            self.status.say("warning", str(error))


class _Sources(QgsCollapsibleGroupBox):
    """Where packages come from."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("Where packages come from")
        self.package_index = QLineEdit(settings.package_index)
        self.package_index.setPlaceholderText("pip's own")
        self.package_index.setToolTip("The address of a package index to use in place of pip's own.")
        self.torch_index = QLineEdit(settings.torch_index)
        self.torch_index.setPlaceholderText("None: it comes from the package index")
        self.torch_index.setToolTip("The address of an index beside it that has other builds of PyTorch.")
        self.wheel_folder = QgsFileWidget()
        self.wheel_folder.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
        self.wheel_folder.setFilePath(settings.wheel_folder)
        self.wheel_folder.lineEdit().setPlaceholderText("None: packages are downloaded")
        self.wheel_folder.setToolTip("A folder with all packages as wheels, to work without a network.")
        form = QFormLayout(self)
        form.addRow("Package index", self.package_index)
        form.addRow("PyTorch index", self.torch_index)
        form.addRow("Wheel folder", self.wheel_folder)
        self.setCollapsed(not any(self.values().values()))

    def values(self) -> Dict[str, Any]:
        """The settings of this group."""
        return {
            "package_index": self.package_index.text().strip(),
            "torch_index": self.torch_index.text().strip(),
            "wheel_folder": self.wheel_folder.filePath().strip(),
        }


def build_hint(build: str, source_named: bool, platform: str) -> str:
    """What a build of PyTorch means on this system; ``source_named`` where the user names its source."""
    if platform == "linux":
        if build == "cuda" or not source_named:
            also = "" if build == "cuda" else ", which computes on the CPU too"
            return f"pip's own index has the build with CUDA for Linux{also}: about 5.5 GB on the disk."
        return "About 2 GB on the disk."
    if build == "cuda" and not source_named:
        return "pip's own index has no build with CUDA for this system. Give a PyTorch index below."
    return "About 5.5 GB on the disk." if build == "cuda" else "About 2 GB on the disk."


def _row(*widgets: Tuple[QWidget, int]) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget, stretch in widgets:
        row.addWidget(widget, stretch)
    return row


def _announce(interpreter: Optional[Path], error: Optional[Exception]) -> None:
    """Use what was created, and say in QGIS's window how it went: the page may be closed by now."""
    global _creation
    _creation = None
    from qgis.utils import iface

    if interpreter is not None:
        replace(Settings.load(), interpreter="").save()
    if interpreter is None and (error is None or isinstance(error, InstallationCancelled)):
        return
    level = Qgis.MessageLevel.Success if error is None else Qgis.MessageLevel.Critical
    text = "The engine's environment is ready." if error is None else str(error)
    QgsMessageLog.logMessage(text, "hsi_toolkit", level)
    if iface is not None:
        iface.messageBar().pushMessage("hsi_toolkit", text, level)
