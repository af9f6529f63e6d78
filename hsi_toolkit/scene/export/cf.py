"""A scene's metadata after the Climate and Forecast conventions, for NetCDF and Zarr alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit import __version__
from hsi_toolkit.scene.export.storage import Storage

CONVENTIONS = "CF-1.11"
GRID_MAPPING = "spatial_ref"

Attributes = dict[str, object]


@dataclass(frozen=True, eq=False)
class Variable:
    """A variable that is small enough to be held: its dimensions, values and attributes."""

    dims: tuple[str, ...]
    values: NDArray[np.generic]
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CfScene:
    """Everything but the values of a scene's variable.

    Attributes:
        name, attributes: of the variable (band, y, x) that holds the values.
        variables: coordinates and grid mapping by name.
        whole: attributes of the file.
    """

    name: str
    attributes: Attributes
    variables: Mapping[str, Variable]
    whole: Attributes


def variable_name(scene: xr.DataArray) -> str:
    """The name of the variable that holds a scene's values: its quantity, where that is known."""
    quantity = str(scene.attrs.get("quantity", "dn"))
    return "data" if quantity == "dn" else quantity


def describe(scene: xr.DataArray, storage: Storage) -> CfScene:
    """What the file says about ``scene`` (band, y, x)."""
    quantity = str(scene.attrs.get("quantity", "dn"))
    units = scene.attrs.get("units") or ("1" if quantity == "reflectance" else None)
    variables = {**_bands(scene), **_grid(scene)}
    auxiliary = [each for each in variables if each not in ("band", "y", "x", GRID_MAPPING)]
    attributes: Attributes = {"long_name": "digital number" if quantity == "dn" else quantity}
    if units:
        attributes["units"] = str(units)
    if auxiliary:
        attributes["coordinates"] = " ".join(auxiliary)
    if GRID_MAPPING in variables:
        attributes["grid_mapping"] = GRID_MAPPING
    if storage.scale is not None:
        attributes["scale_factor"] = storage.scale
    whole: Attributes = {
        "Conventions": CONVENTIONS,
        "source": f"hsi_toolkit {__version__}",
        "quantity": quantity,
    }
    for ours, theirs in (("sensor", "instrument"), ("acquired", "time_coverage_start")):
        if scene.attrs.get(ours):
            whole[theirs] = str(scene.attrs[ours])
    return CfScene(variable_name(scene), attributes, variables, whole)


def _bands(scene: xr.DataArray) -> dict[str, Variable]:
    numbers = scene["band"].to_numpy().astype(np.int32)
    made = {"band": Variable(("band",), numbers, {"long_name": "number of the band in its file"})}
    facts: tuple[tuple[str, Attributes], ...] = (
        (
            "wavelength",
            {"standard_name": "radiation_wavelength", "long_name": "centre of the band", "units": "nm"},
        ),
        ("fwhm", {"long_name": "full width at half maximum of the band", "units": "nm"}),
    )
    for name, attributes in facts:
        if name in scene.coords:
            made[name] = Variable(("band",), scene[name].to_numpy().astype(np.float64), attributes)
    flags = scene["good"].to_numpy().astype(np.int8)
    meanings = {"long_name": "whether the band is good", "flag_values": np.array([0, 1], np.int8)}
    made["good"] = Variable(("band",), flags, {**meanings, "flag_meanings": "bad good"})
    return made


def _grid(scene: xr.DataArray) -> dict[str, Variable]:
    transform, crs = scene.rio.transform(), scene.rio.crs
    height, width = scene.sizes["y"], scene.sizes["x"]
    made: dict[str, Variable] = {}
    for name in ("lon", "lat"):
        if name in scene.coords and scene[name].dims == ("y", "x"):
            standard = {"lon": "longitude", "lat": "latitude"}[name]
            units = {"lon": "degrees_east", "lat": "degrees_north"}[name]
            values = scene[name].to_numpy().astype(np.float64)
            made[name] = Variable(("y", "x"), values, {"standard_name": standard, "units": units})
    if transform.is_identity:
        # GDAL takes rows without coordinates for those of a map, whose first row is in the south.
        downwards: Attributes = {"axis": "Y", "long_name": "row, counted downwards"}
        made["y"] = Variable(("y",), -(np.arange(height) + 0.5), downwards)
        made["x"] = Variable(("x",), np.arange(width) + 0.5, {"axis": "X", "long_name": "column"})
        return made
    mapping: Attributes = {}
    if crs is not None:
        mapping = dict(pyproj.CRS.from_wkt(crs.to_wkt()).to_cf())
        mapping["spatial_ref"] = mapping.get("crs_wkt", crs.to_wkt())
    mapping["GeoTransform"] = " ".join(f"{value:.17g}" for value in transform.to_gdal())
    made[GRID_MAPPING] = Variable((), np.array(0, np.int32), mapping)
    if transform.b == 0 and transform.d == 0:
        geographic = crs is not None and crs.is_geographic
        made["y"] = Variable(
            ("y",), transform.f + transform.e * (np.arange(height) + 0.5), _axis("y", geographic, crs)
        )
        made["x"] = Variable(
            ("x",), transform.c + transform.a * (np.arange(width) + 0.5), _axis("x", geographic, crs)
        )
    return made


def _axis(name: str, geographic: bool, crs: object) -> Attributes:
    if geographic:
        standard = {"y": "latitude", "x": "longitude"}[name]
        units = {"y": "degrees_north", "x": "degrees_east"}[name]
        return {"standard_name": standard, "units": units, "axis": name.upper()}
    attributes: Attributes = {"standard_name": f"projection_{name}_coordinate", "axis": name.upper()}
    unit = str(getattr(crs, "linear_units", None) or "")
    if unit:
        attributes["units"] = "m" if unit.lower() in ("metre", "meter") else unit
    return attributes
