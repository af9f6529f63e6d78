"""Rows of tiles being filled before they are compressed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Data = NDArray[np.number]

OPEN_STRIPS = 4
"""Unfinished rows of tiles that are kept; beyond that the oldest is written as it is and completed later."""


class Strips:
    """Gathers windows into whole rows of tiles: a tile compressed twice leaves its first copy as waste.

    Args:
        shape: bands, rows and columns of the raster.
        tile_height: rows of a tile.
        dtype: type of the values.
        fill: what pixels hold that are never written.
    """

    def __init__(
        self, shape: tuple[int, int, int], tile_height: int, dtype: np.dtype[Any], fill: float
    ) -> None:
        self._shape, self._tile, self._dtype, self._fill = shape, tile_height, dtype, fill
        self._open: dict[int, tuple[Data, int]] = {}
        self._written: set[int] = set()

    def add(self, values: Data, y0: int, x0: int) -> list[tuple[Data, int, int]]:
        """Take in a window at row ``y0``, column ``x0``; gives what to write now: (data, row, column)."""
        ready: list[tuple[Data, int, int]] = []
        y1 = y0 + values.shape[1]
        for number in range(y0 // self._tile, -(-y1 // self._tile)):
            start = number * self._tile
            top, bottom = max(y0, start), min(y1, start + self._tile)
            part = values[:, top - y0 : bottom - y0]
            if number in self._written:
                ready.append((part, top, x0))
                continue
            strip, missing = self._open.pop(number) if number in self._open else self._new(number)
            strip[:, top - start : bottom - start, x0 : x0 + part.shape[2]] = part
            missing -= part.shape[1] * part.shape[2]
            if missing > 0:
                self._open[number] = strip, missing
            else:
                ready.append(self._finish(number, strip))
        while len(self._open) > OPEN_STRIPS:
            number = next(iter(self._open))
            ready.append(self._finish(number, self._open.pop(number)[0]))
        return ready

    def rest(self) -> list[tuple[Data, int, int]]:
        """The rows of tiles that were never completed, in the form of ``add``."""
        left, self._open = self._open, {}
        return [self._finish(number, strip) for number, (strip, _) in sorted(left.items())]

    def _new(self, number: int) -> tuple[Data, int]:
        bands, height, width = self._shape
        rows = min(self._tile, height - number * self._tile)
        return np.full((bands, rows, width), self._fill, self._dtype), rows * width

    def _finish(self, number: int, strip: Data) -> tuple[Data, int, int]:
        self._written.add(number)
        return strip, number * self._tile, 0
