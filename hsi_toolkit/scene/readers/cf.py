"""NetCDF-4 files and Zarr stores that follow the Climate and Forecast conventions, ours among them.

The cube is a variable with three dimensions of which two are a grid's; the third is the bands', whose
wavelengths are its coordinate or a variable of their own along it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

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
    MAX_VECTOR,
    SIGNATURE,
    chunk_rows,
    cube_source,
    layer_of,
    open_hdf5,
    own_dataset,
    read_vector,
)
from hsi_toolkit.scene.lazy import Calibration, LayerSource, RasterSource
from hsi_toolkit.scene.metadata import parse_time, to_nanometres, widths_to_nanometres
from hsi_toolkit.scene.readers import first_bytes
from hsi_toolkit.scene.zarr_store import ZarrArray, ZarrSource, arrays, is_store, read_json

Floats = NDArray[np.float64]

ROW_NAMES = ("y", "lat", "latitude", "northing", "row", "rows", "line", "lines", "downtrack", "nj")
COLUMN_NAMES = (
    "x",
    "lon",
    "longitude",
    "easting",
    "col",
    "cols",
    "column",
    "columns",
    "sample",
    "samples",
    "ni",
)
WAVELENGTH = re.compile(r"radiation_wavelength|wavelength|wvl|^wl$", re.IGNORECASE)
WIDTH = re.compile(r"fwhm|full_width|bandwidth", re.IGNORECASE)
TIME_KEYS = ("time_coverage_start", "acquired", "start_time", "date_time")
SENSOR_KEYS = ("instrument", "sensor")

REGULAR = 1e-3
"""Coordinates whose steps differ by more than this share make no grid."""


@dataclass(frozen=True, eq=False)
class _Variable:
    """A variable of either kind of file: its dimensions' names, sizes, type and attributes."""

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attributes: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class _File:
    """What both kinds of file tell alike."""

    attributes: Mapping[str, Any]
    variables: Mapping[str, _Variable]
    handle: h5py.File | Mapping[str, ZarrArray]

    def vector(self, name: str) -> Floats | None:
        """A variable of one dimension, None when there is none of that name."""
        variable = self.variables.get(name)
        if variable is None or len(variable.shape) != 1 or variable.dtype.kind not in "iuf":
            return None
        if variable.shape[0] > MAX_VECTOR:
            raise SceneError(f"'{name}' claims {variable.shape[0]} entries.", "The file is damaged.")
        if isinstance(self.handle, h5py.File):
            return read_vector(self.handle, name)
        return self.handle[name].whole().astype(np.float64)


@dataclass(frozen=True)
class _Cube:
    """The variable with the scene's values, and the order of its axes ("byx")."""

    variable: _Variable
    order: str
    dims: Mapping[str, str] = field(default_factory=dict)


def sniff(path: Path) -> bool:
    """Whether ``path`` is a Zarr store, or a NetCDF-4 file that says it follows the conventions."""
    if path.is_dir():
        return is_store(path)
    if not first_bytes(path, 8).startswith(SIGNATURE):
        return False
    try:
        with open_hdf5(path) as file:
            told = _text(file.attrs.get("Conventions"))
            return told is not None and "CF" in told.upper() and bool(_cubes(_netcdf(file)))
    except (SceneError, OSError):
        return False


def open(path: Path, variable: str | None) -> xr.DataArray:
    """Open a NetCDF-4 file or Zarr store; ``variable`` chooses among several. Raises SceneError."""
    if path.is_dir():
        stored = arrays(path)
        return _open(_zarr(path, stored), path, variable)
    with open_hdf5(path) as file:
        return _open(_netcdf(file), path, variable)


def _open(file: _File, path: Path, name: str | None) -> xr.DataArray:
    cube = _choose(file, path, name)
    variable = cube.variable
    sizes = dict(zip(cube.order, variable.shape, strict=True))
    shape = (sizes["b"], sizes["y"], sizes["x"])
    check_shape(shape, path)
    calibration = _calibration(variable, shape[0])
    source, stored_rows = _source(file, cube, path, calibration, shape)
    wavelength, fwhm, found = _spectrum(file, cube)
    crs, transform, georeference = _georeference(file, cube)
    quantity, units = _quantity(file, variable)
    flags = file.vector("good")
    numbers = file.vector("band") if cube.dims["b"] == "band" else None
    told = {**found, **georeference}
    if calibration.scale is not None:
        told["scale"] = f"scale_factor of '{variable.name}'"
    if calibration.nodata is not None:
        told["nodata"] = f"_FillValue of '{variable.name}'"
    if flags is not None:
        told["good"] = "'good'"
    if quantity != "dn":
        told["quantity"] = f"attributes of '{variable.name}'"
    sensor = next((text for key in SENSOR_KEYS if (text := _text(file.attributes.get(key)))), None)
    times = (parse_time(_text(file.attributes.get(key))) for key in TIME_KEYS)
    acquired = next((time for time in times if time), None)
    told |= {
        key: "the file's attributes" for key, value in (("sensor", sensor), ("acquired", acquired)) if value
    }
    return make_scene(
        source,
        path=path,
        wavelength=wavelength,
        fwhm=fwhm,
        good=None if flags is None or len(flags) != shape[0] else flags > 0,
        crs=crs,
        transform=transform,
        nodata=calibration.nodata if isinstance(calibration.nodata, float) else None,
        quantity=quantity,
        sensor=sensor,
        acquired=acquired,
        units=units,
        band_numbers=_numbers(numbers, shape[0]),
        layers=_layers(file, shape, path),
        stored_rows=min(stored_rows, shape[1]),
        found=told,
    )


def _netcdf(file: h5py.File) -> _File:
    variables = {}
    for name in file:
        link = file.get(name, getlink=True)
        node = file[name] if isinstance(link, h5py.HardLink) else None
        if isinstance(node, h5py.Dataset) and not node.is_virtual and not node.external:
            variables[name] = _Variable(name, _dims(node), node.shape or (), node.dtype, _attributes(node))
    return _File(_attributes(file), variables, file)


def _zarr(path: Path, stored: Mapping[str, ZarrArray]) -> _File:
    variables = {
        name: _Variable(name, each.dims, each.shape, each.dtype, each.attributes)
        for name, each in stored.items()
    }
    return _File(read_json(path / ".zattrs"), variables, stored)


def _dims(dataset: h5py.Dataset) -> tuple[str, ...]:
    """Names of the dimensions; a coordinate's own is its name."""
    if dataset.ndim == 1 and dataset.attrs.get("CLASS") == b"DIMENSION_SCALE":
        return (dataset.name.rpartition("/")[2],)
    names = []
    for dimension in dataset.dims:
        scale = next(iter(dimension.values()), None)
        names.append("" if scale is None else str(scale.name).rpartition("/")[2])
    return tuple(names)


def _attributes(node: h5py.HLObject) -> dict[str, Any]:
    """Attributes of one text or of numbers; references and long ones are left out."""
    kept = {}
    for name in node.attrs:
        shape = node.attrs.get_id(name).shape
        if (
            shape is not None
            and (not shape or shape[0] <= 64)
            and node.attrs.get_id(name).dtype.kind in "iufOS"
        ):
            value = node.attrs[name]
            if not isinstance(value, np.ndarray) or value.dtype.kind in "iuf":
                kept[name] = value
    return kept


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value.strip() or None if isinstance(value, str) else None


def _number(value: object) -> float | None:
    try:
        return float(np.asarray(value, np.float64).reshape(-1)[0]) if value is not None else None
    except (TypeError, ValueError, IndexError):
        return None


def _cubes(file: _File) -> list[_Cube]:
    """Variables of numbers with rows, columns and one further dimension."""
    found = []
    for variable in file.variables.values():
        if len(variable.dims) != 3 or variable.dtype.kind not in "iuf":
            continue
        letters = [_axis(name, file) for name in variable.dims]
        if sorted(letters) == ["b", "x", "y"]:
            dims = dict(zip(letters, variable.dims, strict=True))
            found.append(_Cube(variable, "".join(letters), dims))
    return found


def _axis(name: str, file: _File) -> str:
    """What a dimension is: "y", "x", or "b" for any other."""
    attributes = file.variables[name].attributes if name in file.variables else {}
    told = {_text(attributes.get("axis")), _text(attributes.get("standard_name"))}
    if name.lower() in ROW_NAMES or told & {"Y", "latitude", "projection_y_coordinate"}:
        return "y"
    if name.lower() in COLUMN_NAMES or told & {"X", "longitude", "projection_x_coordinate"}:
        return "x"
    return "b"


def _choose(file: _File, path: Path, name: str | None) -> _Cube:
    cubes = _cubes(file)
    if name is not None:
        named = next((cube for cube in cubes if cube.variable.name == name.strip("/")), None)
        if named is None:
            raise SceneError(f"{path} has no cube '{name}'.", f"It has {_listed(cubes)}.")
        return named
    if not cubes:
        raise SceneError(
            f"{path} holds no variable with rows, columns and bands.", "Give a file with a cube at its top."
        )
    sizes = sorted((int(np.prod(cube.variable.shape)) for cube in cubes), reverse=True)
    if len(cubes) > 1 and sizes[0] < 2 * sizes[1]:
        raise SceneError(f"{path} holds several cubes: {_listed(cubes)}.", "Name the one to open.")
    return max(cubes, key=lambda cube: int(np.prod(cube.variable.shape)))


def _listed(cubes: Iterable[_Cube]) -> str:
    return ", ".join(cube.variable.name for cube in cubes) or "none"


def _calibration(variable: _Variable, bands: int) -> Calibration:
    scale, offset = (_number(variable.attributes.get(name)) for name in ("scale_factor", "add_offset"))
    fill = _number(variable.attributes.get("_FillValue", variable.attributes.get("missing_value")))
    return Calibration(
        None if scale in (None, 1.0) else np.full(bands, scale),
        None if offset in (None, 0.0) else np.full(bands, offset),
        fill,
    )


def _source(
    file: _File, cube: _Cube, path: Path, calibration: Calibration, shape: tuple[int, int, int]
) -> tuple[RasterSource, int]:
    """The source, and the rows stored together."""
    name = cube.variable.name
    if isinstance(file.handle, h5py.File):
        rows = chunk_rows(own_dataset(file.handle, name), cube.order)
        return cube_source(file.handle, name, cube.order, path, calibration), rows
    array = file.handle[name]
    if calibration.nodata is None and array.fill is not None:
        calibration = Calibration(calibration.scale, calibration.offset, array.fill)
    return ZarrSource(array, cube.order, shape, calibration), array.chunks[cube.order.index("y")]


def _spectrum(file: _File, cube: _Cube) -> tuple[Floats | None, Floats | None, dict[str, str]]:
    bands = cube.variable.shape[cube.order.index("b")]
    along = [
        each
        for each in file.variables.values()
        if each.shape == (bands,) and (not each.dims[0] or each.dims[0] == cube.dims["b"])
    ]
    centres = next((each for each in along if _named(each, WAVELENGTH) and not _named(each, WIDTH)), None)
    stored = None if centres is None else file.vector(centres.name)
    if centres is None or stored is None:
        return None, None, {}
    unit = _text(centres.attributes.get("units"))
    wavelength = to_nanometres(stored, unit)
    found = {"wavelength": f"'{centres.name}', {f'in {unit}' if unit else 'without a unit'}"}
    widths = next((each for each in along if _named(each, WIDTH)), None)
    width = None if widths is None else file.vector(widths.name)
    if wavelength is None or widths is None or width is None:
        return wavelength, None, found if wavelength is not None else {}
    found["fwhm"] = f"'{widths.name}'"
    return wavelength, widths_to_nanometres(width, stored, unit), found


def _named(variable: _Variable, pattern: re.Pattern[str]) -> bool:
    standard = _text(variable.attributes.get("standard_name")) or ""
    return bool(pattern.search(standard) or pattern.search(variable.name))


def _georeference(file: _File, cube: _Cube) -> tuple[CRS | None, Affine | None, dict[str, str]]:
    name = _text(cube.variable.attributes.get("grid_mapping")) or ""
    mapping = file.variables[name].attributes if name in file.variables else {}
    crs = None
    text = next((value for key in ("crs_wkt", "spatial_ref") if (value := _text(mapping.get(key)))), None)
    if text is not None:
        try:
            crs = CRS.from_wkt(text)
        except CRSError:
            crs = None
    stated = (_text(mapping.get("GeoTransform")) or "").split()
    found = {"crs": f"'{name}'"} if crs is not None else {}
    if len(stated) == 6:
        try:
            transform = Affine.from_gdal(*map(float, stated))
        except ValueError:
            pass
        else:
            return crs, transform, found | {"transform": f"GeoTransform of '{name}'"}
    transform_of_centres = _from_centres(file.vector(cube.dims["y"]), file.vector(cube.dims["x"]))
    if transform_of_centres is None or not (crs is not None or _is_geographic(file, cube)):
        return crs, None, found
    if crs is None:
        crs, found = CRS.from_epsg(4326), {"crs": "degrees of the coordinates"}
    return crs, transform_of_centres, found | {"transform": "coordinates of the pixel centres"}


def _from_centres(y: Floats | None, x: Floats | None) -> Affine | None:
    """The transform, pixel edges, of evenly spaced centres."""
    steps = []
    for centres in (x, y):
        if centres is None or len(centres) < 2 or not np.isfinite(centres).all():
            return None
        step = (centres[-1] - centres[0]) / (len(centres) - 1)
        if step == 0 or np.abs(np.diff(centres) - step).max() > REGULAR * abs(step):
            return None
        steps.append((step, centres[0] - step / 2))
    (dx, left), (dy, top) = steps
    return Affine(dx, 0.0, left, 0.0, dy, top)


def _is_geographic(file: _File, cube: _Cube) -> bool:
    units = [
        _text(file.variables[name].attributes.get("units")) or ""
        for name in (cube.dims["y"], cube.dims["x"])
        if name in file.variables
    ]
    return len(units) == 2 and units[0].startswith("degrees_n") and units[1].startswith("degrees_e")


def _quantity(file: _File, variable: _Variable) -> tuple[Quantity, str | None]:
    units = _text(variable.attributes.get("units"))
    stated = _text(file.attributes.get("quantity"))
    if stated in get_args(Quantity):
        return cast(Quantity, stated), units
    words = " ".join(
        text for key in ("standard_name", "long_name") if (text := _text(variable.attributes.get(key)))
    )
    words = f"{variable.name} {words}".lower()
    if "uncertainty" in words:
        return "dn", units
    kinds: tuple[Quantity, Quantity] = ("reflectance", "radiance")
    return next((kind for kind in kinds if kind in words), "dn"), units


def _numbers(stored: Floats | None, bands: int) -> NDArray[np.integer] | None:
    if stored is None or len(stored) != bands or len(np.unique(stored)) != bands or (stored % 1).any():
        return None
    return stored.astype(np.int64)


def _layers(file: _File, shape: tuple[int, int, int], path: Path) -> dict[str, LayerSource]:
    """Longitude and latitude of each pixel."""
    made: dict[str, LayerSource] = {}
    if isinstance(file.handle, h5py.File):
        for name in ("lon", "lat"):
            if name in file.variables and (layer := layer_of(file.handle, name, shape[1:], path)) is not None:
                made[name] = layer
    return made
