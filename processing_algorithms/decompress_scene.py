"""Decompress a scene."""

from ..hsi_toolkit.tasks import TASKS
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.results import fixed
from ..qgis_plugin.styling import Look, natural


class DecompressScene(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["decompress"]
    when = "You got an .hsz file and want to see it in QGIS or hand it to another program."
    example = fixed(SCENE="scene.hsz", OUTPUT="scene.tif")
    looks = fixed(output=Look("Scene", natural))
