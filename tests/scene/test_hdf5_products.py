"""PRISMA, EMIT, NEON and AVIRIS files made in the tests: what every reader of a product guarantees."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest
from rasterio.crs import CRS

from hsi_toolkit.errors import HsiError
from hsi_toolkit.scene import iter_blocks, open_scene, read_pixels

VNIR, SWIR, ROWS, COLUMNS = 5, 6, 9, 7


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def write(path: Path, data: Mapping[str, object], attributes: Mapping[str, object]) -> Path:
    """An HDF5 file of data sets by their paths and attributes of the root, or of a node as "node@name"."""
    with h5py.File(path, "w") as file:
        for name, values in data.items():
            file[name] = values
        for name, value in attributes.items():
            node, _, key = name.rpartition("@")
            file[node or "/"].attrs[key] = value
    return path


@pytest.fixture
def prisma(tmp_path: Path, rng: np.random.Generator) -> Callable[..., tuple[Path, np.ndarray, np.ndarray]]:
    """Write a PRISMA product; gives its path and the cubes as stored, (band, y, x)."""

    def make(level: str, **changes: object) -> tuple[Path, np.ndarray, np.ndarray]:
        vnir = rng.integers(1, 60_000, (VNIR, ROWS, COLUMNS)).astype("u2")
        swir = rng.integers(1, 60_000, (SWIR, ROWS, COLUMNS)).astype("u2")
        vnir[:, 0, 0] = swir[:, 0, 0] = 0
        vnir[2, 4, 3] = 0
        group = f"HDFEOS/SWATHS/PRS_L{level}_HCO"
        ending = "_VNIR" if level == "1" else ""
        data = {
            f"{group}/Data Fields/VNIR_Cube": vnir.transpose(1, 0, 2),
            f"{group}/Data Fields/SWIR_Cube": swir.transpose(1, 0, 2),
            f"{group}/Geolocation Fields/Longitude{ending}": np.full((ROWS, COLUMNS), 11.25, "f4"),
            f"{group}/Geolocation Fields/Latitude{ending}": np.full((ROWS, COLUMNS), 45.5, "f4"),
        }
        attributes: dict[str, object] = {
            "List_Cw_Vnir": np.array([0, 980, 800, 600, 400], "f4"),
            "List_Cw_Swir": np.array([2400, 2000, 1500, 1000, 950, 0], "f4"),
            "List_Fwhm_Vnir": np.array([0, 10, 11, 12, 13], "f4"),
            "List_Fwhm_Swir": np.array([8, 9, 10, 11, 12, 0], "f4"),
            "Product_StartTime": np.bytes_("2021-07-09T10:14:04.250000"),
        }
        if level == "1":
            attributes |= {f"ScaleFactor_{name}": np.float32(100) for name in ("Vnir", "Swir")}
            attributes |= {"Offset_Vnir": np.float32(2.5), "Offset_Swir": np.float32(0)}
        else:
            for name, top in (("Vnir", 0.9), ("Swir", 1.1)):
                attributes |= {f"L2Scale{name}Min": np.float32(0.1), f"L2Scale{name}Max": np.float32(top)}
        if level == "2D":
            right, bottom = 600_060 + 30 * (COLUMNS - 1), 5_040_060 - 30 * (ROWS - 1)
            attributes |= {"Epsg_Code": np.uint32(32632)}
            attributes |= {"Product_ULcorner_easting": 600_060.0, "Product_ULcorner_northing": 5_040_060.0}
            attributes |= {"Product_LRcorner_easting": right, "Product_LRcorner_northing": bottom}
        path = write(tmp_path / f"PRS_L{level}.he5", data, attributes | changes)
        return path, vnir, swir

    return make


class TestPrisma:
    def test_bands_ascend_and_absent_ones_are_left_out(self, prisma) -> None:
        path, vnir, swir = prisma("2D")
        scene = open_scene(path)
        np.testing.assert_array_equal(scene.wavelength, [400, 600, 800, 950, 980, 1000, 1500, 2000, 2400])
        np.testing.assert_array_equal(scene.fwhm, [13, 12, 11, 12, 10, 11, 10, 9, 8])
        np.testing.assert_array_equal(scene.band, [5, 4, 3, 10, 2, 9, 8, 7, 6])
        assert "".join(name[0] for name in scene.detector.values) == "vvvsvssss"
        stored = np.concatenate([vnir, swir])[scene["band"].to_numpy() - 1]
        top = np.where(scene.detector == "vnir", 0.9, 1.1)[:, None, None]
        expected = np.where(stored == 0, np.nan, 0.1 + stored * (top - 0.1) / 65535)
        np.testing.assert_allclose(scene.values, expected, rtol=1e-5)
        assert scene.attrs["quantity"] == "reflectance"
        assert scene.attrs["acquired"] == "2021-07-09T10:14:04Z"
        assert np.isnan(scene.values[2, 4, 3]), "0 is no data in single bands too"

    def test_corners_are_centres_of_pixels(self, prisma) -> None:
        scene = open_scene(prisma("2D")[0])
        assert scene.rio.transform()[:6] == (30, 0, 600_045, 0, -30, 5_040_075)
        assert scene.rio.crs == CRS.from_epsg(32632)
        assert (float(scene.x[0]), float(scene.y[0])) == (600_060, 5_040_060)
        assert "lon" not in scene.coords

    def test_corners_that_are_edges_after_all_are_taken_as_such(self, prisma) -> None:
        corners = {"Product_LRcorner_easting": 600_060.0 + 30 * COLUMNS}
        corners |= {"Product_LRcorner_northing": 5_040_060.0 - 30 * ROWS}
        assert open_scene(prisma("2D", **corners)[0]).rio.transform()[:6] == (
            30,
            0,
            600_060,
            0,
            -30,
            5_040_060,
        )

    def test_level_one_divides_and_only_pixels_without_any_value_are_empty(self, prisma) -> None:
        path, vnir, swir = prisma("1")
        scene = open_scene(path)
        np.testing.assert_allclose(
            scene.sel(band=5)[1:].values, vnir[4, 1:] / 100 - 2.5, rtol=1e-4, atol=1e-4
        )
        np.testing.assert_allclose(scene.sel(band=6)[1:].values, swir[0, 1:] / 100, rtol=1e-5)
        empty = np.isnan(scene.values).all(axis=0)
        assert empty[0, 0]
        assert empty.sum() == 1
        assert float(scene.sel(band=3)[4, 3]) == -2.5, "a single 0 is a dark value"
        for bands in ([2], [0, 7], slice(3, 5)):
            part = scene[bands, :3].values
            np.testing.assert_array_equal(part, scene.values[bands, :3])
        assert scene.attrs["quantity"] == "radiance"
        assert scene.attrs["units"] == "W/m2/sr/um"

    @pytest.mark.parametrize("level", ["1", "2B", "2C"])
    def test_products_without_a_grid_keep_longitude_and_latitude(self, prisma, level: str) -> None:
        scene = open_scene(prisma(level)[0])
        assert scene.rio.crs is None
        assert scene.lon.dims == ("y", "x")
        assert float(scene.lon[1:3, 2][0]) == 11.25
        assert float(scene.lat[8, 6]) == 45.5

    def test_errors_open_as_codes_of_the_same_bands(self, prisma) -> None:
        path, *_ = prisma("2C")
        codes = np.arange(ROWS * COLUMNS).reshape(ROWS, 1, COLUMNS).astype("u1")
        with h5py.File(path, "r+") as file:
            fields = file["HDFEOS/SWATHS/PRS_L2C_HCO/Data Fields"]
            fields["VNIR_PIXEL_L2_ERR_MATRIX"] = np.repeat(codes, VNIR, axis=1)
            fields["SWIR_PIXEL_L2_ERR_MATRIX"] = np.repeat(codes, SWIR, axis=1)
        errors = open_scene(path, "errors")
        np.testing.assert_array_equal(errors.values[4], codes[:, 0])
        np.testing.assert_array_equal(errors.wavelength, open_scene(path).wavelength)
        with pytest.raises(HsiError, match="no array 'clouds'"):
            open_scene(path, "clouds")

    def test_the_panchromatic_band_covers_the_same_ground(self, prisma) -> None:
        path, *_ = prisma("2D", L2ScalePanMin=np.float32(0), L2ScalePanMax=np.float32(1))
        with h5py.File(path, "r+") as file:
            file["HDFEOS/SWATHS/PRS_L2D_PCO/Data Fields/Cube"] = np.full((6 * ROWS, 6 * COLUMNS), 65535, "u2")
        pan = open_scene(path, "pan")
        assert pan.shape == (1, 6 * ROWS, 6 * COLUMNS)
        assert pan.rio.transform()[:6] == (5, 0, 600_045, 0, -5, 5_040_075)
        assert float(pan[0, 5, 5]) == 1

    @pytest.mark.parametrize(
        ("level", "changes", "message"),
        [
            ("2D", {"List_Cw_Vnir": np.ones(3)}, "List_Cw_Vnir"),
            ("2D", {"List_Cw_Swir": np.zeros(SWIR)}, "every band of SWIR"),
            ("2D", {"Product_ULcorner_easting": np.nan}, "corners"),
            ("2D", {"Product_LRcorner_easting": 600_000.0}, "no area"),
            ("2C", {"L2ScaleVnirMax": np.array([1.0, 2.0])}, "L2ScaleVnirMax"),
            ("1", {"ScaleFactor_Swir": 0.0}, "ScaleFactor_Swir"),
        ],
    )
    def test_missing_facts_are_named(self, prisma, level: str, changes, message: str) -> None:
        with pytest.raises(HsiError, match=message):
            open_scene(prisma(level, **changes)[0])


LINES, SAMPLES, BANDS = 8, 6, 4


@pytest.fixture
def emit(tmp_path: Path, rng: np.random.Generator) -> Callable[..., tuple[Path, np.ndarray]]:
    """Write an EMIT granule whose map shows the swath turned by 90 degrees; gives its path and the swath."""

    def make(variable: str = "reflectance", **changes: object) -> tuple[Path, np.ndarray]:
        cube = rng.random((LINES, SAMPLES, BANDS)).astype("f4")
        cube[2, 3] = -9999
        if variable == "reflectance":
            cube[..., 2] = np.where(cube[..., 2] == -9999, -9999, -0.01)
        line, sample = np.meshgrid(np.arange(1, LINES + 1), np.arange(1, SAMPLES + 1))
        framed = [np.pad(table.astype("i4"), 1) for table in (line, sample)]
        data = {
            variable: cube,
            "sensor_band_parameters/wavelengths": np.array([400, 900, 1400, 2300], "f4"),
            "sensor_band_parameters/fwhm": np.full(BANDS, 8.5, "f4"),
            "sensor_band_parameters/good_wavelengths": np.array([1, 1, 0, 1], "u1"),
            "location/glt_y": framed[0],
            "location/glt_x": framed[1],
            "location/lon": np.full((LINES, SAMPLES), 16.0),
            "location/lat": np.full((LINES, SAMPLES), -23.0),
        } | {key: value for key, value in changes.items() if "@" not in key}
        attributes = {
            f"{variable}@_FillValue": np.array([-9999], "f4"),
            "geotransform": np.array([16.0, 0.001, 0, -23.0, 0, -0.001]),
            "spatial_ref": np.bytes_(CRS.from_epsg(4326).to_wkt()),
            "time_coverage_start": np.bytes_("2022-08-15T04:28:38+0000"),
        } | {key.strip("@"): value for key, value in changes.items() if "@" in key}
        present = {key: value for key, value in data.items() if value is not None}
        return write(tmp_path / "EMIT_L2A_RFL_001_x.nc", present, attributes), cube

    return make


class TestEmit:
    def test_the_map_shows_the_pixels_that_the_lookup_table_names(self, emit) -> None:
        path, cube = emit()
        scene = open_scene(path)
        assert scene.shape == (BANDS, SAMPLES + 2, LINES + 2)
        wanted = np.where(cube == -9999, np.nan, cube)
        wanted[..., 2] = np.nan
        np.testing.assert_array_equal(scene.values[:, 1:-1, 1:-1], wanted.transpose(2, 1, 0))
        frame = np.ones(scene.shape[1:], bool)
        frame[1:-1, 1:-1] = False
        assert np.isnan(scene.values[:, frame]).all()
        assert scene.rio.crs == CRS.from_epsg(4326)
        np.testing.assert_allclose(scene.rio.transform()[:6], (0.001, 0, 16, 0, -0.001, -23), atol=1e-12)
        np.testing.assert_array_equal(scene.good, [True, True, False, True])
        assert scene.attrs["acquired"] == "2022-08-15T04:28:38Z"

    def test_windows_blocks_and_pixels_agree_with_the_whole(self, emit) -> None:
        scene = open_scene(emit()[0])
        whole = scene.values
        np.testing.assert_array_equal(scene[[3, 0], 2:5, 3:7].values, whole[[3, 0], 2:5, 3:7])
        np.testing.assert_array_equal(
            np.concatenate([block.core for block in iter_blocks(scene, rows=3)], axis=1), whole
        )
        np.testing.assert_array_equal(read_pixels(scene, [5, 1], [2, 8]), whole[:, [5, 1], [2, 8]].T)
        again = pickle.loads(pickle.dumps(scene))  # noqa: S301  own data
        np.testing.assert_array_equal(again.values, whole)

    def test_the_swath_keeps_its_places(self, emit) -> None:
        path, cube = emit()
        swath = open_scene(path, "swath")
        assert swath.shape == (BANDS, LINES, SAMPLES)
        np.testing.assert_array_equal(swath.values[0], np.where(cube[..., 0] == -9999, np.nan, cube[..., 0]))
        assert swath.rio.crs is None
        assert float(swath.lat[3, 3]) == -23

    def test_radiance_has_no_list_of_good_bands(self, emit) -> None:
        path, cube = emit("radiance", **{"sensor_band_parameters/good_wavelengths": None})
        scene = open_scene(path, "swath")
        assert scene.good.all()
        assert scene.attrs["quantity"] == "radiance"
        np.testing.assert_array_equal(scene.values[2], np.where(cube[..., 2] == -9999, np.nan, cube[..., 2]))

    def test_entries_outside_the_swath_show_nothing(self, emit) -> None:
        table = np.array([[1, -1, LINES + 1], [0, 2**31 - 1, 2]], "i4")
        path, cube = emit(**{"location/glt_y": table, "location/glt_x": np.ones((2, 3), "i4")})
        values = open_scene(path)[0].values
        np.testing.assert_array_equal(np.isfinite(values), [[True, False, False], [False, False, True]])
        assert values[1, 2] == cube[1, 0, 0]

    def test_masks_beside_the_file_follow_it_to_the_map(self, emit, tmp_path: Path) -> None:
        path, _ = emit()
        masks = np.zeros((LINES, SAMPLES, 3), "f4")
        masks[4, 1, 0] = 1
        masks[2, 3] = -9999
        data = {
            "mask": masks,
            "sensor_band_parameters/mask_bands": np.array([b"Cloud Flag", b"AOD550", b"Water Flag"]),
            "location/lon": np.zeros((LINES, SAMPLES)),
        }
        beside = write(tmp_path / "EMIT_L2A_MASK_001_x.nc", data, {})
        scene, swath = open_scene(path), open_scene(path, "swath")
        assert swath.cloud.dtype == bool
        assert np.argwhere(swath.cloud.values).tolist() == [[4, 1]]
        assert np.argwhere(scene.cloud.values).tolist() == [[2, 5]]
        assert not scene.water.any()
        assert "aod550" not in scene.coords
        assert open_scene(beside, "swath").shape == (3, LINES, SAMPLES)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"@geotransform": np.zeros(6)}, "geotransform"),
            ({"location/glt_x": np.ones((3, 3))}, "lookup tables"),
            ({"location/glt_x": np.ones((3, 4), "i4")}, "lookup tables"),
            ({"sensor_band_parameters/wavelengths": np.ones(3)}, "wavelengths"),
            ({"sensor_band_parameters/wavelengths": None}, "wavelengths"),
        ],
    )
    def test_damage_is_named(self, emit, changes, message: str) -> None:
        with pytest.raises(HsiError, match=message):
            open_scene(emit(**changes)[0])


MAP_INFO = (
    b"UTM,  1.000,  1.000,  257000.00, 4112000.0, 1.0000000, 1.0000000, 11, North, WGS-84, units=Meters, "
)


@pytest.fixture
def neon(tmp_path: Path, rng: np.random.Generator) -> Callable[..., tuple[Path, np.ndarray]]:
    """Write a NEON file; gives its path and the cube as stored."""

    def make(
        name: str = "NEON_D17_SJER_DP3_1_2_reflectance.h5", rotation: bytes = b"0"
    ) -> tuple[Path, np.ndarray]:
        cube = rng.integers(-50, 16_000, (5, 4, 3)).astype("i2")
        cube[1, 2] = -9999
        root = "SJER/Reflectance"
        system = f"{root}/Metadata/Coordinate_System"
        data = {
            f"{root}/Reflectance_Data": cube,
            f"{root}/Metadata/Spectral_Data/Wavelength": np.array([400.0, 1400.0, 2000.0]),
            f"{root}/Metadata/Spectral_Data/FWHM": np.array([5.0, 5.5, 6.0]),
            f"{system}/Map_Info": MAP_INFO + rotation,
            f"{system}/EPSG Code": np.array([b"32611"]),
        }
        attributes = {
            f"{root}/Reflectance_Data@Scale_Factor": np.array([10_000.0]),
            f"{root}/Reflectance_Data@Data_Ignore_Value": -9999.0,
            f"{root}@Band_Window_1_Nanometers": np.array([1340.0, 1445.0]),
        }
        return write(tmp_path / name, data, attributes), cube

    return make


class TestNeon:
    def test_a_tile_opens_with_its_scale_windows_and_edges(self, neon) -> None:
        path, cube = neon()
        scene = open_scene(path)
        expected = np.where(cube == -9999, np.nan, cube / 10_000).transpose(2, 0, 1)
        np.testing.assert_allclose(scene.values, expected, rtol=1e-6)
        np.testing.assert_array_equal(scene.good, [True, False, True])
        assert scene.rio.transform()[:6] == (1, 0, 257_000, 0, -1, 4_112_000)
        assert scene.rio.crs == CRS.from_epsg(32611)
        assert "acquired" not in scene.attrs, "a tile is made of several flight lines"

    def test_a_bare_number_at_the_end_of_the_map_info_is_the_rotation(self, neon) -> None:
        transform = open_scene(neon(rotation=b"90")[0]).rio.transform()
        np.testing.assert_allclose(transform[:6], (0, 1, 257_000, 1, 0, 4_112_000), atol=1e-9)

    @pytest.mark.parametrize(
        ("name", "time"),
        [
            ("NEON_D17_SJER_DP1_20190312_165028_reflectance.h5", "2019-03-12T16:50:28Z"),
            ("NEON_D17_SJER_DP1_L008-1_20190312_directional_reflectance.h5", "2019-03-12"),
        ],
    )
    def test_a_flight_line_has_its_time_in_its_name(self, neon, name: str, time: str) -> None:
        assert open_scene(neon(name)[0]).attrs["acquired"] == time

    def test_radiance_is_put_together_from_its_two_parts(self, tmp_path: Path) -> None:
        whole = np.arange(24, dtype="i2").reshape(2, 4, 3)
        data = {
            "SJER/Radiance/RadianceIntegerPart": whole,
            "SJER/Radiance/RadianceDecimalPart": np.full((2, 4, 3), 25_000, "u2"),
            "SJER/Radiance/Metadata/Spectral_Data/Wavelength": np.array([400.0, 1400.0, 2000.0]),
        }
        attributes = {"SJER/Radiance/RadianceDecimalPart@Scale_Factor": 50_000.0}
        scene = open_scene(write(tmp_path / "line.h5", data, attributes))
        np.testing.assert_allclose(scene.values, whole.transpose(2, 0, 1) + 0.5)
        assert scene.attrs["quantity"] == "radiance"


class TestAvirisNetcdf:
    def test_an_orthorectified_image_is_on_its_grid(self, tmp_path: Path, rng) -> None:
        cube = rng.random((3, 4, 5)).astype("f4")
        cube[:, 0, 0] = -9999
        data = {
            "reflectance/reflectance": cube,
            "reflectance/wavelength": np.array([400.0, 1400.0, 2000.0]),
            "reflectance/fwhm": np.array([5.0, 5.5, 6.0]),
            "transverse_mercator": np.array(b""),
        }
        attributes = {
            "transverse_mercator@spatial_ref": CRS.from_epsg(32611).to_wkt(),
            "transverse_mercator@GeoTransform": "500000.0 3.5 0 4000000.0 0 -3.5 ",
        }
        path = write(tmp_path / "AV320231005t181518_L2A_OE_main_RFL_ORT.nc", data, attributes)
        scene = open_scene(path)
        np.testing.assert_array_equal(scene.values, np.where(cube == -9999, np.nan, cube))
        assert scene.rio.transform()[:6] == (3.5, 0, 500_000, 0, -3.5, 4_000_000)
        assert scene.rio.crs == CRS.from_epsg(32611)
        assert (scene.attrs["sensor"], scene.attrs["acquired"]) == ("AVIRIS-3", "2023-10-05T18:15:18Z")
        assert scene.attrs["quantity"] == "reflectance"

    def test_radiance_goes_through_its_lookup_table_where_negative_means_filled(
        self, tmp_path: Path, rng
    ) -> None:
        cube = rng.random((2, 3, 4)).astype("f4")
        data = {
            "radiance/radiance": cube,
            "radiance/wavelength": np.array([400.0, 1400.0]),
            "geolocation_lookup_table/line": np.array([[0, 1], [-3, 3]], "i4"),
            "geolocation_lookup_table/sample": np.array([[0, 4], [-2, 1]], "i4"),
            "transverse_mercator": np.array(b""),
        }
        attributes = {"transverse_mercator@GeoTransform": "500000.0 3.5 0 4000000.0 0 -3.5"}
        path = write(tmp_path / "AV520250508t173511_000_L1B_RDN_RDN.nc", data, attributes)
        grid = open_scene(path)
        assert np.isnan(grid.values[:, 0, 0]).all()
        np.testing.assert_array_equal(grid.values[:, [0, 1, 1], [1, 0, 1]], cube[:, [0, 2, 2], [3, 1, 0]])
        assert open_scene(path, "swath").shape == (2, 3, 4)


def test_a_cube_of_an_unknown_product_is_found_by_its_shape(tmp_path: Path, rng) -> None:
    cube = rng.random((6, 5, 4)).astype("f4")
    data = {"a/cube": cube, "a/wavelength": np.arange(400.0, 800, 100), "b": np.zeros((2, 2))}
    path = write(tmp_path / "x.h5", data, {})
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.values, cube.transpose(2, 0, 1))
    np.testing.assert_array_equal(scene.wavelength, [400, 500, 600, 700])
    np.testing.assert_array_equal(open_scene(path, "a/cube:byx").values, cube)


@pytest.mark.parametrize("chunks", [None, (2, 3, 4)])
def test_data_are_read_alike_however_they_are_stored(tmp_path: Path, rng, chunks) -> None:
    cube = rng.integers(0, 1000, (9, 8, 7)).astype(">i2")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("cube", data=cube, chunks=chunks, compression="gzip" if chunks else None)
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.values, cube.transpose(2, 0, 1))
    np.testing.assert_array_equal(scene[[6, 1], 2:4, 3:5].values, cube.transpose(2, 0, 1)[[6, 1], 2:4, 3:5])
