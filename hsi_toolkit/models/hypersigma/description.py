"""Configurations of HyperSIGMA's networks as the JSON of a model bundle, and back."""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import TYPE_CHECKING, TypeVar

from hsi_toolkit.errors import ModelError
from hsi_toolkit.models.hypersigma.encoders import TransformerSize
from hsi_toolkit.models.metadata import Json, plain_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")


def described(config: "DataclassInstance") -> dict[str, Json]:
    """The configuration as JSON values, the transformer's size spelt out under ``size``."""
    return {name: plain_json(value) for name, value in asdict(config).items()}


def restored(kind: type[Config], values: Mapping[str, Json]) -> Config:
    """The configuration of that kind that ``described`` took apart; what is missing has its default.

    Raises:
        ModelError: a value is unknown, or one that is needed is missing.
    """
    known = {each.name for each in fields(kind)}
    given = {name: _tuples(value) for name, value in values.items()}
    try:
        if isinstance(size := values.get("size"), Mapping):
            given["size"] = TransformerSize(**{name: _tuples(value) for name, value in size.items()})  # type: ignore[arg-type]
        if unknown := given.keys() - known:
            raise TypeError(f"it has {min(unknown)}")
        config = kind(**given)
    except TypeError as error:
        raise ModelError(
            f"The model's description is not that of a {kind.__name__} ({error}).",
            "Update hsi_toolkit, or train or import the model again.",
        ) from error
    if is_dataclass(config) and not isinstance(getattr(config, "size", TransformerSize()), TransformerSize):
        raise ModelError("The model's description has no sizes.", "Train or import the model again.")
    return config


def _tuples(value: object) -> object:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
