"""What a released file of any of the four systems holds, told by its tensors."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from hsi_toolkit.errors import ModelError
from hsi_toolkit.models.bimae import BiMAE, BiMAEConfig
from hsi_toolkit.models.bimae_weights import read_keras_weights, state_from_keras
from hsi_toolkit.models.bundle import Architecture
from hsi_toolkit.models.checkpoints import StateDict, load_hsimae_checkpoint
from hsi_toolkit.models.codecs import codec_from_state
from hsi_toolkit.models.hypersigma.denoising import FusionDenoiser, SpatialDenoiser
from hsi_toolkit.models.hypersigma.description import described
from hsi_toolkit.models.hypersigma.encoders import SIZES
from hsi_toolkit.models.hypersigma.loading import ARCHITECTURES, pretrained_of, read_state_dict
from hsi_toolkit.models.hypersigma.mae import MAE_SIZES, MAEConfig, SpatMAE, SpecMAE
from hsi_toolkit.models.hypersigma.restoration import RestorationConfig

DENOISER, SPATIAL_DENOISER = "hypersigma_denoiser", "hypersigma_spatial_denoiser"
"""What model bundles call HyperSIGMA's denoisers."""

_MODALITIES: tuple[Literal["hs"], Literal["rgb"]] = ("hs", "rgb")
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"

Config = TypeVar("Config")


class Released(NamedTuple):
    """The kind of model in a released file, its network, and the network's tensors by name."""

    kind: str
    architecture: Architecture
    state_dict: Mapping[str, Tensor]


def read_released(path: Path) -> Released:
    """Read a released file: HSIMAE, HyperSIGMA (pretraining, denoising), a codec of HySpecNet-11k, or BiMAE.

    Nothing in it is executed. Sizes are read off the tensors, all of which must be there and fit.

    Raises:
        ModelError: the file is missing, damaged, would run code, or holds something else.
    """
    if _is_keras(path):
        return _bimae(path)
    state = read_state_dict(path)
    stems = {name.partition(".")[0] for name in state}
    if (embedding := state.get("patch_embed.proj.weight")) is not None and embedding.ndim == 5:
        return _hsimae(path)
    if any(name.endswith("attn.qkv.weight") for name in state):
        return _hypersigma(state, path)
    if {"encoder", "decoder"} <= stems:
        return _codec(state)
    raise ModelError(
        f"{path} holds no weights of a known system: {len(state)} tensors beginning with "
        f"{', '.join(list(state)[:3])}.",
        "Give a released file of HSIMAE, HyperSIGMA, HySpecNet-11k or BiMAE.",
    )


def _is_keras(path: Path) -> bool:
    """Keras stores weights as HDF5; of the four systems only BiMAE is written with it."""
    with path.open("rb") as file:
        return file.read(len(_HDF5_SIGNATURE)) == _HDF5_SIGNATURE


def _hsimae(path: Path) -> Released:
    checkpoint = load_hsimae_checkpoint(path)
    name = "hsimae" if checkpoint.generation == "v2" else "hsimae_v1"
    return Released("pretrained", Architecture(name, asdict(checkpoint.config)), checkpoint.state_dict)


def _hypersigma(state: StateDict, path: Path) -> Released:
    if "skip_conv.weight" not in state and "conv_tail.weight" in state:
        fused = "adapter.pos_embed_add" in state
        name, kind = (DENOISER, FusionDenoiser) if fused else (SPATIAL_DENOISER, SpatialDenoiser)
        config = _sized(lambda: _denoising_config(state, "spat_encoder." if fused else ""), path)
        tensors = _complete(state, lambda: kind(config), path)
        return Released("denoiser", Architecture(name, described(config)), tensors)
    if any(name.startswith(("spat_encoder.", "spec_encoder.", "encoder.", "classifier.")) for name in state):
        raise ModelError(
            f"{path} holds a HyperSIGMA network fine-tuned for a task, which cannot be imported.",
            "Import the pretraining files or the denoisers, and train the task with them as --weights.",
        )
    pretrained = pretrained_of(state, path)
    spectral = pretrained.branch == "spectral"
    mae = _sized(lambda: _mae_config(state, pretrained.size, spectral), path)
    tensors = _complete(state, lambda: (SpecMAE if spectral else SpatMAE)(mae), path)
    name = next(name for name, branch in ARCHITECTURES.items() if branch == pretrained.branch)
    return Released("pretrained", Architecture(name, described(mae)), tensors)


def _mae_config(state: StateDict, size: str, spectral: bool) -> MAEConfig:
    tokens = state["pos_embed"].shape[1]
    values, dim = state["decoder_pred.weight"].shape
    config = replace(
        MAE_SIZES[size],
        decoder_dim=dim,
        decoder_depth=len({name.split(".")[1] for name in state if name.startswith("decoder_blocks.")}),
    )
    if spectral:
        pixels = state["spat_map.weight"].shape[1]
        return replace(config, img_size=math.isqrt(pixels), tokens=tokens, bands=values // pixels * tokens)
    _, bands, patch, _ = state["patch_embed.proj.weight"].shape
    return replace(config, bands=bands, patch=patch, img_size=math.isqrt(tokens) * patch)


def _denoising_config(state: StateDict, prefix: str) -> RestorationConfig:
    dim, bands, patch, _ = state[f"{prefix}patch_embed.proj.weight"].shape
    block = re.compile(rf"{re.escape(prefix)}blocks\.\d+\.attn\.qkv\.weight")
    depth = sum(block.fullmatch(name) is not None for name in state)
    size = next(size for size in SIZES.values() if (size.dim, size.depth) == (dim, depth))
    spectral = state.get("spec_encoder.pos_embed")
    return RestorationConfig(
        bands,
        img_size=math.isqrt(state[f"{prefix}pos_embed"].shape[1]) * patch,
        patch=patch,
        tokens=100 if spectral is None else spectral.shape[1],
        positions=True,
        size=size,
        refined=len(state[f"{prefix}patch_embed_add.proj.weight"]),
    )


def _codec(state: StateDict) -> Released:
    codec = codec_from_state(state)
    return Released("codec", Architecture(codec.name, codec.config), codec.state_dict())


def _bimae(path: Path) -> Released:
    state = state_from_keras(read_keras_weights(path))
    config = _sized(lambda: _bimae_config(state), path)
    tensors = _complete(state, lambda: BiMAE(config), path)
    return Released("pretrained", Architecture("bimae", asdict(config)), tensors)


def _bimae_config(state: StateDict) -> BiMAEConfig:
    bands, dim = state["hs_patch_encoder.pos_emb.weight"].shape
    decoder_dim = len(state["hs_decoder.embed.weight"])
    config = BiMAEConfig(
        patch=math.isqrt(state["hs_patch_encoder.mask_token"].numel()),
        bands=bands,
        rgb_patches=len(state["rgb_patch_encoder.pos_emb.weight"]),
        dim=dim,
        heads=len(state["encoder.blocks.0.attn.query.weight"]) // dim,
        depth=len({name.split(".")[2] for name in state if name.startswith("encoder.blocks.")}),
        decoder_dim=decoder_dim,
        mlp_ratio=len(state["encoder.blocks.0.mlp.fc1.weight"]) // dim,
    )
    hs, rgb = (
        _restored_share(config, modality, len(state[f"{modality}_decoder.head.weight"][0]) // decoder_dim)
        for modality in _MODALITIES
    )
    return replace(config, hs_decoded=hs, rgb_decoded=rgb)


def _restored_share(config: BiMAEConfig, modality: Literal["hs", "rgb"], restored: int) -> float:
    """The share of hidden tokens that are restored: the published one unless ``restored`` says otherwise."""
    masked, usual = config.split(modality)
    if restored != usual:
        return (restored + 0.5) / masked
    return config.hs_decoded if modality == "hs" else config.rgb_decoded


def _sized(read: Callable[[], Config], path: Path) -> Config:
    try:
        return read()
    except (KeyError, ValueError, IndexError, StopIteration, ZeroDivisionError) as error:
        raise _incomplete(path, f"its sizes cannot be told ({error})") from error


def _complete(state: StateDict, build: Callable[[], nn.Module], path: Path) -> StateDict:
    """The tensors of ``state`` that make up the network, all of which must be there and fit.

    Raises:
        ModelError: one is missing or has another shape.
    """
    try:
        with torch.device("meta"):
            wanted = build().state_dict()
    except (ModelError, RuntimeError, ValueError, ZeroDivisionError) as error:
        raise _incomplete(path, f"its sizes do not go together ({error})") from error
    for name, tensor in wanted.items():
        if name not in state or state[name].shape != tensor.shape:
            raise _incomplete(path, f"{name} is missing or misshapen")
    return {name: state[name] for name in wanted}


def _incomplete(path: Path, why: str) -> ModelError:
    return ModelError(f"{path} is no complete checkpoint: {why}.", "Download it again.")
