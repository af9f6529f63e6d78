"""Errors a user can cause: one sentence on what is wrong, one on what to do."""


class HsiError(Exception):
    """Something the user can put right; its text is shown as it is, without a traceback.

    ``kind`` is what the worker protocol reports: ``"user"``, ``"environment"`` or ``"memory"``.
    """

    kind = "user"

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem} {remedy}".strip())

    def __reduce__(self) -> tuple[type["HsiError"], tuple[str, str]]:
        """Other processes send it as what it was made of."""
        return type(self), (self.problem, self.remedy)


class SceneError(HsiError, OSError):
    """A scene cannot be opened or read."""


class LabelError(HsiError, ValueError):
    """Training or reference labels cannot be used."""


class ModelError(HsiError, ValueError):
    """A model file is damaged, foreign or does not fit the scene."""


class ParameterError(HsiError, ValueError):
    """A task's parameter is missing or outside its range."""


class OutputError(HsiError, OSError):
    """An output cannot be written."""


class ClusterError(HsiError, OSError):
    """Other processes that should compute cannot be reached or used."""


class OutOfMemoryError(HsiError, MemoryError):
    """Even the smallest step does not fit into the memory there is."""

    kind = "memory"


class Cancelled(Exception):
    """The user cancelled; outputs are as they were before."""
