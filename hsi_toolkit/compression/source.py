"""A compressed scene as a source of windows: the tiles that one touches are decoded, and kept a while."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
from numpy.typing import NDArray

from hsi_toolkit.compression.container import HszFile, tiles_within
from hsi_toolkit.compression.threads import in_order
from hsi_toolkit.compression.tile import LEARNED, decode_tile
from hsi_toolkit.errors import ModelError, SceneError
from hsi_toolkit.scene.lazy import BandIndex, Calibration, Float32, Stored
from hsi_toolkit.scene.stored import StoredNumbers, stored_numbers

if TYPE_CHECKING:
    from hsi_toolkit.compression.learned import LearnedCodec

CACHE_BYTES = (64 << 20, 1 << 30)
"""Bounds of what is kept of decoded tiles: a row of tiles, which blocks of lines share."""


class HszSource:
    """The tiles of a file (see ``RasterSource``).

    Args:
        file: header and index.
        skip_damaged: take damaged tiles for no data, rather than refuse them.
    """

    def __init__(self, file: HszFile, *, skip_damaged: bool = False) -> None:
        self.file, self.skip_damaged = file, skip_damaged
        self.shape = file.header.shape
        self.dtype: np.dtype[np.number] = np.dtype(file.header.dtype)
        self.damaged: dict[int, SceneError] = {}
        self._lock = threading.Lock()
        self._decoded: OrderedDict[int, Stored] = OrderedDict()
        row = -(-self.shape[1] // file.header.grid[0]) * self.shape[2] * self.shape[0] * self.dtype.itemsize
        low, high = CACHE_BYTES
        self._room = min(max(row * 5 // 4, low), max(high, psutil.virtual_memory().total // 8))

    def __reduce__(self) -> tuple[object, ...]:
        return _reopened, (self.file.path, self.skip_damaged)

    @cached_property
    def calibration(self) -> Calibration:
        """What makes physical values of the stored numbers."""
        header = self.file.header
        scale, offset = (None if each is None else np.array(each) for each in (header.scale, header.offset))
        nodata = np.array(header.nodata) if isinstance(header.nodata, tuple) else header.nodata
        return Calibration(scale, offset, nodata)

    @cached_property
    def _learned(self) -> "LearnedCodec":
        """The learned codec that the file holds. Raises ModelError."""
        # Only now, because it loads PyTorch.
        from hsi_toolkit.compression.learned import LearnedCodec

        header = self.file.header
        model = self.file.model()
        if not model or header.codec_use is None:
            raise ValueError("the file holds no learned codec")
        config = header.codec_config or {}
        return LearnedCodec.from_model(model, header.codec, config, header.codec_use)

    def read(self, bands: BandIndex, rows: slice, columns: slice) -> Float32:
        """See ``RasterSource.read``. Raises SceneError, naming the tile that is damaged."""
        count = len(np.arange(self.shape[0])[bands])
        out = np.empty((count, rows.stop - rows.start, columns.stop - columns.start), np.float32)
        for tile, stored in self._tiles(rows, columns):
            inside, target = self._overlap(tile, rows, columns)
            part = out[(slice(None), *target)]
            if stored is None:
                part[:] = np.nan
            else:
                self.calibration.apply(stored[(bands, *inside)], part, bands, 0)
        return out

    def read_stored(self, rows: slice, columns: slice) -> Stored:
        """All bands of a window as stored; damaged tiles are nodata, or 0 where the file knows none."""
        out = np.empty((self.shape[0], rows.stop - rows.start, columns.stop - columns.start), self.dtype)
        for tile, stored in self._tiles(rows, columns):
            inside, target = self._overlap(tile, rows, columns)
            out[(slice(None), *target)] = self._fill() if stored is None else stored[(slice(None), *inside)]
        return out

    def _tiles(self, rows: slice, columns: slice) -> Iterator[tuple[int, Stored | None]]:
        """The tiles that a window touches, decoded; None for a damaged one that is skipped."""
        wanted = tiles_within(self.file.header, rows, columns)
        missing = []
        for tile in wanted:
            with self._lock:
                found = self._decoded.get(tile)
                if found is not None:
                    self._decoded.move_to_end(tile)
            if found is not None:
                yield tile, found
            elif tile in self.damaged:
                yield tile, None
            else:
                missing.append(tile)
        if missing:
            for tile, stored in zip(missing, in_order(self._decode_or_skip, missing), strict=True):
                self._keep(tile, stored)
                yield tile, stored

    def _decode_or_skip(self, tile: int) -> Stored | None:
        try:
            return self.decode(tile)
        except SceneError as error:
            if not self.skip_damaged:
                raise
            self.damaged[tile] = error
            return None

    def stored_tile(self, tile: int) -> Stored:
        """A tile as stored, bands in the order of the file; as ``read_stored`` where it is damaged."""
        stored = self._decode_or_skip(tile)
        if stored is not None:
            return stored
        return np.broadcast_to(self._fill(), self.file.header.tile_shape(tile))

    def decode(self, tile: int) -> Stored:
        """A tile (bands, rows, columns), bands in the order of the file. Raises SceneError, naming it."""
        header = self.file.header
        data = self.file.tile(tile)
        shape = header.tile_shape(tile)
        try:
            if data[:1] in LEARNED:
                return self._learned.decode(data, shape, self.dtype)
            return decode_tile(data, shape, self.dtype)
        except (ValueError, OverflowError, IndexError, RuntimeError) as error:
            if isinstance(error, ModelError):
                raise
            raise self.file.damaged(tile, str(error)) from error

    def _keep(self, tile: int, stored: Stored | None) -> None:
        if stored is None:
            return
        with self._lock:
            self._decoded[tile] = stored
            while len(self._decoded) > 1 and sum(each.nbytes for each in self._decoded.values()) > self._room:
                self._decoded.popitem(last=False)

    def _overlap(
        self, tile: int, rows: slice, columns: slice
    ) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """What a tile and a window share, counted within each."""
        pairs = []
        for mine, asked in zip(self.file.header.window(tile), (rows, columns), strict=True):
            start, stop = max(mine.start, asked.start), min(mine.stop, asked.stop)
            pairs.append(
                (slice(start - mine.start, stop - mine.start), slice(start - asked.start, stop - asked.start))
            )
        (down, down_out), (right, right_out) = pairs
        return (down, right), (down_out, right_out)

    def _fill(self) -> NDArray[np.number]:
        """What stands for no data in each band, (bands, 1, 1); 0 where nothing does."""
        nodata = self.file.header.nodata
        if self.dtype.kind == "f" and nodata is None:
            return np.full((1, 1, 1), np.nan, self.dtype)
        values = np.nan_to_num(np.reshape(0.0 if nodata is None else nodata, (-1, 1, 1)), nan=0.0)
        fill: NDArray[np.number] = values.astype(self.dtype)
        return fill


@stored_numbers.register
def _(source: HszSource) -> StoredNumbers:
    return _Tiles(source)


@dataclass(frozen=True, eq=False)
class _Tiles:
    """The stored numbers of a compressed scene."""

    source: HszSource

    @property
    def dtype(self) -> np.dtype[np.number]:
        return self.source.dtype

    @property
    def calibration(self) -> Calibration:
        return self.source.calibration

    def read(self, rows: slice, columns: slice) -> Stored:
        return self.source.read_stored(rows, columns)


def _reopened(path: Path, skip_damaged: bool) -> HszSource:
    return HszSource(HszFile.open(path), skip_damaged=skip_damaged)
