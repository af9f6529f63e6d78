"""Bands of several sources as one cube, and some bands of a source as a whole one."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.scene.lazy import BandIndex, Float32, RasterSource


@dataclass(frozen=True, eq=False)
class StackedSource:
    """The bands of sources of the same rows and columns, one source after the other."""

    parts: tuple[RasterSource, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands of all parts, rows, columns."""
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])

    def read(self, bands: BandIndex, rows: slice, columns: slice) -> Float32:
        """See ``RasterSource.read``; parts none of whose bands are wanted are not read."""
        wanted = np.arange(self.shape[0])[bands]
        out = np.empty((len(wanted), rows.stop - rows.start, columns.stop - columns.start), np.float32)
        first = 0
        for part in self.parts:
            here = (wanted >= first) & (wanted < first + part.shape[0])
            if here.any():
                out[here] = part.read(as_index(wanted[here] - first), rows, columns)
            first += part.shape[0]
        return out


@dataclass(frozen=True, eq=False)
class SelectedBands:
    """Some bands of a source, ``index`` (bands,) counted from zero, in any order."""

    source: RasterSource
    index: NDArray[np.intp]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Selected bands, rows, columns."""
        return (len(self.index), *self.source.shape[1:])

    def read(self, bands: BandIndex, rows: slice, columns: slice) -> Float32:
        """See ``RasterSource.read``."""
        return self.source.read(as_index(self.index[bands]), rows, columns)


def as_index(positions: NDArray[np.intp]) -> BandIndex:
    """Positions as a slice where they follow one another, which needs no copy."""
    if np.all(np.diff(positions) == 1):
        return slice(int(positions[0]), int(positions[-1]) + 1)
    return positions
