"""A task's declaration as parameters of a Processing algorithm."""

from typing import Dict, List, Optional, Sequence, Tuple, Type

from qgis.core import (
    QgsProcessing,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
)

from ..hsi_toolkit.tasks import Parameter, Task

#: What a dialog does not ask for: a QGIS layer is one array of one file, and Processing has asked already
#: whether a file may be replaced.
HIDDEN = ("variable", "layer", "overwrite")
#: What the options page decides where a dialog leaves it open.
FROM_OPTIONS = ("device", "memory_limit")

#: The largest whole number that QGIS's spin boxes hold.
LARGEST_INTEGER = 2**31 - 1

#: The field of classes that a dialog takes if the layer has it: that of layers made for training.
USUAL_FIELD = "class"

_GEOMETRIES = {
    "point": QgsProcessing.SourceType.TypeVectorPoint,
    "line": QgsProcessing.SourceType.TypeVectorLine,
    "polygon": QgsProcessing.SourceType.TypeVectorPolygon,
}
_FILTERS = {
    ".safetensors": "Models (*.safetensors)",
    ".html": "HTML files (*.html)",
    ".json": "JSON files (*.json)",
    ".csv": "CSV files (*.csv)",
    ".txt": "Text files (*.txt)",
    ".hsz": "Compressed scenes (*.hsz)",
}


def shown_parameters(task: Type[Task]) -> List[Parameter]:
    """The declarations that a dialog asks for, in their order."""
    return [declared for declared in task.parameters() if declared.name not in HIDDEN]


def processing_names(shown: Sequence[Parameter]) -> Dict[str, str]:
    """Processing's name of each parameter, by the declaration's: the first raster is ``INPUT``."""
    first = next((each.name for each in shown if each.kind in ("raster", "rasters")), None)
    return {each.name: "INPUT" if each.name == first else each.name.upper() for each in shown}


def definition(
    declared: Parameter, names: Dict[str, str], created: bool = True
) -> QgsProcessingParameterDefinition:
    """The Processing parameter of a declaration, which may also be of the kind ``file``: one that is read.

    ``names`` are those of ``processing_names``; an optional output that is not ``created`` is skipped unless
    it is asked for.
    """
    name, label = names[declared.name], declared.label
    # What has a default is never left empty.
    optional = not declared.required and declared.default is None
    if declared.kind.endswith("_output"):
        made = _destination(declared, name, created)
    elif declared.kind == "field":
        made = QgsProcessingParameterField(
            name,
            label,
            None if optional else USUAL_FIELD,
            names[declared.parent],
            QgsProcessingParameterField.DataType.Any,
            False,
            optional,
        )
    else:
        made = _input(declared, name, label, optional)
    made.setHelp(help_of(declared))
    if declared.advanced:
        made.setFlags(made.flags() | QgsProcessingParameterDefinition.Flag.FlagAdvanced)
    return made


def help_of(declared: Parameter) -> str:
    """The parameter's sentence, with its bounds and where its default comes from."""
    bounded = declared.minimum is not None or declared.maximum is not None
    text = f"{declared.help} [{declared.range_text()}]" if bounded else declared.help
    if declared.name in FROM_OPTIONS:
        text += " Left as it is, the options page decides."
    return text


def file_filter(suffixes: Tuple[str, ...]) -> str:
    """The filter of a file dialog, for example ``"HTML files (*.html)"``."""
    return ";;".join(_FILTERS.get(suffix, f"{suffix[1:].upper()} files (*{suffix})") for suffix in suffixes)


def _input(declared: Parameter, name: str, label: str, optional: bool) -> QgsProcessingParameterDefinition:
    kind, default = declared.kind, declared.default
    if kind == "raster":
        return QgsProcessingParameterRasterLayer(name, label, default, optional)
    if kind == "rasters":
        layer_type = QgsProcessing.SourceType.TypeRaster
        return QgsProcessingParameterMultipleLayers(name, label, layer_type, default, optional)
    if kind == "vector":
        types = [_GEOMETRIES[each] for each in declared.geometries] or [
            QgsProcessing.SourceType.TypeVectorAnyGeometry
        ]
        return QgsProcessingParameterFeatureSource(name, label, types, default, optional)
    if kind == "model":
        # Any name will do: that of a fetched model is a value, too.
        behavior = QgsProcessingParameterFile.Behavior.File
        filters = f"{file_filter(declared.suffixes)};;All files (*)"
        return QgsProcessingParameterFile(name, label, behavior, "", default, optional, filters)
    if kind == "file":
        behavior = QgsProcessingParameterFile.Behavior.File
        filters = file_filter(declared.suffixes)
        return QgsProcessingParameterFile(name, label, behavior, "", default, optional, filters)
    if kind == "files":
        layer_type = QgsProcessing.SourceType.TypeFile
        return QgsProcessingParameterMultipleLayers(name, label, layer_type, default, optional)
    if kind == "folder":
        behavior = QgsProcessingParameterFile.Behavior.Folder
        return QgsProcessingParameterFile(name, label, behavior, "", default, optional)
    if kind == "choice":
        return QgsProcessingParameterEnum(name, label, declared.choices, False, default, optional, True)
    if kind == "flag":
        return QgsProcessingParameterBoolean(name, label, default, optional)
    if kind in ("integer", "number"):
        return _number(declared, name, label, optional)
    return QgsProcessingParameterString(name, label, default, False, optional)


def _number(declared: Parameter, name: str, label: str, optional: bool) -> QgsProcessingParameterNumber:
    integer = declared.kind == "integer"
    types = QgsProcessingParameterNumber.Type
    made = QgsProcessingParameterNumber(
        name, label, types.Integer if integer else types.Double, declared.default, optional
    )
    if declared.minimum is not None:
        made.setMinimum(declared.minimum)
    maximum = _maximum(declared.maximum, integer)
    if maximum is not None:
        made.setMaximum(maximum)
    return made


def _maximum(declared: Optional[float], integer: bool) -> Optional[float]:
    if not integer:
        return declared
    return LARGEST_INTEGER if declared is None else min(declared, LARGEST_INTEGER)


def _destination(declared: Parameter, name: str, created: bool) -> QgsProcessingParameterDefinition:
    label, optional = declared.label, not declared.required
    created = created or not optional
    if declared.kind == "raster_output":
        return QgsProcessingParameterRasterDestination(name, label, None, optional, created)
    if declared.kind == "vector_output":
        layer_type = QgsProcessing.SourceType.TypeVectorAnyGeometry
        return QgsProcessingParameterVectorDestination(name, label, layer_type, None, optional, created)
    if declared.kind == "folder_output":
        return QgsProcessingParameterFolderDestination(name, label, None, optional, created)
    filters = file_filter(declared.suffixes)
    return QgsProcessingParameterFileDestination(name, label, filters, None, optional, created)
