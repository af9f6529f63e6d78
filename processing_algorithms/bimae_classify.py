"""Give every object of a layer its class, from a colour image and a hyperspectral scene."""

from typing import Any, Mapping

from qgis.core import QgsProcessingContext, QgsProcessingException

from ..hsi_toolkit.tasks import TASKS, Parameter
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.inputs import VectorInput, source_layer
from ..qgis_plugin.results import Figure, fixed
from ..qgis_plugin.styling import Look


class ClassifyObjects(TaskAlgorithm):
    """See the task's declaration; the engine stores the layer's style in the GeoPackage."""

    task = TASKS["bimae_classify"]
    when = (
        "You have a model from Train an object classifier from two layers, and outlines of further objects "
        "in the same rasters, or in others of the same cameras."
    )
    example = fixed(
        INPUT="colour.tif",
        SCENE="scene.hdr",
        OBJECTS="crowns.gpkg",
        MODEL="model.safetensors",
        OUTPUT="classes.gpkg",
    )
    figures = (
        Figure("COUNT", "Objects", ("objects",)),
        Figure("WITHOUT_CLASS", "Objects without a class", ("without_class",)),
        Figure("MEAN_PROBABILITY", "Mean probability of the classes (0 to 1)", ("mean_probability",)),
    )
    looks = fixed(output=Look("Classified objects"))
    model_kind = "object_classifier"

    def _vector_input(
        self, declared: Parameter, parameters: Mapping[str, Any], context: QgsProcessingContext
    ) -> VectorInput:
        """The objects with all their attributes, which the result keeps."""
        name = self.names[declared.name]
        source = self.parameterAsSource(parameters, name, context)
        if source is None:
            raise QgsProcessingException(self.invalidSourceError(parameters, name))
        layer = source_layer(parameters[name], context)
        return VectorInput(source, layer, None, context.transformContext(), every_field=True)
