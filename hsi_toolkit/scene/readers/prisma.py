"""PRISMA (ASI) L1, L2B, L2C and L2D products, HDF-EOS5 files with the ending ``.he5``.

Layout: ASI, "PRISMA Products Specification Document" (2.3); corner coordinates of L2D are pixel centres, as
prismaread 0.2.1 (IREA-CNR-MI) found.
"""

from collections.abc import Iterator
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
from hsi_toolkit.scene.bands import SelectedBands, StackedSource
from hsi_toolkit.scene.contract import make_scene
from hsi_toolkit.scene.hdf5 import (
    SIGNATURE,
    attribute_number,
    attribute_numbers,
    attribute_text,
    cube_source,
    layer_of,
    open_hdf5,
    own_dataset,
    own_node,
)
from hsi_toolkit.scene.lazy import BandIndex, Calibration, Float32, LayerSource, RasterSource
from hsi_toolkit.scene.metadata import parse_time
from hsi_toolkit.scene.readers import first_bytes

LEVELS = ("1", "2B", "2C", "2D")
DETECTORS = ("Vnir", "Swir")
ORDER = "ybx"
DN_MAX = 65535
PIXEL_SIZE = 30.0
RADIANCE_UNITS = "W/m2/sr/um"
VARIABLES = ("errors", "pan")

CHECKED_BYTES = 32 << 20
"""Float32 bytes that are read at once to see whether pixels are empty in all bands."""

ERROR_MATRICES = {"1": "{}_PIXEL_SAT_ERR_MATRIX"}
MASKS = {
    "cloud": ("Cloud_Mask", "bool"),
    "sun_glint": ("SunGlint_Mask", "bool"),
    "land_cover": ("LandCover_Mask", None),
}


@dataclass(frozen=True, eq=False)
class EmptyPixels:
    """A source whose pixels are no data where every band has the value that 0 is stored for (L1).

    A single 0 is a dark value, so all bands of a pixel must be read before it is called empty; that is done
    only where all the wanted ones are 0. ``zero`` is (bands,) float32.
    """

    source: RasterSource
    zero: Float32

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        return self.source.shape

    def read(self, bands: BandIndex, rows: slice, columns: slice) -> Float32:
        """See ``RasterSource.read``."""
        out = self.source.read(bands, rows, columns)
        empty = (out == self.zero[bands][:, None, None]).all(axis=0)
        if len(out) < self.shape[0]:
            for part in self._strips(np.flatnonzero(empty.any(axis=1)), columns.stop - columns.start):
                strip = slice(rows.start + part.start, rows.start + part.stop)
                pixels = self.source.read(slice(0, self.shape[0]), strip, columns)
                empty[part] &= (pixels == self.zero[:, None, None]).all(axis=0)
        out[:, empty] = np.nan
        return out

    def _strips(self, rows: NDArray[np.intp], width: int) -> Iterator[slice]:
        """The rows in stretches that are small enough to read all bands of."""
        lines = max(1, CHECKED_BYTES // (4 * self.shape[0] * width))
        for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
            for first in range(0, len(run), lines):
                yield slice(int(run[first]), int(run[min(first + lines, len(run)) - 1]) + 1)


@dataclass(frozen=True)
class _Detector:
    """A spectrometer's bands: which are present (from zero), their centres and widths in nanometres."""

    present: NDArray[np.intp]
    wavelength: NDArray[np.float64]
    fwhm: NDArray[np.float64] | None
    stored: int


def sniff(path: Path) -> bool:
    """Whether ``path`` is an HDF5 file with a hyperspectral cube of PRISMA in it."""
    if not first_bytes(path, 8).startswith(SIGNATURE):
        return False
    with suppress(SceneError), open_hdf5(path) as file:
        return _level(file) is not None
    return False


def open(path: Path, variable: str | None) -> xr.DataArray:
    """Open the co-registered cube (HCO) of a product: VNIR and SWIR bands together, absent bands left out.

    Both spectrometers' bands between 943 and 977 nm are kept, sorted by wavelength; the coordinate
    ``detector`` tells them apart. L2D scenes are on their map grid, others keep ``lon`` and ``lat``.

    Args:
        path: the ``.he5`` file.
        variable: None for the cube, "errors" for the error codes of each band and pixel, "pan" for the
            panchromatic band.

    Raises:
        SceneError: the file lacks what such a product has, or is damaged.
    """
    if variable is not None and variable not in VARIABLES:
        raise SceneError(f"{path} has no array '{variable}'.", f"Name one of {', '.join(VARIABLES)}.")
    with open_hdf5(path) as file:
        level = _level(file)
        if level is None:
            raise SceneError(f"{path} holds no cube of PRISMA.", "Give a product of level 1, 2B, 2C or 2D.")
        if variable == "pan":
            return _open_pan(file, level, path)
        return _open_cube(file, level, path, errors=variable == "errors")


def _level(file: h5py.File) -> str | None:
    return next((level for level in LEVELS if own_node(file, _group(level)) is not None), None)


def _group(level: str, product: str = "HCO") -> str:
    return f"HDFEOS/SWATHS/PRS_L{level}_{product}"


def _open_cube(file: h5py.File, level: str, path: Path, errors: bool) -> xr.DataArray:
    detectors = [_detector(file, name, level, path) for name in DETECTORS]
    parts: list[RasterSource] = []
    for name, detector in zip(DETECTORS, detectors, strict=True):
        matrix = ERROR_MATRICES.get(level, "{}_PIXEL_L2_ERR_MATRIX") if errors else "{}_Cube"
        data = f"{_group(level)}/Data Fields/{matrix.format(name.upper())}"
        calibration = None if errors else _calibration(file, level, name, detector.stored, path)
        parts.append(SelectedBands(cube_source(file, data, ORDER, path, calibration), detector.present))
    if parts[0].shape[1:] != parts[1].shape[1:]:
        raise SceneError(
            f"The cubes of {path} have {parts[0].shape[1:]} and {parts[1].shape[1:]} rows and columns.",
            "The file is damaged or no such product.",
        )
    source: RasterSource = StackedSource(tuple(parts))
    if level == "1" and not errors:
        source = EmptyPixels(source, _zeros(file, detectors))
    grid = source.shape[1:]
    transform, crs = _map_grid(file, grid, path) if level == "2D" else (None, None)
    widths = [detector.fwhm for detector in detectors]
    known = [width for width in widths if width is not None]
    reflectance = level in ("2C", "2D")
    scale = "ScaleFactor_*, Offset_*" if level == "1" else "L2Scale*Min, L2Scale*Max"
    found = {
        "wavelength": "attributes List_Cw_Vnir, List_Cw_Swir",
        "fwhm": "attributes List_Fwhm_Vnir, List_Fwhm_Swir",
        "scale": f"attributes {scale}",
        "quantity": "the level of the product",
        "transform": "attributes Product_ULcorner_easting and others, centres of the corner pixels",
        "crs": "attribute Epsg_Code",
        "acquired": "attribute Product_StartTime",
        "nodata": "pixels stored as 0 in every band" if level == "1" else "values stored as 0",
    }
    return make_scene(
        source,
        path=path,
        wavelength=np.concatenate([detector.wavelength for detector in detectors]),
        fwhm=np.concatenate(known) if len(known) == len(widths) else None,
        crs=crs,
        transform=transform,
        quantity="dn" if errors else "reflectance" if reflectance else "radiance",
        units=None if errors else "1" if reflectance else RADIANCE_UNITS,
        sensor="PRISMA",
        acquired=_acquired(file),
        band_numbers=np.concatenate(
            [detectors[0].present + 1, detectors[1].present + 1 + detectors[0].stored]
        ),
        detector=["vnir"] * len(detectors[0].present) + ["swir"] * len(detectors[1].present),
        layers=_layers(file, level, grid, path),
        found={
            key: place for key, place in found.items() if level == "2D" or key not in ("transform", "crs")
        },
    )


def _open_pan(file: h5py.File, level: str, path: Path) -> xr.DataArray:
    """The panchromatic band, one band of 5 m over the extent of the cube."""
    cube = own_dataset(file, f"{_group(level)}/Data Fields/VNIR_Cube")
    name = f"{_group(level, 'PCO')}/Data Fields/Cube"
    source = cube_source(file, name, "yx", path, _calibration(file, level, "Pan", 1, path))
    transform, crs = None, None
    if level == "2D":
        whole, crs = _map_grid(file, (cube.shape[0], cube.shape[2]), path)
        transform = whole @ Affine.scale(cube.shape[2] / source.shape[2], cube.shape[0] / source.shape[1])
    reflectance = level in ("2C", "2D")
    return make_scene(
        source,
        path=path,
        crs=crs,
        transform=transform,
        quantity="reflectance" if reflectance else "radiance",
        units="1" if reflectance else RADIANCE_UNITS,
        sensor="PRISMA",
        acquired=_acquired(file),
        layers={} if level == "2D" else _geolocation(file, level, "PCO", source.shape[1:], path),
    )


def _detector(file: h5py.File, name: str, level: str, path: Path) -> _Detector:
    """Which bands a spectrometer has, as the root's attributes state; absent ones have a centre of 0."""
    cube = own_dataset(file, f"{_group(level)}/Data Fields/{name.upper()}_Cube")
    count = cube.shape[1] if cube.ndim == 3 else 0
    centres = attribute_numbers(file, f"List_Cw_{name}", count)
    if centres is None:
        raise SceneError(
            f"{path} lacks List_Cw_{name}, or it is no list of {count} wavelengths.",
            "The file is damaged; download it again.",
        )
    present = np.isfinite(centres) & (centres > 0)
    flags = attribute_numbers(file, f"List_Cw_{name}_Flags", count)
    if flags is not None:
        present &= flags > 0
    if not present.any():
        raise SceneError(f"{path} marks every band of {name.upper()} as absent.", "Download it again.")
    widths = attribute_numbers(file, f"List_Fwhm_{name}", count)
    return _Detector(
        np.flatnonzero(present), centres[present], None if widths is None else widths[present], count
    )


def _calibration(file: h5py.File, level: str, name: str, bands: int, path: Path) -> Calibration:
    """From stored numbers to radiance or reflectance; 0 is no data from level 2 on."""
    keys = ("ScaleFactor_{}", "Offset_{}") if level == "1" else ("L2Scale{}Min", "L2Scale{}Max")
    first, second = (attribute_number(file, key.format(name)) for key in keys)
    if (
        first is None
        or second is None
        or not np.isfinite([first, second]).all()
        or (level, first) == ("1", 0)
    ):
        raise SceneError(
            f"{path} lacks usable {keys[0].format(name)} and {keys[1].format(name)}.",
            "The file is damaged; download it again.",
        )
    if level == "1":
        return Calibration(np.full(bands, 1 / first), np.full(bands, -second) if second else None)
    step = (second - first) / DN_MAX
    return Calibration(np.full(bands, step), np.full(bands, first) if first else None, 0.0)


def _zeros(file: h5py.File, detectors: list[_Detector]) -> Float32:
    offsets = [attribute_number(file, f"Offset_{name}") or 0.0 for name in DETECTORS]
    counts = [len(detector.present) for detector in detectors]
    return np.repeat(-np.array(offsets, np.float32), counts)


def _map_grid(file: h5py.File, grid: tuple[int, int], path: Path) -> tuple[Affine, CRS | None]:
    """The grid of an L2D product: its corner attributes are the centres of the corner pixels.

    Should a product state edges after all, its corners are as many pixels apart as there are, not one less.
    """
    corners = [
        attribute_number(file, f"Product_{corner}corner_{axis}")
        for axis in ("easting", "northing")
        for corner in ("UL", "LR")
    ]
    if any(corner is None or not np.isfinite(corner) for corner in corners):
        raise SceneError(f"{path} lacks the coordinates of its corners.", "Download it again.")
    left, right, top, bottom = (corner for corner in corners if corner is not None)
    across, down = right - left, top - bottom
    by_centres = np.array([across / max(grid[1] - 1, 1), down / max(grid[0] - 1, 1)])
    by_edges = np.array([across / grid[1], down / grid[0]])
    edges = np.abs(by_edges - PIXEL_SIZE).max() < np.abs(by_centres - PIXEL_SIZE).max()
    dx, dy = by_edges if edges else by_centres
    if dx <= 0 or dy <= 0:
        raise SceneError(f"The corners of {path} span no area.", "The file is damaged; download it again.")
    half = 0.0 if edges else 0.5
    return Affine(dx, 0.0, left - half * dx, 0.0, -dy, top + half * dy), _crs(file)


def _crs(file: h5py.File) -> CRS | None:
    code = attribute_number(file, "Epsg_Code")
    if code is None or code % 1:
        return None
    try:
        return CRS.from_epsg(int(code))
    except CRSError:
        return None


def _acquired(file: h5py.File) -> str | None:
    return parse_time(attribute_text(file, "Product_StartTime"))


def _layers(file: h5py.File, level: str, grid: tuple[int, int], path: Path) -> dict[str, LayerSource]:
    """Masks of L1, and longitude and latitude of all levels but the map-projected one."""
    found: dict[str, LayerSource] = {}
    for layer, (name, dtype) in MASKS.items():
        mask = layer_of(file, f"{_group(level)}/Data Fields/{name}", grid, path, dtype=dtype)
        if mask is not None:
            found[layer] = mask
    return found if level == "2D" else found | _geolocation(file, level, "HCO", grid, path)


def _geolocation(
    file: h5py.File, level: str, product: str, grid: tuple[int, int], path: Path
) -> dict[str, LayerSource]:
    """Longitude and latitude of the pixel centres; those of the co-registered cube are the VNIR's."""
    found: dict[str, LayerSource] = {}
    for layer, name in (("lon", "Longitude"), ("lat", "Latitude")):
        for ending in ("", "_VNIR"):
            dataset = f"{_group(level, product)}/Geolocation Fields/{name}{ending}"
            source = layer_of(file, dataset, grid, path, dtype="f8")
            if source is not None:
                found[layer] = source
    return found if len(found) == 2 else {}
