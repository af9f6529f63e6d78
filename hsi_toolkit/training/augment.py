"""Random changes of windows that leave their class as it is."""

import torch
from torch import Tensor


def turned(windows: Tensor, generator: torch.Generator) -> Tensor:
    """Windows (n, F, side, side), each turned or mirrored into one of its eight orientations."""
    draws = torch.rand(3, len(windows), 1, 1, 1, generator=generator).to(windows.device) < 0.5
    for axis, chosen in zip((-1, -2), draws[:2], strict=True):
        windows = torch.where(chosen, windows.flip(axis), windows)
    return torch.where(draws[2], windows.transpose(-1, -2), windows)


def shrunk(windows: Tensor, generator: torch.Generator) -> Tensor:
    """Windows (n, F, side, side), each blended with its middle pixel by a random amount.

    The network then cannot learn the surroundings of the training pixels by heart.
    """
    middle = windows.shape[-1] // 2
    amount = torch.rand(len(windows), 1, 1, 1, generator=generator).to(windows.device)
    return torch.lerp(windows[:, :, middle, middle][:, :, None, None], windows, amount)
