"""Rows of compressed tiles, decoded once each by several threads and kept until all their lines are read.

GDAL decodes the tiles of a pixel-interleaved file on one thread, copies them into its block cache and from
there line by line; a buffer of our own saves the second copy, and handles of their own let threads decode.
"""

import copy
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol, Self

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Interleaving
from rasterio.windows import Window

from hsi_toolkit.scene.raw import THREADS

BANDS_AT_ONCE = 32
"""Bands of a band-interleaved file that a thread decodes at a time."""

TILES_CACHE_BYTES = 2 << 20
"""GDAL's block cache meanwhile: no block is wanted twice."""

BATCH_BYTES = 32 << 20
"""Rows of tiles lower than this are decoded several at a time, so that every thread has some."""

Stored = NDArray[Any]
Key = tuple[tuple[int, ...], int, int]


class Handle(Protocol):
    """A data set that is opened on use (see ``hsi_toolkit.scene.readers.gdal.Dataset``)."""

    def use(self) -> AbstractContextManager[rasterio.DatasetReader]:
        """The data set, for one thread alone."""
        ...


@dataclass(frozen=True)
class TileLayout:
    """How a raster is cut into tiles: their sides, the raster's, and whether bands lie apart."""

    height: int
    width: int
    rows: int
    columns: int
    bands_apart: bool
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, dataset: rasterio.DatasetReader) -> Self | None:
        """The layout of a compressed GeoTIFF of one type of numbers; None for other rasters."""
        same = len(set(dataset.dtypes)) == 1 and len(set(dataset.block_shapes)) == 1
        if dataset.driver != "GTiff" or dataset.compression is None or not same:
            return None
        height, width = dataset.block_shapes[0]
        apart = dataset.interleaving == Interleaving.band
        return cls(height, width, dataset.height, dataset.width, apart, np.dtype(dataset.dtypes[0]))


class TileRows:
    """Reads windows of a raster by whole rows of its tiles."""

    def __init__(self, handle: Handle, layout: TileLayout) -> None:
        self.handle, self.layout = handle, layout
        # As many handles as threads: GDAL's are for one thread each.
        self._handles = [handle, *(copy.copy(handle) for _ in range(THREADS - 1))]
        self._lock = threading.Lock()
        self._key: Key | None = None
        self._kept: dict[int, Stored] = {}
        self._spare: list[Stored] = []

    def __reduce__(self) -> tuple[type["TileRows"], tuple[Handle, TileLayout]]:
        return TileRows, (self.handle, self.layout)

    def suits(self, numbers: list[int], columns: slice, limit: int) -> bool:
        """Whether a window is best read so: it is wide, and a row of its tiles fits into ``limit`` bytes."""
        layout = self.layout
        across = columns.stop - columns.start
        wide = across > layout.width or across == layout.columns
        return wide and layout.height > 1 and self._row_bytes(len(numbers), across) <= limit

    def read(self, numbers: list[int], rows: slice, columns: slice) -> Iterator[tuple[slice, Stored]]:
        """Bands by ``numbers`` (from 1): rows within the window, and their stored (bands, rows, columns).

        The values are good until the next ones are asked for.
        """
        height, across = self.layout.height, columns.stop - columns.start
        with self._lock:
            key = (tuple(numbers), columns.start, columns.stop)
            if key != self._key:
                self._key, self._kept, self._spare = key, {}, []
            wanted = range(rows.start // height, -(-rows.stop // height))
            at_once = max(1, BATCH_BYTES // self._row_bytes(len(numbers), across))
            for first in range(wanted.start, wanted.stop, at_once):
                batch = range(first, min(first + at_once, wanted.stop))
                self._keep_only(batch)
                missing = [number for number in batch if number not in self._kept]
                fresh = {number: self._buffer(number, len(numbers), across) for number in missing}
                self._decode(fresh, numbers, columns)
                self._kept |= fresh
                for number in batch:
                    top = number * height
                    start, stop = max(rows.start, top), min(rows.stop, top + height)
                    part = self._kept[number][:, start - top : stop - top]
                    yield slice(start - rows.start, stop - rows.start), part

    def _row_bytes(self, bands: int, across: int) -> int:
        return bands * self.layout.height * across * self.layout.dtype.itemsize

    def _keep_only(self, wanted: range) -> None:
        """Let go of other rows of tiles, but for the memory of one."""
        for number in [each for each in self._kept if each not in wanted]:
            self._spare = [self._kept.pop(number)]

    def _buffer(self, number: int, bands: int, columns: int) -> Stored:
        layout = self.layout
        shape = (bands, min(layout.height, layout.rows - number * layout.height), columns)
        spare = self._spare.pop() if self._spare else None
        # Memory that is used again need not be cleared by the kernel again.
        return spare if spare is not None and spare.shape == shape else np.empty(shape, layout.dtype)

    def _decode(self, targets: dict[int, Stored], numbers: list[int], columns: slice) -> None:
        """Fill buffers, by their rows of tiles."""
        layout = self.layout
        starts = range(columns.start // layout.width * layout.width, columns.stop, layout.width)
        across = [
            slice(max(start, columns.start), min(start + layout.width, columns.stop)) for start in starts
        ]
        step = BANDS_AT_ONCE if layout.bands_apart else len(numbers)
        if layout.bands_apart:
            # A thread reads whole rows of tiles of some bands, as they lie in the file.
            across = [columns]
        parts = [slice(first, first + step) for first in range(0, len(numbers), step)]
        jobs = list(product(targets, parts, across))
        shares = [jobs[first::THREADS] for first in range(THREADS)]

        def work(dataset: rasterio.DatasetReader, share: list[tuple[int, slice, slice]]) -> None:
            for number, bands, part in share:
                target = targets[number]
                window = Window(part.start, number * layout.height, part.stop - part.start, target.shape[1])
                inside = slice(part.start - columns.start, part.stop - columns.start)
                dataset.read(numbers[bands], window=window, out=target[bands, :, inside])

        with ExitStack() as stack:
            # Opened here, because opening changes GDAL's settings, which threads have in common.
            busy = [
                (stack.enter_context(handle.use()), share)
                for handle, share in zip(self._handles, shares, strict=True)
                if share
            ]
            if len(busy) == 1:
                work(*busy[0])
            elif busy:
                with ThreadPoolExecutor(THREADS) as pool:
                    for done in [pool.submit(work, *each) for each in busy]:
                        done.result()
