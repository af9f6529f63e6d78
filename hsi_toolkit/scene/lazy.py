"""The lazy array behind a scene: windows read from the file when their values are wanted."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

HUGE_NODATA = 1e30
"""Beyond this a float nodata value may be rounded in the header, so everything as huge counts as it."""

Float32 = NDArray[np.float32]
BandIndex = slice | NDArray[np.intp]
Stored = NDArray[np.number]
Part = int | np.integer | slice | NDArray[np.intp]


class RasterSource(Protocol):
    """Where a scene's values come from; picklable, and safe to read from several threads."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        ...

    def read(self, bands: BandIndex, rows: slice, columns: slice) -> Float32:
        """The window in physical units, (bands, rows, columns) float32, NaN where there is no data.

        ``bands`` is a slice with explicit bounds or an array of band indices in any order; ``rows`` and
        ``columns`` are slices with explicit bounds and no step, never empty. Raises SceneError.
        """
        ...


class LayerSource(Protocol):
    """Where the values of a coordinate (y, x) come from: a quality mask, a longitude; picklable."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of what ``read`` gives."""
        ...

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """The window (rows, columns) of slices with explicit bounds and no step, never empty."""
        ...


@dataclass(frozen=True, eq=False)
class Calibration:
    """How stored numbers become physical ones: ``stored * scale + offset``, and which mean "no data".

    ``scale`` and ``offset`` are (bands,) float64 or None. ``nodata`` is in stored units, one for all bands
    or one each, NaN where a band has none.
    """

    scale: NDArray[np.float64] | None = None
    offset: NDArray[np.float64] | None = None
    nodata: float | NDArray[np.float64] | None = None

    def apply(self, stored: Stored, out: Float32, bands: BandIndex, band_axis: int) -> None:
        """Write the physical values of ``stored`` to ``out``; both have their bands on ``band_axis``."""

        def per_band(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.expand_dims(
                values[bands], tuple(axis for axis in range(stored.ndim) if axis != band_axis)
            )

        with np.errstate(over="ignore", invalid="ignore"):
            np.copyto(out, stored, casting="unsafe")
            if self.scale is not None:
                out *= per_band(self.scale).astype(np.float32)
            if self.offset is not None:
                out += per_band(self.offset).astype(np.float32)
        if isinstance(self.nodata, np.ndarray):
            values = per_band(self.nodata)
            np.copyto(out, np.float32(np.nan), where=stored == values)
        elif self.nodata is not None:
            missing = is_nodata(stored, self.nodata)
            if missing is not None:
                np.copyto(out, np.float32(np.nan), where=missing)


def is_nodata(stored: Stored, nodata: float) -> NDArray[np.bool_] | None:
    """Where ``stored`` holds ``nodata``; None where its type cannot hold that value at all (or it is NaN)."""
    if np.isnan(nodata):
        return None
    if stored.dtype.kind in "iu":
        limits = np.iinfo(stored.dtype.name)
        if nodata != int(nodata) or not limits.min <= nodata <= limits.max:
            return None
        mask: NDArray[np.bool_] = stored == stored.dtype.type(int(nodata))
        return mask
    if abs(nodata) >= HUGE_NODATA:
        limit = nodata * (1 - 1e-6)
        beyond: NDArray[np.bool_] = (
            np.less_equal(stored, limit) if nodata < 0 else np.greater_equal(stored, limit)
        )
        return beyond
    with np.errstate(over="ignore"):
        mask = stored == np.asarray(nodata, stored.dtype)
    return mask


class SceneArray(BackendArray):
    """A ``RasterSource`` as xarray wants it: outer indexing, nothing read before it is asked for."""

    def __init__(self, source: RasterSource) -> None:
        self.source = source
        self.shape = source.shape
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Float32:
        values: Float32 = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )
        return values

    def _read(self, key: tuple[Part, ...]) -> Float32:
        squeeze = tuple(slice(None) if isinstance(part, slice) or np.ndim(part) else 0 for part in key)
        index = [_positions(part, length) for part, length in zip(key, self.shape, strict=True)]
        size = tuple(len(positions) for positions in index)
        if 0 in size:
            return np.empty(size, np.float32)[squeeze]
        bands, rows, columns = index
        left = int(columns.min())
        window = slice(left, int(columns.max()) + 1)
        select = _as_slice(columns - left)
        whole = isinstance(select, slice) and select == slice(0, window.stop - left, 1)
        runs = np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1)
        if len(runs) == 1 and whole:
            return self.source.read(_as_slice(bands), slice(int(rows[0]), int(rows[-1]) + 1), window)[squeeze]
        out = np.empty(size, np.float32)
        for run in runs:
            stretch = slice(int(rows[run[0]]), int(rows[run[-1]]) + 1)
            out[:, run[0] : run[-1] + 1] = self.source.read(_as_slice(bands), stretch, window)[:, :, select]
        return out[squeeze]


class LayerArray(BackendArray):
    """A ``LayerSource`` as xarray wants it."""

    def __init__(self, source: LayerSource) -> None:
        self.source = source
        self.shape = source.shape
        self.dtype = source.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[Any]:
        values: NDArray[Any] = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )
        return values

    def _read(self, key: tuple[int | np.integer | slice, ...]) -> NDArray[Any]:
        index = [_positions(part, length) for part, length in zip(key, self.shape, strict=True)]
        squeeze = tuple(slice(None) if isinstance(part, slice) else 0 for part in key)
        if 0 in (len(index[0]), len(index[1])):
            return np.empty([len(part) for part in index], self.dtype)[squeeze]
        first = [int(part.min()) for part in index]
        rows, columns = (slice(int(part.min()), int(part.max()) + 1) for part in index)
        window = self.source.read(rows, columns)
        return window[np.ix_(index[0] - first[0], index[1] - first[1])][squeeze]


def lazy_layer(source: LayerSource) -> xr.Variable:
    """The variable (y, x) that reads from ``source`` on use."""
    return xr.Variable(("y", "x"), indexing.LazilyIndexedArray(LayerArray(source)))


def lazy_variable(source: RasterSource) -> xr.Variable:
    """The variable (band, y, x) float32 that reads from ``source`` on use."""
    return xr.Variable(("band", "y", "x"), indexing.LazilyIndexedArray(SceneArray(source)))


def _positions(part: Part, length: int) -> NDArray[np.intp]:
    """The positions an index asks for, in its order, none negative."""
    if isinstance(part, slice):
        return np.arange(*part.indices(length), dtype=np.intp)
    return np.atleast_1d(np.asarray(part, dtype=np.intp)) % length


def _as_slice(positions: NDArray[np.intp]) -> BandIndex:
    """The positions as a slice of step one where they are one, because that needs no copy."""
    first, last = int(positions[0]), int(positions[-1])
    consecutive = last - first == len(positions) - 1 and bool(np.all(np.diff(positions) == 1))
    return slice(first, last + 1, 1) if consecutive else positions
