"""Writing rasters window by window: tiled, compressed GeoTIFF, whole or not at all."""

import itertools
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypedDict

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import ArrayLike, DTypeLike, NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from hsi_toolkit.errors import OutputError
from hsi_toolkit.files import atomic_path, check_output, make_sure_it_is_stored
from hsi_toolkit.scene.class_map import CLASSES_TAG, ClassEntry, legend_json, sidecar_texts
from hsi_toolkit.scene.readers.gdal_metadata import UNITS_TAG
from hsi_toolkit.scene.strips import Data, Strips

STRIP_BYTES = 64 << 20
"""A row of tiles is gathered in memory before it is compressed; tiles get lower until it is this small."""

TILE = 256
SMALLEST_TILE = 16
"""GeoTIFF's tile sides are multiples of this."""

DEPENDENT_SUFFIXES = (".aux.xml", ".ovr", ".msk")
"""What GDAL derives from a raster and keeps beside it: wrong as soon as the raster is another one."""


class BandFacts(TypedDict):
    """The keywords of ``RasterWriter`` that say what bands hold; see there."""

    count: int
    wavelengths: NDArray[np.generic] | None
    fwhm: NDArray[np.generic] | None
    good: NDArray[np.generic] | None
    acquired: str | None
    sensor: str | None
    quantity: str | None
    tags: Mapping[str, str] | None


def bands_of(scene: xr.DataArray) -> BandFacts:
    """What a raster with the bands of ``scene`` (band, y, x) says of them: keywords of ``RasterWriter``."""

    def coordinate(name: str) -> NDArray[np.generic] | None:
        return scene[name].to_numpy() if name in scene.coords else None

    units = scene.attrs.get("units")
    return {
        "count": int(scene.sizes["band"]),
        "wavelengths": coordinate("wavelength"),
        "fwhm": coordinate("fwhm"),
        "good": coordinate("good"),
        "acquired": scene.attrs.get("acquired"),
        "sensor": scene.attrs.get("sensor"),
        "quantity": scene.attrs.get("quantity"),
        "tags": {UNITS_TAG: units} if units else None,
    }


class RasterWriter:
    """A GeoTIFF that is filled by windows and appears under its name when the ``with`` block ends well.

    On any error, cancellation included, what stood there before stays as it was.

    Args:
        path: the file to write.
        like: the scene whose size, CRS and transform the raster gets.
        count: number of bands.
        dtype: their type.
        nodata: the number for "no data"; floating-point rasters use NaN unless told otherwise.
        descriptions: a name for each band.
        wavelengths, fwhm: (count,) nanometres; stored where GDAL, QGIS, EnMAP-Box and ``open_scene`` look.
        good: (count,) bool, stored as EnMAP-Box's ``bbl``.
        classes: the legend of a class map; adds colour table and names, and ``.aux.xml`` and ``.qml`` beside
            it, because GeoTIFF has no place of its own for names that GDAL and QGIS would show.
        scale, offset: physical value = stored * scale + offset; one for all bands, or one for each.
        tags: further metadata of the file, for instance ``{"TIFFTAG_SOFTWARE": "..."}``.
        acquired: time of acquisition, ISO 8601.
        sensor, quantity: as in a scene's attributes.
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
        scale: float | Sequence[float] | None = None,
        offset: float | Sequence[float] | None = None,
        tags: Mapping[str, str] | None = None,
        acquired: str | None = None,
        sensor: str | None = None,
        quantity: str | None = None,
        overwrite: bool = False,
        compress: Literal["deflate", "zstd"] = "deflate",
    ) -> None:
        self.path = check_output(path, overwrite=overwrite)
        source = like.attrs.get("source")
        if source and self.path.exists() and Path(source).exists() and self.path.samefile(source):
            raise OutputError(f"The output {self.path} is the scene that is read.", "Choose another name.")
        self.count, self.height, self.width = count, like.sizes["y"], like.sizes["x"]
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.nodata = float("nan") if nodata is None and self.dtype.kind == "f" else nodata
        self._fill = 0.0 if self.nodata is None else self.nodata
        self._overwrite = overwrite
        self._classes = list(classes or ())
        self._bands = _band_tags(count, descriptions, wavelengths, fwhm, good)
        self._tags, self._acquired = dict(tags or {}), acquired
        self._sensor, self._quantity = sensor, quantity
        self._scale, self._offset = scale, offset
        tile_height = _tile_height(count * self.width * self.dtype.itemsize)
        self._profile = self._creation_options(like, compress, tile_height)
        self._strips = Strips((count, self.height, self.width), tile_height, self.dtype, self._fill)
        self._stack = ExitStack()
        self._dataset: rasterio.io.DatasetWriter | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._sidecars = [
                (sidecar, stack.enter_context(atomic_path(sidecar)), text)
                for sidecar, text in (
                    sidecar_texts(self.path, self._classes) if self._classes else {}
                ).items()
            ]
            temporary = stack.enter_context(atomic_path(self.path, overwrite=self._overwrite))
            self._temporary = temporary
            try:
                with warnings.catch_warnings(category=NotGeoreferencedWarning, action="ignore"):
                    self._dataset = rasterio.open(temporary, "w", **self._profile)
                stack.callback(self._close)
                self._write_metadata(self._dataset)
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
        written = {sidecar for sidecar, _, _ in self._sidecars}
        with self._stack:
            for window in self._strips.rest():
                self._put(*window)
            self._close()
            try:
                make_sure_it_is_stored(self._temporary)
            except OSError as error:
                raise self._failure(error) from error
            for _, temporary, text in self._sidecars:
                temporary.write_text(text, encoding="utf-8")
        for suffix in DEPENDENT_SUFFIXES:
            stale = self.path.with_name(self.path.name + suffix)
            if stale not in written:
                stale.unlink(missing_ok=True)

    def write(self, data: ArrayLike, y0: int, x0: int = 0) -> None:
        """Write a window at row ``y0``, column ``x0``; each pixel once, at best in whole lines.

        Args:
            data: (count, rows, columns), or (rows, columns) for a single band. NaN becomes nodata; values
                for whole-number types are rounded and clipped to what the type holds.

        Raises:
            OutputError: the window lies outside the raster, or the disk is full.
        """
        values = np.asarray(data)
        values = values[None] if values.ndim == 2 else values
        count, rows, columns = values.shape
        inside = y0 >= 0 and y0 + rows <= self.height and x0 >= 0 and x0 + columns <= self.width
        if count != self.count or not inside:
            raise OutputError(
                f"A window of {count} x {rows} x {columns} at row {y0}, column {x0} does not fit "
                f"{self.path}: it has {self.count} bands of {self.height} rows and {self.width} columns.",
                "This is a defect: please report it.",
            )
        for window in self._strips.add(self._to_stored(values), y0, x0):
            self._put(*window)

    def _creation_options(self, like: xr.DataArray, compress: str, tile_height: int) -> dict[str, object]:
        profile: dict[str, object] = {
            "driver": "GTiff",
            "height": self.height,
            "width": self.width,
            "count": self.count,
            "dtype": self.dtype.name,
            "nodata": self.nodata,
            "tiled": True,
            "blockxsize": TILE,
            "blockysize": tile_height,
            # A map is drawn band by band: from interleaved pixels that means decoding all of them each time.
            "interleave": "band",
            "compress": compress,
            "predictor": 3 if self.dtype.kind == "f" else 2,
            "BIGTIFF": "IF_SAFER",
            # No NUM_THREADS: GDAL's compressing threads drop the error of a full disk.
        }
        if self.count > 1:
            profile |= {"photometric": "MINISBLACK", "ALPHA": "NO"}
        crs, transform = like.rio.crs, like.rio.transform()
        if crs is not None:
            profile["crs"] = crs
        if not transform.is_identity:
            profile["transform"] = transform
        return profile

    def _to_stored(self, values: NDArray[np.generic]) -> Data:
        if self.dtype.kind == "f":
            stored: Data = values.astype(self.dtype, copy=False)
            return (
                stored
                if np.isnan(self._fill)
                else np.where(np.isnan(stored), self.dtype.type(self._fill), stored)
            )
        if values.dtype == self.dtype:
            return np.asarray(values, self.dtype)
        limits = np.iinfo(self.dtype.name)
        if values.dtype.kind == "f":
            values = np.rint(np.where(np.isnan(values), self._fill, values))
        clipped: Data = np.clip(values, limits.min, limits.max).astype(self.dtype)
        return clipped

    def _put(self, data: Data, y0: int, x0: int) -> None:
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

    def _write_metadata(self, dataset: "rasterio.io.DatasetWriter") -> None:
        dataset.update_tags(**self._tags)
        if self._acquired:
            dataset.update_tags(ns="IMAGERY", ACQUISITIONDATETIME=self._acquired)
        for number, band in enumerate(self._bands, start=1):
            if band.plain:
                dataset.update_tags(number, **band.plain)
            if band.imagery:
                dataset.update_tags(number, ns="IMAGERY", **band.imagery)
            if band.description:
                dataset.set_band_description(number, band.description)
        if self._sensor:
            dataset.update_tags(sensor=self._sensor)
        if self._quantity in ("reflectance", "radiance"):
            dataset.units = (self._quantity,) * self.count
        if self._scale is not None:
            dataset.scales = _each_band(self._scale, self.count)
        if self._offset is not None:
            dataset.offsets = _each_band(self._offset, self.count)
        if self._classes:
            dataset.update_tags(1, **{CLASSES_TAG: legend_json(self._classes)})
            if self.dtype == np.uint8 and self.count == 1:
                dataset.write_colormap(1, {entry.value: (*entry.colour, 255) for entry in self._classes})


def _each_band(value: float | Sequence[float], count: int) -> tuple[float, ...]:
    return (value,) * count if isinstance(value, int | float) else tuple(value)


@dataclass
class _BandTags:
    """What names a band: plain tags (EnMAP-Box), those of the IMAGERY domain (GDAL 3.10), the description."""

    description: str | None
    plain: dict[str, str] = field(default_factory=dict)
    imagery: dict[str, str] = field(default_factory=dict)


def _band_tags(
    count: int,
    descriptions: Sequence[str] | None,
    wavelengths: ArrayLike | None,
    fwhm: ArrayLike | None,
    good: ArrayLike | None,
) -> list[_BandTags]:
    for name, values in (
        ("names", descriptions),
        ("wavelengths", wavelengths),
        ("widths", fwhm),
        ("flags", good),
    ):
        if values is not None and np.size(values) != count:
            raise OutputError(
                f"There are {np.size(values)} {name} for {count} bands.", "Give one for each band."
            )
    bands = [_BandTags(text) for text in descriptions or itertools.repeat(None, count)]
    if wavelengths is not None:
        for band, centre in zip(bands, np.asarray(wavelengths, np.float64), strict=True):
            band.plain |= {"wavelength": f"{centre:.10g}", "wavelength_units": "Nanometers"}
            band.imagery["CENTRAL_WAVELENGTH_UM"] = f"{centre / 1000:.10g}"
            band.description = band.description or f"{centre:.2f} nm"
    if fwhm is not None:
        for band, width in zip(bands, np.asarray(fwhm, np.float64), strict=True):
            band.plain["fwhm"] = f"{width:.10g}"
            band.imagery["FWHM_UM"] = f"{width / 1000:.10g}"
    if good is not None:
        for band, flag in zip(bands, np.asarray(good, bool), strict=True):
            band.plain["bbl"] = str(int(flag))
    return bands


def _tile_height(line_bytes: int) -> int:
    height = TILE
    while height > SMALLEST_TILE and height * line_bytes > STRIP_BYTES:
        height //= 2
    return height
