"""Cut scenes into patches that codecs and pretraining learn from."""

from ..hsi_toolkit.tasks import TASKS
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.results import Figure, fixed


class CutPatches(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["dataset_tile"]
    when = "You want to train a codec on your own scenes, or to share patches in a layout that others read."
    example = fixed(INPUT=["scene1.hdr", "scene2.tif"], SIDE=64, OUTPUT="patches")
    figures = (Figure("PATCHES", "Number of patches", ("patches",)),)
