"""Predictions for a whole scene from overlapping tiles, weighted down towards the tiles' edges."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.models.hypersigma.tiling import tile_origins
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene.blocks import ahead, mirrored, values_of

Float32 = NDArray[np.float32]

_EDGE_WEIGHT = 1e-3

_READ_BYTES = 48 << 20
"""Float32 bytes of neighbouring tiles that are read together."""


@dataclass(frozen=True)
class Tiling:
    """Tiles of (side, side) pixels that overlap by at least ``overlap``; ``batch`` go through together."""

    side: int
    overlap: int
    batch: int = 8


@dataclass(frozen=True, eq=False)
class PredictedRows:
    """Rows ``y0`` and on of the prediction, ``data`` (channels, rows, columns), NaN without data."""

    data: Float32
    y0: int


def predict_blended(
    scene: xr.DataArray,
    predict: Callable[[Float32], Float32],
    channels: int,
    tiling: Tiling,
    *,
    progress: Progress | None = None,
    message: str = "Predicting",
) -> Iterator[PredictedRows]:
    """Predict every pixel of a scene (band, y, x) of any size, from top to bottom.

    Where tiles overlap, their predictions are averaged with weights that rise as half a cosine from a tile's
    edge over the overlap, so that the outer pixels of a tile, its halo, count only where no other tile sees
    them from further inside. A scene smaller than a tile is mirrored to its size. What is held is one row of
    tiles.

    Args:
        predict: (n, bands, side, side) to (n, channels, side, side); pixels may be NaN.

    Yields:
        The rows, in order, each once.

    Raises:
        Cancelled: the user asked to stop.
    """
    progress = progress or Progress()
    height, width = int(scene.sizes["y"]), int(scene.sizes["x"])
    tops = _origins(height, tiling)
    groups = _groups(scene, _origins(width, tiling), tiling.side)
    window = _weights(tiling)
    padded = max(width, tiling.side)
    total = np.zeros((channels, tiling.side, padded), np.float32)
    weight = np.zeros((tiling.side, padded), np.float32)
    known = np.zeros((tiling.side, padded), bool)

    def read(key: tuple[int, list[int]]) -> Float32:
        return _read(scene, key[0], key[1], tiling.side)

    keys = [(top, group) for top in tops for group in groups]
    parts = ahead(read, keys)
    progress.report(0.0, message)
    for number, (top, following) in enumerate(pairwise([*tops, height])):
        for position, group in enumerate(groups):
            pixels, first = next(parts), group[0]
            for start in range(0, len(group), tiling.batch):
                progress.check()
                lefts = group[start : start + tiling.batch]
                tiles = [pixels[:, :, left - first : left - first + tiling.side] for left in lefts]
                for left, each in zip(lefts, predict(np.stack(tiles)), strict=True):
                    total[:, :, left : left + tiling.side] += each * window
                    weight[:, left : left + tiling.side] += window
                share = (position + (start + len(lefts)) / len(group)) / len(groups)
                progress.report((number + share) / len(tops), message)
            known[:, first : first + pixels.shape[2]] |= np.isfinite(pixels).all(axis=0)
        done = following - top
        data = np.where(known, total / np.maximum(weight, np.finfo(np.float32).tiny), np.nan)
        yield PredictedRows(data[:, :done, :width].astype(np.float32), top)
        for kept in (total, weight, known):
            kept[..., : tiling.side - done, :] = kept[..., done:, :]
            kept[..., tiling.side - done :, :] = 0


def _origins(length: int, tiling: Tiling) -> list[int]:
    return [int(each) for each in tile_origins(max(length, tiling.side), tiling.side, tiling.overlap)]


def _groups(scene: xr.DataArray, origins: list[int], side: int) -> list[list[int]]:
    """First columns of neighbouring tiles that are read together."""
    column = 4 * int(scene.sizes["band"]) * side
    groups: list[list[int]] = []
    for left in origins:
        if groups and (left + side - groups[-1][0]) * column <= _READ_BYTES:
            groups[-1].append(left)
        else:
            groups.append([left])
    return groups


def _weights(tiling: Tiling) -> Float32:
    """Weights (side, side), highest in the middle."""
    inside = np.arange(tiling.side) + 0.5
    distance = np.minimum(inside, inside[::-1])
    ramp = np.clip(distance / max(tiling.overlap, 1), 0, 1)
    line = np.maximum(0.5 - 0.5 * np.cos(np.pi * ramp), _EDGE_WEIGHT)
    return np.outer(line, line).astype(np.float32)


def _read(scene: xr.DataArray, top: int, group: list[int], side: int) -> Float32:
    """The pixels (bands, side, columns) under neighbouring tiles, mirrored beyond the scene's edges."""
    height, width = int(scene.sizes["y"]), int(scene.sizes["x"])
    bottom, right = min(top + side, height), min(group[-1] + side, width)
    data = values_of(scene.isel(y=slice(top, bottom), x=slice(group[0], right)))
    if height >= side and width >= side:
        return data
    rows = mirrored(np.arange(side), height) if height < side else np.arange(side)
    columns = mirrored(np.arange(side), width) if width < side else np.arange(data.shape[2])
    return data[:, rows[:, None], columns]
