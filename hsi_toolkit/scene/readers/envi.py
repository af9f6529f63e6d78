"""ENVI: a flat binary file and its text header."""

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.contract import Quantity, make_scene
from hsi_toolkit.scene.lazy import Calibration
from hsi_toolkit.scene.metadata import (
    looks_like_years,
    parse_time,
    split_list,
    to_nanometres,
    wavelengths_in_names,
    widths_to_nanometres,
)
from hsi_toolkit.scene.raw import Container, PlainFile, RawSource
from hsi_toolkit.scene.readers import first_bytes, refuse_variable
from hsi_toolkit.scene.readers.envi_header import (
    EnviHeader,
    Layout,
    is_envi_header,
    read_crs,
    read_header,
    read_layout,
    read_transform,
)
from hsi_toolkit.scene.spool import SpooledFile, check_expansion

DATA_SUFFIXES = (
    "",
    ".img",
    ".dat",
    ".raw",
    ".bsq",
    ".bil",
    ".bip",
    ".hyspex",
    ".bin",
    ".cub",
    ".envi",
    ".sli",
)
"""Endings of data files in the order in which they are tried after the header's own name without ``.hdr``."""

SIDECAR_SUFFIXES = (".hdr", ".xml", ".txt", ".csv", ".json", ".qml", ".prj", ".properties", ".enp", ".ovr")
IMAGE_SUFFIXES = (".png", ".jpg", ".tif", ".tiff", ".pdf")
"""Endings that are never those of a data file."""

OTHER_FORMATS = (
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"\x89HDF",
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"CDF",
    b"EHFA_",
)
GZIP = b"\x1f\x8b"

Array = NDArray[np.float64]

UNIT_KEYS = ("wavelength units", "wavelength unit", "wavelength_units", "wavelength unts", "wavelength_unts")
"""Spellings met in real headers, misspelt ones included."""


@dataclass(frozen=True, eq=False)
class Hints:
    """What a product's name tells where its header is silent.

    ``divisors`` (bands,) turn stored whole numbers into ``quantity``; without them only floating-point
    numbers are taken for it. ``nodata`` is in stored units.
    """

    sensor: str | None = None
    acquired: str | None = None
    quantity: Quantity = "dn"
    units: str | None = None
    divisors: Array | None = None
    nodata: float | None = None


@dataclass(frozen=True)
class GzipStream:
    """A file that is one gzip stream."""

    path: Path

    def open_stream(self) -> IO[bytes]:
        """The decompressed bytes from the start."""
        return cast(IO[bytes], gzip.open(self.path, "rb"))


def sniff(path: Path) -> bool:
    """Whether ``path`` is an ENVI header, or a data file with one beside it."""
    start = first_bytes(path)
    if is_envi_header(start):
        return True
    return not start.startswith(OTHER_FORMATS) and path.is_file() and _header_beside(path) is not None


def open(path: Path, variable: str | None) -> xr.DataArray:
    """Open an ENVI image by its header or its data file. Raises SceneError."""
    refuse_variable(path, variable)
    return open_image(path, Hints())


def open_image(path: Path, hints: Hints) -> xr.DataArray:
    """Open an ENVI image of which more is known than its header says. Raises SceneError."""
    header_path = path if is_envi_header(first_bytes(path)) else _header_beside(path)
    if header_path is None:
        raise SceneError(f"{path} has no ENVI header beside it.", "Put its .hdr file into the same folder.")
    header = read_header(header_path)
    if "spectral library" in (header.text("file type") or "").lower():
        raise SceneError(
            f"{path} is a spectral library, not an image.", "Give it where a library is asked for."
        )
    layout = read_layout(header)
    data = path if path != header_path else _data_beside(header_path)
    container = _container(header, layout, data)
    scale, offset, quantity = _gains(header, layout)
    units = (
        "1" if quantity == "reflectance" else header.text("data units") if quantity == "radiance" else None
    )
    found = _found(header, quantity)
    if quantity == "dn" and _hinted(hints, layout):
        quantity, units = hints.quantity, hints.units
        found["quantity"] = "the name of the file"
        if hints.divisors is not None and layout.dtype.kind in "iu":
            scale = 1 / hints.divisors
            found["scale"] = "the gain file beside it"
    nodata = header.number("data ignore value")
    nodata = hints.nodata if nodata is None else nodata
    calibration = Calibration(scale, offset, nodata)
    source = RawSource(container, layout.offset, layout.dtype, layout.order, layout.shape, calibration)
    wavelength, fwhm = _spectral(header, layout.shape[0])
    flags = header.numbers("bbl", layout.shape[0])
    sensor = header.text("sensor type")
    sensor = None if sensor is None or sensor.lower() == "unknown" else sensor
    acquired = parse_time(header.text("acquisition time"))
    if sensor is None and hints.sensor:
        found["sensor"] = "the name of the file"
    if acquired is None and hints.acquired:
        found["acquired"] = "the name of the file"
    return make_scene(
        source,
        path=path,
        wavelength=wavelength,
        fwhm=fwhm,
        good=None if flags is None else flags > 0,
        crs=read_crs(header),
        transform=read_transform(header),
        nodata=nodata,
        quantity=quantity,
        sensor=sensor or hints.sensor,
        acquired=acquired or hints.acquired,
        units=units,
        found=found,
    )


def _hinted(hints: Hints, layout: Layout) -> bool:
    """Whether the hinted quantity is what the stored numbers lead to."""
    if hints.quantity == "dn":
        return False
    if layout.dtype.kind == "f":
        return True
    return hints.divisors is not None and len(hints.divisors) == layout.shape[0]


def _found(header: EnviHeader, quantity: Quantity) -> dict[str, str]:
    """Which entries of the header gave what."""
    entries = {
        "wavelength": ("wavelength", "band names"),
        "fwhm": ("fwhm",),
        "good": ("bbl",),
        "scale": (
            "data reflectance gain values",
            "data reflectance offset values",
            "reflectance scale factor",
            "data gain values",
            "data offset values",
        ),
        "nodata": ("data ignore value",),
        "crs": ("coordinate system string", "map info"),
        "transform": ("map info",),
        "sensor": ("sensor type",),
        "acquired": ("acquisition time",),
    }
    used = {
        fact: next(key for key in keys if key in header.entries)
        for fact, keys in entries.items()
        if any(key in header.entries for key in keys)
    }
    found = {fact: f"'{key}' of {header.path.name}" for fact, key in used.items()}
    unit = next((text for key in UNIT_KEYS if (text := header.text(key))), None)
    if used.get("wavelength") == "wavelength":
        found["wavelength"] += f", in {unit}" if unit else ", without a unit"
    if quantity != "dn":
        found["quantity"] = found.get("scale", f"the description in {header.path.name}")
    return found


def _header_beside(data: Path) -> Path | None:
    wanted = {f"{data.name}.hdr".lower(): 0, f"{data.stem}.hdr".lower(): 1}
    try:
        found = [
            (wanted[entry.name.lower()], entry)
            for entry in data.parent.iterdir()
            if entry.name.lower() in wanted
        ]
    except OSError:
        return None
    headers = [
        entry for _, entry in sorted(found) if entry != data and is_envi_header(first_bytes(entry, 64))
    ]
    return headers[0] if headers else None


def _data_beside(header: Path) -> Path:
    """The data file of a header: its name with a usual ending for ``.hdr``, or the only other candidate."""
    stem = header.name[: -len(header.suffix)] if header.suffix else header.name
    others = [entry for entry in header.parent.iterdir() if entry != header and entry.is_file()]
    by_name = {entry.name.lower(): entry for entry in others}
    exact = {entry.name: entry for entry in others}
    for suffix in DATA_SUFFIXES:
        found = exact.get(stem + suffix) or by_name.get((stem + suffix).lower())
        if found:
            return found
    candidates = [
        entry
        for entry in others
        if entry.stem.lower() == stem.lower()
        and entry.suffix.lower() not in SIDECAR_SUFFIXES + IMAGE_SUFFIXES
    ]
    if len(candidates) == 1:
        return candidates[0]
    raise SceneError(
        f"The data file of {header} is missing: there is no {stem} with an ending such as .img or .dat.",
        "Put it beside the header, or open the data file itself.",
    )


def _container(header: EnviHeader, layout: Layout, data: Path) -> Container:
    """The data file, checked to be long enough for what the header says."""
    needed = layout.offset + layout.nbytes
    length = data.stat().st_size
    zipped = first_bytes(data, 2) == GZIP
    if zipped and (header.integer("file compression", 0) == 1 or length < needed):
        check_expansion(data, needed)
        return SpooledFile(GzipStream(data), needed)
    if header.integer("file compression", 0) == 1 and length < needed:
        raise SceneError(
            f"{header.path} calls {data.name} compressed, but it is no gzip file.", "Correct the header."
        )
    if length < needed:
        raise SceneError(
            f"{data} has {length} bytes, but its header asks for {needed}.",
            "The file was cut short or the header's sizes are wrong.",
        )
    return PlainFile(data)


def _gains(header: EnviHeader, layout: Layout) -> tuple[Array | None, Array | None, Quantity]:
    """Scale, offset and the quantity they lead to.

    Gains to reflectance come first, then the scale factor (a divisor), then the general gains, which ENVI
    defines as leading to radiance; the 1e-4 of scaled reflectance is taken for what it is.
    """
    bands = layout.shape[0]
    gain, offset = (header.numbers(f"data reflectance {name} values", bands) for name in ("gain", "offset"))
    if gain is not None or offset is not None:
        return gain, offset, "reflectance"
    factor = header.number("reflectance scale factor")
    if factor is not None:
        if not np.isfinite(factor) or factor <= 0:
            raise header.wrong("reflectance scale factor", str(factor), "a positive number")
        return None if factor == 1 else np.full(bands, 1 / factor), None, "reflectance"
    gain, offset = (header.numbers(f"data {name} values", bands) for name in ("gain", "offset"))
    if gain is not None or offset is not None:
        scaled = gain is not None and np.allclose(gain, 1e-4, rtol=1e-6)
        return gain, offset, "reflectance" if scaled else "radiance"
    words = " ".join(
        header.entries.get(key, "") for key in ("description", "data units", "z plot titles")
    ).lower()
    if layout.dtype.kind == "f":
        stated: tuple[Quantity, Quantity] = ("reflectance", "radiance")
        for quantity in stated:
            if quantity in words:
                return None, None, quantity
    return None, None, "dn"


def _spectral(
    header: EnviHeader, bands: int
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    unit = next((text for key in UNIT_KEYS if (text := header.text(key))), None)
    numbers = header.numbers("wavelength", bands)
    if numbers is None:
        return wavelengths_in_names(split_list(header.entries.get("band names", ""))[:bands]), None
    impossible = numbers[~(np.isfinite(numbers) & (numbers > 0))]
    if impossible.size:
        raise SceneError(
            f"'wavelength' in {header.path} holds {impossible[0]:g}, which is no wavelength.",
            "Correct the list or remove it.",
        )
    if looks_like_years(numbers, header.text("description") or ""):
        return None, None
    widths = header.numbers("fwhm", bands)
    return to_nanometres(numbers, unit), None if widths is None else widths_to_nanometres(
        widths, numbers, unit
    )
