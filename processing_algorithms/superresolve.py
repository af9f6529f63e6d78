"""Give a scene the pixels of a sharper image."""

from ..hsi_toolkit.tasks import TASKS
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.results import Figure, fixed
from ..qgis_plugin.styling import Look, natural


class Superresolve(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["superresolve"]
    when = (
        "A sharper multispectral image of the same place and time is at hand, such as Sentinel-2 for EnMAP "
        "or PRISMA, and objects smaller than the scene's pixels matter."
    )
    example = fixed(INPUT="scene.hdr", GUIDE="sentinel2.tif", OUTPUT="sharp.tif")
    figures = (Figure("RATIO", "How many times smaller the pixels are", ("ratio",)),)
    looks = fixed(output=Look("Sharpened", natural))
    least_bands = 2
