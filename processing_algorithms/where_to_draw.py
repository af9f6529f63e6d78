"""Find the places where further polygons help most."""

from ..hsi_toolkit.tasks import TASKS
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.results import fixed
from ..qgis_plugin.styling import Look


class WhereToDraw(TaskAlgorithm):
    """See the task's declaration; the engine stores the points' style in the GeoPackage."""

    task = TASKS["draw_next"]
    when = (
        "After a first map: the points lead to the places where another polygon teaches the model most. Draw "
        "there, add the polygons to the training layer, and run Polygons to map again."
    )
    example = fixed(
        INPUT="result/uncertainty.tif",
        MAP="result/map.tif",
        LABELS="polygons.gpkg",
        OUTPUT="places.gpkg",
    )
    looks = fixed(output=Look("Where to draw next"))
