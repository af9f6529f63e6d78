"""From a block of a scene to what the classifier's two sides look at."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene.blocks import Block, ahead, mirrored, read_rows
from hsi_toolkit.scene.lazy import Float32
from hsi_toolkit.spectral.resample import BandPlan

TILE_VALUES = 4_000_000
"""Values of a block that are filtered and transformed at a time: bounds copies to some 100 MB."""


CHUNK_BYTES = 32 << 20
"""Columns of a wide block that are read at a time, float32."""

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


@dataclass(frozen=True, eq=False)
class WideBlock:
    """Lines of a scene that are too long to be held: ``Block``, its columns read as they are wanted."""

    scene: xr.DataArray
    y0: int
    y1: int
    halo: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows with the halo, columns."""
        rows = self.y1 - self.y0 + 2 * self.halo
        return int(self.scene.sizes["band"]), rows, int(self.scene.sizes["x"])

    def columns(self, x0: int, x1: int) -> Float32 | None:
        """These columns of all rows; None where the first band has no data, which then no pixel has."""
        part = self.scene.isel(x=slice(x0, x1))
        if not np.isfinite(read_rows(part.isel(band=slice(0, 1)), self.y0, self.y1, self.halo)).any():
            return None
        return read_rows(part, self.y0, self.y1, self.halo)


def without_data(block: Block | WideBlock) -> bool:
    """Whether no pixel of the block itself has data, as far as the first band tells."""
    if isinstance(block, WideBlock):
        first = read_rows(block.scene.isel(band=slice(0, 1)), block.y0, block.y1)
    else:
        first = block.core[:1]
    return not np.isfinite(first).any()


def prepare(
    classifier: SceneClassifier,
    block: Block | WideBlock,
    device: torch.device,
    progress: Progress,
    plan: BandPlan | None = None,
) -> PreparedBlock:
    """Features and expert opinion of a block that was read with a halo of at least the classifier's radius.

    The scene's left and right edges are mirrored, the edge pixel repeated (NumPy's "symmetric"). ``plan``
    says how the block gives the classifier's bands; None: it has them.

    Raises:
        ModelError: the scene has other bands than the classifier takes.
    """
    radius, halo = classifier.radius, block.halo
    rows, columns = (block.shape if isinstance(block, WideBlock) else block.data.shape)[1:]
    tiles: list[Tensor] = []
    experts: list[Tensor | None] = []
    for values, width in _tiles(block, radius, plan):
        progress.check()
        if values is None:
            tiles.append(torch.full((classifier.spectral.n_features, rows, width), torch.nan, device=device))
            experts.append(_no_opinion(classifier, rows - 2 * halo, width, device))
            continue
        tile = torch.from_numpy(values).to(device)
        tiles.append(classifier.features(tile)[:, :, radius : width + radius])
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


def _tiles(
    block: Block | WideBlock, radius: int, plan: BandPlan | None
) -> Iterator[tuple[Float32 | None, int]]:
    """The block from left to right: values (bands, rows, columns) with a margin of ``radius``, and columns.

    Values are None where there are none.
    """
    if not isinstance(block, WideBlock):
        data = block.data if plan is None else plan.apply(block.data)
        yield from _cut(data, 0, data.shape[2], data.shape[2], radius, 0)
        return
    bands, rows, columns = block.shape
    step = max(1, CHUNK_BYTES // (4 * bands * rows) - 2 * radius)
    edges = [(x0, min(x0 + step, columns)) for x0 in range(0, columns, step)]

    def read(edge: tuple[int, int]) -> Float32 | None:
        values = block.columns(max(0, edge[0] - radius), min(columns, edge[1] + radius))
        return values if values is None or plan is None else plan.apply(values)

    for (x0, x1), values in zip(edges, ahead(read, edges), strict=True):
        if values is None:
            yield None, x1 - x0
        else:
            yield from _cut(values, x0, x1, columns, radius, max(0, x0 - radius))


def _cut(
    data: Float32, start: int, stop: int, columns: int, radius: int, first: int
) -> Iterator[tuple[Float32, int]]:
    """Columns ``start`` to ``stop`` of so many in tiles with their margins; ``data`` begins at ``first``."""
    width = max(1, TILE_VALUES // (data.shape[0] * data.shape[1]) - 2 * radius)
    for x0 in range(start, stop, width):
        x1 = min(stop, x0 + width)
        yield data[:, :, mirrored(np.arange(x0 - radius, x1 + radius), columns) - first], x1 - x0


def _no_opinion(classifier: SceneClassifier, rows: int, columns: int, device: torch.device) -> Tensor | None:
    if classifier.experts is None:
        return None
    return torch.full((rows, columns, classifier.n_classes), torch.nan, device=device)


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
