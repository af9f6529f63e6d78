"""Scenes as ENVI files: a text header and a flat binary file."""

import math
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError

from hsi_toolkit.errors import OutputError
from hsi_toolkit.files import atomic_path, check_output, make_sure_it_is_stored
from hsi_toolkit.scene.export.storage import Storage, refuse_own_source
from hsi_toolkit.scene.lazy import Float32

Interleave = Literal["bsq", "bil", "bip"]

NODATA = -9999.0
"""What stands for no data among floating-point numbers: ENVI's programs do not know NaN."""

AXES: dict[str, tuple[int, int, int]] = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}

_TYPES = {"<f4": 4, "<i2": 2}
_UTM_NORTH, _UTM_SOUTH = 32600, 32700


class EnviWriter:
    """An ENVI header and data file (.img beside it), filled from top to bottom.

    Args:
        path: the header, ending in .hdr.
        scene: whose size, coordinates and attributes the files get.
        storage: how numbers are stored.
        interleave: "bsq", "bil" or "bip".
        overwrite: whether existing files may be replaced.

    Raises:
        OutputError: a file exists or cannot be written, or ENVI cannot express the scene's grid.
    """

    def __init__(
        self,
        path: Path,
        scene: xr.DataArray,
        storage: Storage,
        *,
        interleave: Interleave = "bsq",
        overwrite: bool = False,
    ) -> None:
        self.header, self.data = path, self.data_path(path)
        for target in (self.header, self.data):
            check_output(target, overwrite=overwrite)
            refuse_own_source(target, scene)
        self._storage = storage if storage.scale is not None else replace(storage, fill=NODATA)
        self._interleave, self._overwrite = interleave, overwrite
        bands, height, width = scene.shape
        self._shape = (bands, height, width)
        self._text = _header(scene, self._storage, interleave)
        self._stack = ExitStack()

    @staticmethod
    def data_path(header: Path) -> Path:
        """The data file of a header."""
        return header.with_suffix(".img")

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # The header appears last, so that it never stands beside data that is not whole.
            header = stack.enter_context(atomic_path(self.header, overwrite=self._overwrite))
            self._temporary = stack.enter_context(atomic_path(self.data, overwrite=self._overwrite))
            header.write_text(self._text, encoding="utf-8")
            self._file: IO[bytes] = stack.enter_context(self._temporary.open("r+b", buffering=0))
            self._file.truncate(math.prod(self._shape) * self._storage.dtype.itemsize)
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
            self._file.close()
            make_sure_it_is_stored(self._temporary)

    def write(self, data: Float32, y0: int) -> None:
        """See ``SceneWriter.write``."""
        stored = self._storage.stored(data)
        size = self._storage.dtype.itemsize
        bands, height, width = self._shape
        if self._interleave == "bsq":
            for band, plane in enumerate(stored):
                self._put(plane, (band * height + y0) * width * size)
        else:
            self._put(stored.transpose(AXES[self._interleave]), y0 * bands * width * size)

    def _put(self, values: NDArray[np.number], position: int) -> None:
        view = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        try:
            self._file.seek(position)
            while view:
                view = view[self._file.write(view) or 0 :]
        except OSError as error:
            raise OutputError(
                f"Writing {self.data} failed: {error.strerror or error}.",
                "Check the free space and permissions.",
            ) from error


def _header(scene: xr.DataArray, storage: Storage, interleave: str) -> str:
    bands, height, width = scene.shape
    quantity = str(scene.attrs.get("quantity", "dn"))
    words = {"reflectance": "Reflectance", "radiance": "Radiance"}.get(quantity, "Digital number")
    units = _plain(scene.attrs.get("units", ""))
    lines = [
        "ENVI",
        f"description = {{{words}, written by hsi_toolkit}}",
        f"samples = {width}",
        f"lines = {height}",
        f"bands = {bands}",
        "header offset = 0",
        "file type = ENVI Standard",
        f"data type = {_TYPES[storage.dtype.str]}",
        f"interleave = {interleave}",
        "byte order = 0",
        f"data ignore value = {storage.fill:g}",
        f"z plot titles = {{Wavelength (nm), {words}}}",
    ]
    if units and units != "1":
        lines.append(f"data units = {units}")
    if storage.scale is not None:
        lines.append(f"reflectance scale factor = {round(1 / storage.scale)}")
    lines += _band_lists(scene)
    lines += _georeference(scene)
    if sensor := scene.attrs.get("sensor"):
        lines.append(f"sensor type = {_plain(sensor)}")
    if acquired := scene.attrs.get("acquired"):
        lines.append(f"acquisition time = {_plain(acquired)}")
    return "\n".join(lines) + "\n"


def _band_lists(scene: xr.DataArray) -> list[str]:
    lines = []
    if "wavelength" in scene.coords:
        lines += ["wavelength units = Nanometers", _listed("wavelength", scene["wavelength"].to_numpy())]
    if "fwhm" in scene.coords:
        lines.append(_listed("fwhm", scene["fwhm"].to_numpy()))
    if "good" in scene.coords:
        lines.append(_listed("bbl", scene["good"].to_numpy().astype(int)))
    return lines


def _listed(key: str, values: Iterable[float]) -> str:
    return f"{key} = {{{', '.join(f'{value:.10g}' for value in values)}}}"


def _plain(text: str) -> str:
    """A text that breaks no header: one line, no braces."""
    return " ".join(str(text).translate({ord("{"): "(", ord("}"): ")"}).split())


def _georeference(scene: xr.DataArray) -> list[str]:
    transform, crs = scene.rio.transform(), scene.rio.crs
    if transform.is_identity:
        return []
    a, b, x0, d, e, y0 = transform[:6]
    dx, dy, turn = math.hypot(a, b), math.hypot(d, e), math.atan2(b, a)
    if b == 0 and d == 0:
        dx, dy, turn = a, -e, 0.0
    expected = (dx * math.cos(turn), dx * math.sin(turn), dy * math.sin(turn), -dy * math.cos(turn))
    if max(abs(one - other) for one, other in zip((a, b, d, e), expected, strict=True)) > 1e-6 * abs(dx):
        raise OutputError(
            "The scene's grid is skewed or mirrored, which an ENVI header cannot say.",
            "Export it as .tif or .nc.",
        )
    fields = [_projection(crs), "1", "1", *(f"{value:.15g}" for value in (x0, y0, dx, dy))]
    fields += _map_details(crs)
    if turn:
        fields.append(f"rotation={math.degrees(turn):.12g}")
    lines = [f"map info = {{{', '.join(fields)}}}"]
    if crs is not None:
        lines.append(f"coordinate system string = {{{_esri(crs)}}}")
    return lines


def _esri(crs: CRS) -> str:
    try:
        return str(crs.to_wkt(version="WKT1_ESRI"))
    except CRSError:
        return str(crs.to_wkt())


def _zone(crs: CRS | None) -> int | None:
    """The signed UTM zone of a WGS 84 system, negative in the south."""
    code: int | None = crs.to_epsg() if crs is not None else None
    for base, sign in ((_UTM_NORTH, 1), (_UTM_SOUTH, -1)):
        if code is not None and 1 <= code - base <= 60:
            return sign * (code - base)
    return None


def _projection(crs: CRS | None) -> str:
    if crs is None:
        return "Arbitrary"
    if crs.is_geographic:
        return "Geographic Lat/Lon"
    return "UTM" if _zone(crs) else "Projected"


def _map_details(crs: CRS | None) -> list[str]:
    if crs is None:
        return []
    if crs.is_geographic:
        return ["WGS-84", "units=Degrees"] if crs.to_epsg() == 4326 else ["units=Degrees"]
    zone = _zone(crs)
    if zone:
        return [str(abs(zone)), "North" if zone > 0 else "South", "WGS-84", "units=Meters"]
    return ["units=Meters"] if (crs.linear_units or "").lower() in ("metre", "meter") else []
