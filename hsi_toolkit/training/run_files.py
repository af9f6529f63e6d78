"""A training run on disk: tensors in groups, what tells the run from others, and how far it has come."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hsi_toolkit.errors import ModelError
from hsi_toolkit.files import atomic_path
from hsi_toolkit.models.metadata import Json, plain_json

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class StoredRun(NamedTuple):
    """What ``save_run`` wrote: the groups of tensors, and the state."""

    groups: dict[str, dict[str, Tensor]]
    state: dict[str, Json]


def save_run(
    path: Path, *, identity: str, state: Mapping[str, object], groups: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Write a run as .safetensors, whole or not at all.

    Args:
        path: the file.
        identity: the same for the same run: data and settings.
        state: JSON-able.
        groups: tensors by name, by group.
    """
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().contiguous().clone()
        for group, named in groups.items()
        for name, tensor in named.items()
    }
    run = json.dumps({"identity": identity, "state": plain_json(state)})
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {"run": run})


def load_run(path: Path, identity: str) -> StoredRun | None:
    """The run at ``path``, its tensors on the CPU; None if it is another one.

    Raises:
        ModelError: the file is damaged or no run.
    """
    try:
        with safe_open(path, "pt") as file:
            run = json.loads((file.metadata() or {})["run"])
            if run["identity"] != identity:
                return None
            groups: dict[str, dict[str, Tensor]] = {}
            for key in file.keys():  # noqa: SIM118  not a mapping
                group, _, name = key.partition("/")
                groups.setdefault(group, {})[name] = file.get_tensor(key)
            return StoredRun(groups, dict(run["state"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path} is no checkpoint of a training run, or damaged.", "Remove it to start anew."
        ) from error


def optimizer_groups(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, dict[str, Tensor]]:
    """AdamW's moments of the network's trained parameters, by their names, as groups for ``save_run``."""
    found: dict[str, dict[str, Tensor]] = {moment: {} for moment in _MOMENTS}
    for name, parameter in network.named_parameters():
        for moment, value in optimizer.state.get(parameter, {}).items():
            found[moment][name] = value
    return found


def restore_optimizer(
    optimizer: torch.optim.Optimizer, network: nn.Module, groups: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Put the moments of ``optimizer_groups`` back."""
    for name, parameter in network.named_parameters():
        stored = {moment: groups[moment][name] for moment in _MOMENTS if name in groups.get(moment, {})}
        if stored:
            optimizer.state[parameter] = {
                moment: value.clone() if moment == "step" else value.to(parameter.device)
                for moment, value in stored.items()
            }
