"""Cubes in HDF5 files, read window by window."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.lazy import BandIndex, Calibration, Float32

CHUNK_CACHE_BYTES = 64 << 20


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file for reading. Raises SceneError when it is none or damaged, there or inside the block."""
    try:
        with h5py.File(path, "r", rdcc_nbytes=CHUNK_CACHE_BYTES) as file:
            yield file
    except SceneError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise SceneError(
            f"Reading {path} failed: {error}.", "The file may be damaged; copy it again."
        ) from error


def own_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """A data set stored in the file itself, no link, which may lead elsewhere. Raises SceneError."""
    node: h5py.Group | h5py.Dataset = file
    for part in name.strip("/").split("/"):
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if not isinstance(link, h5py.HardLink):
            raise SceneError(f"{file.filename} has no data set '{name}' of its own.", "Name another one.")
        node = node[part]
    if not isinstance(node, h5py.Dataset) or node.is_virtual or node.external:
        raise SceneError(
            f"'{name}' in {file.filename} is stored outside the file.", "Give a self-contained file."
        )
    return node


def own_datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """All data sets stored in the file itself with their paths; links are not followed."""
    pending: list[tuple[str, h5py.Group]] = [("", file)]
    while pending:
        prefix, group = pending.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            node = group[name]
            if isinstance(node, h5py.Group) and prefix.count("/") < 8:
                pending.append((f"{prefix}{name}/", node))
            elif isinstance(node, h5py.Dataset) and not node.is_virtual and not node.external:
                yield prefix + name, node


@dataclass(frozen=True, eq=False)
class Hdf5Source:
    """A data set with three axes, named in ``order`` from first to last ("yxb": rows, columns, bands)."""

    path: Path
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
        parts = {"b": stretch, "y": rows, "x": columns}
        with open_hdf5(self.path) as file:
            stored = own_dataset(file, self.dataset)[tuple(parts[name] for name in self.order)]
        stored = stored.transpose([self.order.index(name) for name in "byx"])[keep]
        out = np.empty(stored.shape, np.float32)
        self.calibration.apply(stored, out, bands, 0)
        return out
