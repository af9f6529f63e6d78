"""Pretrain a masked autoencoder on scenes without labels."""

from ..hsi_toolkit.tasks import TASKS
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.results import fixed


class Pretrain(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["pretrain"]
    when = (
        "You have many scenes and few polygons. The pretrained model goes into Pretrained weights of Train a "
        "classifier from polygons or Polygons to map. This takes hours on a machine without a GPU."
    )
    example = fixed(INPUT=["scene1.hdr", "scene2.tif"], EPOCHS=20, OUTPUT="pretrained.safetensors")
    least_bands = 32
