"""Which tokens a masked autoencoder sees: joint spatial-spectral, random and whole-cell masks.

Every function takes the random numbers it would otherwise draw, so that a mask can be repeated exactly.
"""

import itertools
import random
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class TokenMask:
    """Visible tokens of a batch and the way back.

    ``ids_keep`` (N, K) are the indices of the visible tokens; ``ids_restore`` (N, T*L) puts the sequence
    [visible tokens in that order, removed tokens] back into raster order.
    """

    ids_keep: Tensor
    ids_restore: Tensor

    @property
    def removed(self) -> Tensor:
        """(N, T*L) float32: 1 where a token is removed, 0 where it is visible."""
        return (self.ids_restore >= self.ids_keep.shape[1]).float()


@dataclass(frozen=True, slots=True)
class JointMask(TokenMask):
    """A mask whose visible tokens form a grid of ``len_t`` band groups by ``len_l`` cells in every sample."""

    len_t: int
    len_l: int


def gather_tokens(tokens: Tensor, ids: Tensor) -> Tensor:
    """The tokens (N, K, D) at indices ``ids`` (N, K) of ``tokens`` (N, length, D)."""
    return tokens.gather(1, ids.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def joint_mask_lengths(
    groups: int, cells: int, ratio: float, rng: random.Random | None = None
) -> tuple[int, int]:
    """Numbers of visible band groups and cells, both at least 2, their product nearest to the wanted count.

    Ties (for 4 groups, 9 cells and half the tokens: 2 by 9 and 3 by 6) are drawn with ``rng``, by default
    Python's global generator.
    """
    wanted = (1 - ratio) * groups * cells
    pairs = list(itertools.product(range(2, groups + 1), range(2, cells + 1)))
    error = min(abs(a * b - wanted) for a, b in pairs)
    nearest = [(a, b) for a, b in pairs if abs(a * b - wanted) == error]
    return (rng.sample(nearest, 1) if rng is not None else random.sample(nearest, 1))[0]


def joint_mask(
    lengths: tuple[int, int],
    *,
    samples: int,
    groups: int,
    cells: int,
    noise: tuple[Tensor, Tensor] | None = None,
    generator: torch.Generator | None = None,
) -> JointMask:
    """Joint spatial-spectral mask: a token is visible if its band group and its cell both are.

    ``lengths`` comes from ``joint_mask_lengths``. ``noise`` is ((N, groups), (N, cells)); the smallest values
    are visible; without it both are drawn uniformly, in this order, on the CPU. Removed tokens are
    ordered: first those of which either the group or the cell is visible, then the others.
    """
    len_t, len_l = lengths
    if noise is None:
        noise = (
            torch.rand(samples, groups, generator=generator),
            torch.rand(samples, cells, generator=generator),
        )
    visible_t = noise[0].argsort(dim=1).argsort(dim=1) < len_t
    visible_l = noise[1].argsort(dim=1).argsort(dim=1) < len_l
    hidden = 2 - (visible_t.unsqueeze(2).int() + visible_l.unsqueeze(1).int()).flatten(1)
    order = hidden.argsort(dim=1, stable=True)
    return JointMask(order[:, : len_t * len_l], order.argsort(dim=1), len_t, len_l)


def random_mask(noise: Tensor, ratio: float) -> TokenMask:
    """Mask of single tokens from ``noise`` (N, length): the smallest are visible (He et al. 2022)."""
    order = noise.argsort(dim=1)
    keep = int(noise.shape[1] * (1 - ratio))
    return TokenMask(order[:, :keep], order.argsort(dim=1))


def cell_mask(noise: Tensor, groups: int, ratio: float) -> TokenMask:
    """Mask of whole spatial cells from ``noise`` (N, cells): all band groups of a cell share its value.

    Where the number of visible tokens is no multiple of ``groups``, the last visible cell keeps its first
    band groups: the published code leaves that choice to an unstable sort.
    """
    tokens = noise.unsqueeze(1).expand(-1, groups, -1).flatten(1)
    order = tokens.argsort(dim=1, stable=True)
    keep = int(tokens.shape[1] * (1 - ratio))
    return TokenMask(order[:, :keep], order.argsort(dim=1))
