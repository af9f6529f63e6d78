"""Judge a class map with reference labels."""

from ..hsi_toolkit.tasks import TASKS
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.results import ACCURACY, fixed


class Evaluate(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["evaluate"]
    when = (
        "You have a map and reference polygons or points that nobody trained on, such as a random sample "
        "that was looked up in the field or in imagery of higher resolution."
    )
    example = fixed(INPUT="map.tif", LABELS="reference.gpkg", FIELD="class", REPORT="accuracy.html")
    figures = ACCURACY
    created = ("report",)
