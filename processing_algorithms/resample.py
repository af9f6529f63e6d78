"""Give a scene the bands of another sensor."""

from ..hsi_toolkit.tasks import TASKS
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.results import Figure, fixed
from ..qgis_plugin.styling import Look, natural


class Resample(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["resample"]
    when = (
        "A model, a spectral library or an index was made for another sensor, or two scenes have to be "
        "compared band by band."
    )
    example = fixed(INPUT="scene.hdr", TO="enmap.hdr", OUTPUT="as_enmap.tif")
    figures = (
        Figure("BANDS", "Number of bands", ("bands",)),
        Figure("LEFT_OUT", "Number of bands that the scene does not cover", ("left_out",)),
    )
    looks = fixed(output=Look("Resampled", natural))
