"""What is written comes back, with all that others need to show it; what fails changes nothing."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from rasterio.crs import CRS

from hsi_toolkit.errors import HsiError, OutputError
from hsi_toolkit.scene import ClassEntry, RasterWriter, open_scene, read_class_map, read_legend, strips

try:
    import resource
except ImportError:
    resource = None  # type: ignore[assignment]

CLASSES = [
    ClassEntry(1, "Wald & <Wiese>", (0, 128, 0)),
    ClassEntry(2, 'water "still"', (0, 0, 255)),
    ClassEntry(5, "Dächer", (200, 30, 30)),
]


@pytest.fixture
def scene() -> xr.DataArray:
    grid = xr.DataArray(np.zeros((3, 600, 300), np.float32), dims=("band", "y", "x"))
    grid = grid.rio.write_crs("EPSG:32633")
    return grid.rio.write_transform(Affine.translation(100, 200) @ Affine.rotation(10) @ Affine.scale(2, -2))


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).random((3, 600, 300)).astype(np.float32)


@pytest.mark.parametrize("rows", [7, 64, 256, 600])
@pytest.mark.parametrize("compress", ["deflate", "zstd"])
def test_windows_come_back_as_one_raster(scene, values, tmp_path, rows, compress) -> None:
    values[0, 3, 4] = np.nan
    with RasterWriter(tmp_path / "a.tif", like=scene, count=3, compress=compress) as raster:
        for start in range(0, 600, rows):
            raster.write(values[:, start : start + rows], start)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), values)
        assert dataset.crs == CRS.from_epsg(32633)
        assert dataset.transform.almost_equals(scene.rio.transform())
        assert dataset.profile["tiled"]
        assert dataset.compression.name == compress
        assert dataset.interleaving.name == "band"
        assert np.isnan(dataset.nodata)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_windows_may_come_in_any_order_and_twice(scene, values, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(strips, "OPEN_STRIPS", 1)
    with RasterWriter(tmp_path / "a.tif", like=scene, count=3) as raster:
        for top in (500, 0, 250, 100):
            for left in (200, 0, 100):
                raster.write(np.zeros((3, 10, 10)), top, left)
                raster.write(values[:, top : top + 250, left : left + 100], top, left)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), values)


def test_whole_lines_are_compressed_once(scene, values, tmp_path) -> None:
    for name, rows in (("whole", 600), ("lines", 10)):
        with RasterWriter(tmp_path / f"{name}.tif", like=scene, count=3) as raster:
            for start in range(0, 600, rows):
                raster.write(values[:, start : start + rows], start)
    sizes = [(tmp_path / f"{name}.tif").stat().st_size for name in ("whole", "lines")]
    assert sizes[0] == sizes[1]


def test_pixels_never_written_are_nodata(scene, tmp_path) -> None:
    with RasterWriter(tmp_path / "a.tif", like=scene, dtype="int16", nodata=-7) as raster:
        raster.write(np.full((10, 300), 3), 300)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        labels = dataset.read(1)
    assert (labels[300:310] == 3).all()
    assert (np.delete(labels, np.s_[300:310], axis=0) == -7).all()


def test_values_are_rounded_clipped_and_nan_becomes_nodata(scene, tmp_path) -> None:
    row = np.full((1, 300), 3.6)
    row[0, :4] = [np.nan, -5, 300, 0.4]
    with RasterWriter(tmp_path / "a.tif", like=scene, dtype="uint8", nodata=255) as raster:
        raster.write(row, 0)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.read(1)[0, :5].tolist() == [255, 0, 255, 0, 4]
    with RasterWriter(tmp_path / "b.tif", like=scene, nodata=-1) as raster:
        raster.write(row, 0)
    with rasterio.open(tmp_path / "b.tif") as dataset:
        assert dataset.read(1)[0, 0] == -1


def test_a_cube_opens_as_the_scene_it_was_written_from(scene, values, tmp_path) -> None:
    centres, widths, good = (
        np.array([450.25, 842.0, 2190.125]),
        np.array([5.5, 6, 7]),
        np.array([True, False, True]),
    )
    with RasterWriter(
        tmp_path / "a.tif",
        like=scene,
        count=3,
        wavelengths=centres,
        fwhm=widths,
        good=good,
        acquired="2020-05-06T10:11:12Z",
        scale=1e-4,
    ) as raster:
        raster.write(values, 0)
    read = open_scene(tmp_path / "a.tif")
    np.testing.assert_allclose(read.wavelength, centres, rtol=1e-9)
    np.testing.assert_allclose(read.fwhm, widths, rtol=1e-9)
    np.testing.assert_array_equal(read.good, good)
    np.testing.assert_allclose(read.values, values * 1e-4, rtol=1e-6)
    assert read.attrs["acquired"] == "2020-05-06T10:11:12Z"
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.descriptions == ("450.25 nm", "842.00 nm", "2190.12 nm")
        assert dataset.tags(2, ns="IMAGERY") == {"CENTRAL_WAVELENGTH_UM": "0.842", "FWHM_UM": "0.006"}
        assert dataset.tags(2) == {
            "wavelength": "842",
            "wavelength_units": "Nanometers",
            "fwhm": "6",
            "bbl": "0",
        }


def test_a_class_map_carries_its_legend(scene, tmp_path) -> None:
    path = tmp_path / "map.tif"
    labels = np.random.default_rng(0).choice([0, 1, 2, 5], (600, 300)).astype(np.uint8)
    with RasterWriter(path, like=scene, dtype="uint8", nodata=0, classes=CLASSES) as raster:
        raster.write(labels, 0)
    read, legend = read_class_map(path)
    np.testing.assert_array_equal(read, labels)
    assert legend == CLASSES == read_legend(path)
    with rasterio.open(path) as dataset:
        assert dataset.colormap(1)[5] == (200, 30, 30, 255)
    categories = (tmp_path / "map.tif.aux.xml").read_text(encoding="utf-8")
    assert "<Category>Dächer</Category>" in categories
    style = (tmp_path / "map.qml").read_text(encoding="utf-8")
    assert 'type="paletted"' in style
    assert 'label="Wald &amp; &lt;Wiese&gt;"' in style
    (tmp_path / "map.tif.aux.xml").unlink()
    (tmp_path / "map.qml").unlink()
    assert read_legend(path) == CLASSES


def test_the_legend_falls_back_to_the_colour_table(tmp_path) -> None:
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", count=1, height=2, width=2, dtype="uint8", nodata=0
    ) as dataset:
        dataset.write_colormap(1, {1: (9, 8, 7, 255)})
    assert read_legend(tmp_path / "a.tif") == [ClassEntry(1, "class 1", (9, 8, 7))]


def test_reading_a_map_that_is_none_is_refused(scene, tmp_path) -> None:
    with RasterWriter(tmp_path / "a.tif", like=scene):
        pass
    (tmp_path / "b.tif").write_text("no raster")
    for name in ("a.tif", "b.tif", "absent.tif"):
        with pytest.raises(HsiError):
            read_class_map(tmp_path / name)


def test_a_failed_run_leaves_what_was_there(scene, tmp_path) -> None:
    path = tmp_path / "map.tif"
    with RasterWriter(path, like=scene, dtype="uint8", classes=CLASSES) as raster:
        raster.write(np.ones((600, 300)), 0)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def fail() -> None:
        with RasterWriter(path, like=scene, dtype="uint8", classes=CLASSES[:1], overwrite=True) as raster:
            raster.write(np.zeros((300, 300)), 0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_overwriting_needs_leave_and_takes_stale_companions_along(scene, tmp_path) -> None:
    path = tmp_path / "map.tif"
    with RasterWriter(path, like=scene, dtype="uint8", classes=CLASSES) as raster:
        raster.write(np.ones((600, 300)), 0)
    (tmp_path / "map.tif.ovr").write_bytes(b"old overviews")
    with pytest.raises(OutputError, match="exists"):
        RasterWriter(path, like=scene)
    with RasterWriter(path, like=scene, overwrite=True) as raster:
        raster.write(np.ones((600, 300)), 0)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["map.qml", "map.tif"]


def test_the_scene_itself_is_never_overwritten(scene, values, tmp_path) -> None:
    with RasterWriter(tmp_path / "a.tif", like=scene, count=3) as raster:
        raster.write(values, 0)
    with pytest.raises(OutputError, match="scene that is read"):
        RasterWriter(tmp_path / "a.tif", like=open_scene(tmp_path / "a.tif"), overwrite=True)


@pytest.mark.parametrize(
    ("window", "y0", "x0"), [((2, 3), 599, 0), ((2, 3), 0, 298), ((2, 3), -1, 0), ((2, 2, 3), 0, 0)]
)
def test_windows_outside_the_raster_are_refused(scene, tmp_path, window, y0, x0) -> None:
    with (
        pytest.raises(OutputError, match="does not fit"),
        RasterWriter(tmp_path / "a.tif", like=scene) as raster,
    ):
        raster.write(np.zeros(window), y0, x0)
    assert not (tmp_path / "a.tif").exists()


def test_lists_of_the_wrong_length_are_refused(scene, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="2 wavelengths for 3 bands"):
        RasterWriter(tmp_path / "a.tif", like=scene, count=3, wavelengths=[1, 2])


def test_wide_cubes_get_lower_tiles(tmp_path) -> None:
    wide = xr.DataArray(np.zeros((1, 40, 30_000), np.float32), dims=("band", "y", "x"))
    with RasterWriter(tmp_path / "a.tif", like=wide, count=20) as raster:
        raster.write(np.ones((20, 40, 30_000), np.float32), 0)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.block_shapes[0] == (16, 256)
        assert (dataset.read(20) == 1).all()


@pytest.mark.parametrize("quantity", ["reflectance", "radiance"])
def test_sensor_and_quantity_come_back(scene: xr.DataArray, tmp_path: Path, quantity: str) -> None:
    target = tmp_path / "scene.tif"
    with RasterWriter(target, like=scene, count=3, sensor="EnMAP", quantity=quantity) as raster:
        raster.write(np.ones((3, 600, 300), np.float32), 0)
    assert open_scene(target).attrs["quantity"] == quantity
    assert open_scene(target).attrs["sensor"] == "EnMAP"


@pytest.mark.skipif(resource is None, reason="this platform does not limit the size of files")
@pytest.mark.parametrize("kilobytes", [40, 300, 1200, 1900, 2048])
def test_a_raster_that_does_not_fit_is_an_error_and_leaves_what_was_there(
    scene: xr.DataArray, tmp_path: Path, kilobytes: int
) -> None:
    noise = np.random.default_rng(0).normal(size=(3, 600, 300)).astype(np.float32)
    target = tmp_path / "map.tif"
    with RasterWriter(target, like=scene, count=3) as raster:
        raster.write(np.zeros_like(noise), 0)
    before = target.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, hard))
    try:
        with (
            pytest.raises(OutputError, match="free space"),
            RasterWriter(target, like=scene, count=3, overwrite=True) as raster,
        ):
            raster.write(noise, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["map.tif"]
