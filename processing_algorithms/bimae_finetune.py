"""Train a classifier of objects from a colour image and a hyperspectral scene."""

from typing import List

from ..hsi_toolkit.tasks import TASKS, Parameter
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.results import ACCURACY, fixed
from ..qgis_plugin.two_layers import layers_first


class TrainObjects(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["bimae_finetune"]
    when = (
        "You have a sharp image beside a hyperspectral scene, and what you want to tell apart are single "
        "objects with an outline: seeds, crowns, roofs. Some differ in shape, others in their spectrum. "
        "Without a GPU, keep the network at mini; a patch size of 12 and an image size of 48 train faster. "
        "Class names and colours are those of the layer's categorized style, or of its form's value map."
    )
    example = fixed(
        INPUT="colour.tif",
        SCENE="scene.hdr",
        LABELS="crowns.gpkg",
        FIELD="species",
        OUTPUT="model.safetensors",
        REPORT="report.html",
    )
    figures = ACCURACY
    created = ("report",)
    least_bands = 6
    least_classes = 2

    @classmethod
    def shown(cls) -> List[Parameter]:
        return layers_first(super().shown(), ("colour", "scene", "labels", "field"))
