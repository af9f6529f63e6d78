"""AVIRIS Classic, NG, 3 and 5: ENVI images known by their names, and netCDF-4 files.

Layouts: JPL's download pages of each instrument; of the netCDF files, ISOFIT's and SpectralUtil's readers.
"""

import re
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.contract import check_shape, make_scene
from hsi_toolkit.scene.hdf5 import (
    SIGNATURE,
    Hdf5File,
    attribute_number,
    attribute_text,
    chunk_rows,
    cube_source,
    layer_of,
    open_hdf5,
    own_dataset,
    own_node,
    read_vector,
)
from hsi_toolkit.scene.lazy import Calibration, LayerSource, RasterSource
from hsi_toolkit.scene.lookup import GltLookup, LookupSource
from hsi_toolkit.scene.metadata import parse_time, to_nanometres, widths_to_nanometres
from hsi_toolkit.scene.readers import envi, first_bytes, refuse_variable

ORDER = "byx"
SWATH = "swath"
FILL = -9999.0
RADIANCE_UNITS = "uW/cm2/sr/nm"
CUBES = ("reflectance", "radiance", "uncertainty")
GLT = "geolocation_lookup_table"
GRID = "transverse_mercator"

CLASSIC_NODATA = -50.0
"""What pixels off the image have in radiance of AVIRIS Classic; its headers do not say so."""

CLASSIC_GAINS_MAX_BYTES = 1 << 20

NAMES = (
    ("AVIRIS-NG", re.compile(r"^ang(\d{4})(\d\d)(\d\d)t(\d\d)(\d\d)(\d\d)", re.IGNORECASE)),
    ("AVIRIS-3", re.compile(r"^av3(\d{4})(\d\d)(\d\d)t(\d\d)(\d\d)(\d\d)", re.IGNORECASE)),
    ("AVIRIS-5", re.compile(r"^av5(\d{4})(\d\d)(\d\d)t(\d\d)(\d\d)(\d\d)", re.IGNORECASE)),
    ("AVIRIS-Classic", re.compile(r"^f(\d\d)(\d\d)(\d\d)t\d\dp\d\d_?r\d\d", re.IGNORECASE)),
)
"""Names of granules, with the time they were taken at; Classic has the day alone, years in two digits."""

RADIANCE = re.compile(r"rdn", re.IGNORECASE)
REFLECTANCE = re.compile(r"(rfl|corr|refl)", re.IGNORECASE)
OTHER = re.compile(r"(obs|igm|loc|glt|unc|h2o|mask|lonlat)", re.IGNORECASE)
"""Parts of names after the granule's: observation geometry, locations, uncertainties and the like."""


def sniff(path: Path) -> bool:
    """Whether ``path`` is an image or netCDF file named as AVIRIS does."""
    if _instrument(path) is None:
        return False
    if first_bytes(path, 8).startswith(SIGNATURE):
        with suppress(SceneError), open_hdf5(path) as file:
            return _group(file) is not None
        return False
    return envi.sniff(path)


def open(path: Path, variable: str | None) -> xr.DataArray:
    """Open a flight line.

    ENVI images: as ``envi`` opens them, with the instrument, the time and the quantity of the name where the
    header is silent. Radiance of AVIRIS Classic is divided by the gains of the ``.gain`` file beside it.

    netCDF files: orthorectified ones on their map grid, others through their lookup table; ``variable``
    "swath" gives the image as it was taken, with ``lon`` and ``lat`` if the file has them.

    Raises:
        SceneError: the file lacks what such a product has, or is damaged.
    """
    if not first_bytes(path, 8).startswith(SIGNATURE):
        refuse_variable(path, variable)
        return envi.open_image(path, _hints(path))
    if variable not in (None, SWATH):
        raise SceneError(f"{path} has no array '{variable}'.", f"Name '{SWATH}', or none for the map grid.")
    with open_hdf5(path) as file:
        group = _group(file)
        if group is None:
            raise SceneError(
                f"{path} holds no cube of AVIRIS.", f"Give a file with one of {', '.join(CUBES)}."
            )
        return _open_netcdf(file, group, path, as_swath=variable == SWATH)


def _granule(path: Path) -> str | None:
    """The part of a file's name that names the granule; None for other names."""
    hits = (pattern.match(path.name) for _, pattern in NAMES)
    return next((hit.group() for hit in hits if hit), None)


def _instrument(path: Path) -> tuple[str, str | None] | None:
    """Instrument and time by the name of a file; None for other names."""
    for instrument, pattern in NAMES:
        hit = pattern.match(path.name)
        if hit is None:
            continue
        parts = hit.groups()
        if len(parts) == 3:
            century = 1900 if int(parts[0]) > 80 else 2000
            day = f"{century + int(parts[0])}-{parts[1]}-{parts[2]}"
            return instrument, day if parse_time(day) else None
        return instrument, parse_time("{}-{}-{}T{}:{}:{}Z".format(*parts))
    return None


def _hints(path: Path) -> envi.Hints:
    instrument, acquired = _instrument(path) or (None, None)
    granule = _granule(path) or ""
    kind = path.name[len(granule) :]
    if OTHER.search(kind):
        return envi.Hints(sensor=instrument, acquired=acquired)
    if REFLECTANCE.search(kind):
        return envi.Hints(sensor=instrument, acquired=acquired, quantity="reflectance", units="1")
    if not RADIANCE.search(kind):
        return envi.Hints(sensor=instrument, acquired=acquired)
    classic = instrument == "AVIRIS-Classic"
    return envi.Hints(
        sensor=instrument,
        acquired=acquired,
        quantity="radiance",
        units=RADIANCE_UNITS,
        divisors=_classic_gains(path, granule) if classic else None,
        nodata=CLASSIC_NODATA if classic else None,
    )


def _classic_gains(path: Path, granule: str) -> NDArray[np.float64] | None:
    """The first column of the ``.gain`` file of a flight line, None when there is none."""
    try:
        found = [
            entry
            for entry in path.parent.iterdir()
            if entry.suffix.lower() == ".gain" and entry.name.lower().startswith(granule.lower())
        ]
        if len(found) != 1 or found[0].stat().st_size > CLASSIC_GAINS_MAX_BYTES:
            return None
        lines = found[0].read_text(encoding="ascii", errors="replace").splitlines()
        gains = np.array([float(line.split()[0]) for line in lines if line.strip()])
    except (OSError, ValueError):
        return None
    return gains if gains.size and np.all(np.isfinite(gains)) and np.all(gains > 0) else None


def _group(file: h5py.File) -> str | None:
    return next((name for name in CUBES if own_node(file, f"{name}/{name}") is not None), None)


def _open_netcdf(file: h5py.File, name: str, path: Path, as_swath: bool) -> xr.DataArray:
    dataset = own_dataset(file, f"{name}/{name}")
    fill = attribute_number(dataset, "_FillValue")
    fill = FILL if fill is None else fill
    source: RasterSource = cube_source(file, f"{name}/{name}", ORDER, path, Calibration(nodata=fill))
    bands = source.shape[0]
    centres = read_vector(file, f"{name}/wavelength", bands)
    wavelength = None if centres is None else to_nanometres(centres, "nm")
    if centres is None or wavelength is None:
        raise SceneError(
            f"{path} lacks {name}/wavelength, or it is no list of {bands} wavelengths.",
            "The file is damaged; download it again.",
        )
    widths = read_vector(file, f"{name}/fwhm", bands)
    transform, crs = _georeference(file)
    swath = source.shape[1:]
    layers: dict[str, LayerSource] = {}
    lookup = _lookup(file, path, swath)
    stored_rows = 1
    if lookup is not None and not as_swath:
        check_shape((1, *lookup.shape), path)
        source = LookupSource(source, lookup)
    else:
        stored_rows = min(chunk_rows(dataset, ORDER), swath[0])
        if lookup is not None:
            transform, crs, layers = None, None, _geolocation(file, swath, path)
    instrument, by_name = _instrument(path) or (None, None)
    stated = parse_time(attribute_text(file, "time_coverage_start"))
    found = {
        "wavelength": f"{name}/wavelength",
        "fwhm": f"{name}/fwhm" if widths is not None else "",
        "quantity": f"the variable '{name}'",
        "nodata": "attribute _FillValue",
        "transform": f"attribute GeoTransform of {GRID}" if transform else "",
        "crs": f"attribute spatial_ref of {GRID}" if crs else "",
        "sensor": "the name of the file",
        "acquired": "attribute time_coverage_start" if stated else "the name of the file",
    }
    return make_scene(
        source,
        path=path,
        wavelength=wavelength,
        fwhm=None if widths is None else widths_to_nanometres(widths, centres, "nm"),
        crs=crs,
        transform=transform,
        nodata=fill,
        quantity="reflectance" if name == "reflectance" else "radiance" if name == "radiance" else "dn",
        units={"reflectance": "1", "radiance": attribute_text(dataset, "units") or RADIANCE_UNITS}.get(name),
        sensor=instrument,
        acquired=stated or by_name,
        layers=layers,
        stored_rows=stored_rows,
        found={key: text for key, text in found.items() if text},
    )


def _lookup(file: h5py.File, path: Path, swath: tuple[int, int]) -> GltLookup | None:
    """The lookup table of an image on the sensor's grid; None when there is none, or the image needs none."""
    names = (f"{GLT}/line", f"{GLT}/sample")
    if any(own_node(file, name) is None for name in names):
        return None
    tables = [own_dataset(file, name) for name in names]
    if any(table.dtype.kind not in "iu" or table.ndim != 2 for table in tables) or (
        tables[0].shape != tables[1].shape
    ):
        raise SceneError(
            f"The lookup tables of {path} are no two tables of whole numbers of one size.",
            f"The file is damaged; its swath may still open with the variable '{SWATH}'.",
        )
    if tables[0].shape == swath:
        return None
    return GltLookup(Hdf5File(path), *names, shape=tables[0].shape, swath=swath, signed=True)


def _georeference(file: h5py.File) -> tuple[Affine | None, CRS | None]:
    """The map grid: ``GeoTransform`` has GDAL's order and pixel edges."""
    node = own_node(file, GRID)
    if node is None:
        return None, None
    words = (attribute_text(node, "GeoTransform") or "").replace(",", " ").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    usable = len(numbers) == 6 and bool(np.isfinite(numbers).all())
    transform = Affine.from_gdal(*numbers) if usable else None
    if transform is not None and transform.determinant == 0:
        transform = None
    try:
        crs = CRS.from_wkt(attribute_text(node, "spatial_ref") or attribute_text(node, "crs_wkt") or "")
    except CRSError:
        return transform, None
    code = crs.to_epsg(confidence_threshold=90)
    return transform, crs if code is None else CRS.from_epsg(code)


def _geolocation(file: h5py.File, swath: tuple[int, int], path: Path) -> dict[str, LayerSource]:
    found: dict[str, LayerSource] = {}
    for name in ("lon", "lat"):
        layer = layer_of(file, name, swath, path, dtype="f8", nodata=FILL)
        if layer is not None:
            found[name] = layer
    return found if len(found) == 2 else {}
