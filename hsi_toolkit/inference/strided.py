"""Fast mode: windows on a coarse grid, logits in between, and borders pixel by pixel."""

import torch
from torch import Tensor

from hsi_toolkit.inference.interpolation import LogitGrid, grid_positions
from hsi_toolkit.inference.prepare import PreparedBlock
from hsi_toolkit.inference.screening import PixelNetwork, margins
from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.progress import Progress

STRIDE = 4
"""Pixels between the grid's windows. With borders apart, 4 agrees with exact maps better than 3."""

CLOSE_MARGIN = 0.25
"""A doubtful pixel gets its own window if its best class leads by less than this (log odds, 56 to 44 %). Of
more windows maps agree better with exact ones, and are no more accurate."""


class StridedNetwork:
    """Log-probabilities of a scene's blocks, each for itself.

    The experts look at every pixel. The network looks at every fourth in both directions; its logits are
    interpolated. Where the four windows around a pixel do not agree and the result is close, the pixel's own
    window decides. What may be lost is an object smaller than the grid that the experts do not see either.

    Blocks start at multiples of ``STRIDE`` rows and have a halo of one row more than the windows' radius.
    """

    def __init__(self, classifier: SceneClassifier, network: PixelNetwork, height: int) -> None:
        self._classifier, self._network, self._height = classifier, network, height

    def log_probabilities(self, block: PreparedBlock, progress: Progress) -> Tensor:
        """Log-probabilities (n, K) of the block's pixels."""
        grid = self._grid(block, progress.part(0.0, 0.7))
        core, device = block.core(), block.features.device
        logits, doubtful = grid.at(
            torch.arange(block.y0, block.y1, device=device), torch.arange(block.columns, device=device)
        )
        combined = self._classifier.combine(logits.flatten(0, 1)[core], block.experts)
        close = (doubtful.flatten()[core] & ~(margins(combined) > CLOSE_MARGIN)).nonzero().squeeze(1)
        own = self._network.quick_logits(block, block.pixels[close], progress.part(0.7, 1.0))
        experts = None if block.experts is None else block.experts[close]
        combined[close] = self._classifier.combine(own, experts)
        return combined

    def _grid(self, block: PreparedBlock, progress: Progress) -> LogitGrid:
        """The logits around the block.

        Its first row is the last one of the block above. It is computed again, so that blocks are the same
        whether they are computed one after the other, on several machines or after an interruption.
        """
        device = block.features.device
        rows = grid_positions(block.y0, block.y1, self._height, STRIDE).to(device)
        columns = grid_positions(0, block.columns, block.columns, STRIDE).to(device)
        numbers = block.numbers(rows[:, None], columns[None]).flatten()
        valid = block.valid.flatten()[numbers]
        logits = torch.zeros(len(numbers), self._classifier.n_classes, device=device)
        logits[valid] = self._network.quick_logits(block, numbers[valid], progress)
        shape = (len(rows), len(columns))
        return LogitGrid(logits.view(*shape, logits.shape[1]), valid.view(shape), rows, columns)
