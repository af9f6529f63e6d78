"""Find what is unusual in a scene."""

from typing import Any, Dict, List

from ..hsi_toolkit.tasks import TASKS, Parameter
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.parameters import shown_parameters
from ..qgis_plugin.results import Figure, fixed
from ..qgis_plugin.sigma_weights import joined, with_spectral
from ..qgis_plugin.styling import Look, scores


class DetectAnomalies(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["anomalies"]
    when = (
        "You look for something rare and cannot say what: vehicles, spills, debris, odd crops. Where you can "
        "show an example, Detect a target finds more of it with fewer mistakes."
    )
    example = fixed(INPUT="scene.hdr", OUTPUT="scores.tif", DETECTIONS="anomalies.tif")
    figures = (
        Figure("THRESHOLD", "Score from which a pixel is detected", ("threshold",)),
        Figure("DETECTED_PIXELS", "Number of detected pixels", ("detected_pixels",)),
    )
    looks = fixed(detections=Look("Anomalies"), output=Look("Anomaly scores", scores))
    least_bands = 2
    pixel_bytes = fixed(output=2.0, detections=0.01)

    @classmethod
    def shown(cls) -> List[Parameter]:
        return with_spectral(shown_parameters(cls.task))

    def adapt(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return joined(request)
