"""Swaths, scenes whose pixels have a longitude and latitude each, and their resampling to a map grid."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.crs import CRS
from rasterio.errors import CRSError
from scipy.spatial import cKDTree

from hsi_toolkit.errors import ParameterError, SceneError
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene.blocks import values_of
from hsi_toolkit.scene.contract import make_scene
from hsi_toolkit.scene.lazy import BandIndex, Float32, LayerSource
from hsi_toolkit.scene.lookup import LookupLayer, LookupSource, Rows

POLAR_LATITUDE = 84.0
"""Beyond it UTM is not defined, and the universal polar stereographic grids are."""

UPS = {True: 5041, False: 5042}
"""EPSG codes north and south."""

PART = 32
"""Rows and columns of the parts whose extents are kept to find the pixels near a cell."""

CELLS = 128
"""Rows and columns of the grid that are looked up together."""

SLACK = 1.1
"""A cell shows the nearest pixel if that is no further than this many half diagonals of a pixel."""

MAX_CELLS = 1 << 34

Floats = NDArray[np.float64]

NO_ROWS: Rows = np.empty(0, np.intp)


@dataclass(frozen=True, eq=False)
class SceneSource:
    """A scene as a ``RasterSource``."""

    scene: xr.DataArray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        return cast(tuple[int, int, int], self.scene.shape)

    def read(self, bands: BandIndex, rows: slice, columns: slice) -> Float32:
        """See ``RasterSource.read``."""
        return values_of(self.scene.isel(band=bands, y=rows, x=columns))


@dataclass(frozen=True, eq=False)
class SceneLayer:
    """A coordinate (y, x) of a scene as a ``LayerSource``."""

    layer: xr.DataArray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return cast(tuple[int, int], self.layer.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the values."""
        return self.layer.dtype

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """See ``LayerSource.read``."""
        return np.asarray(self.layer.isel(y=rows, x=columns).to_numpy())


@dataclass(frozen=True, eq=False)
class Geolocation:
    """The pixel centres of a swath in the coordinates of a map, read window by window."""

    lon: LayerSource
    lat: LayerSource
    crs: CRS

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the swath."""
        return self.lon.shape

    def read(self, rows: slice, columns: slice) -> tuple[Floats, Floats]:
        """Eastings and northings (rows, columns), NaN where longitude or latitude are unknown."""
        lon, lat = (
            np.asarray(layer.read(rows, columns), np.float64).copy() for layer in (self.lon, self.lat)
        )
        known = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90) & (np.abs(lon) <= 360)
        lon[~known] = lat[~known] = np.nan
        transformer = Transformer.from_crs("EPSG:4326", self.crs.to_wkt(), always_xy=True)
        x, y = transformer.transform(lon, lat)
        known &= np.isfinite(x) & np.isfinite(y)
        return np.where(known, x, np.nan), np.where(known, y, np.nan)


@dataclass(frozen=True, eq=False)
class _Survey:
    """Extents of the parts of a swath, (parts,) each and empty ones inverted, and the spacing of its pixels.

    ``typical`` is the geometric mean of the median spacing across and along the swath, ``wide`` the diagonal
    of a pixel where pixels lie furthest apart (95th percentile), both in the unit of the map.
    """

    first_row: Rows
    first_column: Rows
    left: Floats
    right: Floats
    bottom: Floats
    top: Floats
    typical: float
    wide: float


class NearestLookup:
    """For every cell of a grid the nearest pixel of a swath within ``reach``, found in a k-d tree.

    Trees are built for the parts of the swath around each window, so memory does not grow with the swath.
    """

    def __init__(
        self,
        geolocation: Geolocation,
        survey: _Survey,
        transform: Affine,
        shape: tuple[int, int],
        reach: float,
    ) -> None:
        self.geolocation = geolocation
        self.survey = survey
        self.transform = transform
        self.shape = shape
        self.reach = reach

    def read(self, rows: slice, columns: slice) -> tuple[Rows, Rows]:
        """See ``Lookup.read``."""
        size = (rows.stop - rows.start, columns.stop - columns.start)
        line, sample = np.full(size, -1, np.intp), np.full(size, -1, np.intp)
        x = self.transform.c + self.transform.a * (np.arange(columns.start, columns.stop) + 0.5)
        y = self.transform.f + self.transform.e * (np.arange(rows.start, rows.stop) + 0.5)
        for top in range(0, size[0], CELLS):
            for left in range(0, size[1], CELLS):
                cells = (slice(top, top + CELLS), slice(left, left + CELLS))
                self._find(x[cells[1]], y[cells[0]], line[cells], sample[cells])
        return line, sample

    def _find(self, x: Floats, y: Floats, line: Rows, sample: Rows) -> None:
        """Write the nearest pixels of the cells at ``x`` and ``y`` into ``line`` and ``sample``."""
        places, pixel_lines, pixel_samples = self._pixels_near(x, y)
        if len(places) == 0:
            return
        centres = np.stack(np.meshgrid(x, y), axis=-1)
        distance, nearest = cKDTree(places).query(centres, distance_upper_bound=self.reach)
        known = np.isfinite(distance)
        line[known], sample[known] = pixel_lines[nearest[known]], pixel_samples[nearest[known]]

    def _pixels_near(self, x: Floats, y: Floats) -> tuple[Floats, Rows, Rows]:
        """Pixels within reach of the cells' extent: places (n, 2), lines and samples (n,)."""
        left, right = x.min() - self.reach, x.max() + self.reach
        bottom, top = y.min() - self.reach, y.max() + self.reach
        survey = self.survey
        across = (survey.left <= right) & (survey.right >= left)
        places, lines, samples = [np.empty((0, 2))], [NO_ROWS], [NO_ROWS]
        for part in np.flatnonzero(across & (survey.bottom <= top) & (survey.top >= bottom)).tolist():
            first_row, first_column = int(survey.first_row[part]), int(survey.first_column[part])
            east, north = self.geolocation.read(*_window(first_row, first_column, self.geolocation.shape))
            inside = (east >= left) & (east <= right) & (north >= bottom) & (north <= top)
            row, column = np.nonzero(inside)
            places.append(np.column_stack([east[inside], north[inside]]))
            lines.append(row + first_row)
            samples.append(column + first_column)
        return np.concatenate(places), np.concatenate(lines), np.concatenate(samples)


def is_swath(scene: xr.DataArray) -> bool:
    """Whether the pixels of a scene have a longitude and latitude each, and no map grid."""
    placed = all(name in scene.coords and scene[name].dims == ("y", "x") for name in ("lon", "lat"))
    return placed and scene.rio.crs is None


def to_grid(
    scene: xr.DataArray,
    resolution: float | None = None,
    crs: CRS | str | int | None = None,
    progress: Progress | None = None,
) -> xr.DataArray:
    """A swath on a map grid: each cell shows the nearest pixel, cells further than half a pixel off none.

    Longitude and latitude are read once to find the extent; values are read when they are wanted.

    Args:
        scene: with ``lon`` and ``lat`` (y, x), degrees.
        resolution: side of a cell in the unit of ``crs``; None: the spacing of the pixels, to two digits.
        crs: reference system of the grid; None: the UTM zone of the swath's centre.

    Returns:
        The scene on a north-up grid whose edges are multiples of ``resolution``, with all that is known of
        its bands, and its masks.

    Raises:
        SceneError: the scene is no swath, or none of its pixels has a place.
        ParameterError: the resolution or reference system makes no sense.
    """
    if not is_swath(scene):
        raise SceneError(
            f"{scene.attrs.get('source', 'The scene')} is no swath with longitudes and latitudes of its own.",
            "A scene on a map grid needs no other one.",
        )
    progress = progress or Progress()
    lon, lat = SceneLayer(scene["lon"]), SceneLayer(scene["lat"])
    target = _utm_of(lon, lat, progress) if crs is None else _crs_of(crs)
    geolocation = Geolocation(lon, lat, target)
    survey = _survey(geolocation, progress)
    step = _two_digits(survey.typical) if resolution is None else float(resolution)
    if not np.isfinite(step) or step <= 0:
        raise ParameterError(f"A resolution of {step} makes no sense.", "Give a positive number.")
    margin = survey.wide / 4
    left = np.floor((survey.left.min() - margin) / step)
    right = np.ceil((survey.right.max() + margin) / step)
    bottom = np.floor((survey.bottom.min() - margin) / step)
    top = np.ceil((survey.top.max() + margin) / step)
    shape = (int(top - bottom), int(right - left))
    if shape[0] * shape[1] > MAX_CELLS:
        raise ParameterError(
            f"A resolution of {step} makes a grid of {shape[1]} x {shape[0]} cells.", "Give a coarser one."
        )
    transform = Affine(step, 0.0, float(left * step), 0.0, -step, float(top * step))
    reach = SLACK * max(survey.wide, step) / 2
    return _on_grid(scene, NearestLookup(geolocation, survey, transform, shape, reach), transform, target)


def _on_grid(scene: xr.DataArray, lookup: NearestLookup, transform: Affine, crs: CRS) -> xr.DataArray:
    """The scene through a lookup, with its coordinates on band and its masks."""
    layers: dict[str, LayerSource] = {}
    for name, coordinate in scene.coords.items():
        if coordinate.dims == ("y", "x") and name not in ("lon", "lat"):
            fill = np.nan if coordinate.dtype.kind == "f" else 0
            layers[str(name)] = LookupLayer(SceneLayer(coordinate), lookup, fill)
    grid = make_scene(
        LookupSource(SceneSource(scene.transpose("band", "y", "x")), lookup),
        path=Path(scene.attrs.get("source", "swath")),
        crs=crs,
        transform=transform,
        nodata=scene.encoding.get("_FillValue"),
        layers=layers,
        found=scene.encoding.get("found"),
    )
    on_band = {name: values for name, values in scene.coords.items() if values.dims == ("band",)}
    return grid.assign_coords(on_band).assign_attrs(scene.attrs)


def _window(row: int, column: int, shape: tuple[int, int], width: int = PART) -> tuple[slice, slice]:
    """The part of a swath that begins at a row and column."""
    return slice(row, min(row + PART, shape[0])), slice(column, min(column + width, shape[1]))


def _strips(shape: tuple[int, int], progress: Progress) -> Iterator[tuple[slice, slice]]:
    """Whole lines of a swath, as many as a part has."""
    for row in range(0, shape[0], PART):
        progress.check()
        yield _window(row, 0, shape, shape[1])


def _survey(geolocation: Geolocation, progress: Progress) -> _Survey:
    """Where the parts of a swath lie. Raises SceneError when no pixel has a place."""
    columns = -(-geolocation.shape[1] // PART)
    edges: list[list[Floats]] = [[], [], [], []]
    spacing: list[tuple[float, float, float]] = []
    for rows, whole in _strips(geolocation.shape, progress):
        east, north = geolocation.read(rows, whole)
        for place, low, high in ((east, edges[0], edges[1]), (north, edges[2], edges[3])):
            low.append(_by_part(np.where(np.isnan(place), np.inf, place), columns, np.inf).min(axis=(0, 2)))
            high.append(
                _by_part(np.where(np.isnan(place), -np.inf, place), columns, -np.inf).max(axis=(0, 2))
            )
        found = _spacing(east, north)
        if found is not None:
            spacing.append(found)
    if not spacing:
        raise SceneError(
            "The swath has no two neighbouring pixels with a longitude and latitude.",
            "The file may be damaged; download it again.",
        )
    across, along, wide = np.array(spacing).T
    left, right, bottom, top = (np.concatenate(parts) for parts in edges)
    first = np.arange(len(left))
    return _Survey(
        first // columns * PART,
        first % columns * PART,
        left,
        right,
        bottom,
        top,
        float(np.sqrt(np.median(across) * np.median(along))),
        float(np.max(wide)),
    )


def _by_part(values: Floats, columns: int, fill: float) -> Floats:
    """Lines of a swath as (rows, parts, columns of a part), with ``fill`` for NaN and past the end."""
    padded = np.full((len(values), columns * PART), fill)
    padded[:, : values.shape[1]] = np.where(np.isnan(values), fill, values)
    return padded.reshape(len(values), columns, PART)


def _spacing(east: Floats, north: Floats) -> tuple[float, float, float] | None:
    """Median distance of neighbours across and along the lines, and the diagonal of the widest pixels."""
    steps = [np.hypot(np.diff(east, axis=axis), np.diff(north, axis=axis)).ravel() for axis in (1, 0)]
    known = [step[np.isfinite(step) & (step > 0)] for step in steps]
    if not any(len(step) for step in known):
        return None
    across, along = (step if len(step) else known[1 - number] for number, step in enumerate(known))
    wide = float(np.hypot(np.percentile(across, 95), np.percentile(along, 95)))
    return float(np.median(across)), float(np.median(along)), wide


def _utm_of(lon: LayerSource, lat: LayerSource, progress: Progress) -> CRS:
    """The UTM zone of the mean place, or the polar grid. Raises SceneError when no pixel has a place."""
    total = np.zeros(3)
    for window in _strips(lon.shape, progress):
        degrees = (np.asarray(layer.read(*window), np.float64) for layer in (lon, lat))
        east, north = (np.radians(values) for values in degrees)
        vectors = np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)])
        total += np.nansum(vectors, axis=(1, 2))
    if not np.any(total):
        raise SceneError(
            "No pixel of the swath has a longitude and latitude.",
            "The file may be damaged; download it again.",
        )
    latitude = float(np.degrees(np.arctan2(total[2], np.hypot(total[0], total[1]))))
    if abs(latitude) > POLAR_LATITUDE:
        return CRS.from_epsg(UPS[latitude > 0])
    longitude = float(np.degrees(np.arctan2(total[1], total[0])))
    zone = min(int((longitude + 180) // 6) + 1, 60)
    return CRS.from_epsg((32600 if latitude >= 0 else 32700) + zone)


def _crs_of(crs: CRS | str | int) -> CRS:
    try:
        return CRS.from_user_input(crs)
    except CRSError as error:
        raise ParameterError(f"'{crs}' is no reference system.", "Give a code such as EPSG:32633.") from error


def _two_digits(value: float) -> float:
    """A number rounded to two significant digits: 29.7 becomes 30."""
    return float(f"{value:.2g}")
