"""Train a classifier from polygons."""

from typing import Any, Dict, List, Mapping

from qgis.core import QgsProcessingContext

from ..hsi_toolkit.tasks import TASKS, Parameter
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.parameters import shown_parameters
from ..qgis_plugin.results import ACCURACY, fixed
from ..qgis_plugin.sigma_weights import joined, with_spectral

#: The method hsimae makes as many features.
HSIMAE_BANDS = 32


class Train(TaskAlgorithm):
    """See the task's declaration."""

    task = TASKS["train"]
    when = (
        "You want a model to keep: to apply it to several scenes, to hand it on, or to set its training by "
        "hand. For one map of one scene, Polygons to map does it all in one go. Class names and colours are "
        "those of the layer's categorized style, or of its form's value map. The method hypersigma is worth "
        "its time with pretrained weights; without them hsimae is faster and mostly more accurate."
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
    least_bands = HSIMAE_BANDS
    least_classes = 2

    @classmethod
    def shown(cls) -> List[Parameter]:
        return with_spectral(shown_parameters(cls.task))

    def adapt(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return joined(request)

    def needed_bands(self, parameters: Mapping[str, Any], context: QgsProcessingContext) -> int:
        method = self.parameterAsEnumString(parameters, self.names["method"], context)
        return 1 if method == "hypersigma" else self.least_bands
