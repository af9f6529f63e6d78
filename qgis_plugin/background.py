"""Work beside the GUI: a function in a QGIS task, its progress and its outcome as signals."""

from typing import Any, Callable, Optional, Set

from qgis.core import QgsApplication, QgsProcessingFeedback, QgsTask
from qgis.PyQt.QtCore import pyqtSignal


class StageFeedback(QgsProcessingFeedback):
    """A feedback that tells its stage and remembers its last warning."""

    staged = pyqtSignal(str)

    def __init__(self) -> None:
        super().__init__(False)
        self.stage, self.warning = "", ""

    def setProgressText(self, text: str) -> None:
        self.stage = text
        self.staged.emit(text)

    def pushWarning(self, warning: str) -> None:
        self.warning = warning


class Work(QgsTask):
    """Runs ``function(feedback)`` in a thread of QGIS's; ``done`` brings its result and its error.

    One of the two is None. It comes in the main thread, whichever way the work ended.
    """

    done = pyqtSignal(object, object)

    def __init__(self, description: str, function: Callable[[StageFeedback], Any]) -> None:
        super().__init__(description, QgsTask.Flag.CanCancel)
        self.feedback = StageFeedback()
        self.feedback.progressChanged.connect(self.setProgress)
        self._function = function
        self._result: Any = None
        self._error: Optional[Exception] = None

    def start(self) -> None:
        """Hand it to QGIS."""
        _started.add(self)
        QgsApplication.taskManager().addTask(self)

    def run(self) -> bool:
        try:
            self._result = self._function(self.feedback)
        except Exception as error:
            # Every kind: an error that left this thread would take QGIS with it.
            self._error = error
        return self._error is None

    def cancel(self) -> None:
        self.feedback.cancel()
        super().cancel()

    def finished(self, successful: bool) -> None:
        _started.discard(self)
        self.done.emit(self._result, self._error)


# QGIS owns a task, but its Python half must live as long.
_started: Set[Work] = set()


def cancel_all() -> None:
    """Cancel what runs, as when the plugin is unloaded."""
    for work in tuple(_started):
        work.cancel()
