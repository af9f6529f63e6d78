"""Look a scene over before working with it."""

from typing import Iterator

from qgis.core import QgsProcessingContext

from ..hsi_toolkit.tasks import TASKS
from ..qgis_plugin.algorithm import TaskAlgorithm, Values
from ..qgis_plugin.inputs import own_file
from ..qgis_plugin.results import Figure, fixed


class CheckScene(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["check"]
    when = (
        "You got a scene and want to know what it is worth before it costs you a day, or its wavelengths, "
        "bad bands or units are missing or wrong."
    )
    example = fixed(INPUT="scene.hdr", REPORT="check.html")
    figures = (
        Figure("GOOD_BANDS", "Number of good bands", ("good_bands",)),
        Figure("BAD_BANDS", "Number of bad bands", ("bad_bands",), len),
        Figure("SNR", "Median signal-to-noise ratio of the good bands", ("median_snr",)),
        Figure("MISSING", "Share of the pixels without data (0 to 1)", ("missing",)),
    )
    created = ("report",)

    def problems(self, parameters: Values, context: QgsProcessingContext) -> Iterator[str]:
        yield from super().problems(parameters, context)
        layer = self.parameterAsRasterLayer(parameters, "INPUT", context)
        if self.parameterAsBool(parameters, "FIX", context) and layer is not None and own_file(layer) is None:
            yield (
                f"The layer {layer.name()} is no file that the engine opens, so that no corrections can lie "
                "beside it. Save it as a GeoTIFF first."
            )
