"""Train a classifier from polygons."""

from ..hsi_toolkit.tasks import TASKS
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.results import ACCURACY, fixed


class Train(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["train"]
    when = (
        "You want a model to keep: to apply it to several scenes, to hand it on, or to set its training by "
        "hand. For one map of one scene, Polygons to map does it all in one go. Class names and colours are "
        "those of the layer's categorized style, or of its form's value map."
    )
    example = fixed(
        INPUT="scene.hdr",
        LABELS="polygons.gpkg",
        FIELD="class",
        OUTPUT="model.safetensors",
        REPORT="report.html",
    )
    figures = ACCURACY
    created = ("report",)
    least_bands = 32
    least_classes = 2
