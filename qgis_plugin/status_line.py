"""A sentence with an icon."""

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QWidget

_ICONS = {"success": "/mIconSuccess.svg", "warning": "/mIconWarning.svg", "info": "/mIconInfo.svg"}
_SIZE = 16


class StatusLine(QWidget):
    """Says how something stands: ``kind`` is success, warning or info."""

    def __init__(self) -> None:
        super().__init__()
        self.kind = ""
        self._icon, self._label = QLabel(), QLabel()
        self._label.setWordWrap(True)
        self._label.setTextFormat(Qt.TextFormat.PlainText)
        self._label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        # A long path must not widen the page.
        self._label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._icon, 0, Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self._label, 1)

    def say(self, kind: str, text: str) -> None:
        """Show a sentence."""
        self.kind = kind
        self._icon.setPixmap(QgsApplication.getThemeIcon(_ICONS[kind]).pixmap(_SIZE, _SIZE))
        self._label.setText(text)

    def text(self) -> str:
        """The sentence that is shown."""
        return self._label.text()
