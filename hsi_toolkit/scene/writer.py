"""Writing rasters window by window: tiled, compressed GeoTIFF, whole or not at all."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import ArrayLike, DTypeLike, NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from hsi_toolkit.errors import OutputError
from hsi_toolkit.files import atomic_path, check_output
from hsi_toolkit.scene.class_map import CLASSES_TAG, ClassEntry, legend_json, write_sidecars

STRIP_BYTES = 64 << 20
"""A row of tiles is gathered in memory before it is compressed; tiles get lower until it is this small."""

TILE = 256
SMALLEST_TILE = 16
"""GeoTIFF's tile sides are multiples of this."""

OPEN_STRIPS = 4
"""Unfinished rows of tiles that are kept; beyond that the oldest is written as it is and completed later."""


class RasterWriter:
    """A GeoTIFF that is filled by windows and appears under its name when the ``with`` block ends well.

    >>> with RasterWriter("map.tif", like=scene, count=1, dtype="uint8", nodata=0) as raster:  # doctest: +SKIP
    ...     for block in iter_blocks(scene):
    ...         raster.write(classify(block.data), block.y0)

    Args:
        path: the file to write.
        like: the scene whose size, CRS and transform the raster gets.
        count: number of bands.
        dtype: their type.
        nodata: the number for "no data"; floating-point rasters use NaN unless told otherwise.
        descriptions: a name for each band.
        wavelengths, fwhm: (count,) nanometres; stored so that GDAL, QGIS, EnMAP-Box and ``open_scene`` find them.
        good: (count,) bool, stored as EnMAP-Box's ``bbl``.
        classes: the legend of a class map; adds colour table and names, also in ``.aux.xml`` and ``.qml`` beside it.
        scale, offset: physical value = stored * scale + offset.
        tags: further metadata of the file, for instance ``{"TIFFTAG_SOFTWARE": "..."}``.
        acquired: time of acquisition, ISO 8601.
        overwrite: whether an existing file may be replaced.
        compress: "deflate" opens everywhere, "zstd" is faster.

    Raises:
        OutputError: the file exists, cannot be written, or is the scene itself.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        like: xr.DataArray,
        count: int = 1,
        dtype: DTypeLike = np.float32,
        nodata: float | None = None,
        descriptions: Sequence[str] | None = None,
        wavelengths: ArrayLike | None = None,
        fwhm: ArrayLike | None = None,
        good: ArrayLike | None = None,
        classes: Sequence[ClassEntry] | None = None,
        scale: float | None = None,
        offset: float | None = None,
        tags: Mapping[str, str] | None = None,
        acquired: str | None = None,
        overwrite: bool = False,
        compress: Literal["deflate", "zstd"] = "deflate",
    ) -> None:
        self.path = check_output(path, overwrite=overwrite)
        source = like.attrs.get("source")
        if source and self.path.exists() and Path(source).exists() and self.path.samefile(source):
            raise OutputError(f"The output {self.path} is the scene that is read.", "Choose another name.")
        self.height, self.width = like.sizes["y"], like.sizes["x"]
        self.count = count
        self.dtype = np.dtype(dtype)
        self.nodata = float("nan") if nodata is None and self.dtype.kind == "f" else nodata
        self._overwrite = overwrite
        self._classes = list(classes) if classes is not None else None
        self._profile = self._creation_options(like, compress)
        self._strips = _Strips(
            count, self.height, self.width, self._profile["blockysize"], self.dtype, self._fill()
        )
        bands = _band_metadata(count, wavelengths, fwhm, good)
        self._describe = (
            list(descriptions) if descriptions else None,
            bands,
            dict(tags or {}),
            acquired,
            scale,
            offset,
        )
        self._stack = ExitStack()
        self._dataset: rasterio.io.DatasetWriter | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._sidecars = {
                suffix: (stack.enter_context(atomic_path(_beside(self.path, suffix))), text)
                for suffix, text in (
                    write_sidecars(self.path, self._classes) if self._classes else {}
                ).items()
            }
            temporary = stack.enter_context(atomic_path(self.path, overwrite=self._overwrite))
            try:
                self._dataset = rasterio.open(temporary, "w", **self._profile)
                stack.callback(self._close)
                self._write_metadata()
            except (RasterioError, OSError) as error:
                raise self._failure(error) from error
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            for strip, y0 in self._strips.rest():
                self._put(strip, y0, 0)
            self._close()
            for temporary, text in self._sidecars.values():
                temporary.write_text(text, encoding="utf-8")

    def write(self, data: ArrayLike, y0: int, x0: int = 0) -> None:
        """Write a window at row ``y0``, column ``x0``.

        Args:
            data: (count, rows, columns), or (rows, columns) for a single band. NaN becomes nodata; values for
                whole-number types are rounded and clipped to what the type holds.

        Raises:
            OutputError: the window lies outside the raster, or the disk is full.
        """
        values = np.asarray(data)
        values = values[None] if values.ndim == 2 else values
        _, rows, columns = values.shape
        inside = 0 <= y0 and y0 + rows <= self.height and 0 <= x0 and x0 + columns <= self.width
        if values.shape[0] != self.count or not inside:
            raise OutputError(
                f"A window of {values.shape} at row {y0}, column {x0} does not fit {self.path}, which has "
                f"{self.count} bands of {self.height} rows and {self.width} columns.",
                "This is a defect: please report it.",
            )
        for strip, top, left in self._strips.add(self._to_stored(values), y0, x0):
            self._put(strip, top, left)

    def _creation_options(self, like: xr.DataArray, compress: str) -> dict[str, object]:
        height = TILE
        row_bytes = self.count * self.width * self.dtype.itemsize
        while height > SMALLEST_TILE and height * row_bytes > STRIP_BYTES:
            height //= 2
        profile: dict[str, object] = {
            "driver": "GTiff",
            "height": self.height,
            "width": self.width,
            "count": self.count,
            "dtype": self.dtype.name,
            "nodata": self.nodata,
            "tiled": True,
            "blockxsize": TILE,
            "blockysize": height,
            "interleave": "band",
            "compress": compress,
            "predictor": 3 if self.dtype.kind == "f" else 2,
            "BIGTIFF": "IF_SAFER",
            "NUM_THREADS": "2",
        }
        if self.count > 1:
            profile |= {"photometric": "MINISBLACK", "ALPHA": "NO"}
        crs, transform = like.rio.crs, like.rio.transform()
        if crs is not None:
            profile["crs"] = crs
        if not transform.is_identity:
            profile["transform"] = transform
        return profile

    def _fill(self) -> float:
        return 0 if self.nodata is None else self.nodata

    def _to_stored(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        if values.dtype == self.dtype:
            if self.dtype.kind == "f" and self.nodata is not None and not np.isnan(self.nodata):
                return np.where(np.isnan(values), self.dtype.type(self.nodata), values)
            return values
        if self.dtype.kind == "f":
            return self._to_stored(values.astype(self.dtype))
        limits = np.iinfo(self.dtype)
        if values.dtype.kind == "f":
            missing = np.isnan(values)
            values = np.rint(np.where(missing, self._fill(), values))
        return np.clip(values, limits.min, limits.max).astype(self.dtype)

    def _put(self, data: NDArray[np.generic], y0: int, x0: int) -> None:
        if self._dataset is None:
            raise OutputError(f"{self.path} is not open for writing.", "Write inside the 'with' block.")
        try:
            self._dataset.write(data, window=Window(x0, y0, data.shape[2], data.shape[1]))
        except (RasterioError, OSError) as error:
            raise self._failure(error) from error

    def _close(self) -> None:
        dataset, self._dataset = self._dataset, None
        if dataset is not None:
            try:
                dataset.close()
            except (RasterioError, OSError) as error:
                raise self._failure(error) from error

    def _failure(self, error: Exception) -> OutputError:
        return OutputError(f"Writing {self.path} failed: {error}.", "Check the free space and permissions.")

    def _write_metadata(self) -> None:
        dataset = self._dataset
        if dataset is None:
            return
        descriptions, bands, tags, acquired, scale, offset = self._describe
        if tags:
            dataset.update_tags(**tags)
        if acquired:
            dataset.update_tags(ns="IMAGERY", ACQUISITIONDATETIME=acquired)
        for number, (plain, imagery, name) in enumerate(bands, start=1):
            if plain:
                dataset.update_tags(number, **plain)
            if imagery:
                dataset.update_tags(number, ns="IMAGERY", **imagery)
            text = descriptions[number - 1] if descriptions else name
            if text:
                dataset.set_band_description(number, text)
        if scale is not None:
            dataset.scales = (scale,) * self.count
        if offset is not None:
            dataset.offsets = (offset,) * self.count
        if self._classes is not None:
            dataset.update_tags(1, **{CLASSES_TAG: legend_json(self._classes)})
            if self.dtype == np.uint8 and self.count == 1:
                dataset.write_colormap(1, {entry.value: (*entry.colour, 255) for entry in self._classes})


class _Strips:
    """Rows of tiles being filled. A tile compressed twice would leave its first copy in the file as waste."""

    def __init__(
        self,
        count: int,
        height: int,
        width: int,
        tile_height: object,
        dtype: np.dtype[np.generic],
        fill: float,
    ) -> None:
        self._count, self._height, self._width = count, height, width
        self._tile = int(str(tile_height))
        self._dtype, self._fill = dtype, fill
        self._open: dict[int, tuple[NDArray[np.generic], int]] = {}
        self._written: set[int] = set()

    def add(
        self, values: NDArray[np.generic], y0: int, x0: int
    ) -> list[tuple[NDArray[np.generic], int, int]]:
        """Take a window in; what is ready for the file, as (data, row, column)."""
        ready: list[tuple[NDArray[np.generic], int, int]] = []
        y1 = y0 + values.shape[1]
        for number in range(y0 // self._tile, (y1 - 1) // self._tile + 1):
            top, bottom = max(y0, number * self._tile), min(y1, (number + 1) * self._tile)
            part = values[:, top - y0 : bottom - y0]
            if number in self._written:
                ready.append((part, top, x0))
                continue
            strip, missing = self._open.pop(number, None) or self._new(number)
            strip[:, top - number * self._tile : bottom - number * self._tile, x0 : x0 + values.shape[2]] = (
                part
            )
            missing -= (bottom - top) * values.shape[2]
            if missing > 0:
                self._open[number] = strip, missing
            else:
                ready.append(self._finish(number, strip))
        while len(self._open) > OPEN_STRIPS:
            number = next(iter(self._open))
            ready.append(self._finish(number, self._open.pop(number)[0]))
        return ready

    def rest(self) -> list[tuple[NDArray[np.generic], int]]:
        """The rows of tiles that were never completed, as (data, row)."""
        return [(strip, number * self._tile) for number, (strip, _) in sorted(self._open.items())]

    def _new(self, number: int) -> tuple[NDArray[np.generic], int]:
        rows = min(self._tile, self._height - number * self._tile)
        return np.full((self._count, rows, self._width), self._fill, self._dtype), rows * self._width

    def _finish(self, number: int, strip: NDArray[np.generic]) -> tuple[NDArray[np.generic], int, int]:
        self._written.add(number)
        return strip, number * self._tile, 0


_BandTags = tuple[dict[str, str], dict[str, str], str | None]


def _band_metadata(
    count: int, wavelengths: ArrayLike | None, fwhm: ArrayLike | None, good: ArrayLike | None
) -> list[_BandTags]:
    """Per band the plain tags (EnMAP-Box), the IMAGERY tags (GDAL 3.10) and the description that name it."""
    columns = []
    for name, values in (("wavelengths", wavelengths), ("fwhm", fwhm), ("good", good)):
        column = None if values is None else np.asarray(values, dtype=np.float64).reshape(-1)
        if column is not None and len(column) != count:
            raise OutputError(f"There are {len(column)} {name} for {count} bands.", "Give one for each band.")
        columns.append(column)
    centres, widths, flags = columns
    bands: list[_BandTags] = []
    for index in range(count):
        plain: dict[str, str] = {}
        imagery: dict[str, str] = {}
        name = None
        if centres is not None:
            plain |= {"wavelength": f"{centres[index]:.10g}", "wavelength_units": "Nanometers"}
            imagery["CENTRAL_WAVELENGTH_UM"] = f"{centres[index] / 1000:.10g}"
            name = f"{centres[index]:.2f} nm"
        if widths is not None:
            plain["fwhm"] = f"{widths[index]:.10g}"
            imagery["FWHM_UM"] = f"{widths[index] / 1000:.10g}"
        if flags is not None:
            plain["bbl"] = str(int(flags[index]))
        bands.append((plain, imagery, name))
    return bands


def _beside(path: Path, suffix: str) -> Path:
    """The name of a file beside ``path``: its stem with ``suffix``."""
    return path.with_name(path.stem + suffix)
