"""From a block of a scene to what the classifier's two sides look at."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene.blocks import Block, mirrored

TILE_VALUES = 4_000_000
"""Values of a block that are filtered and transformed at a time: bounds copies to some 100 MB."""


EXPERT_PIXELS = 16_384
"""Pixels that the experts judge at a time, some tenths of a second: cancelling waits for them."""


@dataclass(frozen=True, eq=False)
class PreparedBlock:
    """Features of a block's pixels and of a margin around it, and the experts' opinion on its pixels.

    Pixels are numbered in the ``features`` (F, rows + 2 * halo, columns + 2 * radius), row by row.

    Attributes:
        features: NaN where there is no data.
        valid: (rows + 2 * halo, columns + 2 * radius) bool, where there is data.
        pixels: (n,) numbers of the block's own pixels that have data, in order.
        experts: (n, K) the experts' log-probabilities of these, None when there are no experts.
        y0, y1: rows of the scene that the block's own pixels cover.
        halo: rows of the margin above and below.
        radius: columns of the margin left and right, and reach of a window.
    """

    features: Tensor
    valid: Tensor
    pixels: Tensor
    experts: Tensor | None
    y0: int
    y1: int
    halo: int
    radius: int

    @property
    def columns(self) -> int:
        """Columns of the scene."""
        return self.features.shape[2] - 2 * self.radius

    def numbers(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Pixel numbers of the scene's ``rows`` and ``columns``."""
        return (rows - self.y0 + self.halo) * self.features.shape[2] + columns + self.radius

    def core(self) -> Tensor:
        """(n,) positions of ``pixels`` in the flattened (rows, columns) of the block's own pixels."""
        stride = self.features.shape[2]
        rows, columns = self.pixels // stride - self.halo, self.pixels % stride - self.radius
        return rows * self.columns + columns


class Windows:
    """The windows around pixels of a block, cut out when asked for."""

    def __init__(self, block: PreparedBlock, radius: int) -> None:
        side = 2 * radius + 1
        self._radius, self._stride = radius, block.features.shape[2]
        self._all = block.features.unfold(1, side, 1).unfold(2, side, 1)
        self._missing = not bool(block.valid.all())

    def at(self, pixels: Tensor) -> Tensor:
        """Windows (n, F, side, side); pixels without data in them are like the middle one."""
        rows, columns = pixels // self._stride - self._radius, pixels % self._stride - self._radius
        windows = self._all[:, rows, columns].transpose(0, 1)
        if self._missing:
            middle = windows[:, :, self._radius, self._radius, None, None]
            windows = torch.where(windows.isfinite(), windows, middle)
        return windows


def prepare(
    classifier: SceneClassifier, block: Block, device: torch.device, progress: Progress
) -> PreparedBlock:
    """Features and expert opinion of a block that was read with a halo of at least the classifier's radius.

    The scene's left and right edges are mirrored, the edge pixel repeated (NumPy's "symmetric").

    Raises:
        ModelError: the scene has other bands than the classifier takes.
    """
    radius, halo = classifier.radius, block.halo
    bands, rows, columns = block.data.shape
    width = max(1, TILE_VALUES // (bands * rows) - 2 * radius)
    tiles: list[Tensor] = []
    experts: list[Tensor | None] = []
    for x0 in range(0, columns, width):
        progress.check()
        x1 = min(columns, x0 + width)
        wanted = mirrored(np.arange(x0 - radius, x1 + radius), columns)
        tile = torch.from_numpy(block.data[:, :, wanted]).to(device)
        tiles.append(classifier.features(tile)[:, :, radius : x1 - x0 + radius])
        experts.append(_experts(classifier, tile[:, halo - radius : rows - halo + radius], progress))
    core = torch.cat(tiles, dim=2)
    margin = torch.from_numpy(mirrored(np.arange(-radius, columns + radius), columns))
    features = core[:, :, margin.to(device)]
    valid = features.isfinite().all(dim=0)
    own = torch.zeros_like(valid)
    own[halo : rows - halo, radius : radius + columns] = True
    return PreparedBlock(
        features=features,
        valid=valid,
        pixels=(valid & own).flatten().nonzero().squeeze(1),
        experts=_joined(experts, valid[halo : rows - halo, radius : radius + columns]),
        y0=block.y0,
        y1=block.y1,
        halo=halo,
        radius=radius,
    )


def _experts(classifier: SceneClassifier, tile: Tensor, progress: Progress) -> Tensor | None:
    """Log-probabilities (rows, columns, K) inside a tile's margin of ``radius``, NaN without data."""
    if classifier.experts is None:
        return None
    radius = classifier.radius
    spectra = classifier.spectra(tile)[:, radius:-radius, radius:-radius]
    found = spectra.isfinite().all(dim=0)
    logits = spectra.new_full((*found.shape, classifier.n_classes), torch.nan)
    opinions = []
    for pixels in torch.split(spectra[:, found].T, EXPERT_PIXELS):
        progress.check()
        opinion = classifier.expert_logits(pixels)
        if opinion is not None:
            opinions.append(opinion)
    logits[found] = torch.cat(opinions)
    return logits


def _joined(tiles: list[Tensor | None], valid: Tensor) -> Tensor | None:
    """The tiles' log-probabilities side by side, (n, K) of the valid pixels."""
    known = [tile for tile in tiles if tile is not None]
    return torch.cat(known, dim=1)[valid] if known else None
