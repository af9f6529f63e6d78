"""Cutting scenes into overlapping tiles and putting results together, as the published inference does."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.errors import ParameterError


class Tile(NamedTuple):
    """A tile: the window of the scene that is computed, and the part of it that is kept."""

    rows: slice
    columns: slice
    kept_rows: slice
    kept_columns: slice

    @property
    def inner(self) -> tuple[slice, slice]:
        """The kept part, counted from the tile's own corner."""
        return (
            slice(self.kept_rows.start - self.rows.start, self.kept_rows.stop - self.rows.start),
            slice(self.kept_columns.start - self.columns.start, self.kept_columns.stop - self.columns.start),
        )


def tile_origins(length: int, tile: int, overlap: int) -> NDArray[np.int64]:
    """First rows (or columns) of tiles that cover ``length``, evenly spread, at least ``overlap`` in common.

    Raises:
        ParameterError: the tile is larger than the scene, or the overlap as large as the tile.
    """
    if tile > length or not 0 <= overlap < tile:
        raise ParameterError(
            f"Tiles of {tile} with an overlap of {overlap} do not cover a length of {length}.",
            "Choose tiles no larger than the scene and an overlap smaller than a tile.",
        )
    count = math.ceil((length - tile) / (tile - overlap)) + 1
    return np.linspace(0, length - tile, count).astype(np.int64)


def tiles(shape: tuple[int, int], tile: int, overlap: int) -> Iterator[Tile]:
    """Tiles of a scene of ``shape`` (rows, columns) in raster order.

    Results are to be written in this order: a tile keeps all but the first ``overlap`` // 2 rows (columns)
    where it has a neighbour above (to the left), and overwrites what earlier ones wrote.
    """
    for row in tile_origins(shape[0], tile, overlap).tolist():
        for column in tile_origins(shape[1], tile, overlap).tolist():
            yield Tile(
                slice(row, row + tile),
                slice(column, column + tile),
                slice(row + (overlap // 2 if row else 0), row + tile),
                slice(column + (overlap // 2 if column else 0), column + tile),
            )


def mirror_pad(image: NDArray[np.generic], margin: int) -> NDArray[np.generic]:
    """An image (rows, columns, …) with mirrored margins on all four sides, the edge pixel repeated."""
    widths = [(margin, margin), (margin, margin)] + [(0, 0)] * (image.ndim - 2)
    return np.pad(image, widths, mode="symmetric")
