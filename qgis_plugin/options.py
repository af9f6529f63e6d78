"""The options page: which Python the engine runs in, how to make one, and how the engine runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

from qgis.core import Qgis
from qgis.gui import QgsFileWidget, QgsOptionsPageWidget, QgsOptionsWidgetFactory
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from . import environment
from .background import StageFeedback, Work
from .creation_section import CreationSection
from .settings import Settings
from .status_line import StatusLine

if TYPE_CHECKING:
    from qgis.gui import QgisInterface

TITLE = "hsi_toolkit"
ICON = Path(__file__).parent / "icons" / "hsi.svg"

# Seconds that the offer to set up the engine stays in the message bar.
_OFFERED = 30

_DEVICES = (("CUDA where there is one, else CPU", "auto"), ("CPU", "cpu"), ("CUDA", "cuda"))
_LEAST_MEMORY = 256


class OptionsFactory(QgsOptionsWidgetFactory):
    """Makes the page of QGIS's options dialog."""

    def __init__(self) -> None:
        super().__init__()
        self.setTitle(TITLE)

    def icon(self) -> QIcon:
        return QIcon(str(ICON))

    def createWidget(self, parent: Optional[QWidget] = None) -> QgsOptionsPageWidget:
        return OptionsPage(parent)


class OptionsPage(QgsOptionsPageWidget):
    """Shows the settings and stores them when the dialog is confirmed."""

    def __init__(self, parent: Optional[QWidget] = None) -> None:
        super().__init__(parent)
        # The name by which ``showOptionsDialog`` finds the page.
        self.setObjectName(TITLE)
        settings = Settings.load()
        self.engine = EngineSection(settings)
        self.creation = CreationSection(settings)
        self.running = RunningSection(settings)
        self.creation.created.connect(self.engine.use_created)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for section in (self.engine, self.creation, self.running):
            layout.addWidget(section)
        layout.addStretch()
        _align([section.layout() for section in (self.engine, self.creation, self.running)])

    def values(self) -> Settings:
        """What the page shows."""
        return Settings(**self.engine.values(), **self.creation.values(), **self.running.values())

    def apply(self) -> None:
        self.values().save()


class EngineSection(QGroupBox):
    """Which interpreter is used, and whether it works."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("Engine")
        self.interpreter = QgsFileWidget()
        self.interpreter.setDialogTitle("Python of the engine")
        self.interpreter.lineEdit().setPlaceholderText("The environment that is created below")
        self.interpreter.setToolTip(
            "A Python that has the hsi_toolkit core library; empty for the created one."
        )
        self.interpreter.setFilePath(settings.interpreter)
        self.button = QPushButton("Check")
        self.button.setToolTip("Start this Python and load what the engine needs.")
        self.status = StatusLine()
        row = QHBoxLayout()
        row.addWidget(self.interpreter, 1)
        row.addWidget(self.button)
        form = QFormLayout(self)
        form.addRow("Interpreter", row)
        form.addRow(self.status)
        self.button.clicked.connect(self.check)
        self.interpreter.fileChanged.connect(self._look)
        self._look()

    def values(self) -> Dict[str, Any]:
        """The settings of this section."""
        return {"interpreter": self.interpreter.filePath().strip()}

    def use_created(self) -> None:
        """Take the environment that has just been created, and check it."""
        self.interpreter.setFilePath("")
        self.check()

    def check(self) -> None:
        """Check the interpreter beside the GUI and show what was found."""
        path = self._located()[0]
        if path is None:
            self._look()
            return
        self.button.setEnabled(False)
        self.status.say("info", f"Checking {path} …")

        def examine(feedback: StageFeedback) -> Tuple[Path, str, Dict[str, Any]]:
            return (path, *environment.examine(path, feedback))

        work = Work("Checking the engine", examine)
        work.done.connect(self._show)
        work.start()

    def _located(self) -> Tuple[Optional[Path], str]:
        return environment.locate(self.interpreter.filePath().strip())

    def _look(self) -> None:
        """What can be said without starting the interpreter."""
        sentence = environment.missing_sentence(self.interpreter.filePath().strip())
        if sentence:
            self.status.say("warning", sentence)
        else:
            path, origin = self._located()
            self.status.say("info", f"In use: {path} ({origin}).")

    def _show(self, result: Optional[Tuple[Path, str, Dict[str, Any]]], error: Optional[Exception]) -> None:
        self.button.setEnabled(True)
        if result is None:
            self.status.say("warning", f"The check was stopped ({error or 'cancelled'}).")
        elif result[0] != self._located()[0]:
            # Another one was chosen meanwhile.
            self._look()
        elif result[1]:
            self.status.say("warning", result[1])
        else:
            self.status.say("success", f"Works: {environment.in_words(result[2])} ({result[0]}).")


class RunningSection(QGroupBox):
    """How the engine runs."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("Running")
        self.device = QComboBox()
        for label, value in _DEVICES:
            self.device.addItem(label, value)
        self.device.setCurrentIndex(max(self.device.findData(settings.device), 0))
        self.device.setToolTip("Where algorithms compute unless their dialog says otherwise.")
        self.memory = QSpinBox()
        self.memory.setRange(0, 2**22)
        self.memory.setSingleStep(1024)
        self.memory.setSuffix(" MB")
        self.memory.setSpecialValueText("What is free")
        self.memory.setValue(settings.memory_limit)
        self.memory.setToolTip("How much memory blocks and batches of a scene may take together.")
        self.models = QgsFileWidget()
        self.models.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
        self.models.lineEdit().setPlaceholderText("The user's data folder")
        self.models.setFilePath(settings.model_folder)
        self.models.setToolTip("Where fetched models are kept.")
        self.idle = QSpinBox()
        self.idle.setRange(1, 24 * 60)
        self.idle.setSuffix(" min")
        self.idle.setValue(settings.idle_minutes)
        self.idle.setToolTip("Between runs the engine stays ready so long, then it gives its memory back.")
        form = QFormLayout(self)
        form.addRow("Device", self.device)
        form.addRow("Memory limit", self.memory)
        form.addRow("Model folder", self.models)
        form.addRow("End when idle for", self.idle)

    def values(self) -> Dict[str, Any]:
        """The settings of this section."""
        memory = self.memory.value()
        return {
            "device": self.device.currentData(),
            "memory_limit": max(memory, _LEAST_MEMORY) if memory else 0,
            "model_folder": self.models.filePath().strip(),
            "idle_minutes": self.idle.value(),
        }


def _align(forms: List[QFormLayout]) -> None:
    """Give the labels of the forms one width, so that their fields stand in one column."""
    labels = []
    for form in forms:
        items = (form.itemAt(row, QFormLayout.ItemRole.LabelRole) for row in range(form.rowCount()))
        labels += [item.widget() for item in items if item is not None and item.widget() is not None]
    width = max(label.sizeHint().width() for label in labels)
    for label in labels:
        label.setMinimumWidth(width)


def offer_setup(iface: "QgisInterface") -> None:
    """Where the engine cannot be started, say so in the message bar, with a button to the options page."""
    sentence = environment.missing_sentence()
    if not sentence:
        return
    bar = iface.messageBar()
    message = bar.createMessage(TITLE, sentence.replace(environment.CURE, "").strip())
    button = QPushButton("Set up the engine", message)
    button.clicked.connect(lambda: iface.showOptionsDialog(iface.mainWindow(), TITLE))
    message.layout().addWidget(button)
    bar.pushWidget(message, Qgis.MessageLevel.Info, _OFFERED)
