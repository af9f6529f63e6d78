"""Map a model's classes over a scene."""

from ..hsi_toolkit.tasks import TASKS
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.results import Figure, fixed
from ..qgis_plugin.styling import Look, shares, uncertainty


class Classify(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["classify"]
    when = (
        "You have a model, trained with Train a classifier from polygons or handed to you, and want its "
        "classes on another scene, on a larger part of the same one, or with probabilities. Take the fast "
        "mode for a first look on a machine without a GPU."
    )
    example = fixed(
        INPUT="scene.hdr",
        MODEL="model.safetensors",
        OUTPUT="map.tif",
        UNCERTAINTY="uncertainty.tif",
    )
    figures = (Figure("PIXELS_WITHOUT_DATA", "Pixels without data", ("without_data",)),)
    looks = fixed(
        output=Look("Class map"),
        uncertainty=Look("Uncertainty", uncertainty),
        probabilities=Look("Probability", shares),
    )
    model_kind = "classifier"
    pixel_bytes = fixed(output=0.02, uncertainty=0.1, probabilities=0.2)
