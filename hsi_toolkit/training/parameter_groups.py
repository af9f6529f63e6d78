"""Optimiser groups of a transformer: which parameters decay, and which learn more slowly."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import nn

_BLOCK = re.compile(r"(?:^|\.)blocks\.(\d+)\.")
_EMBEDDING = re.compile(r"(?:^|\.)(?:pos_embed|patch_embed|spat_map|mask_token)\b")


@dataclass
class ParameterGroup:
    """Parameters that share learning rate and weight decay; ``layer`` is 0 for embeddings."""

    layer: int
    decays: bool
    lr: float
    weight_decay: float
    scale: float
    names: list[str] = field(default_factory=list)
    params: list[nn.Parameter] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """The group as optimisers take it, its ``scale`` beside."""
        return {
            "params": self.params,
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "scale": self.scale,
        }


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    weight_decay: float,
    depth: int,
    layer_decay: float | None = None,
) -> list[ParameterGroup]:
    """Groups of ``named`` parameters of a transformer with ``depth`` blocks.

    Vectors, biases and position tables do not decay. With ``layer_decay`` the embeddings learn at
    ``lr * layer_decay ** (depth + 1)``, each block faster than the one before it, and heads at ``lr`` (Bao et
    al. 2022, appendix). HyperSIGMA's published training states a rate of 0.9 that, by a mistake in the names
    it looks for, has no effect; so does None here.
    """
    groups: dict[tuple[int, bool], ParameterGroup] = {}
    for name, parameter in named:
        layer = depth + 1 if layer_decay is None else _layer(name, depth)
        decays = not (parameter.ndim <= 1 or name.endswith(".bias") or "pos_embed" in name)
        scale = 1.0 if layer_decay is None else layer_decay ** (depth + 1 - layer)
        group = groups.setdefault(
            (layer, decays),
            ParameterGroup(layer, decays, lr * scale, weight_decay if decays else 0.0, scale),
        )
        group.names.append(name)
        group.params.append(parameter)
    return list(groups.values())


def _layer(name: str, depth: int) -> int:
    """0 for embeddings, 1 to ``depth`` for blocks, ``depth`` + 1 for the rest."""
    block = _BLOCK.search(name)
    if block:
        return int(block[1]) + 1
    return 0 if _EMBEDDING.search(name) else depth + 1
