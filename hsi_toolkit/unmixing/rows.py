"""Whole rows of a scene unmixed: what is written of them, here or by other processes."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.blockwise.cluster import Cluster
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import iter_blocks
from hsi_toolkit.scene.blocks import Block, read_rows
from hsi_toolkit.unmixing.sparse import SparseUnmixer
from hsi_toolkit.unmixing.unmixer import PixelUnmixer, Unmixed, Unmixer

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

SMOOTHING_HALO = 8


@dataclass
class Totals:
    """Totals over the pixels with data."""

    pixels: int = 0
    squared_error: float = 0.0
    abundances: Float64 = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, unmixed: Unmixed) -> "Totals":
        """Those of a block."""
        error = unmixed.error
        known = torch.isfinite(error)
        abundances = unmixed.abundances[known].sum(dim=0).cpu().numpy()
        return cls(int(known.sum()), float(error[known].square().sum()), abundances)

    def add(self, other: "Totals") -> None:
        """Add a block's."""
        self.pixels += other.pixels
        self.squared_error += other.squared_error
        self.abundances = self.abundances + other.abundances


@dataclass(frozen=True, eq=False)
class UnmixedRows:
    """What is written of whole rows from ``y0`` on, (layers, rows, columns) each, and their totals."""

    y0: int
    abundances: Float32
    error: Float32
    uncertainty: Float32 | None
    totals: Totals

    @classmethod
    def of(cls, unmixed: Unmixed, y0: int, columns: int, uncertain: Unmixer | None = None) -> "UnmixedRows":
        """The rows of what unmixing says of their pixels; ``uncertain`` knows how uncertain that is."""

        def image(values: torch.Tensor) -> Float32:
            return values.T.to(torch.float32).cpu().numpy().reshape(values.shape[1], -1, columns)

        return cls(
            y0,
            image(unmixed.abundances),
            image(unmixed.error[:, None]),
            None if uncertain is None else image(uncertain.uncertainty(unmixed)),
            Totals.of(unmixed),
        )


@dataclass(frozen=True, eq=False)
class RowUnmixer:
    """A scene and what unmixes it.

    Attributes:
        scene: (band, y, x), lazy.
        unmixer: of its pixels.
        device: where it computes.
        uncertainty: whether it is wanted; of an ``Unmixer`` alone.
    """

    scene: xr.DataArray
    unmixer: PixelUnmixer
    device: torch.device
    uncertainty: bool

    @property
    def halo(self) -> int:
        """Rows read above and below."""
        return SMOOTHING_HALO if isinstance(self.unmixer, SparseUnmixer) and self.unmixer.smoothness else 0

    def all(self, step: int, cluster: Cluster | None, progress: Progress) -> Iterator[UnmixedRows]:
        """All rows from top to bottom, ``step`` at a time, by this process or those of a cluster."""
        height = self.scene.sizes["y"]
        if cluster is None:
            for block in iter_blocks(self.scene, rows=step, halo=self.halo):
                progress.check()
                yield self.of(block)
        else:
            edges = [(y0, min(y0 + step, height)) for y0 in range(0, height, step)]
            yield from cluster.map(self, edges, progress)

    def __call__(self, edge: tuple[int, int]) -> UnmixedRows:
        """The rows of these numbers, the second one exclusive, read and unmixed."""
        return self.of(Block(read_rows(self.scene, *edge, self.halo), *edge, self.halo))

    def of(self, block: Block) -> UnmixedRows:
        """The rows of a block."""
        uncertain = self.unmixer if self.uncertainty and isinstance(self.unmixer, Unmixer) else None
        return UnmixedRows.of(self._unmixed(block), block.y0, self.scene.sizes["x"], uncertain)

    def _unmixed(self, block: Block) -> Unmixed:
        bands, rows, columns = block.data.shape
        pixels = torch.from_numpy(block.data).to(self.device).reshape(bands, -1).T
        if not isinstance(self.unmixer, SparseUnmixer):
            return self.unmixer(pixels)
        found = self.unmixer(pixels, (rows, columns))
        core = slice(block.halo * columns, (block.halo + block.y1 - block.y0) * columns)
        return Unmixed(found.abundances[core], found.residual[core], found.light[core])
