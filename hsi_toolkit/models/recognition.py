"""Whose weights a file holds, told without executing anything in it."""

import re
from pathlib import Path

from hsi_toolkit.models.checkpoints import read_weights

# The names of released files and of the copies that the authors' scripts load.
_FILE_NAMES = {
    "HSIMAE": re.compile(r"HSIMAE", re.IGNORECASE),
    "HyperSIGMA": re.compile(r"(spat|spec)-(vit-)?(b|base|large|huge)\b|hypersigma|HSI_spatial_checkpoint"),
    "HySpecNet-11k": re.compile(r"(cae1d|cae1da|cae1de|cae3d|sscnet|hycot|hycass)[_.]"),
}
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def system_by_file(path: Path) -> str | None:
    """The system that the file's name or signature gives away."""
    with path.open("rb") as file:
        # Keras stores weights as HDF5; of the four systems only BiMAE is written with Keras.
        if file.read(len(_HDF5_SIGNATURE)) == _HDF5_SIGNATURE:
            return "BiMAE"
    return next((system for system, pattern in _FILE_NAMES.items() if pattern.match(path.name)), None)


def system_by_parameters(path: Path) -> str | None:
    """The system whose parameter names the file has.

    Raises:
        ModelError: the file is damaged or would run code.
    """
    weights = read_weights(path)
    for wrapper in ("state_dict", "model", "net"):
        if isinstance(weights, dict) and isinstance(weights.get(wrapper), dict):
            weights = weights[wrapper]
    names = [str(name).removeprefix("module.") for name in weights] if isinstance(weights, dict) else []
    stems = {name.partition(".")[0] for name in names}
    if any(name.endswith("attn.qkv.weight") for name in names):
        return "HyperSIGMA"
    if {"encoder", "decoder"} <= stems:
        return "HySpecNet-11k"
    return None
