"""How each task is done: the module of a task's name holds ``run(task, progress)``."""

from collections.abc import Callable, Mapping
from importlib import import_module

from hsi_toolkit.progress import Progress
from hsi_toolkit.tasks import Task


def run(task: Task, progress: Progress | None = None) -> Mapping[str, object]:
    """Do the task and return its result, JSON-able.

    Every result may hold ``summary`` (a sentence), ``facts`` and ``outputs`` (texts by name) and
    ``warnings`` (sentences) for people, and figures by name for programs.

    Raises:
        HsiError: what the user can put right.
        Cancelled: the user cancelled; outputs are as they were before.
    """
    module = import_module(f"hsi_toolkit.pipelines.{task.name}")
    pipeline: Callable[[Task, Progress], Mapping[str, object]] = module.run
    return pipeline(task, progress or Progress())
