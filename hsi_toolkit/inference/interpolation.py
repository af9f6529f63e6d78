"""Logits between window centres: bilinear over a coarse grid, with what that cannot know marked."""

from dataclasses import dataclass

import torch
from torch import Tensor


def grid_positions(start: int, stop: int, length: int, stride: int) -> Tensor:
    """Centres that surround ``start`` to ``stop`` (exclusive) on an axis of ``length``, int64.

    They are the multiples of ``stride`` and the last position of the axis. ``start`` is a multiple itself.
    """
    centres = torch.arange(start, stop, stride)
    if centres[-1] < stop - 1:
        centres = torch.cat([centres, torch.tensor([min(int(centres[-1]) + stride, length - 1)])])
    return centres


@dataclass(frozen=True, eq=False)
class LogitGrid:
    """Logits (rows, columns, K) at the crossings of ``rows`` and ``columns``; ``valid`` where they exist."""

    logits: Tensor
    valid: Tensor
    rows: Tensor
    columns: Tensor

    def at(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (r, c, K) where scene ``rows`` (r,) and ``columns`` (c,) cross, and which are doubtful.

        Corners without data take no part. Doubtful is where the corners' best classes differ, which is where
        a border runs between them, and where no corner has data (logits 0).
        """
        labels = self.logits.argmax(dim=2).int()
        lowest = labels.masked_fill(~self.valid, self.logits.shape[2])
        highest = labels.masked_fill(~self.valid, -1)
        known = self.valid.unsqueeze(2)
        sums = torch.cat([self.logits * known, known.to(self.logits.dtype)], dim=2)
        for axis, (centres, positions) in enumerate([(self.rows, rows), (self.columns, columns)]):
            before, after, share = _corners(centres, positions)
            sums = torch.lerp(
                sums.index_select(axis, before), sums.index_select(axis, after), _along(share, axis, 3)
            )
            # Exactly at a centre its neighbours do not count.
            before, after = torch.where(share < 1, before, after), torch.where(share > 0, after, before)
            lowest = torch.minimum(lowest.index_select(axis, before), lowest.index_select(axis, after))
            highest = torch.maximum(highest.index_select(axis, before), highest.index_select(axis, after))
        return sums[..., :-1] / sums[..., -1:].clamp_min(1e-6), lowest != highest


def _corners(centres: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The centre before each position, the one after, and the share of the latter."""
    after = torch.searchsorted(centres, positions.contiguous(), right=True).clamp_max(len(centres) - 1)
    before = (after - 1).clamp_min(0)
    gap = (centres[after] - centres[before]).clamp_min(1)
    return before, after, ((positions - centres[before]) / gap).float()


def _along(values: Tensor, axis: int, dimensions: int) -> Tensor:
    """``values`` (n,) as a tensor of so many dimensions that varies along one."""
    return values.view([-1 if each == axis else 1 for each in range(dimensions)])
