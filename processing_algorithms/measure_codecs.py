"""Measure codecs on the patches of a data set."""

from ..hsi_toolkit.tasks import TASKS
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.results import fixed


class MeasureCodecs(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["codec_test"]
    when = "You have trained codecs, or fetched the published ones, and want to know what they cost and lose."
    example = fixed(DATASET="patches", MODELS=["codec.safetensors"], REPORT="codecs.html")
    created = ("report",)
