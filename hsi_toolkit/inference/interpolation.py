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
        """Logits (n, K) at scene ``rows`` and ``columns`` (n,), and where they are doubtful (n,).

        Corners without data take no part. Doubtful is where the corners' best classes differ, which is where
        a border runs between them, and where no corner has data (logits 0).
        """
        labels = self.logits.argmax(dim=2)
        total = self.logits.new_zeros(len(rows), self.logits.shape[2])
        weights = self.logits.new_zeros(len(rows))
        lowest = labels.new_full((len(rows),), self.logits.shape[2])
        highest = labels.new_full((len(rows),), -1)
        for y, y_share in _corners(self.rows, rows):
            for x, x_share in _corners(self.columns, columns):
                share = y_share * x_share * self.valid[y, x]
                total += share.unsqueeze(1) * self.logits[y, x]
                weights += share
                label, counts = labels[y, x], share > 0
                lowest = torch.where(counts, torch.minimum(lowest, label), lowest)
                highest = torch.where(counts, torch.maximum(highest, label), highest)
        return total / weights.clamp_min(1e-6).unsqueeze(1), lowest != highest


def _corners(centres: Tensor, positions: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The centre before each position and the one after, with their shares."""
    after = torch.searchsorted(centres, positions.contiguous(), right=True).clamp_max(len(centres) - 1)
    before = (after - 1).clamp_min(0)
    gap = (centres[after] - centres[before]).clamp_min(1)
    share = ((positions - centres[before]) / gap).float()
    return [(before, 1 - share), (after, share)]
