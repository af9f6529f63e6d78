"""Map a model's classes over many scenes."""

from ..hsi_toolkit.tasks import TASKS
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.results import Figure, fixed


class ClassifyScenes(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["classify_scenes"]
    when = (
        "You have a model and many scenes. A scene that fails stops no other, and scenes whose map is there "
        "are passed over, so that the job can be interrupted and started again."
    )
    example = fixed(INPUT=["scene1.hdr", "scene2.hdr"], MODEL="model.safetensors", OUTPUT="maps")
    figures = (
        Figure("SCENES_MAPPED", "Scenes mapped", ("mapped",)),
        Figure("SCENES_FAILED", "Scenes that failed", ("failed",)),
    )
    model_kind = "classifier"
