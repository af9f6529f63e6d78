"""Pretrain a network on objects seen in colour and hyperspectrally."""

from typing import List

from ..hsi_toolkit.tasks import TASKS, Parameter
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.results import Figure, fixed
from ..qgis_plugin.two_layers import layers_first


class PretrainObjects(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["bimae_pretrain"]
    when = (
        "You have outlines of very many objects and labels for few of them. The pretrained model goes into "
        "Pretrained weights of Train an object classifier from two layers. This takes hours without a GPU."
    )
    example = fixed(
        INPUT="colour.tif", SCENE="scene.hdr", OBJECTS="crowns.gpkg", OUTPUT="pretrained.safetensors"
    )
    figures = (Figure("OBJECTS", "Objects", ("objects",)),)
    least_bands = 6

    @classmethod
    def shown(cls) -> List[Parameter]:
        return layers_first(super().shown(), ("colour", "scene", "objects"))
