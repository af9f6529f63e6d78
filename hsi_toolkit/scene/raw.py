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

READ_THROUGH_BYTES = 1 << 13
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
    """What of one axis of the file is wanted: a stretch to read and what to keep of it."""

    start: int
    stop: int
    keep: BandIndex

    @property
    def length(self) -> int:
        """Positions to read."""
        return self.stop - self.start

    @property
    def count(self) -> int:
        """Positions to keep."""
        return self.length if isinstance(self.keep, slice) else len(self.keep)

    @property
    def in_file(self) -> BandIndex:
        """The positions to keep, counted from the start of the file's axis."""
        return slice(self.start, self.stop) if isinstance(self.keep, slice) else self.keep + self.start


@dataclass(frozen=True)
class _Plan:
    """How the wanted part of one plane (the two faster axes of the file) is read."""

    middle_all: int
    inner_all: int
    middle: _Axis
    inner_first: int
    inner_length: int
    inner_keep: BandIndex
    itemsize: int

    @property
    def plane_bytes(self) -> int:
        """Bytes read of a plane."""
        return self.middle.length * self.inner_length * self.itemsize

    @property
    def piece_shape(self) -> tuple[int, int, int]:
        """Planes read at a time, and what is read of each."""
        return max(1, PIECE_BYTES // self.plane_bytes), self.middle.length, self.inner_length

    def stretches(self, stored: Stored, planes: NDArray[np.intp]) -> Iterator[tuple[Stored, int]]:
        """The fewest reads that fill ``stored`` with ``planes``: where each goes, and its first byte."""
        if self.inner_length < self.inner_all:
            for plane, number in zip(stored, planes.tolist(), strict=True):
                for line, index in enumerate(range(self.middle.start, self.middle.stop)):
                    first = (number * self.middle_all + index) * self.inner_all + self.inner_first
                    yield plane[line], first * self.itemsize
        elif self.middle.length == self.middle_all and planes[-1] - planes[0] == len(planes) - 1:
            yield stored, int(planes[0]) * self.middle_all * self.inner_all * self.itemsize
        else:
            for plane, number in zip(stored, planes.tolist(), strict=True):
                yield plane, (number * self.middle_all + self.middle.start) * self.inner_all * self.itemsize


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
        plan = self._plan(axes)
        out = np.empty([axes[name].count for name in "byx"], np.float32)
        in_file_order = out.transpose(["byx".index(name) for name in self.order])
        outer = axes[self.order[0]]
        planes = np.arange(outer.start, outer.stop)[outer.keep]
        threads = THREADS if len(planes) * plan.plane_bytes >= PARALLEL_BYTES else 1
        shares = _shares(len(planes), threads)
        # Allocated here, because memory of a thread that ends goes back to the kernel and is cleared again.
        buffers = [np.empty(plan.piece_shape, self.dtype) for _ in shares]
        with self.container.open() as storage:

            def work(share: slice, buffer: Stored) -> None:
                here = band_subset(bands, share) if self.order[0] == "b" else bands
                self._read_planes(storage, plan, buffer, here, planes[share], in_file_order[share])

            with ThreadPoolExecutor(THREADS) as helpers:
                others = [helpers.submit(work, *task) for task in zip(shares[1:], buffers[1:], strict=True)]
                work(shares[0], buffers[0])
                for other in others:
                    other.result()
        return out

    def _plan(self, axes: dict[str, _Axis]) -> _Plan:
        sizes = dict(zip("byx", self.shape, strict=True))
        middle, inner = axes[self.order[1]], axes[self.order[2]]
        inner_all = sizes[self.order[2]]
        itemsize = self.dtype.itemsize
        if (inner_all - inner.length) * itemsize > READ_THROUGH_BYTES:
            first, length, keep = inner.start, inner.length, inner.keep
        else:
            first, length, keep = 0, inner_all, inner.in_file
        return _Plan(sizes[self.order[1]], inner_all, middle, first, length, keep, itemsize)

    def _read_planes(
        self,
        storage: Storage,
        plan: _Plan,
        buffer: Stored,
        bands: BandIndex,
        planes: NDArray[np.intp],
        out: Float32,
    ) -> None:
        """Read ``planes`` (positions on the outer axis) into ``out``, a few at a time that stay in cache."""
        native = self.dtype.newbyteorder("=")
        band_axis = self.order.index("b")
        for first in range(0, len(planes), len(buffer)):
            piece = slice(first, min(first + len(buffer), len(planes)))
            stored = buffer[: piece.stop - first]
            for target, position in plan.stretches(stored, planes[piece]):
                self._get(storage, target, position)
            if self.dtype != native:
                stored = stored.byteswap(inplace=True).view(native)
            wanted = stored[:, plan.middle.keep][:, :, plan.inner_keep]
            here = band_subset(bands, piece) if band_axis == 0 else bands
            self.calibration.apply(wanted, out[piece], here, band_axis)

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


def band_subset(bands: BandIndex, part: slice) -> BandIndex:
    """The ``part`` of an index of bands, both counted from zero."""
    if isinstance(bands, slice):
        return slice(bands.start + part.start, bands.start + part.stop)
    return bands[part]


def _axis(index: BandIndex, length: int) -> _Axis:
    if isinstance(index, slice):
        start, stop, _ = index.indices(length)
        return _Axis(start, stop, slice(None))
    first = int(index.min())
    return _Axis(first, int(index.max()) + 1, index - first)


def _shares(count: int, parts: int) -> list[slice]:
    """``count`` items in up to ``parts`` even slices."""
    parts = max(1, min(parts, count))
    edges = [count * part // parts for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]
