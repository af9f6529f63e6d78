"""Reading HSIMAE checkpoints of either generation, and loading them into networks by parameter name."""

import math
import pickle
import pickletools
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Literal, NamedTuple
from zipfile import ZipFile, is_zipfile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from hsi_toolkit.errors import ModelError
from hsi_toolkit.models import hsimae, hsimae_v1
from hsi_toolkit.models.hsimae import HSIMAEConfig
from hsi_toolkit.models.hsimae_v1 import HSIMAEv1Config
from hsi_toolkit.models.layers import sincos_3d

Generation = Literal["v1", "v2"]
StateDict = dict[str, Tensor]

# Channels of one attention head in every published configuration; a checkpoint does not store the number
# of heads.
ENCODER_HEAD_DIM = 16
DECODER_HEAD_DIM = 8

_WRAPPERS = ("state_dict", "model", "net")
_TENSOR_NAMES = re.compile(r"torch\._utils\._rebuild\w+|torch\.\w*Storage|collections\.OrderedDict")


class Checkpoint(NamedTuple):
    """A checkpoint of HSIMAE: its generation, the network's sizes, and the tensors by parameter name."""

    generation: Generation
    config: HSIMAEConfig | HSIMAEv1Config
    state_dict: StateDict


class LoadReport(NamedTuple):
    """What ``load_by_name`` did: names loaded, the network's left alone, and the checkpoint's unused."""

    loaded: tuple[str, ...]
    left: tuple[str, ...]
    unused: tuple[str, ...]


def load_hsimae_checkpoint(path: str | Path) -> Checkpoint:
    """Read an HSIMAE checkpoint (.safetensors, or a pickle written by ``torch.save``) of either generation.

    The sizes are read from the shapes. Pickles are read with ``weights_only=True``: nothing in them is
    executed.

    Raises:
        ModelError: the file is missing, damaged, would run code, or is no HSIMAE checkpoint.
    """
    file = Path(path)
    tensors = _tensors(read_weights(file), file)
    generation = _generation(tensors, file)
    try:
        config = _config_v2(tensors) if generation == "v2" else _config_v1(tensors)
        wrong = _wrong_in_encoder(config, tensors)
    except (KeyError, ValueError, ZeroDivisionError, ModelError) as error:
        raise ModelError(
            f"{file} looks like HSIMAE {generation}, but its sizes cannot be told ({error}).",
            "Download the checkpoint again.",
        ) from error
    if wrong:
        raise ModelError(
            f"{file} is an incomplete HSIMAE {generation} checkpoint: {wrong[0]} is missing or misshapen.",
            "Download the checkpoint again.",
        )
    return Checkpoint(generation, config, tensors)


def read_weights(path: str | Path) -> object:
    """What a .safetensors file or a ``torch.save`` pickle holds, on the CPU; nothing in it is executed.

    Raises:
        ModelError: the file is missing, damaged, or a pickle that needs more than tensors and plain values.
    """
    file = Path(path)
    if not file.is_file():
        raise ModelError(f"There is no checkpoint {file}.", "Check the path or fetch the model again.")
    if file.suffix == ".safetensors":
        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file} is damaged: {error}.", "Download it again.") from error
    try:
        with warnings.catch_warnings():  # about the pickle's protocol, which the errors below cover
            warnings.simplefilter("ignore", UserWarning)
            loaded: object = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        called = _foreign_names(file)
        if called:
            raise ModelError(
                f"{file} would run code when read (it names {', '.join(called[:3])}); nothing was executed.",
                "Get the weights as .safetensors or as a state_dict saved alone.",
            ) from error
        raise ModelError(
            f"{file} is damaged or was not written by torch.save.", "Download it again."
        ) from error
    # Bytes that are no pickle fail anywhere inside the reader, with any kind of error.
    except Exception as error:
        raise ModelError(
            f"{file} is damaged or incomplete and cannot be read as weights.", "Download it again."
        ) from error
    return loaded


def load_by_name(target: nn.Module, state_dict: Mapping[str, Tensor]) -> LoadReport:
    """Copy into ``target`` every tensor whose name it has too; the others, a new head above all, stay.

    This is how a pretrained autoencoder becomes the start of fine-tuning.

    Raises:
        ModelError: a tensor has the right name but another shape, or no name fits at all.
    """
    own = target.state_dict()
    common = {name: tensor for name, tensor in state_dict.items() if name in own}
    if not common:
        raise ModelError(
            "The checkpoint has no parameter in common with the network.",
            "Choose a checkpoint of its generation.",
        )
    for name, tensor in common.items():
        if tensor.shape != own[name].shape:
            raise ModelError(
                f"The checkpoint's {name} has shape {tuple(tensor.shape)}, the network's "
                f"{tuple(own[name].shape)}.",
                "Choose a checkpoint of the network's size.",
            )
    target.load_state_dict(common, strict=False)
    return LoadReport(
        tuple(common),
        tuple(name for name in own if name not in common),
        tuple(name for name in state_dict if name not in own),
    )


def _tensors(loaded: object, file: Path) -> StateDict:
    """The state dict inside ``loaded``: unwrapped, without ``module.`` prefixes, tensors only."""
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
            break
    if not isinstance(loaded, Mapping):
        raise ModelError(
            f"{file} holds a {type(loaded).__name__} instead of weights by name.",
            "Choose an HSIMAE checkpoint.",
        )
    return {
        str(key).removeprefix("module."): value for key, value in loaded.items() if isinstance(value, Tensor)
    }


def _generation(tensors: StateDict, file: Path) -> Generation:
    if "patch_embed.proj.weight" in tensors and tensors["patch_embed.proj.weight"].ndim == 5:
        if "blocks_1.0.mlp.w1.weight" in tensors or "blocks.0.mlp.w1.weight" in tensors:
            return "v2"
        if "blocks.0.mlp.fc1.weight" in tensors:
            return "v1"
    if not tensors:
        found = "no tensors"
    else:
        some = ", ".join(list(tensors)[:3])
        found = f"{len(tensors)} tensors beginning with {some}"
    raise ModelError(f"{file} is no HSIMAE checkpoint: it holds {found}.", "Choose an HSIMAE checkpoint.")


def _config_v2(tensors: StateDict) -> HSIMAEConfig:
    dim, b_patch_size, patch_size = _token_sizes(tensors)
    groups, side = _token_grid(tensors["pos_embed"], tensors.get("cls_head.weight"))
    s_depth = _count(tensors, "blocks_1")
    decoder_dim, decoder_depth = _decoder_sizes(tensors, HSIMAEConfig())
    return HSIMAEConfig(
        img_size=side * patch_size,
        patch_size=patch_size,
        bands=groups * b_patch_size,
        b_patch_size=b_patch_size,
        embed_dim=dim,
        depth=s_depth + _count(tensors, "blocks"),
        num_heads=dim // ENCODER_HEAD_DIM,
        s_depth=s_depth,
        decoder_embed_dim=decoder_dim,
        decoder_depth=decoder_depth,
        decoder_num_heads=decoder_dim // DECODER_HEAD_DIM,
    )


def _config_v1(tensors: StateDict) -> HSIMAEv1Config:
    dim, b_patch_size, patch_size = _token_sizes(tensors)
    decoder_dim, decoder_depth = _decoder_sizes(tensors, HSIMAEv1Config())
    return HSIMAEv1Config(
        img_size=math.isqrt(tensors["pos_embed_spatial"].shape[1]) * patch_size,
        patch_size=patch_size,
        bands=tensors["pos_embed_temporal"].shape[1] * b_patch_size,
        b_patch_size=b_patch_size,
        embed_dim=dim,
        depth=_count(tensors, "blocks"),
        num_heads=dim // ENCODER_HEAD_DIM,
        decoder_embed_dim=decoder_dim,
        decoder_depth=decoder_depth,
        decoder_num_heads=decoder_dim // DECODER_HEAD_DIM,
    )


def _wrong_in_encoder(config: HSIMAEConfig | HSIMAEv1Config, tensors: StateDict) -> list[str]:
    """Encoder parameters of that configuration which the checkpoint lacks or has in another shape."""
    with torch.device("meta"):
        encoder = hsimae.Encoder(config) if isinstance(config, HSIMAEConfig) else hsimae_v1.Encoder(config)
    return [
        name
        for name, tensor in encoder.state_dict().items()
        if name not in tensors or tensors[name].shape != tensor.shape
    ]


def _token_sizes(tensors: StateDict) -> tuple[int, int, int]:
    """Channels, bands per token and pixels along a token's side."""
    dim, _, b_patch_size, patch_size, _ = tensors["patch_embed.proj.weight"].shape
    return dim, b_patch_size, patch_size


def _decoder_sizes(tensors: StateDict, published: HSIMAEConfig | HSIMAEv1Config) -> tuple[int, int]:
    """Channels and depth of the decoder; the published ones where the checkpoint is a classifier's."""
    if "decoder_embed.weight" not in tensors:
        return published.decoder_embed_dim, published.decoder_depth
    return tensors["decoder_embed.weight"].shape[0], _count(tensors, "decoder_blocks")


def _token_grid(table: Tensor, head: Tensor | None) -> tuple[int, int]:
    """Band groups and cells along a side of the v2 position table (1, groups * side², dim).

    The table's length leaves several grids possible. A classifier's head (classes, groups * dim) decides;
    otherwise the grid whose sine-cosine table is nearest, the table being a constant.
    """
    _, length, dim = table.shape
    if head is not None:
        groups = head.shape[1] // dim
        return groups, math.isqrt(length // groups)
    sides = [side for side in range(1, math.isqrt(length) + 1) if length % side**2 == 0]
    side = min(sides, key=lambda side: _table_error(table, side))
    return length // side**2, side


def _table_error(table: Tensor, side: int) -> float:
    _, length, dim = table.shape
    return float((table.float() - sincos_3d(dim, length // side**2, side)).abs().max())


def _count(tensors: StateDict, stack: str) -> int:
    """Number of blocks in the stack of that name."""
    numbers = [re.match(rf"{stack}\.(\d+)\.", key) for key in tensors]
    return max((int(match[1]) + 1 for match in numbers if match), default=0)


def _foreign_names(file: Path) -> list[str]:
    """Names a pickle would import beyond those that rebuild tensors, read without executing it."""
    if is_zipfile(file):
        with ZipFile(file) as archive:
            streams = [archive.open(name) for name in archive.namelist() if name.endswith("data.pkl")]
            return [name for stream in streams for name in _imported_names(stream)]
    with file.open("rb") as stream:
        return _imported_names(stream)


def _imported_names(stream: IO[bytes]) -> list[str]:
    names: list[str] = []
    strings: list[str] = []
    # Files of old torch versions are several pickles in a row; what follows the last one is no pickle.
    try:
        while True:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name == "GLOBAL":
                    names.append(str(argument).replace(" ", "."))
                elif opcode.name == "STACK_GLOBAL":
                    names.append(".".join(strings[-2:]))
                elif isinstance(argument, str):
                    strings.append(argument)
    except (ValueError, IndexError, UnicodeDecodeError, AssertionError):
        pass
    return [name for name in names if not _TENSOR_NAMES.fullmatch(name)]
