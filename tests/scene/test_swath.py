"""Swaths on a map grid: the nearest pixel, nothing beyond the swath, and no more of the file than needed."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.crs import CRS

from hsi_toolkit.errors import Cancelled, HsiError
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import iter_blocks, make_scene
from hsi_toolkit.scene.lazy import BandIndex, Float32
from hsi_toolkit.scene.lookup import BOX_BYTES, LookupSource
from hsi_toolkit.scene.swath import is_swath, to_grid

CENTRE = (500_000.0, 5_000_000.0)


class Cube:
    """An array as a source that notes how much is read at once."""

    def __init__(self, values: Float32) -> None:
        self.values = values
        self.shape = values.shape
        self.largest = 0
        self.pixels = 0

    def read(self, bands: BandIndex, rows: slice, columns: slice) -> Float32:
        part = self.values[bands][:, rows, columns]
        self.largest = max(self.largest, part.nbytes)
        self.pixels += part.shape[1] * part.shape[2]
        return part.astype(np.float32)


class Table:
    """A lookup table in memory."""

    def __init__(self, line: np.ndarray, sample: np.ndarray) -> None:
        self.line, self.sample, self.shape = line, sample, line.shape

    def read(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        return self.line[rows, columns], self.sample[rows, columns]


def swath(angle: float, shape: tuple[int, int] = (50, 40), spacing: float = 30.0) -> xr.DataArray:
    """A swath turned by ``angle`` radians whose two bands are the easting and northing of each pixel."""
    along, across = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    along, across = (along - shape[0] / 2) * spacing, (across - shape[1] / 2) * spacing
    east = CENTRE[0] + across * np.cos(angle) - along * np.sin(angle)
    north = CENTRE[1] + across * np.sin(angle) + along * np.cos(angle)
    lon, lat = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True).transform(east, north)
    source = Cube(np.stack([east - CENTRE[0], north - CENTRE[1]]).astype(np.float32))
    scene = make_scene(source, path=Path("swath"), wavelength=np.array([500.0, 600.0]), quantity="radiance")
    cloud = np.zeros(shape, bool)
    cloud[10:20, 5:15] = True
    return scene.assign_coords(lon=(("y", "x"), lon), lat=(("y", "x"), lat), cloud=(("y", "x"), cloud))


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 2 * np.pi), st.sampled_from([20.0, 30.0, 47.0]))
def test_each_cell_shows_a_pixel_no_further_than_half_a_pixel(angle: float, resolution: float) -> None:
    scene = swath(angle)
    grid = to_grid(scene, resolution)
    assert grid.rio.crs == CRS.from_epsg(32633)
    east, north = grid.values + np.array(CENTRE, np.float32)[:, None, None]
    distance = np.hypot(east - grid["x"].to_numpy(), north - grid["y"].to_numpy()[:, None])
    known = np.isfinite(distance)
    assert np.nanmax(distance) <= 1.1 * max(30 * np.sqrt(2), resolution) / 2 + 0.5
    covered = known.sum() * resolution**2
    assert 0.95 < covered / (50 * 40 * 900) < 1.25


def test_a_swath_on_the_grid_already_comes_back_as_it_is() -> None:
    scene = swath(0.0)
    grid = to_grid(scene)
    assert grid.rio.transform().a == 30
    known = np.isfinite(grid.values[0])
    assert known.sum() == 50 * 40
    rows, columns = np.flatnonzero(known.any(axis=1)), np.flatnonzero(known.any(axis=0))
    inside = grid[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    np.testing.assert_array_equal(inside.values, scene.values[:, ::-1])
    np.testing.assert_array_equal(inside.cloud.values, scene.cloud.values[::-1])
    np.testing.assert_array_equal(grid.wavelength, [500, 600])
    assert grid.attrs["quantity"] == "radiance"
    assert "lon" not in grid.coords


def test_windows_and_blocks_agree_with_the_whole_and_a_pickle_of_it() -> None:
    grid = to_grid(swath(0.7, (150, 140)))
    whole = grid.values
    np.testing.assert_array_equal(grid[1:, 33:70, 40:131].values, whole[1:, 33:70, 40:131])
    blocks = [block.core for block in iter_blocks(grid, rows=37)]
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), whole)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(grid)).values, whole)  # noqa: S301  own data


def test_pixels_without_a_place_are_left_out() -> None:
    scene = swath(0.3)
    lon = scene["lon"].to_numpy().copy()
    lon[:, :10] = np.nan
    lon[40:, :] = -9999
    grid = to_grid(scene.assign_coords(lon=(("y", "x"), lon)))
    assert 40 * 30 * 0.95 < np.isfinite(grid.values[0]).sum() < 40 * 30 * 1.25


@pytest.mark.parametrize(
    ("latitude", "longitude", "code"), [(86, 10, 5041), (-10, 179.95, 32760), (60, 7, 32632)]
)
def test_the_reference_system_suits_the_place(latitude: float, longitude: float, code: int) -> None:
    scene = swath(0.0, (4, 4))
    lon = np.linspace(longitude, longitude + 0.02, 16).reshape(4, 4)
    lat = latitude + np.linspace(0, 0.001, 16).reshape(4, 4).T
    grid = to_grid(scene.assign_coords(lon=(("y", "x"), lon), lat=(("y", "x"), lat)))
    assert grid.rio.crs == CRS.from_epsg(code)


def test_a_grid_across_the_date_line_is_small() -> None:
    scene = swath(0.0, (4, 4))
    lon = np.array([[179.9985, 179.9995, -179.9995, -179.9985]] * 4)
    lat = np.linspace(0.003, 0, 4)[:, None] + np.zeros((4, 4))
    grid = to_grid(scene.assign_coords(lon=(("y", "x"), lon), lat=(("y", "x"), lat)))
    assert max(grid.shape[1:]) < 10


def test_what_is_no_swath_is_refused() -> None:
    scene = swath(0.0)
    assert is_swath(scene)
    assert not is_swath(to_grid(scene))
    with pytest.raises(HsiError, match="no swath"):
        to_grid(to_grid(scene))
    with pytest.raises(HsiError, match="no swath"):
        to_grid(scene.drop_vars("lon"))
    with pytest.raises(HsiError, match="resolution of -1"):
        to_grid(scene, -1)
    with pytest.raises(HsiError, match="coarser"):
        to_grid(scene, 1e-3)
    with pytest.raises(HsiError, match="no reference system"):
        to_grid(scene, crs="here")
    nowhere = scene.assign_coords(lon=(("y", "x"), np.full((50, 40), np.nan)))
    with pytest.raises(HsiError, match="longitude and latitude"):
        to_grid(nowhere)


def test_it_can_be_cancelled() -> None:
    class Stopped(Progress):
        def cancelled(self) -> bool:
            return True

    with pytest.raises(Cancelled):
        to_grid(swath(0.0), progress=Stopped())


def test_a_line_across_a_turned_swath_reads_little_more_than_it_shows() -> None:
    size = 600
    cube = Cube(np.zeros((3, size, size), np.float32))
    row, column = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    line, sample = (row + column) // 2, (row - column) // 2 + size // 2
    inside = (sample >= 0) & (sample < size)
    table = Table(np.where(inside, line, -1), np.where(inside, sample, -1))
    source = LookupSource(cube, table)
    source.read(slice(0, 3), slice(280, 300), slice(0, size))
    assert cube.pixels < 5 * 20 * size


def test_a_table_without_order_keeps_reads_small() -> None:
    size = 3000
    cube = Cube(np.broadcast_to(np.float32(1), (200, size, size)))
    rng = np.random.default_rng(0)
    table = Table(rng.integers(0, size, (8, 8)), rng.integers(0, size, (8, 8)))
    source = LookupSource(cube, table)
    assert (source.read(slice(0, 200), slice(0, 8), slice(0, 8)) == 1).all()
    assert cube.largest <= BOX_BYTES
