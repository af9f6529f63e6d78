"""GeoTIFF and the other rasters that GDAL reads, through an explicit list of its drivers."""

import os
import threading
import warnings
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import psutil
import rasterio
import xarray as xr
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.env import get_gdal_config, set_gdal_config
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.windows import Window

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.contract import check_shape, line_chunks, make_scene
from hsi_toolkit.scene.lazy import BandIndex, Calibration, Float32, Stored
from hsi_toolkit.scene.raw import THREADS
from hsi_toolkit.scene.readers import first_bytes, refuse_variable
from hsi_toolkit.scene.readers.gdal_metadata import read_metadata
from hsi_toolkit.scene.readers.gdal_tiles import TILES_CACHE_BYTES, Part, TileLayout, TileRows
from hsi_toolkit.scene.readers.tiff_codecs import TileDecoder

DRIVERS = (
    "GTiff",
    "HFA",
    "ERS",
    "EHdr",
    "JP2OpenJPEG",
    "NITF",
    "PNG",
    "JPEG",
    "RST",
    "SAGA",
    "PCRaster",
    "AAIGrid",
)
"""Drivers whose files hold their own pixels. VRT, which can name any file of the machine, is none of them,
nor are those that fetch from the network or unpack archives."""

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

PIECE_BYTES = 1 << 20
"""Stored bytes of a tile that are converted at a time, so that they stay in the cache."""

CACHE_BYTES = (64 << 20, 1 << 30)
"""Bounds of GDAL's block cache, which is set to one row of the file's tiles: lines of a tile that was dropped
cost decoding it again. The upper bound is an eighth of the machine's memory where that is more."""


class Dataset:
    """An open file that several threads may read in turn; opened on first use, closed with the object."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._dataset: rasterio.DatasetReader | None = None
        self._process = 0

    @contextmanager
    def use(self) -> Iterator[rasterio.DatasetReader]:
        """The data set, for this thread alone. Raises SceneError."""
        with self._lock:
            try:
                if self._dataset is None or self._process != os.getpid():
                    # A forked process shares the file's position with its parent and must not use its handle.
                    self._dataset, self._process = self._open(), os.getpid()
                    weakref.finalize(self, self._dataset.close)
                yield self._dataset
            except (RasterioError, UnicodeDecodeError) as error:
                reason = str(error.__cause__ or error).rstrip(".")
                raise SceneError(
                    f"Reading {self.path} failed: {reason}.",
                    "The file may be damaged; copy or download it again.",
                ) from error

    def _open(self) -> rasterio.DatasetReader:
        return open_dataset(self.path)

    def __reduce__(self) -> tuple[type["Dataset"], tuple[object, ...]]:
        return Dataset, (self.path,)


class GdalSource:
    """The bands of a GDAL data set (see ``RasterSource``)."""

    def __init__(
        self,
        dataset: Dataset,
        shape: tuple[int, int, int],
        calibration: Calibration,
        masked: bool,
        cache: int,
    ) -> None:
        self.dataset = dataset
        self.shape = shape
        self.calibration = calibration
        self.masked = masked
        self.cache = cache
        self._tiles: TileRows | None = None
        self._is_known = False

    def __reduce__(self) -> tuple[type["GdalSource"], tuple[object, ...]]:
        return type(self), (self.dataset, self.shape, self.calibration, self.masked, self.cache)

    def read(self, bands: BandIndex, rows: slice, columns: slice) -> Float32:
        """See ``RasterSource.read``."""
        numbers = (np.arange(self.shape[0])[bands] + 1).tolist()
        tiles = self._tile_rows()
        if tiles is not None and tiles.suits(numbers, columns, self.cache):
            return self._by_tiles(tiles, numbers, bands, rows, columns)
        stored, valid = self._read(numbers, rows, columns)
        out = np.empty(stored.shape, np.float32)
        for position, number in enumerate(numbers):
            here = slice(position, position + 1)
            self.calibration.apply(stored[here], out[here], slice(number - 1, number), 0)
        if valid is not None:
            out[:, valid == 0] = np.nan
        return out

    def _tile_rows(self) -> TileRows | None:
        """The reader by rows of tiles, None where the file is not made of compressed tiles."""
        if not self._is_known and not self.masked:
            with self.dataset.use() as dataset:
                layout = TileLayout.of(dataset)
                decoder = None if layout is None else TileDecoder.of(dataset, self.dataset.path)
            self._tiles = None if layout is None else TileRows(self.dataset, layout, decoder)
        self._is_known = True
        return self._tiles

    def _by_tiles(
        self, tiles: TileRows, numbers: list[int], bands: BandIndex, rows: slice, columns: slice
    ) -> Float32:
        out = np.empty((len(numbers), rows.stop - rows.start, columns.stop - columns.start), np.float32)
        with _block_cache(TILES_CACHE_BYTES):
            for parts in tiles.read(numbers, rows, columns):

                def convert(part: Part) -> None:
                    wanted = out[:, part.rows, part.columns]
                    lines = max(1, PIECE_BYTES // max(1, part.stored[:, :1].nbytes))
                    for first in range(0, wanted.shape[1], lines):
                        piece = slice(first, first + lines)
                        self.calibration.apply(part.stored[:, piece], wanted[:, piece], bands, 0)

                if len(parts) == 1:
                    convert(parts[0])
                    continue
                with ThreadPoolExecutor(THREADS) as pool:
                    for _ in pool.map(convert, parts):
                        pass
        return out

    def read_stored(self, numbers: list[int], rows: slice, columns: slice) -> Stored:
        """The bands with these numbers, from one, as the file stores them. Raises SceneError."""
        return self._read(numbers, rows, columns)[0]

    def _read(
        self, numbers: list[int], rows: slice, columns: slice
    ) -> tuple[Stored, NDArray[np.uint8] | None]:
        window = Window.from_slices(rows, columns)
        with self.dataset.use() as dataset, _block_cache(self.cache):
            valid = dataset.read_masks(1, window=window) if self.masked else None
            return dataset.read(numbers, window=window), valid


class _CacheSizes:
    """The block caches that reads in progress want: GDAL has one for all, as large as the largest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: list[int] = []
        self._before = 0

    @contextmanager
    def at_least(self, size: int) -> Iterator[None]:
        """GDAL with a block cache of so many bytes; afterwards it is as large as it was."""
        with self._lock:
            if not self._wanted:
                self._before = get_gdal_config("GDAL_CACHEMAX")
            self._wanted.append(size)
            set_gdal_config("GDAL_CACHEMAX", max(self._wanted))
        try:
            yield
        finally:
            with self._lock:
                self._wanted.remove(size)
                set_gdal_config("GDAL_CACHEMAX", max(self._wanted, default=self._before))


_cache_sizes = _CacheSizes()


def _block_cache(size: int) -> AbstractContextManager[object]:
    """GDAL with a block cache of so many bytes, unless the user has set one."""
    return nullcontext() if "GDAL_CACHEMAX" in os.environ else _cache_sizes.at_least(size)


def sniff(path: Path) -> bool:
    """Whether ``path`` is a file at all: GDAL decides on opening."""
    return path.is_file()


def open(path: Path, variable: str | None) -> xr.DataArray:
    """Open a raster by GDAL. Raises SceneError."""
    refuse_variable(path, variable)
    if b"<VRTDataset" in first_bytes(path):
        raise SceneError(
            f"{path} is a virtual raster (VRT), which can point at any file.",
            "Convert it with gdal_translate.",
        )
    holder = Dataset(path)
    with holder.use() as dataset:
        return _scene(holder, dataset, path)


def open_dataset(path: Path) -> rasterio.DatasetReader:
    """The file through the first of ``DRIVERS`` that takes it, none of its parts in another folder.

    Raises:
        SceneError: no driver takes the file, or it points at files elsewhere.
        RasterioError: it is damaged.
    """
    absolute = Path(os.path.abspath(path))
    with warnings.catch_warnings(category=NotGeoreferencedWarning, action="ignore"):
        dataset = _open_by_driver(absolute)
    strange = [name for name in dataset.files if Path(os.path.abspath(name)).parent != absolute.parent]
    if strange:
        dataset.close()
        raise SceneError(
            f"{path} takes its pixels from {strange[0]}.", "Convert it to GeoTIFF if you trust it."
        )
    return dataset


def _open_by_driver(path: Path) -> rasterio.DatasetReader:
    if first_bytes(path, 4) in TIFF:
        return rasterio.open(path, driver="GTiff", NUM_THREADS=str(THREADS))
    for driver in DRIVERS:
        try:
            return rasterio.open(path, driver=driver)
        except RasterioIOError:
            continue
    raise SceneError(
        f"{path} is no raster of a known kind, or damaged.",
        "Give a sensor's product, an ENVI header or data file, a GeoTIFF, an HDF5, MATLAB or NumPy file.",
    )


def _scene(holder: Dataset, dataset: rasterio.DatasetReader, path: Path) -> xr.DataArray:
    if dataset.count == 0:
        raise SceneError(f"{path} holds no bands of its own.", "Export the layer you want as GeoTIFF.")
    shape = (dataset.count, dataset.height, dataset.width)
    check_shape(shape, path)
    kinds = {np.dtype(dtype).kind for dtype in dataset.dtypes if not dtype.startswith("complex")}
    if not kinds or kinds - set("iuf") or any(dtype.startswith("complex") for dtype in dataset.dtypes):
        raise SceneError(
            f"{path} holds {dataset.dtypes[0]} numbers.", "Export amplitude or another real quantity."
        )
    metadata = read_metadata(dataset, path)
    nodata = _nodata(dataset)
    single = nodata if isinstance(nodata, float) else None
    calibration = Calibration(metadata.scale, metadata.offset, nodata)
    flags = dataset.mask_flag_enums[0]
    masked = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
    tile_height = max(height for height, _ in dataset.block_shapes)
    itemsize = max(np.dtype(dtype).itemsize for dtype in dataset.dtypes)
    row_of_tiles = tile_height * shape[2] * shape[0] * itemsize
    low, high = CACHE_BYTES
    cache = min(max(row_of_tiles * 5 // 4, low), max(high, psutil.virtual_memory().total // 8))
    scene = make_scene(
        GdalSource(holder, shape, calibration, masked, cache),
        path=path,
        wavelength=metadata.wavelength,
        fwhm=metadata.fwhm,
        good=metadata.good,
        crs=dataset.crs,
        transform=None if dataset.transform.is_identity else dataset.transform,
        nodata=single,
        quantity=metadata.quantity,
        sensor=metadata.sensor,
        acquired=metadata.acquired,
        units=metadata.units,
        chunks=line_chunks(shape, tile_height),
        stored_rows=min(tile_height, shape[1]),
        found={**metadata.found, **_found(dataset)},
    )
    return scene


def _found(dataset: rasterio.DatasetReader) -> dict[str, str]:
    """Where GDAL's own facts come from."""
    georeference = f"{dataset.driver} georeference"
    places = {
        "nodata": any(value is not None for value in dataset.nodatavals) and "GDAL nodata of the bands",
        "crs": dataset.crs is not None and georeference,
        "transform": not dataset.transform.is_identity and georeference,
    }
    return {fact: place for fact, place in places.items() if place}


def _nodata(dataset: rasterio.DatasetReader) -> float | NDArray[np.float64] | None:
    """One number for all bands, one each (NaN: none), or None."""
    values = [float("nan") if value is None else float(value) for value in dataset.nodatavals]
    if all(np.isnan(value) for value in values):
        return float("nan") if dataset.nodatavals[0] is not None else None
    return values[0] if len(set(values)) == 1 else np.array(values)
