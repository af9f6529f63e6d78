"""EMIT (NASA) L1B and L2A granules, netCDF-4 files: radiance, reflectance, its uncertainty, masks, geometry.

Layout: emit-sds ``emit-utils`` and ``emit-sds-l2a``. The stored image is a swath; ``location/glt_x`` and
``glt_y`` say for every cell of a map grid which pixel of the swath it shows.
"""

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
from hsi_toolkit.scene.contract import Quantity, check_shape, make_scene
from hsi_toolkit.scene.hdf5 import (
    SIGNATURE,
    Hdf5File,
    attribute_number,
    attribute_numbers,
    attribute_text,
    cube_source,
    layer_of,
    open_hdf5,
    own_dataset,
    own_node,
    read_texts,
    read_vector,
)
from hsi_toolkit.scene.lazy import Calibration, LayerSource, RasterSource
from hsi_toolkit.scene.lookup import GltLookup, LookupLayer, LookupSource
from hsi_toolkit.scene.metadata import parse_time, to_nanometres, widths_to_nanometres
from hsi_toolkit.scene.readers import first_bytes

BANDS = "sensor_band_parameters"
SWATH = "swath"
ORDER = "yxb"
FILL = -9999.0


@dataclass(frozen=True)
class _Cube:
    """What a variable of a granule holds, and whether its bands have wavelengths."""

    quantity: Quantity
    units: str | None
    spectral: bool


CUBES = {
    "reflectance": _Cube("reflectance", "1", True),
    "radiance": _Cube("radiance", "uW/cm2/sr/nm", True),
    "reflectance_uncertainty": _Cube("dn", "1", True),
    "mask": _Cube("dn", None, False),
    "obs": _Cube("dn", None, False),
}
"""Variables of EMIT granules; a file has one of them."""

MASK_FLAGS = {
    "cloud flag": "cloud",
    "cirrus flag": "cirrus",
    "water flag": "water",
    "spacecraft flag": "spacecraft",
    "dilated cloud flag": "dilated_cloud",
    "aggregate flag": "aggregate",
}
"""Names of the bands of a MASK file, in lower case, and of the coordinates they become."""


def sniff(path: Path) -> bool:
    """Whether ``path`` is an HDF5 file with a cube of EMIT in it."""
    if not first_bytes(path, 8).startswith(SIGNATURE):
        return False
    with suppress(SceneError), open_hdf5(path) as file:
        return _is_emit(file)
    return False


def open(path: Path, variable: str | None) -> xr.DataArray:
    """Open a granule on its map grid, or as the swath it was taken in.

    Bands that the product calls bad hold -0.01 in place of reflectance: they are not good, and NaN. The masks
    of the MASK file in the same folder become coordinates (y, x), as ``cloud``, true or false.

    Args:
        path: a file of reflectance, uncertainty, radiance, masks or observation geometry.
        variable: None for the map grid (longitude and latitude), each cell of which shows the pixel that the
            granule's lookup table names; "swath" for the stored image with ``lon`` and ``lat``.

    Raises:
        SceneError: the file lacks what a granule has, or is damaged.
    """
    if variable not in (None, SWATH):
        raise SceneError(f"{path} has no array '{variable}'.", f"Name '{SWATH}', or none for the map grid.")
    with open_hdf5(path) as file:
        if not _is_emit(file):
            raise SceneError(f"{path} holds no cube of EMIT.", "Give a granule of level 1B or 2A.")
        name = next(name for name in CUBES if own_node(file, name) is not None)
        return _open(file, name, path, as_swath=variable == SWATH)


def _is_emit(file: h5py.File) -> bool:
    has_cube = any(own_node(file, name) is not None for name in CUBES)
    return has_cube and own_node(file, BANDS) is not None and own_node(file, "location") is not None


def _open(file: h5py.File, name: str, path: Path, as_swath: bool) -> xr.DataArray:
    cube = CUBES[name]
    dataset = own_dataset(file, name)
    count = dataset.shape[2] if dataset.ndim == 3 else 0
    fill = attribute_number(dataset, "_FillValue")
    fill = FILL if fill is None else fill
    wavelength, fwhm, good = _bands(file, count, path) if cube.spectral else (None, None, None)
    usable = None if good is None or name == "radiance" else np.where(good, 1.0, np.nan)
    if usable is not None and np.all(usable == 1):
        usable = None
    source: RasterSource = cube_source(file, name, ORDER, path, Calibration(usable, None, fill))
    swath = source.shape[1:]
    layers = _masks(path, swath) if name in ("reflectance", "reflectance_uncertainty") else {}
    lookup = None if as_swath else _lookup(file, path, swath)
    transform, crs = None, None
    if lookup is None:
        layers |= _geolocation(file, swath, path)
    else:
        check_shape((1, *lookup.shape), path)
        source = LookupSource(source, lookup)
        layers = {key: LookupLayer(layer, lookup, False) for key, layer in layers.items()}
        transform, crs = _georeference(file, path)
    found = {
        "wavelength": f"{BANDS}/wavelengths",
        "fwhm": f"{BANDS}/fwhm",
        "good": f"{BANDS}/good_wavelengths",
        "quantity": f"the variable '{name}'",
        "nodata": "attribute _FillValue",
        "transform": "attribute geotransform",
        "crs": "attribute spatial_ref",
        "acquired": "attribute time_coverage_start",
    }
    known = {
        "wavelength": wavelength is not None,
        "fwhm": fwhm is not None,
        "good": good is not None,
        "transform": transform is not None,
        "crs": crs is not None,
    }
    return make_scene(
        source,
        path=path,
        wavelength=wavelength,
        fwhm=fwhm,
        good=good,
        crs=crs,
        transform=transform,
        nodata=fill,
        quantity=cube.quantity,
        units=cube.units,
        sensor="EMIT",
        acquired=parse_time(attribute_text(file, "time_coverage_start")),
        layers=layers,
        found={key: place for key, place in found.items() if known.get(key, True)},
    )


def _bands(
    file: h5py.File, count: int, path: Path
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None, NDArray[np.bool_] | None]:
    """Centres and widths in nanometres, and which bands are good; older granules do not tell the latter."""
    centres = read_vector(file, f"{BANDS}/wavelengths", count)
    wavelength = None if centres is None else to_nanometres(centres, "nm")
    if centres is None or wavelength is None:
        raise SceneError(
            f"{path} lacks {BANDS}/wavelengths, or it is no list of {count} wavelengths.",
            "The file is damaged; download it again.",
        )
    widths = read_vector(file, f"{BANDS}/fwhm", count)
    flags = read_vector(file, f"{BANDS}/good_wavelengths", count)
    return (
        wavelength,
        None if widths is None else widths_to_nanometres(widths, centres, "nm"),
        None if flags is None else flags == 1,
    )


def _lookup(file: h5py.File, path: Path, swath: tuple[int, int]) -> GltLookup | None:
    """The granule's lookup table, None when it has none."""
    names = ("location/glt_y", "location/glt_x")
    if any(own_node(file, name) is None for name in names):
        return None
    tables = [own_dataset(file, name) for name in names]
    if any(table.dtype.kind not in "iu" or table.ndim != 2 for table in tables) or (
        tables[0].shape != tables[1].shape
    ):
        raise SceneError(
            f"The lookup tables glt_x and glt_y of {path} are no two tables of whole numbers of one size.",
            f"The file is damaged; its swath may still open with the variable '{SWATH}'.",
        )
    return GltLookup(Hdf5File(path), *names, shape=tables[0].shape, swath=swath)


def _georeference(file: h5py.File, path: Path) -> tuple[Affine, CRS | None]:
    """The map grid: ``geotransform`` has GDAL's order and pixel edges."""
    numbers = attribute_numbers(file, "geotransform", 6)
    if numbers is None or not np.isfinite(numbers).all() or numbers[1] * numbers[5] == 0:
        raise SceneError(
            f"{path} lacks a usable geotransform for its map grid.",
            f"Open the swath with the variable '{SWATH}'.",
        )
    transform = Affine.from_gdal(*numbers.tolist())
    try:
        crs = CRS.from_wkt(attribute_text(file, "spatial_ref") or "EPSG:4326")
    except CRSError:
        return transform, None
    code = crs.to_epsg(confidence_threshold=90)
    return transform, crs if code is None else CRS.from_epsg(code)


def _geolocation(file: h5py.File, swath: tuple[int, int], path: Path) -> dict[str, LayerSource]:
    """Longitude and latitude of the pixel centres."""
    found: dict[str, LayerSource] = {}
    for name in ("lon", "lat"):
        layer = layer_of(file, f"location/{name}", swath, path, dtype="f8", nodata=FILL)
        if layer is not None:
            found[name] = layer
    return found if len(found) == 2 else {}


def _masks(path: Path, swath: tuple[int, int]) -> dict[str, LayerSource]:
    """The flags of the MASK file beside a file of reflectance, {} when there is none that fits."""
    name = path.name.replace("_RFLUNCERT_", "_MASK_").replace("_RFL_", "_MASK_")
    beside = path.with_name(name)
    found: dict[str, LayerSource] = {}
    if name == path.name or not beside.is_file():
        return found
    with suppress(SceneError), open_hdf5(beside) as file:
        for index, title in enumerate(read_texts(file, f"{BANDS}/mask_bands")):
            flag = MASK_FLAGS.get(title.lower())
            layer = layer_of(file, "mask", swath, beside, index=index, dtype="bool") if flag else None
            if flag and layer is not None:
                found[flag] = layer
    return found
