"""Write a scene in another format."""

from typing import Any, Dict, List, Mapping, Optional

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputRasterLayer,
    QgsProcessingParameterExtent,
)

from ..hsi_toolkit.tasks import TASKS, Parameter
from ..qgis_plugin.algorithm import TaskAlgorithm, Values
from ..qgis_plugin.parameters import shown_parameters
from ..qgis_plugin.results import fixed


class ExportScene(TaskAlgorithm):
    """See the task's declaration; the window is an extent, which QGIS lets be drawn."""

    task = TASKS["export"]
    when = (
        "Another program does not read the scene, or reads it without its wavelengths and units, or you need "
        "only a part of it."
    )
    example = fixed(INPUT="scene.he5", OUTPUT="scene.tif")

    @classmethod
    def shown(cls) -> List[Parameter]:
        return [each for each in shown_parameters(cls.task) if each.name != "bbox"]

    def initAlgorithm(self, configuration: Optional[Mapping[str, Any]] = None) -> None:
        super().initAlgorithm(configuration)
        extent = QgsProcessingParameterExtent("EXTENT", "Window", None, True)
        extent.setHelp("Cut out this part of the scene; all of it where left open.")
        self.addParameter(extent)
        self.addOutput(QgsProcessingOutputRasterLayer("LAYER", "The file to add to a map"))

    def prepareAlgorithm(
        self, parameters: Values, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        layer = self.parameterAsRasterLayer(parameters, "INPUT", context)
        prepared = super().prepareAlgorithm(parameters, context, feedback)
        if parameters.get("EXTENT") and layer is not None:
            box = self.parameterAsExtent(parameters, "EXTENT", context, layer.crs())
            edges = (box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum())
            self._values["bbox"] = ",".join(repr(edge) for edge in edges)
        return prepared

    def further_outputs(
        self, result: Values, parameters: Values, context: QgsProcessingContext
    ) -> Dict[str, Any]:
        return {"LAYER": result.get("data")}
