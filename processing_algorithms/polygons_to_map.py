"""From polygons to a map, its confidence and a report, in one go."""

from typing import Any, Dict, List, Mapping, Optional

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingOutputFile,
    QgsProcessingOutputHtml,
    QgsProcessingOutputRasterLayer,
    QgsProcessingParameterBoolean,
    QgsProcessingUtils,
)

from ..hsi_toolkit.tasks import TASKS, Parameter
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.parameters import shown_parameters
from ..qgis_plugin.results import ACCURACY, fixed
from ..qgis_plugin.sigma_weights import joined, with_spectral
from ..qgis_plugin.styling import Look, uncertainty
from .train import HSIMAE_BANDS

#: The outputs that are layers, by the engine's name for them.
LAYERS = {"map": "MAP", "uncertainty": "UNCERTAINTY"}


class PolygonsToMap(TaskAlgorithm):
    """See the task's declaration; the folder's map and uncertainty are outputs of their own."""

    task = TASKS["map"]
    when = (
        "You have drawn some polygons and want a map. Choose the scene, the layer and its class field, and "
        "run: the map and its uncertainty are opened, the report is in the results viewer. Class names and "
        "colours are those of the layer's categorized style, or of its form's value map."
    )
    example = fixed(INPUT="scene.hdr", LABELS="polygons.gpkg", FIELD="class", OUTPUT="result")
    figures = ACCURACY
    looks = fixed(map=Look("Class map"), uncertainty=Look("Uncertainty", uncertainty))
    least_bands = HSIMAE_BANDS
    least_classes = 2
    pixel_bytes = fixed(output=0.12)

    def initAlgorithm(self, configuration: Optional[Mapping[str, Any]] = None) -> None:
        super().initAlgorithm(configuration)
        load = QgsProcessingParameterBoolean("LOAD", "Open the map and its uncertainty when done", True)
        load.setHelp("Add both layers to the project, in a group of their own.")
        self.addParameter(load)
        self.addOutput(QgsProcessingOutputRasterLayer("MAP", "Class map"))
        self.addOutput(QgsProcessingOutputRasterLayer("UNCERTAINTY", "Uncertainty"))
        self.addOutput(QgsProcessingOutputFile("MODEL", "Model"))
        self.addOutput(QgsProcessingOutputHtml("REPORT", "Report"))

    @classmethod
    def shown(cls) -> List[Parameter]:
        return with_spectral(shown_parameters(cls.task))

    def adapt(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return joined(request)

    def needed_bands(self, parameters: Mapping[str, Any], context: QgsProcessingContext) -> int:
        method = self.parameterAsEnumString(parameters, self.names["method"], context)
        return 1 if method == "hypersigma" else self.least_bands

    def further_outputs(
        self, result: Mapping[str, Any], parameters: Mapping[str, Any], context: QgsProcessingContext
    ) -> Dict[str, Any]:
        files = result["outputs"]
        named = {output: files[name] for name, output in LAYERS.items()}
        if context.project() is not None and self.parameterAsBool(parameters, "LOAD", context):
            hint = QgsProcessingUtils.LayerHint.Raster
            for output, path in named.items():
                details = QgsProcessingContext.LayerDetails("", context.project(), output, hint)
                context.addLayerToLoadOnCompletion(path, details)
        return {**named, "MODEL": files["model"], "REPORT": files["report"]}

    def layer_files(self, result: Mapping[str, Any], targets: Mapping[str, str]) -> Mapping[str, str]:
        return {name: result["outputs"][name] for name in LAYERS}
