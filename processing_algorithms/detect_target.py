"""Find a known material in a scene."""

from ..hsi_toolkit.tasks import TASKS
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.results import Figure, fixed
from ..qgis_plugin.styling import Look, scores


class DetectTarget(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["target"]
    when = (
        "You can show one or a few examples of a material and want to know where else it is, even where it "
        "fills only part of a pixel. To map everything there is, train a classifier instead."
    )
    example = fixed(INPUT="scene.hdr", TARGET="examples.gpkg", OUTPUT="scores.tif", DETECTIONS="targets.tif")
    figures = (
        Figure("THRESHOLD", "Score from which a pixel is detected", ("threshold",)),
        Figure("DETECTED_PIXELS", "Number of detected pixels", ("detected_pixels",)),
    )
    looks = fixed(detections=Look("Targets"), output=Look("Target scores", scores))
    least_bands = 2
    pixel_bytes = fixed(output=2.0, detections=0.01)
