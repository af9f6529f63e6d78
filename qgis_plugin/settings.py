"""What the user has set, kept in QGIS's own settings under ``hsi_toolkit/``."""

from dataclasses import asdict, dataclass, fields

from qgis.core import QgsSettings

PREFIX = "hsi_toolkit"


@dataclass(frozen=True)
class Settings:
    """The options page's values.

    ``interpreter`` and ``model_folder`` are paths, empty for the default; ``memory_limit`` is in MB, 0
    for what is free; the worker ends after ``idle_minutes`` without a job. The last three say where the
    packages of a new environment come from: ``package_index`` in place of pip's own index,
    ``torch_index`` beside it for another build of PyTorch, ``wheel_folder`` in place of both.
    """

    interpreter: str = ""
    device: str = "auto"
    memory_limit: int = 0
    model_folder: str = ""
    idle_minutes: int = 10
    package_index: str = ""
    torch_index: str = ""
    wheel_folder: str = ""

    @classmethod
    def load(cls) -> "Settings":
        """The stored values, the defaults where nothing is stored."""
        stored = QgsSettings()
        values = {}
        for each in fields(cls):
            values[each.name] = stored.value(f"{PREFIX}/{each.name}", each.default, type=each.type)
        return cls(**values)

    def save(self) -> None:
        """Store the values for the next session of QGIS."""
        stored = QgsSettings()
        for name, value in asdict(self).items():
            stored.setValue(f"{PREFIX}/{name}", value)
