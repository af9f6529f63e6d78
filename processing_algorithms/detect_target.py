"""Find a known material in a scene."""

from dataclasses import replace
from typing import Any, Dict, Iterator, List, Mapping

from qgis.core import QgsProcessingContext

from ..hsi_toolkit.tasks import TASKS, Parameter
from ..hsi_toolkit.tasks.common import LIBRARY_SUFFIXES
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.parameters import shown_parameters
from ..qgis_plugin.results import Figure, fixed
from ..qgis_plugin.sigma_weights import joined, with_spectral
from ..qgis_plugin.styling import Look, scores

#: The task takes its examples from a layer or a library by one path; the dialog has a widget for each.
LIBRARY = Parameter(
    kind="file",
    label="Spectral library",
    help="Take the target's spectra from this library instead: an ENVI library,"
    " a table of spectra, or a text file of ECOSTRESS or USGS.",
    suffixes=LIBRARY_SUFFIXES,
    name="library",
)


class DetectTarget(TaskAlgorithm):
    """See the task's declaration; the target comes from a layer or a library."""

    task = TASKS["target"]
    when = (
        "You can show one or a few examples of a material and want to know where else it is, even where it "
        "fills only part of a pixel. To map everything there is, train a classifier instead."
    )
    example = fixed(INPUT="scene.hdr", TARGET="examples.gpkg", OUTPUT="scores.tif", DETECTIONS="targets.tif")
    figures = (
        Figure("THRESHOLD", "Score from which a pixel is detected", ("threshold",)),
        Figure("DETECTED_PIXELS", "Number of detected pixels", ("detected_pixels",)),
    )
    looks = fixed(detections=Look("Targets"), output=Look("Target scores", scores))
    least_bands = 2
    pixel_bytes = fixed(output=2.0, detections=0.01)

    @classmethod
    def shown(cls) -> List[Parameter]:
        shown: List[Parameter] = []
        for each in with_spectral(shown_parameters(cls.task)):
            if each.name == "target":
                shown += [replace(each, required=False, help=each.help.split(";")[0] + "."), LIBRARY]
            else:
                shown.append(each)
        return shown

    def problems(self, parameters: Mapping[str, Any], context: QgsProcessingContext) -> Iterator[str]:
        if not parameters.get("TARGET") and not parameters.get("LIBRARY"):
            yield "There is neither a layer with the target nor a library. Give one of them."
        yield from super().problems(parameters, context)

    def adapt(self, request: Dict[str, Any]) -> Dict[str, Any]:
        request = joined(request)
        library = request.pop("library", None)
        return {**request, "target": library} if library else request
