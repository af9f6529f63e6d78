"""Released pretraining weights, and what each task takes over from them.

The rules are those of the published scripts, task by task, oddities included, since published results rest
on them.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hsi_toolkit.errors import ModelError
from hsi_toolkit.models.bundle import ModelBundle
from hsi_toolkit.models.checkpoints import LoadReport, StateDict, load_by_name, read_weights
from hsi_toolkit.models.header import read_header
from hsi_toolkit.models.hypersigma.change import ChangeNetwork
from hsi_toolkit.models.hypersigma.classification import (
    FusionClassifier,
    FusionSegmenter,
    SpatialClassifier,
    SpatialSegmenter,
)
from hsi_toolkit.models.hypersigma.denoising import FusionDenoiser, SpatialDenoiser
from hsi_toolkit.models.hypersigma.detection import AnomalyNetwork, TargetNetwork
from hsi_toolkit.models.hypersigma.encoders import SIZES, SpatialTransformer, SpectralEncoder
from hsi_toolkit.models.hypersigma.multispectral_change import MultispectralChangeNetwork
from hsi_toolkit.models.hypersigma.superresolution import FusionSuperResolution, SpatialSuperResolution
from hsi_toolkit.models.hypersigma.unmixing import UnmixingNetwork

Branch = Literal["spatial", "spectral"]

_Kind = TypeVar("_Kind", bound=nn.Module)

_WRAPPERS = ("state_dict", "model", "net")
_PRETRAINED_SIDE = 64
_BANDS_OF_A_PHOTO = 3


@dataclass(frozen=True)
class LoadingRule:
    """What a task takes from a pretrained encoder.

    ``embedding`` is the patch embedding or ``spat_map``: never loaded, only the spatial one of 3 bands and
    the spectral one of 64×64 pixels if it fits (``special``), or all that fits its shape, biases always
    (``fitting``). ``positions`` are left out, loaded as they are, or resized.
    """

    embedding: Literal["never", "special", "fitting"]
    positions: Literal["never", "same", "resized"]


_NOTEBOOK = LoadingRule("never", "never"), LoadingRule("never", "same")
_IN_CLASS = LoadingRule("special", "resized"), LoadingRule("special", "resized")
_BY_NAME = LoadingRule("never", "never"), LoadingRule("never", "never")
_FITTING = LoadingRule("fitting", "resized"), LoadingRule("never", "never")

RULES: Mapping[type[nn.Module], tuple[LoadingRule, LoadingRule]] = MappingProxyType(
    {
        FusionClassifier: _NOTEBOOK,
        FusionSegmenter: _NOTEBOOK,
        SpatialClassifier: _NOTEBOOK,
        SpatialSegmenter: _NOTEBOOK,
        AnomalyNetwork: _IN_CLASS,
        TargetNetwork: _IN_CLASS,
        FusionDenoiser: _IN_CLASS,
        FusionSuperResolution: _IN_CLASS,
        UnmixingNetwork: _BY_NAME,
        ChangeNetwork: _BY_NAME,
        MultispectralChangeNetwork: _BY_NAME,
        SpatialDenoiser: _FITTING,
        SpatialSuperResolution: _FITTING,
    }
)
"""The rules of the spatial and of the spectral encoder."""


ARCHITECTURES: Mapping[str, Branch] = MappingProxyType(
    {"hypersigma_spatial_mae": "spatial", "hypersigma_spectral_mae": "spectral"}
)
"""What model bundles call the autoencoders."""


class Pretrained(NamedTuple):
    """A pretrained autoencoder's weights: which encoder, the name of its size, and its tensors."""

    branch: Branch
    size: str
    state_dict: StateDict


def read_pretrained(path: str | Path) -> Pretrained:
    """Read a released pretraining file, such as ``spat-vit-base-ultra-checkpoint-1599.pth``, or a bundle.

    Nothing in it is executed; the training arguments that it holds besides are plain values.

    Raises:
        ModelError: the file is missing, damaged, would run code, or holds no HyperSIGMA encoder.
    """
    state = _bundled(path) if is_bundle(path) else read_state_dict(path)
    return pretrained_of(state, path)


def pretrained_of(state: StateDict, path: str | Path) -> Pretrained:
    """Which encoder the tensors of a pretraining file are of; ``path`` is named where they are of none.

    Raises:
        ModelError: they are of no HyperSIGMA encoder of a known size.
    """
    branch: Branch = "spectral" if "spat_map.weight" in state else "spatial"
    embedding = state.get("spat_map.weight" if branch == "spectral" else "patch_embed.proj.weight")
    if embedding is not None and embedding.ndim != (2 if branch == "spectral" else 4):
        embedding = None
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    sizes = {(size.dim, size.depth): name for name, size in SIZES.items()}
    size = None if embedding is None else sizes.get((embedding.shape[0], depth))
    if size is None or "blocks.0.attn.qkv.weight" not in state:
        raise ModelError(
            f"{path} holds no pretrained HyperSIGMA encoder of a released size.",
            "Choose a file such as spat-vit-base-ultra-checkpoint-1599.pth, or one of 'hsi pretrain'.",
        )
    return Pretrained(branch, size, state)


def is_bundle(path: str | Path) -> bool:
    """Whether the file is a model bundle of this package.

    Raises:
        ModelError: it is a .safetensors file, but damaged.
    """
    file = Path(path)
    return file.suffix == ".safetensors" and file.is_file() and "hsi_toolkit" in read_header(file).metadata


def _bundled(path: str | Path) -> StateDict:
    bundle = ModelBundle.load(path)
    if bundle.metadata.architecture.name not in ARCHITECTURES:
        raise ModelError(
            f"{path} holds a {bundle.metadata.architecture.name} of the kind {bundle.metadata.kind!r} and no "
            "pretrained HyperSIGMA encoder.",
            "Choose one that was imported, or one of 'hsi pretrain'.",
        )
    return bundle.part("network")


def read_state_dict(path: str | Path) -> StateDict:
    """The tensors of a HyperSIGMA file (pretraining, denoising, any head) by name, unwrapped.

    As the published readers do: what stands under ``state_dict``, ``model`` or ``net``, ``module.``
    stripped; of names that begin with ``encoder`` the rest, if those sort first.

    Raises:
        ModelError: the file is missing, damaged, would run code, or holds no tensors by name.
    """
    with torch.serialization.safe_globals([argparse.Namespace]):
        loaded = read_weights(path)
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
            break
    tensors = loaded.items() if isinstance(loaded, Mapping) else ()
    state = {str(name).removeprefix("module."): value for name, value in tensors if isinstance(value, Tensor)}
    if not state:
        raise ModelError(f"{path} holds no weights by name.", "Choose a released checkpoint.")
    return state


def strip_encoder(state: Mapping[str, Tensor]) -> StateDict:
    """Of weights whose first name begins with ``encoder``, those of the encoder, without that prefix."""
    if not min(state).startswith("encoder"):
        return dict(state)
    return {
        name.removeprefix("encoder."): value for name, value in state.items() if name.startswith("encoder.")
    }


def load_pretrained(
    network: nn.Module,
    spatial: Mapping[str, Tensor] | None = None,
    spectral: Mapping[str, Tensor] | None = None,
) -> LoadReport:
    """Start a task's network from the weights of pretrained autoencoders, by the published rule of the task.

    Raises:
        ModelError: the weights are of another size or fit nothing, or the network has no such encoder.
    """
    return load_by_name(network, pretrained_tensors(network, spatial, spectral))


def pretrained_tensors(
    network: nn.Module,
    spatial: Mapping[str, Tensor] | None = None,
    spectral: Mapping[str, Tensor] | None = None,
) -> StateDict:
    """What ``network`` takes from the weights of pretrained autoencoders, by the network's names.

    Raises:
        ModelError: the network has no encoder for the weights.
    """
    spatial_rule, spectral_rule = RULES[type(network)]
    tensors: StateDict = {}
    if spatial is not None:
        prefix, encoder = _find(network, SpatialTransformer)
        taken = spatial_tensors(encoder, spatial, spatial_rule)
        tensors |= {prefix + name: value for name, value in taken.items()}
    if spectral is not None:
        prefix, encoder_of_bands = _find(network, SpectralEncoder)
        taken = spectral_tensors(encoder_of_bands, spectral, spectral_rule)
        tensors |= {prefix + name: value for name, value in taken.items()}
    return tensors


def spatial_tensors(encoder: SpatialTransformer, state: Mapping[str, Tensor], rule: LoadingRule) -> StateDict:
    """What ``encoder`` takes from a pretrained spatial autoencoder, by the encoder's names."""
    own = encoder.state_dict()
    taken = _common(own, state)
    for name in ("patch_embed.proj.weight", "patch_embed.proj.bias"):
        fits = name.endswith("bias") or (name in taken and taken[name].shape == own[name].shape)
        special = encoder.config.bands == _BANDS_OF_A_PHOTO
        if not {"never": False, "special": special, "fitting": fits}[rule.embedding]:
            taken.pop(name, None)
    if rule.positions == "resized" and "pos_embed" in taken:
        taken["pos_embed"] = resize_grid(taken["pos_embed"], encoder.config.cells)
    elif rule.positions == "never":
        taken.pop("pos_embed", None)
    return taken


def spectral_tensors(encoder: SpectralEncoder, state: Mapping[str, Tensor], rule: LoadingRule) -> StateDict:
    """What ``encoder`` takes from a pretrained spectral autoencoder, by the encoder's names."""
    taken = _common(encoder.state_dict(), state)
    fits = "spat_map.weight" in taken and taken["spat_map.weight"].shape == encoder.spat_map.weight.shape
    special = encoder.config.img_size == _PRETRAINED_SIDE and fits
    if not (rule.embedding == "special" and special):
        for name in ("spat_map.weight", "spat_map.bias"):
            taken.pop(name, None)
    if rule.positions == "resized" and "pos_embed" in taken:
        taken["pos_embed"] = resize_line(taken["pos_embed"], encoder.config.tokens)
    elif rule.positions == "never":
        taken.pop("pos_embed", None)
    return taken


def resize_grid(table: Tensor, side: int) -> Tensor:
    """A position table (1, n², dim) of a square, bicubically resized to (1, side², dim)."""
    old = round(table.shape[1] ** 0.5)
    if old == side:
        return table
    square = table.transpose(1, 2).reshape(1, -1, old, old)
    resized = F.interpolate(square, size=(side, side), mode="bicubic", align_corners=False)
    return resized.flatten(2).transpose(1, 2)


def resize_line(table: Tensor, length: int) -> Tensor:
    """A position table (1, n, dim) of a line, without its first row, bicubically resized to (1, length, dim).

    The published loader takes the first row for a class token, which these networks do not have.
    """
    line = table[:, 1:].transpose(1, 2).unsqueeze(2)
    resized = F.interpolate(line, size=(1, length), mode="bicubic", align_corners=False)
    return resized.squeeze(2).transpose(1, 2)


def _common(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> StateDict:
    return {name: value for name, value in state.items() if name in own}


def _find(network: nn.Module, kind: type[_Kind]) -> tuple[str, _Kind]:
    """The network's encoder of that kind, and the prefix of its parameters."""
    for name, module in network.named_modules():
        if isinstance(module, kind):
            return f"{name}." if name else "", module
    raise ModelError(
        f"A {type(network).__name__} has no encoder for these weights.", "Leave out the spectral weights."
    )
