"""Find what has changed between two scenes."""

from typing import Any, Dict, List

from ..hsi_toolkit.tasks import TASKS, Parameter
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.parameters import shown_parameters
from ..qgis_plugin.results import Figure, fixed
from ..qgis_plugin.sigma_weights import joined, with_spectral
from ..qgis_plugin.styling import Look, scores


class DetectChange(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["change"]
    when = (
        "You have two scenes of the same place and sensor and want to see what is new, gone or different, "
        "apart from light and season."
    )
    example = fixed(INPUT="before.hdr", AFTER="after.hdr", OUTPUT="scores.tif", MAP="change.tif")
    figures = (
        Figure("THRESHOLD", "Score from which a pixel has changed", ("threshold",)),
        Figure("CHANGED_PIXELS", "Number of changed pixels", ("changed_pixels",)),
    )
    looks = fixed(map=Look("Change"), types=Look("Change types"), output=Look("Change scores", scores))
    scenes = ("before", "after")
    same_grid = ("before", "after")
    least_bands = 2
    pixel_bytes = fixed(output=2.0, map=0.01, types=0.01)

    @classmethod
    def shown(cls) -> List[Parameter]:
        return with_spectral(shown_parameters(cls.task))

    def adapt(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return joined(request)
