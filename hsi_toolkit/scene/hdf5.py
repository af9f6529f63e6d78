"""Cubes in HDF5 and netCDF-4 files, read window by window.

Files are not trusted: links are not followed, data stored elsewhere is refused, and sizes are held against
what the file stores before anything is read.
"""

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.contract import check_shape
from hsi_toolkit.scene.lazy import BandIndex, Calibration, Float32
from hsi_toolkit.scene.raw import PlainFile, RawSource

Index = int | BandIndex

SIGNATURE = b"\x89HDF\r\n\x1a\n"

CHUNK_CACHE_BYTES = 64 << 20

MAX_CHUNK_BYTES = 256 << 20
"""A chunk is decompressed whole, so a file with larger ones could take any amount of memory."""

MAX_VECTOR = 1 << 20
"""Entries of a list of wavelengths or an attribute."""

MAX_TEXTS = 1 << 12

UNCHECKED_BYTES = 1 << 30
MAX_EXPANSION = 2000
"""Data sets beyond the first size must store at least one byte for so many: DEFLATE reaches 1032."""

DEPTH = 8


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file for reading. Raises SceneError when it is none or damaged, there or inside the block."""
    with reading(path), h5py.File(path, "r") as file:
        yield file


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what h5py raises inside the block into a SceneError."""
    try:
        yield
    except SceneError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise SceneError(
            f"Reading {path} failed: {error}.", "The file may be damaged; copy it again."
        ) from error


def own_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """A data set stored in the file itself, no link, which may lead elsewhere. Raises SceneError."""
    node = own_node(file, name)
    if node is None:
        raise SceneError(
            f"{file.filename} has no data set '{name}' of its own: it is missing, or a link.",
            "Download the product again, or name another data set.",
        )
    if not isinstance(node, h5py.Dataset):
        raise SceneError(f"'{name}' in {file.filename} is no data set.", "Name one of those it holds.")
    if node.is_virtual or node.external:
        raise SceneError(
            f"'{name}' in {file.filename} is stored outside the file.", "Give a self-contained file."
        )
    _check_size(node, name)
    return node


def own_node(file: h5py.File, name: str) -> h5py.Group | h5py.Dataset | None:
    """The group or data set at a path of hard links, None when there is none; other links do not count."""
    node: h5py.Group | h5py.Dataset = file
    for part in name.strip("/").split("/"):
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if not isinstance(link, h5py.HardLink):
            return None
        node = node[part]
    return node


def own_datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """All data sets stored in the file itself with their paths; links are not followed, groups seen once."""
    pending: list[tuple[str, h5py.Group]] = [("", file)]
    seen = set()
    while pending:
        prefix, group = pending.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:
            continue
        seen.add(address)
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            node = group[name]
            if isinstance(node, h5py.Group) and prefix.count("/") < DEPTH:
                pending.append((f"{prefix}{name}/", node))
            elif isinstance(node, h5py.Dataset) and not node.is_virtual and not node.external:
                yield prefix + name, node


def read_vector(file: h5py.File, name: str, count: int | None = None) -> NDArray[np.float64] | None:
    """A data set of numbers as (n,) float64; None when it is absent, no vector, or not ``count`` long."""
    node = _own_numbers(file, name)
    if node is None or node.size > MAX_VECTOR or (count is not None and node.size != count):
        return None
    return np.asarray(node[()], np.float64).reshape(-1)


def read_text(file: h5py.File, name: str) -> str | None:
    """A data set of one text, None when it is absent or something else."""
    texts = read_texts(file, name)
    return texts[0] if len(texts) == 1 else None


def read_texts(file: h5py.File, name: str) -> list[str]:
    """A data set of texts, [] when it is absent or something else."""
    node = own_node(file, name)
    if not isinstance(node, h5py.Dataset) or node.size > MAX_TEXTS or node.is_virtual or node.external:
        return []
    texts = [_as_text(value) for value in np.asarray(node[()], object).reshape(-1)]
    return [text or "" for text in texts]


def attribute_text(node: h5py.HLObject, name: str) -> str | None:
    """An attribute of one text, None when it is absent or something else."""
    value = _attribute(node, name)
    return None if value is None or value.size != 1 else _as_text(value.astype(object).reshape(-1)[0])


def attribute_number(node: h5py.HLObject, name: str) -> float | None:
    """An attribute of one number, a scalar or an array of one, None when absent or something else."""
    found = attribute_numbers(node, name, 1)
    return None if found is None else float(found[0])


def attribute_numbers(node: h5py.HLObject, name: str, count: int | None = None) -> NDArray[np.float64] | None:
    """An attribute of numbers, (n,) float64; None when absent, something else, or not ``count`` long."""
    value = _attribute(node, name)
    if value is None or value.dtype.kind not in "iuf" or (count is not None and value.size != count):
        return None
    return value.astype(np.float64).reshape(-1)


class Hdf5File:
    """A file that several threads may read in turn; opened on first use, closed with the object.

    It stays open so that chunks, once decompressed, need not be decompressed again for the next window.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._file: h5py.File | None = None
        self._process = 0

    def read(self, name: str, key: tuple[Index, ...]) -> NDArray[Any]:
        """A part of a data set. Raises SceneError."""
        with self._lock, reading(self.path):
            if self._file is None or self._process != os.getpid():
                self._file = h5py.File(self.path, "r", rdcc_nbytes=CHUNK_CACHE_BYTES)
                self._process = os.getpid()
                weakref.finalize(self, self._file.close)
            values: NDArray[Any] = own_dataset(self._file, name)[key]
            return values

    def __reduce__(self) -> tuple[type["Hdf5File"], tuple[Path]]:
        return Hdf5File, (self.path,)


@dataclass(frozen=True, eq=False)
class Hdf5Source:
    """A data set whose axes ``order`` names from first to last: "yxb" for rows, columns, bands."""

    file: Hdf5File
    dataset: str
    order: str
    shape: tuple[int, int, int]
    calibration: Calibration = field(default_factory=Calibration)

    def read(self, bands: BandIndex, rows: slice, columns: slice) -> Float32:
        """See ``RasterSource.read``."""
        stretch: BandIndex = bands
        keep: BandIndex = slice(None)
        if not isinstance(bands, slice):
            first = int(bands.min())
            stretch, keep = slice(first, int(bands.max()) + 1), bands - first
        parts: dict[str, Index] = {"b": stretch, "y": rows, "x": columns}
        stored = self.file.read(self.dataset, tuple(parts[name] for name in self.order))
        if "b" not in self.order:
            stored = stored[..., None]
        axes = self.order if "b" in self.order else f"{self.order}b"
        stored = stored.transpose([axes.index(name) for name in "byx"])[keep]
        out = np.empty(stored.shape, np.float32)
        self.calibration.apply(stored, out, bands, 0)
        return out


def cube_source(
    file: h5py.File, name: str, order: str, path: Path, calibration: Calibration | None = None
) -> RawSource | Hdf5Source:
    """The source of a data set whose axes are named in ``order`` from first to last; one band without "b".

    What is stored in one piece and uncompressed is read past the HDF5 library, which is much faster for
    windows. Raises SceneError for anything but an array of numbers that the file really holds.
    """
    dataset = own_dataset(file, name)
    check_numbers(dataset, name, path, axes=len(order))
    sizes = {"b": 1} | dict(zip(order, dataset.shape, strict=True))
    shape = (sizes["b"], sizes["y"], sizes["x"])
    check_shape(shape, path)
    calibration = calibration or Calibration()
    offset = dataset.id.get_offset() if dataset.chunks is None else None
    if offset is None or dataset.dtype.itemsize * dataset.size != dataset.id.get_storage_size():
        return Hdf5Source(Hdf5File(path), name, order, shape, calibration)
    missing = offset + dataset.id.get_storage_size() - path.stat().st_size
    if missing > 0:
        raise SceneError(
            f"{path} ends {missing} bytes before its data '{name}' do.",
            "The file was cut short; copy or download it again.",
        )
    in_file = order if "b" in order else f"b{order}"
    return RawSource(PlainFile(path), offset, dataset.dtype, in_file, shape, calibration)


@dataclass(frozen=True, eq=False)
class Hdf5Layer:
    """A data set (y, x), or one position of the last axis of (y, x, n), as a ``LayerSource``.

    Of ``dtype`` bool it gives whether the stored values are 1; of a floating-point one NaN for ``nodata``.
    """

    file: Hdf5File
    dataset: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    index: int | None = None
    nodata: float | None = None

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """See ``LayerSource.read``."""
        key = (rows, columns) if self.index is None else (rows, columns, self.index)
        stored = self.file.read(self.dataset, key)
        values: NDArray[Any] = stored == 1 if self.dtype.kind == "b" else stored.astype(self.dtype)
        if self.nodata is not None and self.dtype.kind == "f":
            values[stored == self.nodata] = np.nan
        return values


def layer_of(
    file: h5py.File,
    name: str,
    shape: tuple[int, int],
    path: Path,
    *,
    index: int | None = None,
    dtype: str | None = None,
    nodata: float | None = None,
) -> Hdf5Layer | None:
    """The layer of a data set with these rows and columns, None when the file itself holds none.

    ``dtype`` "bool" makes a flag of it: whether the stored value is 1.
    """
    node = _own_numbers(file, name)
    if node is None or node.shape[:2] != shape or node.ndim != (2 if index is None else 3):
        return None
    if index is not None and index >= node.shape[2]:
        return None
    return Hdf5Layer(
        Hdf5File(path), name, shape, np.dtype(dtype or node.dtype.newbyteorder("=")), index, nodata
    )


def chunk_rows(dataset: h5py.Dataset, order: str) -> int:
    """Rows stored together, 1 where they stand for themselves."""
    return dataset.chunks[order.index("y")] if dataset.chunks else 1


def check_numbers(dataset: h5py.Dataset, name: str, path: Path, axes: int = 3) -> None:
    """Refuse anything but real numbers on so many axes, none of them empty. Raises SceneError."""
    if dataset.dtype.kind not in "iuf" or dataset.ndim != axes or dataset.size == 0:
        sizes = " x ".join(map(str, dataset.shape)) or "no axes"
        raise SceneError(
            f"'{name}' in {path} is no array of numbers with {axes} axes: {dataset.dtype}, {sizes}.",
            "The file is damaged or no such product.",
        )


def _check_size(dataset: h5py.Dataset, name: str) -> None:
    """Refuse data sets that take more memory than they can hold. Raises SceneError."""
    itemsize = dataset.dtype.itemsize
    size = prod(dataset.shape) * itemsize if dataset.shape else itemsize
    stored = dataset.id.get_storage_size()
    if size > UNCHECKED_BYTES and stored * MAX_EXPANSION < size:
        raise SceneError(
            f"'{name}' in {dataset.file.filename} claims {size / 1e9:.0f} GB and holds {stored} bytes.",
            "The file was cut short or is damaged; copy or download it again.",
        )
    if dataset.chunks and prod(dataset.chunks) * itemsize > MAX_CHUNK_BYTES:
        raise SceneError(
            f"'{name}' in {dataset.file.filename} is compressed in parts of "
            f"{prod(dataset.chunks) * itemsize / 1e9:.1f} GB.",
            f"Store it in chunks below {MAX_CHUNK_BYTES >> 20} MB (h5repack).",
        )


def _own_numbers(file: h5py.File, name: str) -> h5py.Dataset | None:
    """A data set of real numbers in the file itself, None when there is none."""
    node = own_node(file, name)
    if not isinstance(node, h5py.Dataset) or node.is_virtual or node.external or node.dtype.kind not in "iuf":
        return None
    _check_size(node, name)
    return node


def _attribute(node: h5py.HLObject, name: str) -> NDArray[Any] | None:
    if name not in node.attrs:
        return None
    shape = node.attrs.get_id(name).shape
    if shape is None or prod(shape) > MAX_VECTOR:
        return None
    return np.asarray(node.attrs[name])


def _as_text(value: object) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip("\0 ")
    return value.strip("\0 ") if isinstance(value, str) else None
