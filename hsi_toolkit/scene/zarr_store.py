"""Zarr stores of version 2, read chunk by chunk; what takes a codec library is refused by name."""

import json
import zlib
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.lazy import BandIndex, Calibration, Float32

MAX_JSON_BYTES = 16 << 20
MAX_CHUNK_BYTES = 256 << 20
GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


@dataclass(frozen=True, eq=False)
class ZarrArray:
    """An array of a store: what its ``.zarray`` says, checked, and its attributes."""

    folder: Path
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: float | None
    compressed: bool
    separator: str
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dimensions as xarray writes them, () where it did not."""
        names = self.attributes.get("_ARRAY_DIMENSIONS", [])
        return tuple(map(str, names)) if isinstance(names, list) and len(names) == len(self.shape) else ()

    def read(self, key: tuple[slice, ...]) -> NDArray[Any]:
        """A window, its slices with bounds and no step. Raises SceneError."""
        out = np.empty([part.stop - part.start for part in key], self.dtype)
        ranges = [
            range(part.start // size, -(-part.stop // size))
            for part, size in zip(key, self.chunks, strict=True)
        ]
        for numbers in product(*ranges):
            chunk = self._chunk(numbers)
            target, source = [], []
            for number, part, size in zip(numbers, key, self.chunks, strict=True):
                start, stop = max(part.start, number * size), min(part.stop, (number + 1) * size)
                target.append(slice(start - part.start, stop - part.start))
                source.append(slice(start - number * size, stop - number * size))
            out[tuple(target)] = self.fill if chunk is None else chunk[tuple(source)]
        return out

    def whole(self) -> NDArray[Any]:
        """All of a small array."""
        return self.read(tuple(slice(0, length) for length in self.shape))

    def _chunk(self, numbers: tuple[int, ...]) -> NDArray[Any] | None:
        """A chunk, None when it is not stored and so all fill."""
        path = self.folder / (self.separator.join(map(str, numbers)) or "0")
        size = prod(self.chunks) * self.dtype.itemsize
        try:
            if path.stat().st_size > 2 * size + MAX_JSON_BYTES:
                raise SceneError(f"The chunk {path} is too large to be true.", "Copy the folder again.")
            data = path.read_bytes()
            if self.compressed:
                data = zlib.decompressobj(GZIP_OR_ZLIB).decompress(data, size)
        except FileNotFoundError:
            if self.fill is None:
                raise SceneError(f"The chunk {path} is missing.", "Copy the whole folder again.") from None
            return None
        except SceneError:
            raise
        except (OSError, zlib.error) as error:
            raise SceneError(f"Reading {path} failed: {error}.", "Copy the folder again.") from error
        if len(data) < size:
            raise SceneError(f"The chunk {path} is cut short.", "Copy the folder again.")
        values: NDArray[Any] = np.frombuffer(data, self.dtype, prod(self.chunks)).reshape(self.chunks)
        return values


@dataclass(frozen=True, eq=False)
class ZarrSource:
    """An array with three axes as a ``RasterSource``; ``order`` names them ("byx")."""

    array: ZarrArray
    order: str
    shape: tuple[int, int, int]
    calibration: Calibration

    def read(self, bands: BandIndex, rows: slice, columns: slice) -> Float32:
        """See ``RasterSource.read``."""
        stretch, keep = bands, slice(None)
        if not isinstance(bands, slice):
            first = int(bands.min())
            stretch, keep = slice(first, int(bands.max()) + 1), bands - first  # type: ignore[assignment]
        parts = {"b": stretch, "y": rows, "x": columns}
        stored = self.array.read(tuple(parts[name] for name in self.order))  # type: ignore[misc]
        stored = stored.transpose([self.order.index(name) for name in "byx"])[keep]
        stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
        out = np.empty(stored.shape, np.float32)
        self.calibration.apply(stored, out, bands, 0)
        return out


def is_store(path: Path) -> bool:
    """Whether a folder is a Zarr group of version 2."""
    return path.is_dir() and (path / ".zgroup").is_file()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of the store, {} when the file is absent. Raises SceneError."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise SceneError(f"{path} is too large to be true.", "Copy the folder again.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise SceneError(f"{path} is damaged: {error}.", "Copy the folder again.") from error
    if not isinstance(content, dict):
        raise SceneError(f"{path} is damaged.", "Copy the folder again.")
    return content


def arrays(store: Path) -> dict[str, ZarrArray]:
    """The arrays at the top of a store. Raises SceneError for those that cannot be read."""
    found = {}
    for folder in sorted(store.iterdir()):
        if (folder / ".zarray").is_file() and not folder.is_symlink():
            found[folder.name] = _array(folder)
    return found


def _array(folder: Path) -> ZarrArray:
    told = read_json(folder / ".zarray")
    compressor = told.get("compressor")
    codec = compressor.get("id") if isinstance(compressor, dict) else None
    if (compressor is not None and codec not in ("zlib", "gzip")) or told.get("filters"):
        raise SceneError(
            f"{folder} is compressed with {codec or 'filters'}, which is not read.",
            "Convert the store to NetCDF, or write it with zlib.",
        )
    try:
        shape = tuple(int(length) for length in told["shape"])
        chunks = tuple(int(length) for length in told["chunks"])
        dtype = np.dtype(told["dtype"])
        fill = told.get("fill_value")
        number = None if fill is None else float(fill)
    except (KeyError, TypeError, ValueError) as error:
        raise SceneError(f"{folder / '.zarray'} is damaged: {error}.", "Copy the folder again.") from error
    usable = (
        dtype.kind in "iufb"
        and len(shape) == len(chunks) <= 4
        and all(length > 0 for length in (*shape, *chunks))
        and prod(chunks) * dtype.itemsize <= MAX_CHUNK_BYTES
        and told.get("order", "C") == "C"
        and told.get("zarr_format") == 2
    )
    if not usable:
        raise SceneError(
            f"{folder / '.zarray'} describes no array that can be read.", "Copy the folder again."
        )
    separator = "/" if told.get("dimension_separator") == "/" else "."
    attributes = read_json(folder / ".zattrs")
    return ZarrArray(folder, shape, chunks, dtype, number, compressor is not None, separator, attributes)
