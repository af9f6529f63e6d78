"""Write the card of a model."""

from ..hsi_toolkit.tasks import TASKS
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.results import fixed


class ModelCard(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["card"]
    when = "You hand a model on, or somebody handed you one: the card says what it may be used for."
    example = fixed(MODEL="model.safetensors", OUTPUT="card.html")
