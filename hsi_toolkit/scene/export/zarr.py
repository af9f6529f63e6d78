"""Scenes as Zarr stores with CF metadata: a folder of compressed chunks, version 2 of the format.

Version 2 with zlib is what every reader of Zarr opens, older GDALs included, and takes no library to write.
"""

import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.errors import OutputError
from hsi_toolkit.files import atomic_folder
from hsi_toolkit.scene.export.cf import GRID_MAPPING, Attributes, describe
from hsi_toolkit.scene.export.storage import TILE, Storage, chunk_rows, refuse_own_source
from hsi_toolkit.scene.lazy import Float32
from hsi_toolkit.scene.raw import THREADS
from hsi_toolkit.scene.strips import Strips

CHUNK_BANDS = 16
"""Bands of a chunk: few enough to draw one, enough for chunks of megabytes."""

ZLIB_LEVEL = 1

GROUP = ".zgroup"


class ZarrWriter:
    """A Zarr store, filled from top to bottom.

    Args:
        path: the folder, ending in .zarr.
        scene: whose size, coordinates and attributes it gets.
        storage: how numbers are stored.
        overwrite: whether an existing store may be replaced.

    Raises:
        OutputError: the folder exists or cannot be written.
    """

    def __init__(self, path: Path, scene: xr.DataArray, storage: Storage, *, overwrite: bool = False) -> None:
        self.path = path
        refuse_own_source(path, scene)
        self._scene, self._storage, self._overwrite = scene, storage, overwrite
        bands, height, width = scene.shape
        rows = chunk_rows(bands, width, height, storage.dtype.itemsize)
        self._chunks = (min(CHUNK_BANDS, bands), rows, min(TILE, width))
        self._strips = Strips((bands, height, width), rows, storage.dtype, storage.fill)
        self._stack = ExitStack()
        self._name = ""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._pool = stack.enter_context(ThreadPoolExecutor(THREADS))
            self._folder = stack.enter_context(
                atomic_folder(self.path, overwrite=self._overwrite, replaceable=GROUP)
            )
            self._define()
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

    def write(self, data: Float32, y0: int) -> None:
        """See ``SceneWriter.write``."""
        for strip in self._strips.add(self._storage.stored(data), y0, 0):
            self._put(*strip)

    def _define(self) -> None:
        described = describe(self._scene, self._storage)
        self._name = described.name
        metadata: dict[str, object] = {GROUP: {"zarr_format": 2}, ".zattrs": _plain(described.whole)}
        for name, each in described.variables.items():
            metadata |= _array(name, each.values.shape, each.values.shape, each.values.dtype, None)
            metadata[f"{name}/.zattrs"] = _attributes(each.dims, each.attributes)
            self._store(f"{name}/{'.'.join('0' * each.values.ndim) or '0'}", each.values)
        attributes = dict(described.attributes)
        mapping = described.variables.get(GRID_MAPPING)
        if mapping is not None and "crs_wkt" in mapping.attributes:
            # GDAL's own place for it.
            attributes["_CRS"] = {"wkt": mapping.attributes["crs_wkt"]}
        shape = self._scene.shape
        fill = self._storage.fill
        metadata |= _array(self._name, shape, self._chunks, self._storage.dtype, fill)
        metadata[f"{self._name}/.zattrs"] = _attributes(("band", "y", "x"), attributes)
        consolidated = {"zarr_consolidated_format": 1, "metadata": metadata}
        for name, content in {**metadata, ".zmetadata": consolidated}.items():
            target = self._folder / name
            target.parent.mkdir(exist_ok=True)
            target.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")

    def _put(self, data: NDArray[np.number], y0: int, _: int) -> None:
        bands, rows, columns = self._chunks
        jobs = []
        for band in range(0, data.shape[0], bands):
            for column in range(0, data.shape[2], columns):
                part = data[band : band + bands, :, column : column + columns]
                name = f"{self._name}/{band // bands}.{y0 // rows}.{column // columns}"
                jobs.append(self._pool.submit(self._store, name, self._whole(part)))
        for job in jobs:
            job.result()

    def _whole(self, part: NDArray[np.number]) -> NDArray[np.number]:
        """Chunks at the edges are as large as all others."""
        if part.shape == self._chunks:
            return part
        chunk = np.full(self._chunks, self._storage.fill, self._storage.dtype)
        chunk[tuple(map(slice, part.shape))] = part
        return chunk

    def _store(self, name: str, values: NDArray[np.generic]) -> None:
        target = self._folder / name
        try:
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(zlib.compress(np.ascontiguousarray(values).tobytes(), ZLIB_LEVEL))
        except OSError as error:
            raise OutputError(
                f"Writing {self.path} failed: {error.strerror or error}.",
                "Check the free space and permissions.",
            ) from error


def _array(
    name: str,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: np.dtype[np.generic],
    fill: float | None,
) -> dict[str, object]:
    whole = None if fill is None else "NaN" if np.isnan(fill) else int(fill)
    return {
        f"{name}/.zarray": {
            "zarr_format": 2,
            "shape": list(shape),
            "chunks": [max(1, length) for length in chunks],
            "dtype": dtype.newbyteorder("<").str,
            "compressor": {"id": "zlib", "level": ZLIB_LEVEL},
            "fill_value": whole,
            "order": "C",
            "filters": None,
            "dimension_separator": ".",
        }
    }


def _attributes(dims: tuple[str, ...], attributes: Attributes) -> object:
    return _plain({"_ARRAY_DIMENSIONS": list(dims), **attributes})


def _plain(value: object) -> object:
    """``value`` in JSON's own types."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
