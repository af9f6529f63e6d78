"""Spectral features of a scene."""

from typing import Any, Mapping

from qgis.core import QgsProcessingContext

from ..hsi_toolkit.tasks import TASKS
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.results import Figure, fixed
from ..qgis_plugin.styling import Look, first_three


class Features(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["features"]
    when = (
        "You want a compact raster for a classifier of your own or for looking at a scene: the first three "
        "features make a telling colour picture. Train a classifier from polygons makes its own."
    )
    example = fixed(INPUT="scene.hdr", METHOD="mspca", OUTPUT="features.tif")
    figures = (Figure("FEATURES", "Number of features", ("features",)),)
    looks = fixed(output=Look("Spectral features", first_three))
    pixel_bytes = fixed(output=64.0)

    def needed_bands(self, parameters: Mapping[str, Any], context: QgsProcessingContext) -> int:
        return 16 if self.parameterAsEnumString(parameters, "METHOD", context) == "mspca" else 32
