"""NEON AOP reflectance and radiance, HDF5 files ``.h5`` of flight lines (DP1) and tiles (DP3).

Layout: NEON, "NEON Imaging Spectrometer Reflectance HDF5 file structure". The root group is the site.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.contract import make_scene
from hsi_toolkit.scene.hdf5 import (
    SIGNATURE,
    attribute_number,
    attribute_numbers,
    attribute_text,
    chunk_rows,
    cube_source,
    open_hdf5,
    own_dataset,
    own_node,
    read_text,
    read_vector,
)
from hsi_toolkit.scene.lazy import BandIndex, Calibration, Float32, RasterSource
from hsi_toolkit.scene.metadata import parse_number, parse_time, to_nanometres, widths_to_nanometres
from hsi_toolkit.scene.readers import first_bytes, refuse_variable
from hsi_toolkit.scene.readers.envi_header import EnviHeader, read_crs, read_transform

ORDER = "yxb"
KINDS = ("Reflectance", "Radiance")
CUBES = {"Reflectance": "Reflectance_Data", "Radiance": "RadianceIntegerPart"}
DECIMALS = "RadianceDecimalPart"
NODATA = -9999.0
WINDOWS = ("Band_Window_1_Nanometers", "Band_Window_2_Nanometers")
LINE_TIME = re.compile(r"_DP1_(?:L\d+-\d+_)?(\d{4})(\d\d)(\d\d)(?:_(\d\d)(\d\d)(\d\d))?(?=_|\.)")


@dataclass(frozen=True, eq=False)
class SplitSource:
    """Radiance stored as a whole and a decimal part."""

    whole: RasterSource
    decimals: RasterSource

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        return self.whole.shape

    def read(self, bands: BandIndex, rows: slice, columns: slice) -> Float32:
        """See ``RasterSource.read``."""
        out = self.whole.read(bands, rows, columns)
        out += self.decimals.read(bands, rows, columns)
        return out


def sniff(path: Path) -> bool:
    """Whether ``path`` is an HDF5 file with a cube of NEON in it."""
    if not first_bytes(path, 8).startswith(SIGNATURE):
        return False
    with suppress(SceneError), open_hdf5(path) as file:
        return _cube(file) is not None
    return False


def open(path: Path, variable: str | None) -> xr.DataArray:
    """Open a tile or flight line. Bands within the water vapour windows that the file states are not good.

    Raises:
        SceneError: the file lacks what such a product has, or is damaged.
    """
    refuse_variable(path, variable)
    with open_hdf5(path) as file:
        place = _cube(file)
        if place is None:
            raise SceneError(f"{path} holds no cube of NEON.", "Give a file of reflectance or radiance.")
        group, kind = place
        name = f"{group}/{CUBES[kind]}"
        dataset = own_dataset(file, name)
        source = _source(file, group, kind, path)
        bands = source.shape[0]
        spectral = f"{group}/Metadata/Spectral_Data"
        centres = read_vector(file, f"{spectral}/Wavelength", bands)
        wavelength = None if centres is None else to_nanometres(centres, "nm")
        if centres is None or wavelength is None:
            raise SceneError(
                f"{path} lacks {spectral}/Wavelength, or it is no list of {bands} wavelengths.",
                "The file is damaged; download it again.",
            )
        widths = read_vector(file, f"{spectral}/FWHM", bands)
        windows = [attribute_numbers(file[group], key, 2) for key in WINDOWS]
        transform, crs = _georeference(file, f"{group}/Metadata/Coordinate_System", path)
        found = {
            "wavelength": f"{spectral}/Wavelength",
            "fwhm": f"{spectral}/FWHM" if widths is not None else "",
            "good": f"attributes {', '.join(WINDOWS)}" if any(w is not None for w in windows) else "",
            "scale": "attribute Scale_Factor",
            "quantity": f"the name {CUBES[kind]}",
            "nodata": "attribute Data_Ignore_Value",
            "transform": "Metadata/Coordinate_System/Map_Info" if transform else "",
            "crs": "Metadata/Coordinate_System" if crs else "",
            "acquired": "the name of the file" if _acquired(path) else "",
        }
        return make_scene(
            source,
            path=path,
            wavelength=wavelength,
            fwhm=None if widths is None else widths_to_nanometres(widths, centres, "nm"),
            good=_outside(wavelength, windows),
            crs=crs,
            transform=transform,
            nodata=_nodata(dataset),
            quantity="reflectance" if kind == "Reflectance" else "radiance",
            units="1" if kind == "Reflectance" else attribute_text(dataset, "Units"),
            sensor="NEON",
            acquired=_acquired(path),
            stored_rows=min(chunk_rows(dataset, ORDER), source.shape[1]),
            found={key: text for key, text in found.items() if text},
        )


def _cube(file: h5py.File) -> tuple[str, str] | None:
    """The group of the cube, below the site's, and whether it is reflectance or radiance."""
    for site in list(file)[:16]:
        for kind in KINDS:
            if own_node(file, f"{site}/{kind}/{CUBES[kind]}") is not None:
                return f"{site}/{kind}", kind
    return None


def _source(file: h5py.File, group: str, kind: str, path: Path) -> RasterSource:
    name = f"{group}/{CUBES[kind]}"
    dataset = own_dataset(file, name)
    bands = dataset.shape[-1]
    nodata = _nodata(dataset)
    if kind == "Reflectance":
        scale = np.full(bands, 1 / _scale(dataset, name, path))
        return cube_source(file, name, ORDER, path, Calibration(scale, None, nodata))
    decimals = own_dataset(file, f"{group}/{DECIMALS}")
    scale = np.full(bands, 1 / _scale(decimals, DECIMALS, path))
    parts = (
        cube_source(file, name, ORDER, path, Calibration(nodata=nodata)),
        cube_source(file, f"{group}/{DECIMALS}", ORDER, path, Calibration(scale, None, _nodata(decimals))),
    )
    if parts[0].shape != parts[1].shape:
        raise SceneError(
            f"The parts of the radiance in {path} differ in size.", "The file is damaged; download it again."
        )
    return SplitSource(*parts)


def _scale(dataset: h5py.Dataset, name: str, path: Path) -> float:
    factor = attribute_number(dataset, "Scale_Factor")
    if factor is None or not np.isfinite(factor) or factor <= 0:
        raise SceneError(
            f"'{name}' in {path} lacks a usable Scale_Factor.", "The file is damaged; download it again."
        )
    return factor


def _nodata(dataset: h5py.Dataset) -> float:
    stated = attribute_number(dataset, "Data_Ignore_Value")
    return NODATA if stated is None else stated


def _outside(
    wavelength: NDArray[np.float64], windows: list[NDArray[np.float64] | None]
) -> NDArray[np.bool_] | None:
    """Bands outside all windows that the file states; None when it states none."""
    known = [window for window in windows if window is not None]
    if not known:
        return None
    inside = [(wavelength >= window.min()) & (wavelength <= window.max()) for window in known]
    good: NDArray[np.bool_] = ~np.any(inside, axis=0)
    return good


def _georeference(file: h5py.File, group: str, path: Path) -> tuple[Affine | None, CRS | None]:
    """Transform and reference system; ``Map_Info`` is as in ENVI, but with a bare number as the rotation."""
    text = read_text(file, f"{group}/Map_Info")
    code = parse_number(read_text(file, f"{group}/EPSG Code") or "")
    if text is None:
        return None, _from_epsg(code)
    fields = text.strip("{}").split(",")
    if "=" not in fields[-1] and parse_number(fields[-1]):
        fields[-1] = f"rotation={fields[-1].strip()}"
    header = EnviHeader(path, {"map info": "{" + ",".join(fields) + "}"})
    return read_transform(header), _from_epsg(code) or read_crs(header)


def _from_epsg(code: float | None) -> CRS | None:
    if code is None or not np.isfinite(code):
        return None
    try:
        return CRS.from_epsg(int(code))
    except CRSError:
        return None


def _acquired(path: Path) -> str | None:
    """The time in the name of a flight line; a tile is put together from several."""
    hit = LINE_TIME.search(path.name)
    if hit is None:
        return None
    year, month, day, hour, minute, second = hit.groups()
    if hour is None:
        return f"{year}-{month}-{day}" if parse_time(f"{year}-{month}-{day}") else None
    return parse_time(f"{year}-{month}-{day}T{hour}:{minute}:{second}Z")
