"""Whether a scene's georeference can be true."""

import math
from dataclasses import dataclass

import pyproj
import xarray as xr
from pyproj.exceptions import CRSError, ProjError
from rasterio.crs import CRS
from rasterio.errors import CRSError as RasterioCRSError
from rasterio.warp import transform_bounds

from hsi_toolkit.checking.findings import Finding

SMALLEST_METRES, LARGEST_METRES = 0.005, 5000.0
"""Pixel sizes that imaging spectrometers have."""

METRES_PER_DEGREE = 111_320.0
OBLONG = 1.5
"""Pixels this many times longer than wide deserve a second look."""

MARGIN_DEGREES = 3.0
"""How far a scene may lie outside the area its coordinate system is made for."""

LANDSAT_METRES = 30.0
"""On this grid, which EnMAP keeps, too, centres lie on multiples of the pixel size."""

_HALF = 0.02


@dataclass(frozen=True)
class _Grid:
    """A scene's grid: corners' bounds in its own coordinates, pixel sides in metres where these are known."""

    bounds: tuple[float, float, float, float]
    width: float
    height: float


def check_geolocation(scene: xr.DataArray) -> list[Finding]:
    """What is wrong or odd about the transform and coordinate system of a scene."""
    transform, crs = scene.rio.transform(), scene.rio.crs
    if transform.is_identity:
        text = "The scene has no georeference: it lies where its pixels are counted."
        return [Finding("Geolocation", "note", text, "Fine for laboratory images and swaths; maps need one.")]
    findings = []
    if not all(map(math.isfinite, transform[:6])) or transform.determinant == 0:
        return [
            Finding(
                "Geolocation",
                "problem",
                "The transform gives pixels no size.",
                "Correct the header's map info.",
            )
        ]
    if crs is None:
        text = "The scene has a transform but no coordinate system."
        findings.append(
            Finding("Geolocation", "problem", text, "Assign the coordinate system it was made in.")
        )
    findings += _signs(scene)
    if crs is not None:
        grid = _grid(scene, crs)
        placed = _extent(grid, crs)
        findings += placed
        if placed[-1].status == "good":
            findings += _pixel_size(grid)
    findings += _half_pixel(scene)
    return findings


def _signs(scene: xr.DataArray) -> list[Finding]:
    a, b, _, d, e, _ = scene.rio.transform()[:6]
    if abs(b) > 1e-9 * abs(a) or abs(d) > 1e-9 * abs(a):
        turned = math.degrees(math.atan2(d, a))
        mirrored = a * e - b * d > 0
        text = f"The grid is rotated by {turned:.1f}°."
        if mirrored:
            return [
                Finding(
                    "Geolocation",
                    "problem",
                    f"{text} It is mirrored, too.",
                    "Check the sign of the pixel height.",
                )
            ]
        return [Finding("Geolocation", "note", text, "Tasks keep the rotation; QGIS turns the picture.")]
    findings = []
    if e > 0:
        text = "Rows run from south to north: the pixel height is positive."
        findings.append(
            Finding(
                "Geolocation",
                "problem",
                text,
                "If the picture is upside down, flip the sign of the pixel height.",
            )
        )
    if a < 0:
        text = "Columns run from east to west: the pixel width is negative."
        findings.append(Finding("Geolocation", "problem", text, "Check the sign of the pixel width."))
    return findings


def _grid(scene: xr.DataArray, crs: CRS) -> _Grid:
    transform = scene.rio.transform()
    height, width = scene.sizes["y"], scene.sizes["x"]
    corners = [transform @ corner for corner in ((0, 0), (width, 0), (0, height), (width, height))]
    xs, ys = zip(*corners, strict=True)
    a, b, _, d, e, _ = transform[:6]
    sides = math.hypot(a, d), math.hypot(b, e)
    if crs.is_geographic:
        latitude = math.radians(min(89.0, abs(sum(ys) / 4)))
        sides = sides[0] * METRES_PER_DEGREE * math.cos(latitude), sides[1] * METRES_PER_DEGREE
    else:
        metres = crs.linear_units_factor[1] if crs.is_projected else 1.0
        sides = sides[0] * metres, sides[1] * metres
    return _Grid((min(xs), min(ys), max(xs), max(ys)), *sides)


def _pixel_size(grid: _Grid) -> list[Finding]:
    findings = []
    for name, side in (("wide", grid.width), ("high", grid.height)):
        if not SMALLEST_METRES <= side <= LARGEST_METRES:
            text = f"A pixel would be {side:.4g} m {name} on the ground."
            findings.append(Finding("Geolocation", "problem", text, "Check the units of the transform."))
            break
    ratio = max(grid.width, grid.height) / max(min(grid.width, grid.height), 1e-12)
    if ratio > OBLONG:
        text = f"Pixels are oblong: {grid.width:.4g} by {grid.height:.4g} m."
        findings.append(
            Finding("Geolocation", "note", text, "Check whether width and height are what they should be.")
        )
    return findings


def _extent(grid: _Grid, crs: CRS) -> list[Finding]:
    left, bottom, right, top = grid.bounds
    if crs.is_geographic and (bottom < -90 or top > 90 or left < -180 or right > 360):
        swapped = left >= -90 and right <= 90 and bottom >= -180 and top <= 180
        text = f"The extent {left:.4g} to {right:.4g}, {bottom:.4g} to {top:.4g} does not lie on the globe."
        remedy = (
            "Longitude and latitude look swapped." if swapped else "Check transform and coordinate system."
        )
        return [Finding("Geolocation", "problem", text, remedy)]
    try:
        west, south, east, north = transform_bounds(crs, CRS.from_epsg(4326), *grid.bounds)
        code = crs.to_epsg()
        # Only the register knows the area: what files say of a system leaves it out.
        area = None if code is None else pyproj.CRS.from_epsg(code).area_of_use
    except (CRSError, ProjError, RasterioCRSError) as error:
        text = f"The extent cannot be turned into longitude and latitude: {error}."
        return [Finding("Geolocation", "problem", text, "Check transform and coordinate system.")]
    if not all(map(math.isfinite, (west, south, east, north))):
        text = "The extent lies outside what the coordinate system can express."
        return [Finding("Geolocation", "problem", text, "Check transform and coordinate system.")]
    place = f"{_degrees(south, north, 'N', 'S')}, {_degrees(west, east, 'E', 'W')}"
    if area is not None:
        # An area across the date line has its west east of its east.
        across = area.west > area.east
        beside = not across and (east < area.west - MARGIN_DEGREES or west > area.east + MARGIN_DEGREES)
        if beside or north < area.south - MARGIN_DEGREES or south > area.north + MARGIN_DEGREES:
            text = f"The scene lies at {place}, outside the area of its coordinate system ({area.name})."
            return [Finding("Geolocation", "problem", text, "Check zone, hemisphere and order of the axes.")]
    return [Finding("Geolocation", "good", f"The scene lies at {place}.")]


def _half_pixel(scene: xr.DataArray) -> list[Finding]:
    """Centres on round coordinates: right for some grids, elsewhere a sign of centres taken for edges."""
    a, b, x0, d, e, y0 = scene.rio.transform()[:6]
    if b or d or abs(abs(a) - LANDSAT_METRES) < 1e-6:
        return []
    shares = [abs(origin / size) % 1.0 for origin, size in ((x0, a), (y0, e))]
    if all(abs(share - 0.5) < _HALF for share in shares):
        text = "Pixel centres, not edges, lie on multiples of the pixel size."
        remedy = "Compare with a map: where centres were taken for corners, the scene lies half a pixel off."
        return [Finding("Geolocation", "note", text, remedy)]
    return []


def _degrees(low: float, high: float, positive: str, negative: str) -> str:
    middle = (low + high) / 2
    return f"{abs(middle):.3f}° {positive if middle >= 0 else negative}"
