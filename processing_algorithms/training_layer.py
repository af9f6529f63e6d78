"""Make a layer to draw training polygons in."""

import os
import re
from pathlib import Path
from typing import Any, ClassVar, Dict, List, Mapping, Optional, Tuple

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsField,
    QgsFields,
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
    QgsVectorFileWriter,
    QgsVectorLayer,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QVariant
from qgis.PyQt.QtGui import QIcon

from ..hsi_toolkit.tasks import Task
from ..qgis_plugin.algorithm import ICON
from ..qgis_plugin.colours import class_colours
from ..qgis_plugin.help_text import help_html
from ..qgis_plugin.results import fixed
from ..qgis_plugin.styling import Dresser
from ..qgis_plugin.training_style import ClassColour, style_training_layer

CLASSES = "water\ntrees\ngrass\nbare soil\nroofs\npavement"
FIELD, LAYER = "class", "training"
LONGEST_NAME = 80


class Declared(Task):
    """What the help says; the engine has no part in it."""

    name: ClassVar[str] = "traininglayer"
    title: ClassVar[str] = "Create a training layer"
    summary: ClassVar[str] = "Makes an empty polygon layer with your classes, ready for drawing."
    description: ClassVar[str] = (
        "The layer is a GeoPackage in the scene's coordinate system. It has one field, class, whose form "
        "offers the names you give, and shows each class in its colour. Names and colours are stored in the "
        "file and go on to the model, its maps and its report."
    )
    group: ClassVar[str] = "Classification"
    tags: ClassVar[Tuple[str, ...]] = (
        "training", "polygons", "labels", "digitise", "digitize", "draw", "classes", "ground truth",
        "samples", "region of interest", "ROI", "hyperspectral",
    )  # fmt: skip


class CreateTrainingLayer(QgsProcessingAlgorithm):
    """A polygon layer in a scene's coordinate system, with the classes as style and form; needs no engine."""

    when: ClassVar[str] = (
        "Before you draw. Switch editing on, draw polygons over places you are sure of, and choose the class "
        "of each from the list. Ten to twenty polygons a class, spread over the scene, are a good start."
    )
    example: ClassVar[Mapping[str, Any]] = fixed(
        INPUT="scene.tif", CLASSES="water, trees, grass=#7fbf3f", OUTPUT="training.gpkg"
    )

    def __init__(self) -> None:
        super().__init__()
        self._crs = QgsCoordinateReferenceSystem()

    def createInstance(self) -> "CreateTrainingLayer":
        return CreateTrainingLayer()

    def name(self) -> str:
        return Declared.name

    def displayName(self) -> str:
        return Declared.title

    def group(self) -> str:
        return Declared.group

    def groupId(self) -> str:
        return Declared.group.lower()

    def tags(self) -> List[str]:
        return list(Declared.tags)

    def icon(self) -> QIcon:
        return QIcon(str(ICON))

    def svgIconPath(self) -> str:
        return str(ICON)

    def shortDescription(self) -> str:
        return Declared.summary

    def shortHelpString(self) -> str:
        return help_html(self, Declared, self.when, self.example)

    def initAlgorithm(self, configuration: Optional[Mapping[str, Any]] = None) -> None:
        scene = QgsProcessingParameterRasterLayer("INPUT", "Scene")
        scene.setHelp("The scene to draw on; its coordinate system becomes the layer's.")
        classes = QgsProcessingParameterString("CLASSES", "Classes", CLASSES, True)
        classes.setHelp(
            "The names of the classes, one a line or with commas between them. A colour may follow a name, "
            "as in grass=#7fbf3f; without one, a class gets the colour that maps usually give it."
        )
        kind = QgsProcessing.SourceType.TypeVectorPolygon
        output = QgsProcessingParameterVectorDestination("OUTPUT", "Training layer", kind)
        output.setHelp("The GeoPackage to draw in. Choose a place where it stays: your work will be in it.")
        for parameter in (scene, classes, output):
            self.addParameter(parameter)

    def checkParameterValues(
        self, parameters: Mapping[str, Any], context: QgsProcessingContext
    ) -> Tuple[bool, str]:
        fine, sentence = super().checkParameterValues(parameters, context)
        if not fine:
            return False, sentence
        try:
            read_classes(self.parameterAsString(parameters, "CLASSES", context))
        except ClassListError as error:
            return False, str(error)
        return True, ""

    def prepareAlgorithm(
        self,
        parameters: Mapping[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> bool:
        scene = self.parameterAsRasterLayer(parameters, "INPUT", context)
        if scene is None:
            raise QgsProcessingException(self.invalidRasterError(parameters, "INPUT"))
        if not scene.crs().isValid():
            raise QgsProcessingException(
                f"{scene.name()} has no coordinate system, which the new layer would share. Set one in the "
                "scene's properties; for a scan that lies nowhere, any projected one will do."
            )
        self._crs = scene.crs()
        return True

    def processAlgorithm(
        self,
        parameters: Mapping[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> Dict[str, Any]:
        classes = read_classes(self.parameterAsString(parameters, "CLASSES", context))
        target = Path(self.parameterAsOutputLayer(parameters, "OUTPUT", context))
        _refuse(target)
        unfinished = target.with_name(f".{target.stem}.part.gpkg")
        try:
            _write(unfinished, self._crs, classes, context)
            os.replace(unfinished, target)
        finally:
            unfinished.unlink(missing_ok=True)
        feedback.pushInfo(f"{len(classes)} classes: {', '.join(name for name, _ in classes)}")
        if context.willLoadLayerOnCompletion(str(target)):
            details = context.layerToLoadOnCompletionDetails(str(target))
            details.setPostProcessor(Dresser("", 0, None))
        return {"OUTPUT": str(target)}


class ClassListError(Exception):
    """A sentence for the user on what is wrong with the list of classes."""


def read_classes(text: str) -> List[ClassColour]:
    """Names and colours ``#rrggbb`` from ``water, grass=#7fbf3f`` or a name a line. Raises ClassListError."""
    # Where there are lines or semicolons, a comma belongs to the name.
    entries = re.split(r"[\n;]", text) if re.search(r"\S\s*[\n;]\s*\S", text) else text.split(",")
    names: List[str] = []
    colours: List[Optional[str]] = []
    for entry in filter(None, (each.strip() for each in entries)):
        name, equals, colour = entry.partition("=")
        name, colour = name.strip(), colour.strip().lower()
        if equals and not re.fullmatch(r"#[0-9a-f]{6}", colour):
            raise ClassListError(f"{entry} gives no colour. Write it as {name or 'grass'}=#7fbf3f.")
        if not name or len(name) > LONGEST_NAME:
            raise ClassListError(f"{entry[:40]} is no class name. Use 1 to {LONGEST_NAME} letters.")
        if name.casefold() in [each.casefold() for each in names]:
            raise ClassListError(f"The class {name} is there twice. Name each class once.")
        names.append(name)
        colours.append(colour or None)
    if not names:
        raise ClassListError("There are no classes. Name at least one.")
    return list(zip(names, class_colours(names, colours)))


def _refuse(target: Path) -> None:
    """Raise where the target is no GeoPackage, or where somebody's drawing would be lost."""
    if target.suffix.lower() != ".gpkg":
        raise QgsProcessingException(
            f"{target.name} is no GeoPackage, which alone holds the classes' colours. Let the name end in "
            ".gpkg."
        )
    if not target.exists():
        return
    layer = QgsVectorLayer(f"{target}|layername={LAYER}", LAYER, "ogr")
    if not layer.isValid() or layer.featureCount() != 0:
        drawn = f"holds {layer.featureCount()} features" if layer.isValid() else "holds something else"
        raise QgsProcessingException(f"{target} {drawn}. Choose another name, or delete it first.")


def _write(
    path: Path, crs: QgsCoordinateReferenceSystem, classes: List[ClassColour], context: QgsProcessingContext
) -> None:
    """Write the empty layer with its style as the default one."""
    fields = QgsFields()
    fields.append(QgsField(FIELD, QVariant.String, "", LONGEST_NAME))
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName, options.layerName = "GPKG", LAYER
    shape = QgsWkbTypes.Type.MultiPolygon
    writer = QgsVectorFileWriter.create(str(path), fields, shape, crs, context.transformContext(), options)
    problem = writer.errorMessage()
    # The file is whole when the writer is gone.
    del writer
    layer = QgsVectorLayer(f"{path}|layername={LAYER}", LAYER, "ogr")
    if problem or not layer.isValid():
        raise QgsProcessingException(f"{path.parent} cannot be written: {problem}. Choose another folder.")
    style_training_layer(layer, FIELD, classes)
    problem = layer.saveStyleToDatabase("classes", "Classes and their colours", True, "")
    if problem:
        raise QgsProcessingException(f"The colours could not be stored: {problem}. Try another folder.")
