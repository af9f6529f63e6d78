"""Weights of the original BiMAE (Keras 3) as parameters of ours.

The original's object paths become module names: ``encoder/transformer_block_0/attn/query/kernel`` is
``encoder.blocks.0.attn.query.weight``. Dense kernels are stored (inputs, outputs) there and attention
kernels with an axis of heads; both are laid out anew. ``read_keras_weights`` reads a ``.weights.h5`` file,
whose paths follow the order in which layers were saved and not their names.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hsi_toolkit.errors import ModelError

Arrays = Mapping[str, NDArray[np.float32]]

_LEAVES = {"kernel": "weight", "gamma": "weight", "beta": "bias", "bias": "bias", "embeddings": "weight"}

# Paths inside the file, in this order, to object paths.
_RENAMED = (
    (r"^layers/rgb__patch_encoder", "rgb_patch_encoder"),
    (r"^layers/functional_\d+", "rgb_decoder"),
    (r"/layers/", "/"),
    (r"vi_t_block_(\d+)", r"transformer_block_\1"),
    (r"vi_t_block(?!_)", "transformer_block_0"),
    (r"(query|key|value)_dense", r"\1"),
    (r"output_dense", "attention_output"),
    (r"pos_embedding", "pos_emb"),
    (r"^encoder/layer_normalization", "encoder/norm"),
    (r"layer_normalization_1", "norm2"),
    (r"layer_normalization", "norm1"),
    (r"_decoder/dense_1", "_decoder/head"),
    (r"_decoder/dense", "_decoder/embed"),
    (r"vars/global_token$", "global_token"),
    (r"patch_encoder/vars/\w+$", "patch_encoder/mask_token"),
)


def state_from_keras(arrays: Arrays) -> dict[str, Tensor]:
    """Parameters of ``BiMAE`` or ``BiMAEClassifier`` from arrays by the original's object paths."""
    return {parameter_name(path): torch.from_numpy(_laid_out(path, array)) for path, array in arrays.items()}


def parameter_name(path: str) -> str:
    """The name of our parameter for an object path of the original."""
    *modules, leaf = path.split("/")
    blocks = [re.sub(r"^transformer_block_(\d+)$", r"blocks.\1", module) for module in modules]
    return ".".join([*blocks, _LEAVES.get(leaf, leaf)])


def read_keras_weights(path: str | Path) -> dict[str, NDArray[np.float32]]:
    """The arrays of a ``.weights.h5`` file by object path.

    Raises:
        ModelError: the file cannot be read, or is not of a BiMAE.
    """
    file = Path(path)
    try:
        with h5py.File(file, "r") as source:
            found = _datasets(source)
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error}.", "Give a Keras weights file (.h5).") from error
    arrays = {_object_path(name, array.ndim): array for name, array in found.items()}
    if not {"hs_patch_encoder/mask_token", "rgb_patch_encoder/mask_token"} <= set(arrays):
        raise ModelError(f"{file} holds no weights of BiMAE.", "Give the file of a pretrained BiMAE.")
    return arrays


def _datasets(source: h5py.File) -> dict[str, NDArray[np.float32]]:
    found: dict[str, NDArray[np.float32]] = {}

    def visit(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset):
            found[name] = np.asarray(node[()], np.float32)

    source.visititems(visit)
    return found


def _object_path(name: str, dimensions: int) -> str:
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    normed = re.search(r"/norm\d?/vars/", name) is not None
    if name.endswith("pos_emb/vars/0"):
        return name.removesuffix("vars/0") + "embeddings"
    if name.endswith("/vars/0"):
        return name.removesuffix("vars/0") + ("gamma" if normed else "kernel")
    return name.removesuffix("vars/1") + ("beta" if normed else "bias") if name.endswith("/vars/1") else name


def _laid_out(path: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
    values = np.asarray(array, np.float32)
    if path.endswith("attention_output/kernel"):
        values = values.reshape(-1, values.shape[-1]).T
    elif path.endswith("/kernel"):
        values = values.reshape(len(values), -1).T
    elif re.search(r"/(query|key|value)/bias$", path):
        values = values.reshape(-1)
    return np.ascontiguousarray(values)
