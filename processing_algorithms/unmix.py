"""Map which part of each pixel every material takes."""

from dataclasses import replace
from typing import Any, Dict, List

from ..hsi_toolkit.tasks import TASKS, Parameter
from ..hsi_toolkit.tasks.common import LIBRARY_SUFFIXES, VECTOR_SUFFIXES
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.parameters import shown_parameters
from ..qgis_plugin.results import Figure, fixed
from ..qgis_plugin.sigma_weights import joined, with_spectral
from ..qgis_plugin.styling import Look, fractions, scores

#: Where the task takes one text, the dialog asks for a number, a file or a layer.
SOURCES = (
    Parameter(
        kind="integer",
        label="Number of endmembers",
        help="How many to find in the scene; left open, as many as the scene shows.",
        minimum=2,
        maximum=100,
        name="count",
    ),
    Parameter(
        kind="file",
        label="Spectral library",
        help="Take the endmembers from this library instead: an ENVI library,"
        " a table of spectra, or a text file of ECOSTRESS or USGS.",
        suffixes=LIBRARY_SUFFIXES,
        name="library",
    ),
    Parameter(
        kind="vector",
        label="Pure ground",
        help="Take the endmembers from these polygons or points instead, drawn where one material is alone.",
        suffixes=VECTOR_SUFFIXES,
        geometries=("polygon", "point"),
        name="labels",
    ),
)


class Unmix(TaskAlgorithm):
    """See the task's declaration; the endmembers' sources have widgets of their own."""

    task = TASKS["unmix"]
    when = (
        "Pixels are larger than what you want to map, so that several materials share one: the share of each "
        "is the answer, not the largest."
    )
    example = fixed(INPUT="scene.hdr", COUNT=4, OUTPUT="abundances.tif", SPECTRA="endmembers.csv")
    figures = (
        Figure("ENDMEMBERS", "Number of endmembers", ("endmembers",), len),
        Figure("UNEXPLAINED", "What the mixtures leave unexplained", ("error",)),
    )
    looks = fixed(
        output=Look("Abundances", fractions),
        error=Look("Reconstruction error", scores),
        uncertainty=Look("Uncertainty of abundances", scores),
    )
    least_bands = 2

    @classmethod
    def shown(cls) -> List[Parameter]:
        shown: List[Parameter] = []
        for each in with_spectral(shown_parameters(cls.task)):
            if each.name == "endmembers":
                shown += SOURCES
            elif each.name == "names":
                shown.append(replace(each, kind="file", suffixes=LIBRARY_SUFFIXES))
            elif each.name == "field":
                shown.append(replace(each, kind="field", parent="labels"))
            else:
                shown.append(each)
        return shown

    def adapt(self, request: Dict[str, Any]) -> Dict[str, Any]:
        request = joined(request)
        sources = [request.pop(name, None) for name in ("labels", "library", "count")]
        return {**request, "endmembers": next((str(each) for each in sources if each), "auto")}
