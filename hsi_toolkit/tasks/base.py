"""How a task declares its parameters, once, for every door that leads to it.

A task is a frozen dataclass whose fields carry a ``Parameter``. The command line makes its options
from it, the worker checks a request against it, QGIS builds its dialog and help from it and the
documentation its tables. Standard library only and Python 3.9 syntax: QGIS reads these files with
its own interpreter.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Dict, List, Mapping, Optional, Tuple, Type, TypeVar

from ..errors import ParameterError

#: What a parameter holds; each door chooses its widget, option type and check by it.
KINDS = (
    "raster",  # path of a scene or map
    "rasters",  # several of them
    "vector",  # path of a polygon or point layer
    "field",  # name of a field of the vector parameter named by ``parent``
    "model",  # path of a model bundle, or the name of a fetched one
    "file",  # path of another file, such as a spectral library
    "files",  # several of them
    "folder",  # path of a folder that is read
    "raster_output",
    "vector_output",  # path of a GeoPackage
    "model_output",
    "file_output",
    "folder_output",
    "integer",
    "number",
    "choice",
    "flag",
    "text",
)
INPUT_PATHS = ("raster", "vector", "model", "file", "folder")
OUTPUTS = ("raster_output", "vector_output", "model_output", "file_output", "folder_output")


@dataclass(frozen=True)
class Parameter:
    """The declaration of one parameter.

    ``label`` names it in a dialog, ``help`` is its sentence in every help text. ``option`` is the
    short flag of the command line; a ``positional`` one is given without a flag. Numbers have
    inclusive bounds and a ``unit``. ``suffixes`` filter file dialogs, the first one being the
    default. ``advanced`` ones are folded away.
    """

    kind: str
    label: str
    help: str
    choices: Tuple[str, ...] = ()
    minimum: Optional[float] = None
    maximum: Optional[float] = None
    unit: str = ""
    suffixes: Tuple[str, ...] = ()
    parent: str = ""
    geometries: Tuple[str, ...] = ()
    option: str = ""
    positional: bool = False
    advanced: bool = False
    name: str = ""
    default: Any = None
    required: bool = False

    def check(self, value: Any) -> Any:
        """``value`` in this parameter's type, or the sentence that says why it cannot be used.

        Raises:
            ParameterError: it is missing, of another type, unknown or outside the bounds.
        """
        if value is None or value == "":
            if self.required:
                raise ParameterError(
                    f"The parameter {self.name!r} ({self.label}) is missing.", "Give it a value."
                )
            return self.default
        checks = {
            "flag": self._check_flag,
            "integer": self._check_integer,
            "number": self._check_number,
            "choice": self._check_choice,
            "rasters": self._check_list,
            "files": self._check_list,
            "vector_output": self._check_suffix,
        }
        return checks.get(self.kind, self._check_text)(value)

    def _wrong(self, value: Any, wanted: str) -> ParameterError:
        return ParameterError(f"The parameter {self.name!r} is {value!r}.", f"Give {wanted}.")

    def _check_flag(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise self._wrong(value, "true or false")
        return value

    def _check_integer(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value % 1 != 0:
            raise self._wrong(value, "a whole number")
        return int(self._check_bounds(value))

    def _check_number(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self._wrong(value, "a number")
        return float(self._check_bounds(value))

    def _check_bounds(self, value: float) -> float:
        too_low = self.minimum is not None and value < self.minimum
        too_high = self.maximum is not None and value > self.maximum
        if too_low or too_high:
            raise self._wrong(value, self.range_text())
        return value

    def range_text(self) -> str:
        """The bounds in words, such as ``"a value from 1 to 500 epochs"``."""
        unit = f" {self.unit}" if self.unit else ""
        if self.minimum is not None and self.maximum is not None:
            return f"a value from {self.minimum} to {self.maximum}{unit}"
        if self.minimum is not None:
            return f"a value of at least {self.minimum}{unit}"
        if self.maximum is not None:
            return f"a value of at most {self.maximum}{unit}"
        return f"a number{unit}"

    def _check_choice(self, value: Any) -> str:
        if value not in self.choices:
            raise self._wrong(value, "one of " + ", ".join(self.choices))
        return str(value)

    def _check_list(self, value: Any) -> Tuple[str, ...]:
        if isinstance(value, str) or not all(isinstance(item, str) and item for item in value):
            raise self._wrong(value, "a list of paths")
        if not value:
            raise self._wrong(list(value), "at least one path")
        return tuple(value)

    def _check_suffix(self, value: Any) -> str:
        path = self._check_text(value)
        if self.suffixes and not path.lower().endswith(self.suffixes):
            raise self._wrong(value, "a name that ends in " + " or ".join(self.suffixes))
        return path

    def _check_text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise self._wrong(value, "a text")
        return value


def parameter(kind: str, label: str, help: str, *, default: Any = dataclasses.MISSING, **more: Any) -> Any:
    """A dataclass field that carries its ``Parameter``; required when it has no default."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind of parameter {kind!r}")
    declared = Parameter(kind=kind, label=label, help=help, **more)
    return field(default=default, metadata={"parameter": declared})


T = TypeVar("T", bound="Task")


@dataclass(frozen=True)
class Task:
    """What a user can ask for. Subclasses add the fields; a pipeline of the same name does the work.

    Tasks of one ``family`` share its command and begin with its name: "codec_train" of the family "codec" is
    ``hsi codec train``.
    """

    name: ClassVar[str]
    family: ClassVar[str] = ""
    title: ClassVar[str]
    summary: ClassVar[str]
    description: ClassVar[str]
    group: ClassVar[str]
    tags: ClassVar[Tuple[str, ...]] = ()
    references: ClassVar[Tuple[str, ...]] = ()
    examples: ClassVar[Tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for declared in self.parameters():
            checked = declared.check(getattr(self, declared.name))
            object.__setattr__(self, declared.name, checked)

    @classmethod
    def command(cls) -> str:
        """What follows ``hsi`` on the command line."""
        words = cls.name.replace("_", "-")
        return cls.family + " " + words[len(cls.family) + 1 :] if cls.family else words

    @classmethod
    def parameters(cls) -> List[Parameter]:
        """The declarations, in the order of the fields, each knowing its name and default."""
        found = []
        for each in dataclasses.fields(cls):
            required = each.default is dataclasses.MISSING
            found.append(
                dataclasses.replace(
                    each.metadata["parameter"],
                    name=each.name,
                    default=None if required else each.default,
                    required=required,
                )
            )
        return found

    @classmethod
    def from_dict(cls: Type[T], values: Mapping[str, Any]) -> T:
        """The task with these parameters, all of them checked.

        Raises:
            ParameterError: one is unknown, missing or wrong.
        """
        known = {declared.name: declared for declared in cls.parameters()}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ParameterError(
                f"The task {cls.name!r} has no parameter {unknown[0]!r}.", "It has " + ", ".join(known) + "."
            )
        for name, declared in known.items():
            if declared.required and name not in values:
                declared.check(None)
        return cls(**values)

    def to_dict(self) -> Dict[str, Any]:
        """The parameters as JSON-able values."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
