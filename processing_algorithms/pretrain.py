"""Pretrain a masked autoencoder on scenes without labels."""

from typing import Any, Mapping

from qgis.core import QgsProcessingContext

from ..hsi_toolkit.tasks import TASKS
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.results import fixed
from .train import HSIMAE_BANDS


class Pretrain(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["pretrain"]
    when = (
        "You have many scenes and few polygons. The pretrained model goes into Pretrained weights of Train a "
        "classifier from polygons or Polygons to map. This takes hours on a machine without a GPU. The small "
        "networks suit one scene; the published sizes of HyperSIGMA are for archives, on a GPU."
    )
    example = fixed(INPUT=["scene1.hdr", "scene2.tif"], EPOCHS=20, OUTPUT="pretrained.safetensors")
    least_bands = HSIMAE_BANDS

    def needed_bands(self, parameters: Mapping[str, Any], context: QgsProcessingContext) -> int:
        model = self.parameterAsEnumString(parameters, self.names["model"], context)
        return self.least_bands if model == "hsimae" else 1
