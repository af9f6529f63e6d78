"""The model bundle: one safetensors file that is one model. docs/models.md describes the format."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import xarray as xr
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hsi_toolkit.errors import ModelError
from hsi_toolkit.files import atomic_path
from hsi_toolkit.models.header import Header, read_header
from hsi_toolkit.models.metadata import (
    Architecture,
    Json,
    ModelMetadata,
    Preprocessing,
    Provenance,
)
from hsi_toolkit.spectral.resample import BandPlan, SensorBands, plan_bands

__all__ = [
    "FORMAT_VERSION",
    "Architecture",
    "Json",
    "ModelBundle",
    "ModelMetadata",
    "Preprocessing",
    "Provenance",
    "SensorBands",
    "check_compatible",
    "parts",
]

FORMAT_VERSION = 1
"""Raised when a reader of the version before would misunderstand the file."""

_METADATA_KEY = "hsi_toolkit"
_VERSION_KEY = "format_version"


@dataclass(frozen=True)
class ModelBundle:
    """A model: what it says about itself, and its tensors by name.

    The part of a name before the first dot says what a tensor belongs to: ``network.*`` are the network's
    parameters under their own names, the other parts are the architecture's (docs/models.md).
    """

    metadata: ModelMetadata
    tensors: Mapping[str, Tensor]

    @classmethod
    def load(cls, path: str | Path) -> "ModelBundle":
        """The bundle at ``path``, its tensors on the CPU. Nothing in the file is executed.

        Raises:
            ModelError: the file is missing, damaged, no bundle, or of a newer format.
        """
        metadata = cls.read_metadata(path)
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} is damaged: {error}.", "Copy or download it again.") from error
        return cls(metadata, tensors)

    @staticmethod
    def read_metadata(path: str | Path) -> ModelMetadata:
        """What the bundle at ``path`` says about itself; its tensors are not read.

        Raises:
            ModelError: as ``load``.
        """
        header = read_header(path)
        _check_version(header, path)
        try:
            return ModelMetadata.from_json(json.loads(header.metadata[_METADATA_KEY]))
        except (ValueError, OverflowError, RecursionError) as error:
            raise ModelError(
                f"{path} is damaged: its description is wrong ({error}).", "Copy or download it again."
            ) from error

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the bundle to ``path``, whole or not at all.

        Raises:
            ModelError: the name does not end in .safetensors.
            OutputError: the file exists and ``overwrite`` is false, or it cannot be written.
        """
        if Path(path).suffix != ".safetensors":
            raise ModelError(f"The model file {path} does not end in .safetensors.", "Name it so.")
        description = json.dumps(self.metadata.to_json(), ensure_ascii=False, allow_nan=False)
        header = {_METADATA_KEY: description, _VERSION_KEY: str(FORMAT_VERSION), "format": "pt"}
        with atomic_path(path, overwrite=overwrite) as temporary:
            try:
                save_file(_storable(self.tensors), temporary, metadata=header)
            except SafetensorError as error:
                # The library wraps the system's error; its text alone says which it was.
                raise OSError(5, str(error)) from error

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of that part, for instance ``"network"``, under their names within it."""
        prefix = f"{name}."
        return {
            key.removeprefix(prefix): tensor for key, tensor in self.tensors.items() if key.startswith(prefix)
        }

    def card(self) -> dict[str, Json]:
        """The model card as label and answer; ``metadata.card_text()`` gives it as text."""
        return self.metadata.card()

    def check_compatible(self, scene: xr.DataArray) -> BandPlan:
        """See ``check_compatible``."""
        return check_compatible(self.metadata, scene)


def parts(**groups: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a bundle from those of its parts: ``parts(network=state_dict, spectral=...)``."""
    return {f"{part}.{name}": tensor for part, group in groups.items() for name, tensor in group.items()}


def check_compatible(metadata: ModelMetadata, scene: xr.DataArray) -> BandPlan:
    """How ``scene`` gives the bands of the model: as they are, by position, or resampled.

    The plan's ``note`` is a sentence for the user wherever the scene is not what the model was trained on.

    Raises:
        ModelError: the model brings no preprocessing.
        SceneError: the scene lacks bands the model needs; the sentence says which.
    """
    preprocessing = metadata.preprocessing
    if preprocessing is None:
        raise ModelError(
            f"The model {metadata.name} has no preprocessing, so it cannot be applied to a scene.",
            "Train a model from it with 'hsi train --weights'.",
        )
    plan = plan_bands(preprocessing.bands, scene)
    quantity = scene.attrs.get("quantity")
    if preprocessing.quantity and quantity and quantity != preprocessing.quantity:
        note = f"The model was trained on {preprocessing.quantity} and the scene holds {quantity}."
        plan = replace(plan, note=f"{plan.note} {note}".strip())
    return plan


def _check_version(header: Header, path: str | Path) -> None:
    if _METADATA_KEY not in header.metadata:
        raise ModelError(
            f"{path} holds {len(header.tensors)} tensors but no description: it is no model bundle.",
            "Convert released weights with 'hsi models import'.",
        )
    version = header.metadata.get(_VERSION_KEY, "")
    if not (version.isascii() and version.isdigit() and 0 < len(version) < 10):
        raise ModelError(
            f"{path} is damaged: its format version is {version[:20]!r}.", "Copy or download it again."
        )
    if int(version) > FORMAT_VERSION:
        raise ModelError(
            f"{path} was written by a newer version of hsi_toolkit (format {version}, this one reads "
            f"{FORMAT_VERSION}).",
            "Update hsi_toolkit.",
        )


def _storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, each with memory of its own: safetensors stores no aliases."""
    storable: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().to("cpu").contiguous()
        storage = plain.untyped_storage()
        if storage.data_ptr() in taken or storage.nbytes() != plain.nbytes:
            plain = plain.clone()
        taken.add(plain.untyped_storage().data_ptr())
        storable[name] = plain
    return storable
