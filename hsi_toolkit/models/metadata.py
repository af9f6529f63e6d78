"""What a model bundle says about itself, as values and as JSON, which is checked field by field."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias, TypeVar

import numpy as np

from hsi_toolkit import __version__
from hsi_toolkit.scene.class_map import ClassEntry
from hsi_toolkit.spectral.resample import SensorBands

Json: TypeAlias = str | int | float | bool | list["Json"] | dict[str, "Json"] | None

T = TypeVar("T")

# Far beyond any real model; a header of nonsense must not make long loops.
_MOST_BANDS = 100_000
_LARGEST_CLASS_VALUE = 2**31 - 1


class MetadataError(ValueError):
    """A field of the JSON is missing or wrong; the text names it and the value seen."""


@dataclass(frozen=True)
class Architecture:
    """Which network the tensors belong to: its module's name and the arguments of its constructor."""

    name: str
    config: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Preprocessing:
    """What turns a scene into the network's input.

    Attributes:
        bands: the bands it was fitted on.
        features: class name of the transform ("GroupwisePCA", "MultiScalePCA"), None for plain spectra. What
            it learned is among the tensors.
        config: its parameters.
        quantity: "reflectance", "radiance" or "dn", what the scene held.
        sensor: the scene's sensor, None when unknown.
    """

    bands: SensorBands
    features: str | None = None
    config: Mapping[str, Json] = field(default_factory=dict)
    quantity: str | None = None
    sensor: str | None = None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Provenance:
    """Where a model comes from.

    Attributes:
        data: the scenes or data sets it was trained on.
        labels: the label layer or reference, None for a model trained without.
        source: what it was converted or fine-tuned from, None for one trained from scratch.
        licence: of the weights; "not stated" where the publisher says nothing.
        seed: of the training run.
        parameters: of the training run, as the user gave them.
        metrics: accuracies and losses by name; NaN and infinity become null.
        code_version: version of this package that wrote the bundle.
        created: UTC time, ISO 8601.
    """

    data: tuple[str, ...] = ()
    labels: str | None = None
    source: str | None = None
    licence: str = "not stated"
    seed: int | None = None
    parameters: Mapping[str, Json] = field(default_factory=dict)
    metrics: Mapping[str, Json] = field(default_factory=dict)
    code_version: str = __version__
    created: str = field(default_factory=_now)


@dataclass(frozen=True)
class ModelMetadata:
    """Everything about a model but its tensors.

    Attributes:
        name: what people call it.
        kind: what it is for: "classifier", "pretrained", later "codec", "unmixing" and others.
        architecture: the network.
        preprocessing: what turns a scene into its input; None for pretrained weights that bring none.
        classes: number in the map, name and colour of each output of a classifier, in their order.
        provenance: where it comes from.
        extra: whatever else belongs to it.
    """

    name: str
    kind: str
    architecture: Architecture
    preprocessing: Preprocessing | None = None
    classes: tuple[ClassEntry, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)
    extra: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """The metadata as JSON values; NumPy numbers become Python's, NaN and infinity null."""
        preprocessing = None
        if self.preprocessing is not None:
            preprocessing = {**vars(self.preprocessing), "bands": vars(self.preprocessing.bands)}
        fields = {
            "name": self.name,
            "kind": self.kind,
            "architecture": vars(self.architecture),
            "preprocessing": preprocessing,
            "classes": [
                {"value": entry.value, "name": entry.name, "colour": f"#{bytes(entry.colour).hex()}"}
                for entry in self.classes
            ],
            "provenance": vars(self.provenance),
            "extra": self.extra,
        }
        return {name: plain_json(value) for name, value in fields.items()}

    @classmethod
    def from_json(cls, value: object) -> "ModelMetadata":
        """The metadata in ``value``, as ``json.loads`` gives it. Unknown fields are passed over.

        Raises:
            MetadataError: a field is missing or wrong.
        """
        data = _mapping(value, "the metadata")
        architecture = _mapping(data.get("architecture"), "architecture")
        preprocessing = data.get("preprocessing")
        return cls(
            name=_text(data, "name"),
            kind=_text(data, "kind"),
            architecture=Architecture(_text(architecture, "name"), _object(architecture, "config")),
            preprocessing=None if preprocessing is None else _preprocessing(preprocessing),
            classes=_classes(data.get("classes", [])),
            provenance=_provenance(data.get("provenance", {})),
            extra=_object(data, "extra"),
        )

    def card(self) -> dict[str, Json]:
        """The model card: what a user asks about a model, label and answer, without what is unknown."""
        origin, bands = self.provenance, self.preprocessing.bands if self.preprocessing else None
        centres = bands.wavelength if bands else None
        entries: dict[str, Json] = {
            "Name": self.name,
            "Kind": self.kind.replace("_", " "),
            "Network": self.architecture.name,
            "Bands": None if bands is None else f"{len(bands)} of {bands.scene_bands}",
            "Wavelengths": f"{min(centres):.0f} to {max(centres):.0f} nm" if centres else None,
            "Sensor": self.preprocessing.sensor if self.preprocessing else None,
            "Quantity": self.preprocessing.quantity if self.preprocessing else None,
            "Features": self.preprocessing.features if self.preprocessing else None,
            "Classes": [entry.name for entry in self.classes] or None,
            "Trained on": list(origin.data) or None,
            "Labels": origin.labels,
            "Made from": origin.source,
            "Parameters": dict(origin.parameters) or None,
            # Losses epoch by epoch are for a curve.
            "Metrics": {name: each for name, each in origin.metrics.items() if not isinstance(each, list)}
            or None,
            "Seed": origin.seed,
            "Licence": origin.licence,
            "Written by": f"hsi_toolkit {origin.code_version}",
            "Created": origin.created,
        }
        return {label: plain_json(answer) for label, answer in entries.items() if answer is not None}

    def card_text(self) -> str:
        """The model card as lines of text."""
        return "\n".join(f"{label + ':':<13} {_spoken(answer)}" for label, answer in self.card().items())


def plain_json(value: object) -> Json:
    """``value`` with NumPy numbers and arrays made Python's, tuples lists, and NaN and infinity null."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    return str(value)


def _spoken(answer: Json) -> str:
    if isinstance(answer, dict):
        return ", ".join(f"{key} {_spoken(item)}" for key, item in answer.items())
    if isinstance(answer, list):
        return ", ".join(_spoken(item) for item in answer)
    return f"{answer:.4g}" if isinstance(answer, float) else "unknown" if answer is None else str(answer)


def _preprocessing(value: object) -> Preprocessing:
    data = _mapping(value, "preprocessing")
    return Preprocessing(
        bands=_bands(data.get("bands")),
        features=_optional_text(data, "features"),
        config=_object(data, "config"),
        quantity=_optional_text(data, "quantity"),
        sensor=_optional_text(data, "sensor"),
    )


def _bands(value: object) -> SensorBands:
    data = _mapping(value, "preprocessing.bands")
    count = data.get("scene_bands")
    if type(count) is not int or not 1 <= count <= _MOST_BANDS:
        raise MetadataError(f"scene_bands is {_shown(count)}")
    used = _items(data.get("used"), int, "used")
    if not used or any(not 0 <= band < count for band in used) or sorted(set(used)) != list(used):
        raise MetadataError(f"used is {_shown(used)}")
    wavelength, fwhm = (_lengths(data.get(name), len(used), name) for name in ("wavelength", "fwhm"))
    return SensorBands(count, used, wavelength, fwhm)


def _lengths(value: object, count: int, name: str) -> tuple[float, ...] | None:
    if value is None:
        return None
    if isinstance(value, list):
        value = [float(item) if type(item) is int else item for item in value]
    numbers = _items(value, float, name)
    if len(numbers) != count or not all(0 < number < math.inf for number in numbers):
        raise MetadataError(f"{name} has not a positive number for each of {count} bands")
    return numbers


def _classes(value: object) -> tuple[ClassEntry, ...]:
    entries = []
    for item in _items(value, dict, "classes"):
        number, colour = item.get("value"), str(item.get("colour"))
        if type(number) is not int or not 0 <= number <= _LARGEST_CLASS_VALUE:
            raise MetadataError(f"a class has the value {_shown(number)}")
        if not re.fullmatch("#[0-9a-fA-F]{6}", colour):
            raise MetadataError(f"a class has the colour {_shown(colour)}")
        red, green, blue = bytes.fromhex(colour[1:])
        entries.append(ClassEntry(number, _text(item, "name"), (red, green, blue)))
    if len({entry.value for entry in entries}) != len(entries):
        raise MetadataError("two classes have the same value")
    return tuple(entries)


def _provenance(value: object) -> Provenance:
    data = _mapping(value, "provenance")
    seed = data.get("seed")
    if seed is not None and type(seed) is not int:
        raise MetadataError(f"seed is {_shown(seed)}")
    return Provenance(
        data=_items(data.get("data", []), str, "data"),
        labels=_optional_text(data, "labels"),
        source=_optional_text(data, "source"),
        licence=_optional_text(data, "licence") or "not stated",
        seed=seed,
        parameters=_object(data, "parameters"),
        metrics=_object(data, "metrics"),
        code_version=_optional_text(data, "code_version") or "unknown",
        created=_optional_text(data, "created") or "unknown",
    )


def _mapping(value: object, name: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise MetadataError(f"{name} is {_shown(value)} instead of an object")
    return value


def _object(data: Mapping[str, object], name: str) -> dict[str, Json]:
    return {key: plain_json(item) for key, item in _mapping(data.get(name, {}), name).items()}


def _text(data: Mapping[str, object], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise MetadataError(f"{name} is {_shown(value)} instead of a text")
    return value


def _optional_text(data: Mapping[str, object], name: str) -> str | None:
    return None if data.get(name) is None else _text(data, name)


def _items(value: object, kind: type[T], name: str) -> tuple[T, ...]:
    """The list ``value`` with items of that type; truth values are no numbers."""
    if not isinstance(value, list):
        raise MetadataError(f"{name} is {_shown(value)} instead of a list")
    if not all(isinstance(item, kind) and not isinstance(item, bool) for item in value):
        raise MetadataError(f"{name} has an item that is no {kind.__name__}")
    return tuple(value)


def _shown(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
