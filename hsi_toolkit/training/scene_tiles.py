"""Square tiles of a scene to train on, as many as memory allows, and their values brought to a network's."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch.nn import functional

from hsi_toolkit.errors import SceneError
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import read_windows, sample_pixels

Float32 = NDArray[np.float32]
Index = NDArray[np.intp]

TILE_BYTES = 192 << 20
"""Float32 bytes that training tiles take together."""

QUANTILES = 0.001, 0.999
"""Values of a band that ``quantile_scaling`` brings to 0 and 1."""

_AT_ONCE_BYTES = 32 << 20
_SAMPLE_PIXELS = 20_000


@dataclass(frozen=True)
class Scaling:
    """Values of each band less ``offset`` and divided by ``scale``, both (bands,)."""

    offset: Float32
    scale: Float32

    @classmethod
    def of(cls, offset: NDArray[np.floating], scale: NDArray[np.floating]) -> "Scaling":
        """The scaling with a scale of one where it would be zero: bands that never change."""
        usable = np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)
        return cls(offset.astype(np.float32), usable.astype(np.float32))

    def apply(self, cubes: Float32) -> Float32:
        """Cubes (…, bands, rows, columns), zero (the band's offset) where a pixel lacks data."""
        scaled = (cubes - self.offset[:, None, None]) / self.scale[:, None, None]
        known = np.isfinite(scaled).all(axis=-3, keepdims=True)
        return np.where(known, scaled, np.float32(0))

    def undo(self, cubes: Float32) -> Float32:
        """Scaled cubes (…, bands, rows, columns) in the scene's units again."""
        unscaled: Float32 = cubes * self.scale[:, None, None] + self.offset[:, None, None]
        return unscaled


def quantile_scaling(scene: xr.DataArray, seed: int) -> Scaling:
    """The scaling of a scene (band, y, x) to values of about 0 to 1, from a sample of its pixels.

    Raises:
        SceneError: the scene has no data, or cannot be read.
    """
    sample = sample_pixels(scene, _SAMPLE_PIXELS, seed)
    if not len(sample):
        raise SceneError("No pixel of the scene has data.", "Check the scene's nodata value and bad bands.")
    low, high = np.quantile(sample, QUANTILES, axis=0)
    return Scaling.of(low, high - low)


def most_tiles(scene: xr.DataArray, side: int) -> int:
    """Tiles of (side, side) pixels that fit into ``TILE_BYTES``, at least two."""
    return max(2, TILE_BYTES // (4 * int(scene.sizes["band"]) * side * side))


def padded(tiles: torch.Tensor, bands: int) -> torch.Tensor:
    """Tiles (n, …, rows, columns) with empty bands behind theirs, so that there are ``bands``.

    Where a network has as many channels as there are bands, each of its attention heads takes at least one.
    """
    return functional.pad(tiles, (0, 0, 0, 0, 0, bands - tiles.shape[1]))


def random_pixels(scene: xr.DataArray, count: int, seed: int) -> tuple[Index, Index]:
    """Rows and columns of ``count`` random pixels, spread over the scene."""
    rng = np.random.default_rng(seed)
    height, width = scene.sizes["y"], scene.sizes["x"]
    # One from each of equal strips: a uniform sample would leave gaps.
    rows = ((np.arange(count) + rng.random(count)) * height / count).astype(np.intp)
    return np.minimum(rows, height - 1), rng.integers(width, size=count)


def read_tiles(scene: xr.DataArray, rows: Index, cols: Index, side: int) -> Float32:
    """Tiles (n, bands, side, side) whose pixel (side / 2, side / 2) is the one given, mirrored at edges."""
    return read_windows(scene, rows, cols, side // 2)[:, :, :side, :side]


def training_tiles(
    scene: xr.DataArray,
    rows: Index,
    cols: Index,
    side: int,
    prepare: Callable[[Float32], Float32],
    progress: Progress,
) -> torch.Tensor:
    """``prepare``d tiles (n, bands, side, side) float32 around pixels, read a few at a time."""
    step = max(1, _AT_ONCE_BYTES // (4 * scene.sizes["band"] * (side + 1) ** 2))
    out = torch.empty(len(rows), scene.sizes["band"], side, side)
    for start in range(0, len(rows), step):
        progress.check()
        progress.report(start / len(rows), "Reading training tiles")
        part = slice(start, start + step)
        out[part] = torch.from_numpy(prepare(read_tiles(scene, rows[part], cols[part], side)))
    return out
