"""Procedural weights v1: weights and inputs from a formula, for full-size models with tiny files."""

import math
import re
import zlib

import numpy as np
import torch
from torch import Tensor, nn

_INPUT = re.compile(r'proc_input\("(\w+)",\s*\(([\d,\s]+)\),\s*(-?[\d.]+),\s*(-?[\d.]+)\)')


def uniform(key: str, shape: tuple[int, ...], first: int = 0) -> np.ndarray:
    """Values in [-0.5, 0.5) of that shape, float64, from a hash of key and index, counted from ``first``."""
    mask = np.uint64(0xFFFFFFFF)
    index = np.arange(first, first + math.prod(shape), dtype=np.uint64)
    x = (index * np.uint64(2654435761) + np.uint64(zlib.crc32(key.encode()))) & mask
    for _ in range(2):
        x ^= x >> np.uint64(16)
        x = (x * np.uint64(0x45D9F3B)) & mask
    x ^= x >> np.uint64(16)
    return (x / 2**32 - 0.5).reshape(shape)


def weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """The procedural value of the state_dict entry ``key``."""
    u = uniform(key, shape)
    if key.endswith("running_var"):
        value = 1 + 0.5 * u
    elif key.endswith("running_mean"):
        value = 0.2 * u
    elif len(shape) == 1 and key.endswith("weight"):
        value = 1 + 0.2 * u
    elif len(shape) <= 1 or "pos_embed" in key or "token" in key:
        value = 0.1 * u
    else:
        value = u * 2 * math.sqrt(3) * min(0.05, 1 / math.sqrt(math.prod(shape[1:])))
    return torch.from_numpy(np.asarray(value, dtype=np.float32))


def fill(model: nn.Module) -> None:
    """Give every floating tensor of the model's state_dict its procedural value."""
    state = model.state_dict()
    values = {k: weight(k, tuple(t.shape)) for k, t in state.items() if t.is_floating_point()}
    model.load_state_dict({**state, **values})


def inputs(note: str) -> dict[str, Tensor]:
    """The inputs that a case's note states as ``proc_input("name",(shape),low,high)``."""
    found = {}
    for name, shape, low, high in _INPUT.findall(note):
        sizes = tuple(int(size) for size in shape.split(",") if size.strip())
        values = (uniform(f"input:{name}", sizes) + 0.5) * (float(high) - float(low)) + float(low)
        found[name] = torch.from_numpy(values.astype(np.float32))
    return found
