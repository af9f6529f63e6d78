"""Take noise and stripes from a scene."""

from typing import Any, Dict, List

from ..hsi_toolkit.tasks import TASKS, Parameter
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.parameters import shown_parameters
from ..qgis_plugin.results import Figure, fixed
from ..qgis_plugin.sigma_weights import joined, with_spectral
from ..qgis_plugin.styling import Look, first_three, natural


class Denoise(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["denoise"]
    when = (
        "Single bands look grainy or striped, or faint absorption features drown in noise. Look at what was "
        "removed: where it shows the landscape, less should have been."
    )
    example = fixed(INPUT="scene.hdr", METHOD="auto", OUTPUT="clean.tif", DIFFERENCE="removed.tif")
    figures = (Figure("COMPONENTS", "Dimensions of the signal", ("components",)),)
    looks = fixed(output=Look("Denoised", natural), difference=Look("Removed", first_three))
    least_bands = 2

    @classmethod
    def shown(cls) -> List[Parameter]:
        return with_spectral(shown_parameters(cls.task))

    def adapt(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return joined(request)
