"""Compressed tiles of a GeoTIFF decoded by imagecodecs, which takes half the time of GDAL.

What this module does not know, and whatever does not decode, is GDAL's to read or to complain about.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple, Self

import imagecodecs
import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Compression

_DECODERS: dict[Compression, Callable[..., Any]] = {
    Compression.zstd: imagecodecs.zstd_decode,
    Compression.deflate: imagecodecs.zlib_decode,
    Compression.lzw: imagecodecs.lzw_decode,
}

NO_PREDICTOR, DIFFERENCES = "1", "2"
"""TIFF's Predictor tag: values as they are, or differences along lines."""


class Place(NamedTuple):
    """Where a tile lies in the file, in bytes."""

    offset: int
    size: int


@dataclass(frozen=True)
class TileDecoder:
    """How the tiles of one file are decoded: (rows, columns) or (rows, columns, bands) of integers."""

    path: Path
    compression: Compression
    differences: bool

    @classmethod
    def of(cls, dataset: rasterio.DatasetReader, path: Path) -> Self | None:
        """The decoder for a GeoTIFF at ``path``, or None where GDAL has to read it."""
        structure = dataset.tags(ns="IMAGE_STRUCTURE")
        # Older versions of GDAL do not tell the predictor.
        predictor = structure.get("PREDICTOR")
        dtype = np.dtype(dataset.dtypes[0])
        packed = "NBITS" in dataset.tags(1, ns="IMAGE_STRUCTURE")
        with path.open("rb") as file:
            little = file.read(2) == b"II"
        known = dataset.compression in _DECODERS and predictor in (NO_PREDICTOR, DIFFERENCES)
        tiled = dataset.block_shapes[0][1] != dataset.width
        if not (known and little and tiled) or packed or dtype.kind not in "iu":
            return None
        return cls(path, dataset.compression, predictor == DIFFERENCES)

    @staticmethod
    def place(dataset: rasterio.DatasetReader, band: int, row: int, column: int) -> Place | None:
        """Where a tile is stored; None if it is not, because all its values are nodata."""
        found = [
            dataset.get_tag_item(f"BLOCK_{what}_{column}_{row}", "TIFF", bidx=band)
            for what in ("OFFSET", "SIZE")
        ]
        return Place(int(found[0]), int(found[1])) if all(found) else None

    def decode(self, file: FileIO, place: Place, out: NDArray[Any], buffer: bytearray) -> bool:
        """Fill ``out``, contiguous, from the tile at ``place``; False if it cannot be decoded so.

        ``buffer`` grows with the tiles read into it: memory that is used again need not be cleared again.
        """
        # No codec makes a tile much longer; a damaged directory may claim any size.
        if place.size > 2 * out.nbytes + (1 << 16):
            return False
        buffer.extend(bytes(max(0, place.size - len(buffer))))
        stored = memoryview(buffer)[: place.size]
        file.seek(place.offset, os.SEEK_SET)
        if file.readinto(stored) != place.size:
            return False
        target = out.reshape(-1).view(np.uint8)
        try:
            found = _DECODERS[self.compression](stored, out=target)
        except RuntimeError:  # the codecs' own errors
            return False
        if len(found) != len(target):
            return False
        if self.differences:
            imagecodecs.delta_decode(out, axis=1, out=out)
        return True
