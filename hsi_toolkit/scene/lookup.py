"""Map grids whose cells each show a pixel of a swath: what a geometry lookup table (GLT) describes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.scene.hdf5 import Hdf5File
from hsi_toolkit.scene.lazy import BandIndex, Float32, LayerSource, RasterSource

TILE = 64
"""Rows and columns of the grid that are filled together: the pixels of a tile lie in a small box of the swath
however the swath is turned, those of a whole line of the grid need not."""

BOX_BYTES = 64 << 20
"""Float32 bytes of the swath that are read at once."""

WASTE = 16
"""A box with this many times the pixels that are wanted of it is split further."""

Rows = NDArray[np.intp]


class Lookup(Protocol):
    """Which pixel of the swath each cell of a grid shows; picklable."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        ...

    def read(self, rows: slice, columns: slice) -> tuple[Rows, Rows]:
        """For a window of the grid the row and the column in the swath, both -1 where there is none."""
        ...


@dataclass(frozen=True, eq=False)
class GltLookup:
    """Two data sets of an HDF5 file, (rows, columns), that count the swath's lines and samples from one.

    Zero means none, and so does any number outside the swath. ``signed``: negative numbers, which AVIRIS uses
    for cells filled from a neighbour, count by their size.
    """

    file: Hdf5File
    lines: str
    samples: str
    shape: tuple[int, int]
    swath: tuple[int, int]
    signed: bool = False

    def read(self, rows: slice, columns: slice) -> tuple[Rows, Rows]:
        """See ``Lookup.read``."""
        line, sample = (
            self.file.read(name, (rows, columns)).astype(np.intp) for name in (self.lines, self.samples)
        )
        if self.signed:
            line, sample = np.abs(line), np.abs(sample)
        known = (line >= 1) & (line <= self.swath[0]) & (sample >= 1) & (sample <= self.swath[1])
        return np.where(known, line - 1, -1), np.where(known, sample - 1, -1)


@dataclass(frozen=True, eq=False)
class LookupSource:
    """A swath's cube on a map grid (see ``RasterSource``)."""

    swath: RasterSource
    lookup: Lookup

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        return (self.swath.shape[0], *self.lookup.shape)

    def read(self, bands: BandIndex, rows: slice, columns: slice) -> Float32:
        """See ``RasterSource.read``; of the swath little more is read than the window shows."""
        count = len(np.arange(self.shape[0])[bands])
        out = np.full((count, rows.stop - rows.start, columns.stop - columns.start), np.nan, np.float32)
        line, sample = self.lookup.read(rows, columns)
        for cells, box in _boxes(line, sample, BOX_BYTES // (4 * count)):
            pixels = self.swath.read(bands, *box)
            known = line[cells] >= 0
            y, x = line[cells][known] - box[0].start, sample[cells][known] - box[1].start
            out[:, *cells][:, known] = pixels[:, y, x]
        return out


@dataclass(frozen=True, eq=False)
class LookupLayer:
    """A swath's layer on a map grid (see ``LayerSource``); cells that show no pixel get ``fill``."""

    swath: LayerSource
    lookup: Lookup
    fill: float | bool

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.lookup.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the swath's layer."""
        return self.swath.dtype

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """See ``LayerSource.read``."""
        line, sample = self.lookup.read(rows, columns)
        out = np.full(line.shape, self.fill, self.dtype)
        for cells, box in _boxes(line, sample, BOX_BYTES // 8):
            values = self.swath.read(*box)
            known = line[cells] >= 0
            out[cells][known] = values[line[cells][known] - box[0].start, sample[cells][known] - box[1].start]
        return out


def _boxes(line: Rows, sample: Rows, limit: int) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Parts of the window and the box of the swath, up to ``limit`` pixels, that holds the pixels of each."""
    height, width = line.shape
    side = min(TILE, max(height, 8))
    pending = [
        (slice(top, min(top + TILE, height)), slice(left, min(left + side, width)))
        for top in range(0, height, TILE)
        for left in range(0, width, side)
    ]
    while pending:
        cells = pending.pop()
        known = line[cells] >= 0
        wanted = int(known.sum())
        if wanted == 0:
            continue
        y, x = line[cells][known], sample[cells][known]
        box = (slice(int(y.min()), int(y.max()) + 1), slice(int(x.min()), int(x.max()) + 1))
        size = (box[0].stop - box[0].start) * (box[1].stop - box[1].start)
        if known.size > 1 and (size > limit or (size > WASTE * known.size and known.size > TILE)):
            pending += _halves(cells)
        else:
            yield cells, box


def _halves(cells: tuple[slice, slice]) -> list[tuple[slice, slice]]:
    rows, columns = cells
    if rows.stop - rows.start >= columns.stop - columns.start:
        middle = (rows.start + rows.stop) // 2
        return [(slice(rows.start, middle), columns), (slice(middle, rows.stop), columns)]
    middle = (columns.start + columns.stop) // 2
    return [(rows, slice(columns.start, middle)), (rows, slice(middle, columns.stop))]
