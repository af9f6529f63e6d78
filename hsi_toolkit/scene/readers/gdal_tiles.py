"""Rows of compressed tiles, decoded once each by several threads and kept until all their lines are read.

GDAL decodes the tiles of a pixel-interleaved file on one thread, copies them into its block cache and from
there line by line; a buffer of our own saves the second copy, and handles of their own let threads decode.
The usual compressions are decoded without GDAL (see ``tiff_codecs``).
"""

import copy
import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Interleaving
from rasterio.windows import Window

from hsi_toolkit.scene.raw import THREADS
from hsi_toolkit.scene.readers.tiff_codecs import TileDecoder

BANDS_AT_ONCE = 32
"""Bands of a band-interleaved file that a thread decodes at a time."""

TILES_CACHE_BYTES = 2 << 20
"""GDAL's block cache meanwhile: no block is wanted twice."""

BATCH_BYTES = 32 << 20
"""Rows of tiles lower than this are decoded several at a time, so that every thread has some."""

Stored = NDArray[Any]
Tile = tuple[int, int]
"""The row and the column of a tile, counted from 0."""
Job = tuple[Tile, slice]
"""A tile, and which of the wanted bands to decode of it."""


class Part(NamedTuple):
    """Rows and columns within a window, and their stored values (bands, rows, columns)."""

    rows: slice
    columns: slice
    stored: Stored


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
    bands: int
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
        return cls(
            height, width, dataset.height, dataset.width, dataset.count, apart, np.dtype(dataset.dtypes[0])
        )


class TileRows:
    """Reads windows of a raster by whole tiles."""

    def __init__(self, handle: Handle, layout: TileLayout, decoder: TileDecoder | None) -> None:
        self.handle, self.layout, self.decoder = handle, layout, decoder
        # As many handles as threads: GDAL's are for one thread each.
        self._handles = [handle, *(copy.copy(handle) for _ in range(THREADS - 1))]
        self._lock = threading.Lock()
        self._key: tuple[int, ...] | None = None
        self._kept: dict[Tile, Stored] = {}
        self._spare: list[Stored] = []
        self._compressed = [bytearray() for _ in self._handles]

    def __reduce__(self) -> tuple[type["TileRows"], tuple[Handle, TileLayout, TileDecoder | None]]:
        return TileRows, (self.handle, self.layout, self.decoder)

    def suits(self, numbers: list[int], columns: slice, limit: int) -> bool:
        """Whether a window is best read so: it is wide, and a row of its tiles fits into ``limit`` bytes."""
        layout = self.layout
        across = columns.stop - columns.start
        wide = across > layout.width or across == layout.columns
        return wide and layout.height > 1 and self._row_bytes(len(numbers), self._across(columns)) <= limit

    def read(self, numbers: list[int], rows: slice, columns: slice) -> Iterator[list[Part]]:
        """Bands by ``numbers`` (from 1): the parts of a window, a row of tiles or a few at a time.

        The values are good until the next ones are asked for.
        """
        height, across = self.layout.height, self._across(columns)
        with self._lock:
            # Tiles that hold all bands serve any.
            key = () if self._by_pixel else tuple(numbers)
            if key != self._key:
                self._key, self._kept, self._spare = key, {}, []
            wanted = range(rows.start // height, -(-rows.stop // height))
            at_once = max(1, BATCH_BYTES // self._row_bytes(len(numbers), across))
            for first in range(wanted.start, wanted.stop, at_once):
                batch = range(first, min(first + at_once, wanted.stop))
                self._keep_only(batch)
                tiles = list(product(batch, across))
                fresh = {tile: self._buffer(len(numbers)) for tile in tiles if tile not in self._kept}
                self._decode(fresh, numbers)
                self._kept |= fresh
                yield [self._part(tile, numbers, rows, columns) for tile in tiles]

    @property
    def _by_pixel(self) -> bool:
        """Whether tiles are kept with all bands of a pixel together, as they are decoded."""
        return self.decoder is not None and not self.layout.bands_apart

    def _across(self, columns: slice) -> range:
        """The tiles of a row that hold these columns."""
        return range(columns.start // self.layout.width, -(-columns.stop // self.layout.width))

    def _row_bytes(self, bands: int, across: range) -> int:
        return self._tile_bytes(bands) * len(across)

    def _tile_bytes(self, bands: int) -> int:
        layout = self.layout
        return math.prod(self._tile_shape(bands)) * layout.dtype.itemsize

    def _tile_shape(self, bands: int) -> tuple[int, int, int]:
        """As it is decoded: bands first, or last where pixels are stored whole and not sorted by GDAL."""
        layout = self.layout
        if self._by_pixel:
            return layout.height, layout.width, layout.bands
        return bands, layout.height, layout.width

    def _keep_only(self, rows: range) -> None:
        """Let go of other rows of tiles, but for the memory of those that were read last."""
        gone = [tile for tile in self._kept if tile[0] not in rows]
        if gone:
            self._spare = [self._kept.pop(tile) for tile in gone]

    def _buffer(self, bands: int) -> Stored:
        # Memory that is used again need not be cleared by the kernel again.
        return self._spare.pop() if self._spare else np.empty(self._tile_shape(bands), self.layout.dtype)

    def _part(self, tile: Tile, numbers: list[int], rows: slice, columns: slice) -> Part:
        """What a tile holds of the window."""
        layout, kept = self.layout, self._kept[tile]
        top, left = tile[0] * layout.height, tile[1] * layout.width
        start, stop = max(rows.start, top), min(rows.stop, top + layout.height)
        begin, end = max(columns.start, left), min(columns.stop, left + layout.width)
        inside = slice(start - top, stop - top), slice(begin - left, end - left)
        if self._by_pixel:
            stored = kept[inside].transpose(2, 0, 1)
            # All bands need no copy.
            if numbers != list(range(1, self.layout.bands + 1)):
                stored = stored[[number - 1 for number in numbers]]
        else:
            stored = kept[:, *inside]
        return Part(
            slice(start - rows.start, stop - rows.start),
            slice(begin - columns.start, end - columns.start),
            stored,
        )

    def _decode(self, targets: dict[Tile, Stored], numbers: list[int]) -> None:
        """Fill buffers, by the tiles they are for."""
        step = BANDS_AT_ONCE if self.layout.bands_apart else len(numbers)
        parts = [slice(first, min(first + step, len(numbers))) for first in range(0, len(numbers), step)]
        jobs = list(product(targets, parts))
        shares = [jobs[first::THREADS] for first in range(THREADS)]

        def work(dataset: rasterio.DatasetReader, share: list[Job], buffer: bytearray) -> None:
            if self.decoder is None:
                self._decode_by_gdal(dataset, share, targets, numbers)
            else:
                self._decode_by_library(self.decoder, dataset, share, targets, numbers, buffer)

        with ExitStack() as stack:
            # Opened here, because opening changes GDAL's settings, which threads have in common.
            busy = [
                (stack.enter_context(handle.use()), share, buffer)
                for handle, share, buffer in zip(self._handles, shares, self._compressed, strict=True)
                if share
            ]
            if len(busy) == 1:
                work(*busy[0])
            elif busy:
                with ThreadPoolExecutor(THREADS) as pool:
                    for done in [pool.submit(work, *each) for each in busy]:
                        done.result()

    def _decode_by_gdal(
        self,
        dataset: rasterio.DatasetReader,
        share: list[Job],
        targets: dict[Tile, Stored],
        numbers: list[int],
    ) -> None:
        layout = self.layout
        for tile, bands in share:
            top, left = tile[0] * layout.height, tile[1] * layout.width
            window = Window(
                left, top, min(layout.width, layout.columns - left), min(layout.height, layout.rows - top)
            )
            out = targets[tile]
            if self._by_pixel:
                out[: window.height, : window.width] = dataset.read(window=window).transpose(1, 2, 0)
            else:
                out = out[bands, : window.height, : window.width]
                dataset.read(numbers[bands], window=window, out=out)

    def _decode_by_library(
        self,
        decoder: TileDecoder,
        dataset: rasterio.DatasetReader,
        share: list[Job],
        targets: dict[Tile, Stored],
        numbers: list[int],
        buffer: bytearray,
    ) -> None:
        with decoder.path.open("rb", buffering=0) as file:
            for tile, bands in share:
                # Bands that lie apart have a tile each, others one in common.
                out = targets[tile]
                pairs = (
                    zip(numbers[bands], out[bands], strict=True) if self.layout.bands_apart else [(1, out)]
                )
                for number, target in pairs:
                    place = decoder.place(dataset, number, *tile)
                    if place is None or not decoder.decode(file, place, target, buffer):
                        self._decode_by_gdal(dataset, [(tile, bands)], targets, numbers)
                        break
