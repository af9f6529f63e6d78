"""A task of the engine as a Processing algorithm, made from the task's declaration."""

import shutil
import tempfile
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Dict, Iterator, List, Mapping, Optional, Tuple, Type, Union

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsRasterLayer,
)
from qgis.PyQt.QtCore import QVariant
from qgis.PyQt.QtGui import QIcon

from ..hsi_toolkit.tasks import Parameter, Task
from . import checks, client, environment
from .help_text import help_html
from .inputs import ProductInput, RasterInput, VectorInput, product_path, source_layer
from .parameters import definition, processing_names, shown_parameters
from .results import Figure, fixed, tell
from .settings import Settings
from .styling import Dresser, Look, Run, write_style

ICON = Path(__file__).parent / "icons" / "hsi.svg"
RASTERS = ("raster", "rasters")
Scene = Union[RasterInput, ProductInput]

Values = Mapping[str, Any]


class TaskAlgorithm(QgsProcessingAlgorithm):
    """The algorithm of one task; subclasses name the task and say what a declaration cannot.

    Attributes:
        task: the declaration.
        when: when to use it, for the help.
        example: parameters of a call, for the help.
        figures: the numbers it returns.
        created: fields of the optional outputs that are made unless they are declined.
        looks: how the outputs look, by field, in the order of the layer tree.
        scenes: fields of the rasters that must be hyperspectral scenes.
        same_grid: fields of two rasters that must have the same rows and columns.
        least_bands: how many good bands a scene must have.
        least_classes: how many classes the labels must have.
        model_kind: what the parameter ``model`` must be.
        pixel_bytes: bytes that outputs take for a pixel of the scene at the very least, by field.
    """

    task: ClassVar[Type[Task]]
    when: ClassVar[str] = ""
    example: ClassVar[Values] = fixed()
    figures: ClassVar[Tuple[Figure, ...]] = ()
    created: ClassVar[Tuple[str, ...]] = ()
    looks: ClassVar[Mapping[str, Look]] = fixed()
    scenes: ClassVar[Tuple[str, ...]] = ("scene", "scenes")
    same_grid: ClassVar[Tuple[str, ...]] = ()
    least_bands: ClassVar[int] = 1
    least_classes: ClassVar[int] = 1
    model_kind: ClassVar[str] = ""
    pixel_bytes: ClassVar[Mapping[str, float]] = fixed()

    def __init__(self) -> None:
        super().__init__()
        self.declared = {each.name: each for each in self.shown()}
        self.names = processing_names(list(self.declared.values()))
        self._values: Dict[str, Any] = {}
        self._inputs: Dict[str, Union[Scene, VectorInput, List[Scene]]] = {}

    @classmethod
    def shown(cls) -> List[Parameter]:
        """The declarations the dialog asks for; a subclass that asks otherwise ``adapt``s the answers."""
        return shown_parameters(cls.task)

    def adapt(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """The task's parameters from the dialog's."""
        return request

    def createInstance(self) -> "TaskAlgorithm":
        return type(self)()

    def name(self) -> str:
        return self.task.name

    def displayName(self) -> str:
        return self.task.title

    def group(self) -> str:
        return self.task.group

    def groupId(self) -> str:
        return self.task.group.lower().replace(" ", "_")

    def tags(self) -> List[str]:
        return [*self.task.tags, "hyperspectral", "imaging spectroscopy"]

    def icon(self) -> QIcon:
        return QIcon(str(ICON))

    def svgIconPath(self) -> str:
        return str(ICON)

    def shortDescription(self) -> str:
        return self.task.summary

    def shortHelpString(self) -> str:
        return help_html(self, self.task, self.when, self.example)

    def initAlgorithm(self, configuration: Optional[Values] = None) -> None:
        for each in self.declared.values():
            self.addParameter(definition(each, self.names, each.name in self.created))
        for figure in self.figures:
            self.addOutput(QgsProcessingOutputNumber(figure.name, figure.label))
        self.addOutput(QgsProcessingOutputNumber("SECONDS", "Seconds that the run took"))
        self.addOutput(QgsProcessingOutputString("SUMMARY", "Summary"))

    def canExecute(self) -> Tuple[bool, str]:
        sentence = environment.missing_sentence()
        return not sentence, sentence

    # Before the run, in the main thread.

    def checkParameterValues(self, parameters: Values, context: QgsProcessingContext) -> Tuple[bool, str]:
        fine, sentence = super().checkParameterValues(self._without_paths(parameters, context), context)
        if fine:
            sentence = self.problem(parameters, context)
        return not sentence, sentence

    def problem(self, parameters: Values, context: QgsProcessingContext) -> str:
        """The sentence about what the engine would refuse, as far as a quick look tells; "" if nothing."""
        return next(filter(None, self.problems(parameters, context)), "")

    def problems(self, parameters: Values, context: QgsProcessingContext) -> Iterator[str]:
        """The checks, cheapest first; subclasses add their own."""
        rasters = self._raster_layers(parameters, context)
        for field in self.scenes:
            for layer in rasters.get(field, []):
                yield checks.scene(layer, self.needed_bands(parameters, context))
        pair = [layer for field in self.same_grid for layer in rasters.get(field, [])]
        if len(pair) == 2:
            yield checks.same_grid(*pair)
        for each in self.declared.values():
            if each.kind == "vector" and self._is_given(parameters, each):
                yield from self._label_problems(each, rasters, parameters, context)
            if each.kind == "model" and self._is_given(parameters, each):
                path = self.parameterAsFile(parameters, self.names[each.name], context)
                yield checks.model(path, self.model_kind if each.name == "model" else "")
                if each.name == "model" and rasters.get("scene"):
                    yield checks.coverage(path, rasters["scene"][0])
        yield from self._output_problems(rasters, parameters, context)

    def needed_bands(self, parameters: Values, context: QgsProcessingContext) -> int:
        """How many good bands a scene must have."""
        return self.least_bands

    def _label_problems(
        self,
        declared: Parameter,
        rasters: Mapping[str, List[QgsRasterLayer]],
        parameters: Values,
        context: QgsProcessingContext,
    ) -> Iterator[str]:
        source = self.parameterAsSource(parameters, self.names[declared.name], context)
        if source is None:
            return
        first = next((layers[0] for layers in rasters.values() if layers), None)
        if first is not None:
            yield checks.overlap(first, source, context.transformContext())
        for each in self.declared.values():
            if each.kind == "field" and each.parent == declared.name and self._is_given(parameters, each):
                field = self.parameterAsString(parameters, self.names[each.name], context)
                yield checks.classes(source, field, self.least_classes)

    def _output_problems(
        self,
        rasters: Mapping[str, List[QgsRasterLayer]],
        parameters: Values,
        context: QgsProcessingContext,
    ) -> Iterator[str]:
        needed: Dict[str, float] = {}
        pixels = max(
            (layer.width() * layer.height() for each in rasters.values() for layer in each), default=0
        )
        for each in self.declared.values():
            if not each.kind.endswith("_output") or not self._is_given(parameters, each):
                continue
            path = self._file_target(parameters[self.names[each.name]], context)
            if path:
                folder = each.kind == "folder_output"
                yield checks.output_folder(path) if folder else checks.output_file(path, each.suffixes)
                needed[path] = pixels * self.pixel_bytes.get(each.name, 0.0)
        yield checks.free_space(needed)

    def _raster_layers(
        self, parameters: Values, context: QgsProcessingContext
    ) -> Dict[str, List[QgsRasterLayer]]:
        """The layers of each raster parameter that is given, but for products, which QGIS does not open."""
        found: Dict[str, List[QgsRasterLayer]] = {}
        for each in self.declared.values():
            given = each.kind in RASTERS and self._is_given(parameters, each)
            if given and self._product(each, parameters, context) is None:
                found[each.name] = self._layers_of(each, parameters, context)
        return found

    def _product(
        self, declared: Parameter, parameters: Values, context: QgsProcessingContext
    ) -> Optional[Path]:
        """The path of a product that a raster parameter has instead of a layer."""
        name = self.names[declared.name]
        if declared.kind != "raster" or name not in parameters:
            return None
        return product_path(parameters[name], context)

    def _without_paths(self, parameters: Values, context: QgsProcessingContext) -> Values:
        """The parameters with a layer in the place of each product, for Processing asks for one."""
        products = [
            self.names[each.name]
            for each in self.declared.values()
            if self._product(each, parameters, context) is not None
        ]
        return {**parameters, **{name: QgsRasterLayer() for name in products}}

    def _layers_of(
        self, declared: Parameter, parameters: Values, context: QgsProcessingContext
    ) -> List[QgsRasterLayer]:
        name = self.names[declared.name]
        if declared.kind == "raster":
            layers = [self.parameterAsRasterLayer(parameters, name, context)]
        else:
            layers = self.parameterAsLayerList(parameters, name, context)
        if not layers or not all(isinstance(layer, QgsRasterLayer) for layer in layers):
            raise QgsProcessingException(self.invalidRasterError(parameters, name))
        return layers

    def prepareAlgorithm(
        self, parameters: Values, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        transforms = context.transformContext()
        for each in self.declared.values():
            product = self._product(each, parameters, context)
            if product is not None:
                self._inputs[each.name] = ProductInput(product)
            elif each.kind in RASTERS:
                if self._is_given(parameters, each):
                    layers = self._layers_of(each, parameters, context)
                    made: List[Scene] = [RasterInput(layer, transforms) for layer in layers]
                    self._inputs[each.name] = made[0] if each.kind == "raster" else made
            elif each.kind == "vector":
                if self._is_given(parameters, each):
                    self._inputs[each.name] = self._vector_input(each, parameters, context)
            elif not each.kind.endswith("_output"):
                self._values[each.name] = self._value(each, parameters, context)
        self._values.update(_from_options(self._values))
        return True

    def _vector_input(
        self, declared: Parameter, parameters: Values, context: QgsProcessingContext
    ) -> VectorInput:
        name = self.names[declared.name]
        source = self.parameterAsSource(parameters, name, context)
        if source is None:
            raise QgsProcessingException(self.invalidSourceError(parameters, name))
        layer, transforms = source_layer(parameters[name], context), context.transformContext()
        asked = next((each for each in self.declared.values() if each.parent == declared.name), None)
        if asked is None:
            return VectorInput(source, layer, None, transforms)
        field = self._value(asked, parameters, context)
        # Left open, the engine chooses among all fields.
        return VectorInput(source, layer, field, transforms, every_field=field is None)

    def _value(self, declared: Parameter, parameters: Values, context: QgsProcessingContext) -> Any:
        """A parameter's value as the engine takes it; None where it is left open."""
        if declared.default is None and not self._is_given(parameters, declared):
            return None
        name, kind = self.names[declared.name], declared.kind
        if kind == "integer":
            return self.parameterAsInt(parameters, name, context)
        if kind == "number":
            return self.parameterAsDouble(parameters, name, context)
        if kind == "flag":
            return self.parameterAsBool(parameters, name, context)
        if kind == "choice":
            return self.parameterAsEnumString(parameters, name, context)
        return self.parameterAsString(parameters, name, context) or None

    def _is_given(self, parameters: Values, declared: Parameter) -> bool:
        name = self.names[declared.name]
        value = parameters[name] if name in parameters else self.parameterDefinition(name).defaultValue()
        if isinstance(value, QVariant):
            return not value.isNull()
        return value is not None and value != ""

    # The run, in a thread of its own.

    def processAlgorithm(
        self, parameters: Values, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> Dict[str, Any]:
        started = time.monotonic()
        targets = self._targets(parameters, context)
        with _scratch_folder() as folder:
            request = {name: value for name, value in self._values.items() if value is not None}
            for name, source in self._inputs.items():
                several = isinstance(source, list)
                request[name] = (
                    [each.file(_subfolder(folder, number), feedback) for number, each in enumerate(source)]
                    if several
                    else source.file(_subfolder(folder, name), feedback)
                )
            request.update(targets)
            result = self._ask(self.adapt(request), feedback)
        tell(result, feedback)
        outputs: Dict[str, Any] = {self.names[name]: path for name, path in targets.items()}
        outputs.update({figure.name: figure.of(result) for figure in self.figures})
        outputs.update(self.further_outputs(result, parameters, context))
        self._dress(self.layer_files(result, targets), context, feedback)
        outputs["SUMMARY"] = str(result.get("summary") or "")
        outputs["SECONDS"] = round(time.monotonic() - started, 3)
        return outputs

    def further_outputs(
        self, result: Values, parameters: Values, context: QgsProcessingContext
    ) -> Dict[str, Any]:
        """Outputs beyond the declared ones; subclasses give theirs."""
        return {}

    def layer_files(self, result: Values, targets: Mapping[str, str]) -> Mapping[str, str]:
        """The files that ``looks`` speaks of, by its names."""
        return targets

    def _ask(self, request: Dict[str, Any], feedback: QgsProcessingFeedback) -> Dict[str, Any]:
        known = {each.name for each in self.task.parameters()}
        if "overwrite" in known:
            request["overwrite"] = True
        try:
            return client.run_task(self.task.name, request, feedback)
        except client.EngineCancelled as error:
            raise QgsProcessingException(str(error)) from None
        except client.EngineError as error:
            if error.details:
                feedback.pushDebugInfo(error.details)
            raise QgsProcessingException(error.message) from None

    def _targets(self, parameters: Values, context: QgsProcessingContext) -> Dict[str, str]:
        """The files and folders that are to be written, by field."""
        targets = {}
        for each in self.declared.values():
            name = self.names[each.name]
            if each.kind in ("raster_output", "vector_output"):
                targets[each.name] = self.parameterAsOutputLayer(parameters, name, context)
            elif each.kind.endswith("_output"):
                targets[each.name] = self.parameterAsFileOutput(parameters, name, context)
        return {name: path for name, path in targets.items() if path}

    def _file_target(self, value: Any, context: QgsProcessingContext) -> str:
        """The path that an output's value names; "" for a temporary one."""
        sink = getattr(value, "sink", value)
        text = sink if isinstance(sink, str) else sink.valueAsString(context.expressionContext())[0]
        return "" if text.startswith("TEMPORARY_OUTPUT") or text.startswith("memory:") else text

    def _dress(
        self, files: Mapping[str, str], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        """Write the styles of layers, and have those that are loaded named, styled and grouped."""
        dressed = {name: look for name, look in self.looks.items() if name in files}
        for name, look in dressed.items():
            if look.make is not None:
                try:
                    write_style(Path(files[name]), look.make)
                except OSError as error:
                    feedback.pushWarning(f"The style of {files[name]} cannot be written ({error.strerror}).")
        loaded = [name for name in dressed if context.willLoadLayerOnCompletion(files[name])]
        subject = self.subject()
        run = Run(uuid.uuid4().hex, f"{self.displayName()} – {subject}") if len(loaded) > 1 else None
        for place, name in enumerate(loaded):
            details = context.layerToLoadOnCompletionDetails(files[name])
            # A name that somebody chose, in a model for instance, is kept.
            chosen = details.name not in ("", self.declared[name].label if name in self.declared else "")
            title = "" if chosen else f"{dressed[name].title} – {subject}"
            details.setPostProcessor(Dresser(title, place, run))

    def subject(self) -> str:
        """What the run is about, for names: its first raster."""
        for source in self._inputs.values():
            first = source[0] if isinstance(source, list) else source
            if isinstance(first, (RasterInput, ProductInput)):
                return first.name
        return self.displayName()


def _from_options(values: Values) -> Dict[str, Any]:
    """What the options page decides where the dialog leaves it open."""
    settings = Settings.load()
    decided: Dict[str, Any] = {}
    if values.get("device") == "auto":
        decided["device"] = settings.device
    if "memory_limit" in values and values["memory_limit"] is None and settings.memory_limit:
        decided["memory_limit"] = settings.memory_limit
    return decided


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    folder = tempfile.mkdtemp(prefix="hsi-")
    try:
        yield Path(folder)
    finally:
        # The engine may still have a file open, which Windows does not remove.
        shutil.rmtree(folder, ignore_errors=True)


def _subfolder(folder: Path, name: object) -> Path:
    """A folder of its own for each input: two layers may have one name."""
    made = folder / str(name)
    made.mkdir()
    return made
