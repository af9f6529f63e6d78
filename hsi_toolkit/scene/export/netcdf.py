"""Scenes as NetCDF-4 files with CF metadata."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import h5netcdf
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.errors import OutputError
from hsi_toolkit.files import atomic_path, check_output, make_sure_it_is_stored
from hsi_toolkit.scene.export.cf import describe
from hsi_toolkit.scene.export.storage import TILE, Storage, chunk_rows, refuse_own_source
from hsi_toolkit.scene.lazy import Float32
from hsi_toolkit.scene.strips import Strips

DEFLATE_LEVEL = 2


class NetcdfWriter:
    """A NetCDF-4 file, filled from top to bottom; bands are chunked one by one, for drawing single ones.

    Args:
        path: the file, ending in .nc.
        scene: whose size, coordinates and attributes it gets.
        storage: how numbers are stored.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputError: the file exists or cannot be written.
    """

    def __init__(self, path: Path, scene: xr.DataArray, storage: Storage, *, overwrite: bool = False) -> None:
        self.path = check_output(path, overwrite=overwrite)
        refuse_own_source(path, scene)
        self._scene, self._storage, self._overwrite = scene, storage, overwrite
        bands, height, width = scene.shape
        rows = chunk_rows(bands, width, height, storage.dtype.itemsize)
        self._chunks = (1, rows, min(TILE, width))
        self._strips = Strips((bands, height, width), rows, storage.dtype, storage.fill)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._temporary = stack.enter_context(atomic_path(self.path, overwrite=self._overwrite))
            try:
                self._file = h5netcdf.File(self._temporary, "w", libver="earliest")
                stack.callback(self._file.close)
                self._define()
            except (OSError, RuntimeError) as error:
                raise self._failure(error) from error
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            for strip in self._strips.rest():
                self._put(*strip)
            try:
                self._file.close()
                make_sure_it_is_stored(self._temporary)
            except (OSError, RuntimeError) as failure:
                raise self._failure(failure) from failure

    def write(self, data: Float32, y0: int) -> None:
        """See ``SceneWriter.write``."""
        for strip in self._strips.add(self._storage.stored(data), y0, 0):
            self._put(*strip)

    def _define(self) -> None:
        described = describe(self._scene, self._storage)
        file = self._file
        file.dimensions = {name: self._scene.sizes[name] for name in ("band", "y", "x")}
        file.attrs.update(described.whole)
        for name, each in described.variables.items():
            variable = file.create_variable(name, each.dims, each.values.dtype)
            variable[...] = each.values
            variable.attrs.update(each.attributes)
        self._values = file.create_variable(
            described.name,
            ("band", "y", "x"),
            self._storage.dtype,
            chunks=self._chunks,
            compression="gzip",
            compression_opts=DEFLATE_LEVEL,
            shuffle=True,
            fillvalue=self._storage.fill_value[()],
        )
        self._values.attrs.update(described.attributes)

    def _put(self, data: NDArray[np.number], y0: int, x0: int) -> None:
        try:
            self._values[:, y0 : y0 + data.shape[1], x0 : x0 + data.shape[2]] = data
        except (OSError, RuntimeError) as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> OutputError:
        return OutputError(f"Writing {self.path} failed: {error}.", "Check the free space and permissions.")
