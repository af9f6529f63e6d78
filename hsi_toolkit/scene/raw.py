"""Flat binary cubes (ENVI, NumPy): windows by direct reads, in any order of axes, type and byte order."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.lazy import BandIndex, Calibration, Float32, Stored

PIECE_BYTES = 4 << 20
"""Stored bytes read and converted at a time: enough for few system calls, little enough to stay in cache."""

READ_THROUGH_BYTES = 1 << 15
"""Gaps up to this size are read and dropped, because another system call costs more."""

PARALLEL_BYTES = 4 << 20
"""Windows from this stored size on are read by two threads; NumPy converts without the interpreter lock."""

THREADS = min(2, os.cpu_count() or 1)


class Storage(Protocol):
    """Bytes that can be read at any position, by several threads at once."""

    def read_into(self, buffer: memoryview, position: int) -> int:
        """Fill ``buffer`` from ``position``; the number of bytes got is smaller only at the end."""
        ...


class OpenFile:
    """An open file as ``Storage``."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def read_into(self, buffer: memoryview, position: int) -> int:
        done = 0
        while done < len(buffer):
            count = self._read_some(buffer[done:], position + done)
            if count == 0:
                break
            done += count
        return done

    def _read_some(self, buffer: memoryview, position: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [buffer], position)
        with self._lock:
            os.lseek(self._descriptor, position, os.SEEK_SET)
            part = os.read(self._descriptor, len(buffer))
            buffer[: len(part)] = part
            return len(part)


@dataclass(frozen=True)
class PlainFile:
    """The bytes of a file as they are."""

    path: Path

    @contextmanager
    def open(self) -> Iterator[Storage]:
        """The file, open for the length of the block."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise SceneError(
                f"The data file {self.path} cannot be opened: {error.strerror}.",
                "Check that it is still there.",
            ) from error
        try:
            yield OpenFile(descriptor)
        finally:
            os.close(descriptor)


class Container(Protocol):
    """Something that gives ``Storage`` when it is opened: a plain file or a decompressed one."""

    @property
    def path(self) -> Path:
        """The file the bytes come from, for messages."""
        ...

    def open(self) -> AbstractContextManager[Storage]:
        """A context manager that gives the storage."""
        ...


@dataclass(frozen=True)
class _Axis:
    """What of one axis of the file is wanted: the positions to keep of a stretch to read."""

    start: int
    stop: int
    keep: slice | NDArray[np.intp]

    @property
    def length(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, eq=False)
class RawSource:
    """A cube stored flat in a file.

    ``order`` names the file's axes from slowest to fastest, for instance "byx" (band-sequential),
    "ybx" (line-interleaved) or "yxb" (pixel-interleaved); ``dtype`` carries the byte order.
    """

    container: Container
    offset: int
    dtype: np.dtype[np.number]
    order: str
    shape: tuple[int, int, int]
    calibration: Calibration = field(default_factory=Calibration)

    def read(self, bands: BandIndex, rows: slice, columns: slice) -> Float32:
        """See ``RasterSource.read``; reads no more than the window plus gaps too small to skip."""
        axes = {
            "b": _axis(bands, self.shape[0]),
            "y": _axis(rows, self.shape[1]),
            "x": _axis(columns, self.shape[2]),
        }
        size = tuple(_count(axes[name]) for name in "byx")
        out = np.empty(size, np.float32)
        in_file_order = out.transpose(["byx".index(name) for name in self.order])
        outer = axes[self.order[0]]
        positions = np.arange(outer.start, outer.stop)[outer.keep]
        inner_size = axes[self.order[1]].length * self._lengths[2]
        stored_bytes = len(positions) * inner_size * self.dtype.itemsize
        threads = THREADS if stored_bytes >= PARALLEL_BYTES else 1
        with self.container.open() as storage:

            def work(part: slice) -> None:
                share = (
                    group_bands(bands, part.start, part.stop - part.start) if self.order[0] == "b" else bands
                )
                self._read_part(storage, axes, share, positions[part], in_file_order[part])

            shares = _shares(len(positions), threads)
            if len(shares) == 1:
                work(shares[0])
            else:
                with ThreadPoolExecutor(len(shares)) as pool:
                    list(pool.map(work, shares))
        return out

    @property
    def _lengths(self) -> tuple[int, int, int]:
        sizes = dict(zip("byx", self.shape, strict=True))
        return sizes[self.order[0]], sizes[self.order[1]], sizes[self.order[2]]

    def _read_part(
        self,
        storage: Storage,
        axes: dict[str, _Axis],
        bands: BandIndex,
        positions: NDArray[np.intp],
        out: Float32,
    ) -> None:
        """Read the outer ``positions`` into ``out`` (file order), in pieces that stay in cache."""
        middle, inner = axes[self.order[1]], axes[self.order[2]]
        _, middle_all, inner_all = self._lengths
        itemsize = self.dtype.itemsize
        skips_inner = (inner_all - inner.length) * itemsize > READ_THROUGH_BYTES
        inner_read = (
            _Axis(inner.start, inner.stop, slice(None)) if skips_inner else _Axis(0, inner_all, slice(None))
        )
        take = inner.keep if skips_inner else _shifted(inner)
        plane_bytes = middle.length * inner_read.length * itemsize
        pieces = max(1, PIECE_BYTES // max(plane_bytes, 1))
        scratch = np.empty((pieces, middle.length, inner_read.length), self.dtype)
        native = self.dtype.newbyteorder("=")
        band_axis = self.order.index("b")
        for first in range(0, len(positions), pieces):
            group = positions[first : first + pieces]
            stored = scratch[: len(group)]
            self._fill(storage, stored, group, middle, inner_read, whole=middle.length == middle_all)
            if self.dtype != native:
                stored = stored.byteswap(inplace=True).view(native)
            wanted = stored[:, middle.keep][:, :, take]
            here = group_bands(bands, first, len(group)) if band_axis == 0 else bands
            self._convert(wanted, out[first : first + len(group)], here, band_axis)

    def _fill(
        self,
        storage: Storage,
        stored: Stored,
        group: NDArray[np.intp],
        middle: _Axis,
        inner: _Axis,
        *,
        whole: bool,
    ) -> None:
        """Read the planes ``group`` with as few calls as their layout allows."""
        _, middle_all, inner_all = self._lengths
        item = self.dtype.itemsize
        if inner.length < inner_all:
            for plane, position in zip(stored, group, strict=True):
                for line, index in zip(plane, range(middle.start, middle.stop), strict=True):
                    self._get(
                        storage, line, ((int(position) * middle_all + index) * inner_all + inner.start) * item
                    )
        elif whole and group[-1] - group[0] == len(group) - 1:
            self._get(storage, stored, int(group[0]) * middle_all * inner_all * item)
        else:
            for plane, position in zip(stored, group, strict=True):
                self._get(storage, plane, (int(position) * middle_all + middle.start) * inner_all * item)

    def _get(self, storage: Storage, target: Stored, position: int) -> None:
        view = target.reshape(-1).view(np.uint8).data
        try:
            got = storage.read_into(view, self.offset + position)
        except OSError as error:
            raise SceneError(
                f"Reading {self.container.path} failed: {error.strerror or error}.",
                "Check the disk or connection.",
            ) from error
        if got < len(view):
            raise SceneError(
                f"{self.container.path} ends {len(view) - got} bytes before the data that was asked for.",
                "The file was cut short; copy or download it again.",
            )

    def _convert(self, stored: Stored, out: Float32, bands: BandIndex, band_axis: int) -> None:
        self.calibration.apply(stored, out, bands, band_axis)


def group_bands(bands: BandIndex, first: int, count: int) -> BandIndex:
    """The ``count`` bands from the ``first`` of an index on."""
    if isinstance(bands, slice):
        step = bands.step or 1
        start = (bands.start or 0) + first * step
        return slice(start, start + count * step, step)
    return bands[first : first + count]


def _axis(index: BandIndex, length: int) -> _Axis:
    if isinstance(index, slice):
        covered = range(*index.indices(length))
        return _Axis(covered[0], covered[-1] + 1, slice(None, None, covered.step))
    first = int(index.min())
    return _Axis(first, int(index.max()) + 1, index - first)


def _shifted(axis: _Axis) -> slice | NDArray[np.intp]:
    """``axis.keep`` counted from the start of the file's axis."""
    if isinstance(axis.keep, slice):
        return slice(axis.start, axis.stop, axis.keep.step)
    return axis.keep + axis.start


def _count(axis: _Axis) -> int:
    if isinstance(axis.keep, slice):
        return len(range(0, axis.length, axis.keep.step or 1))
    return len(axis.keep)


def _shares(count: int, parts: int) -> list[slice]:
    """``count`` items in up to ``parts`` even slices."""
    parts = max(1, min(parts, count))
    edges = [count * part // parts for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]
