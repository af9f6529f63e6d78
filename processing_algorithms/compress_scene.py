"""Compress a scene."""

from ..hsi_toolkit.tasks import TASKS
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.results import Figure, fixed


class CompressScene(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["compress"]
    when = (
        "A scene goes into an archive or to somebody else, and what arrives must be the same numbers, or "
        "numbers no further off than you say."
    )
    example = fixed(INPUT="scene.hdr", OUTPUT="scene.hsz")
    figures = (
        Figure("BITS", "Bits a sample", ("bits_per_sample",)),
        Figure("RATIO", "How many times smaller the file is", ("ratio",)),
        Figure("LARGEST_ERROR", "Largest error of any sample", ("largest_error",)),
        Figure("LARGEST_ANGLE", "Largest angle of any spectrum, degrees", ("largest_angle",)),
    )
