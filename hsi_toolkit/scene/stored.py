"""The numbers a scene's file stores, before they are scaled, for what has to keep them to the last bit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.core.indexing import LazilyIndexedArray

from hsi_toolkit.scene.bands import SelectedBands, StackedSource
from hsi_toolkit.scene.blocks import values_of
from hsi_toolkit.scene.hdf5 import Hdf5Source
from hsi_toolkit.scene.lazy import Calibration, RasterSource, SceneArray, Stored
from hsi_toolkit.scene.raw import PlainFile, RawSource
from hsi_toolkit.scene.readers.gdal import GdalSource
from hsi_toolkit.scene.readers.matlab import Mat5Source

EXACT_IN_SINGLE = ("int8", "uint8", "int16", "uint16", "float32")
"""Types all of whose numbers are single-precision ones, so that an uncalibrated scene holds them."""


class StoredNumbers(Protocol):
    """A source's numbers as the file stores them.

    Attributes:
        dtype: their type, in the machine's byte order.
        calibration: what makes physical values of them.
    """

    @property
    def dtype(self) -> np.dtype[np.number]: ...

    @property
    def calibration(self) -> Calibration: ...

    def read(self, rows: slice, columns: slice) -> Stored:
        """All bands of a window in the order of the file, (bands, rows, columns). Raises SceneError."""
        ...


@dataclass(frozen=True, eq=False)
class StoredScene:
    """A scene's stored numbers, and the place in the file, from zero, of each band of the scene."""

    numbers: StoredNumbers
    places: NDArray[np.intp]


def stored_scene(scene: xr.DataArray) -> StoredScene:
    """The stored numbers of a scene as ``open_scene`` gave it; of any other one its physical values.

    Those are single-precision numbers without a calibration, and NaN is their "no data".
    """
    # xarray has no public way from an array to what it reads from.
    data = scene.variable._data
    if isinstance(data, LazilyIndexedArray) and isinstance(data.array, SceneArray):
        source = data.array.source
        bands, rows, columns = data.key.tuple
        places = np.atleast_1d(np.arange(source.shape[0])[bands])
        whole = all(
            isinstance(part, slice) and len(range(*part.indices(length))) == length
            for part, length in zip((rows, columns), source.shape[1:], strict=True)
        )
        numbers = stored_numbers(source)
        if numbers is not None and whole and len(places) == source.shape[0]:
            return StoredScene(numbers, places)
    return StoredScene(_Physical(scene, np.dtype(np.float32), Calibration()), np.arange(scene.sizes["band"]))


@singledispatch
def stored_numbers(source: RasterSource) -> StoredNumbers | None:
    """The stored numbers of a source; None where it has none of one type, or gives no access to them."""
    return None


@stored_numbers.register
def _(source: RawSource) -> StoredNumbers | None:
    if source.dtype.name in EXACT_IN_SINGLE:
        return _InSingle(
            replace(source, calibration=Calibration()), _native(source.dtype), source.calibration
        )
    return _Mapped(source) if isinstance(source.container, PlainFile) else None


@stored_numbers.register
def _(source: Hdf5Source) -> StoredNumbers | None:
    kind = source.file.read(source.dataset, tuple(slice(0, 1) for _ in source.order)).dtype
    if kind.name not in EXACT_IN_SINGLE:
        return None
    return _InSingle(replace(source, calibration=Calibration()), _native(kind), source.calibration)


@stored_numbers.register
def _(source: Mat5Source) -> StoredNumbers | None:
    kind = source.stored_dtype
    return _InSingle(source, _native(kind), Calibration()) if kind.name in EXACT_IN_SINGLE else None


@stored_numbers.register
def _(source: GdalSource) -> StoredNumbers | None:
    with source.dataset.use() as dataset:
        types = set(dataset.dtypes)
    return None if source.masked or len(types) > 1 else _FromGdal(source, np.dtype(types.pop()))


@stored_numbers.register
def _(source: SelectedBands) -> StoredNumbers | None:
    whole = stored_numbers(source.source)
    if whole is None:
        return None
    calibration = _stacked([whole.calibration], [source.source.shape[0]])
    scale, offset, nodata = calibration.scale, calibration.offset, calibration.nodata
    chosen = Calibration(
        None if scale is None else scale[source.index],
        None if offset is None else offset[source.index],
        nodata[source.index] if isinstance(nodata, np.ndarray) else nodata,
    )
    return _Composed((whole,), whole.dtype, chosen, source.index)


@stored_numbers.register
def _(source: StackedSource) -> StoredNumbers | None:
    parts = [part for each in source.parts if (part := stored_numbers(each)) is not None]
    if len(parts) < len(source.parts) or len({part.dtype for part in parts}) > 1:
        return None
    calibration = _stacked([part.calibration for part in parts], [each.shape[0] for each in source.parts])
    return _Composed(tuple(parts), parts[0].dtype, calibration, None)


@dataclass(frozen=True, eq=False)
class _InSingle:
    """Numbers that an uncalibrated source gives exactly, in single precision."""

    plain: RasterSource
    dtype: np.dtype[np.number]
    calibration: Calibration

    def read(self, rows: slice, columns: slice) -> Stored:
        return self.plain.read(slice(0, self.plain.shape[0]), rows, columns).astype(self.dtype, copy=False)


@dataclass(frozen=True, eq=False)
class _Mapped:
    """Numbers of any type in a flat file."""

    source: RawSource

    @property
    def dtype(self) -> np.dtype[np.number]:
        return _native(self.source.dtype)

    @property
    def calibration(self) -> Calibration:
        return self.source.calibration

    def read(self, rows: slice, columns: slice) -> Stored:
        source = self.source
        shape = tuple(source.shape["byx".index(axis)] for axis in source.order)
        cube = np.memmap(source.container.path, source.dtype, "r", source.offset, shape)
        in_order = cube.transpose([source.order.index(axis) for axis in "byx"])
        return np.array(in_order[:, rows, columns], self.dtype, order="C")


@dataclass(frozen=True, eq=False)
class _FromGdal:
    """Numbers as GDAL gives them."""

    source: GdalSource
    dtype: np.dtype[np.number]

    @property
    def calibration(self) -> Calibration:
        return self.source.calibration

    def read(self, rows: slice, columns: slice) -> Stored:
        return self.source.read_stored(list(range(1, self.source.shape[0] + 1)), rows, columns)


@dataclass(frozen=True, eq=False)
class _Composed:
    """Bands of several sources one after the other, or some bands of one."""

    parts: tuple[StoredNumbers, ...]
    dtype: np.dtype[np.number]
    calibration: Calibration
    index: NDArray[np.intp] | None

    def read(self, rows: slice, columns: slice) -> Stored:
        whole = np.concatenate([part.read(rows, columns) for part in self.parts])
        return whole if self.index is None else whole[self.index]


@dataclass(frozen=True, eq=False)
class _Physical:
    """A scene's values themselves."""

    scene: xr.DataArray
    dtype: np.dtype[np.number]
    calibration: Calibration

    def read(self, rows: slice, columns: slice) -> Stored:
        return values_of(self.scene.isel(y=rows, x=columns))


def _native(dtype: np.dtype[np.number]) -> np.dtype[np.number]:
    return dtype.newbyteorder("=")


def _stacked(parts: Sequence[Calibration], bands: Sequence[int]) -> Calibration:
    """The calibration of bands one after the other, each of its facts one for each band or None."""

    def joined(
        values: Sequence[float | NDArray[np.float64] | None], absent: float
    ) -> NDArray[np.float64] | None:
        if all(value is None for value in values):
            return None
        each = [
            np.full(count, absent if value is None else value)
            for value, count in zip(values, bands, strict=True)
        ]
        return np.concatenate(each)

    return Calibration(
        joined([part.scale for part in parts], 1.0),
        joined([part.offset for part in parts], 0.0),
        joined([part.nodata for part in parts], np.nan),
    )
