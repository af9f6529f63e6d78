"""Give a scene the pixels of a sharper image."""

from typing import Any, Dict, List

from ..hsi_toolkit.tasks import TASKS, Parameter
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.parameters import shown_parameters
from ..qgis_plugin.results import Figure, fixed
from ..qgis_plugin.sigma_weights import joined, with_spectral
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

    @classmethod
    def shown(cls) -> List[Parameter]:
        return with_spectral(shown_parameters(cls.task))

    def adapt(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return joined(request)
