"""Both images of an object show the same ground, and what cannot be shown is said by its feature."""

from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry import LineString, MultiPolygon, Point, box

from hsi_toolkit.bimodal.cutting import colour_bands, cut_pairs
from hsi_toolkit.bimodal.objects import read_objects
from hsi_toolkit.bimodal.pairs import Pairs, Preparation, spectra_from_zero_to_one
from hsi_toolkit.bimodal.sources import Layers, open_rasters, read_pairs
from hsi_toolkit.errors import LabelError, ParameterError, SceneError
from hsi_toolkit.models.bimae import spectral_minmax
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import open_scene

LEFT, TOP, FINE, COARSE = 400_000.0, 5_800_000.0, 1.0, 5.0
UTM33, UTM32 = "EPSG:32633", "EPSG:25833"
PREPARED = Preparation(patch=6, side=24, margin=0.0, stretch=((0.0, 1.0),) * 3)


def write(path: Path, values: NDArray[np.floating], pixel: float, crs: str | None, **more: object) -> str:
    profile = {"driver": "GTiff", "dtype": "float32", "count": len(values), "crs": crs, **more}
    transform = profile.pop("transform", Affine(pixel, 0, LEFT, 0, -pixel, TOP))
    height, width = values.shape[1:]
    with rasterio.open(path, "w", height=height, width=width, transform=transform, **profile) as target:
        target.write(values.astype(np.float32))
    return str(path)


def places(side: int, pixel: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far to the right and down, of 200 m, each pixel's middle lies."""
    along = (np.arange(side) + 0.5) * pixel / 200.0
    return np.broadcast_to(along, (side, side)), np.broadcast_to(along[:, None], (side, side))


@pytest.fixture
def colour(tmp_path: Path) -> str:
    """200 × 200 pixels of 1 m: red grows to the right, green downwards."""
    x, y = places(200, FINE)
    return write(tmp_path / "colour.tif", np.stack([x, y, 0 * x]), FINE, UTM33)


def ramps(side: int = 40, pixel: float = COARSE) -> NDArray[np.float64]:
    """Bands: 0, to the right, downwards, 1; scaled to 0 to 1 a spectrum stays as it is."""
    x, y = places(side, pixel)
    return np.stack([0 * x, x, y, 0 * x + 1])


@pytest.fixture
def scene(tmp_path: Path) -> str:
    """The same ground in 40 × 40 pixels of 5 m."""
    return write(tmp_path / "scene.tif", ramps(), COARSE, UTM33)


def ground(column: float, row: float, width: float, height: float) -> shapely.Polygon:
    """A box in metres from the corner."""
    return box(LEFT + column, TOP - row - height, LEFT + column + width, TOP - row)


def layer(
    path: Path, shapes: Sequence[object], crs: str | None = UTM33, kinds: Sequence[str] | None = None
) -> str:
    fields = {"kind": list(kinds or ["a", "b"] * len(shapes))[: len(shapes)]}
    gpd.GeoDataFrame(fields, geometry=list(shapes), crs=crs).to_file(path, driver="GPKG")
    return str(path)


def cut(colour: str, scene: str, objects: str, preparation: Preparation = PREPARED) -> Pairs:
    return cut_pairs(open_rasters(colour, scene, None, None), read_objects(objects, "kind"), preparation)


def test_both_images_show_the_same_square(tmp_path: Path, colour: str, scene: str) -> None:
    pairs = cut(colour, scene, layer(tmp_path / "o.gpkg", [ground(60, 90, 40, 20)]))
    # A square of 40 m around (80, 100) m.
    assert pairs.rgb.shape == (1, 24, 24, 3)
    assert pairs.hs.shape == (1, 6, 6, 4)
    across = (60 + (np.arange(24) + 0.5) * 40 / 24) / 200
    down = (80 + (np.arange(24) + 0.5) * 40 / 24) / 200
    np.testing.assert_allclose(pairs.rgb[0, :, :, 0], np.broadcast_to(across, (24, 24)), atol=1e-5)
    np.testing.assert_allclose(pairs.rgb[0, :, :, 1], np.broadcast_to(down[:, None], (24, 24)), atol=1e-5)
    coarse_across, coarse_down = across.reshape(6, 4).mean(axis=1), down.reshape(6, 4).mean(axis=1)
    np.testing.assert_allclose(pairs.hs[0, :, :, 1], np.broadcast_to(coarse_across, (6, 6)), atol=1e-5)
    np.testing.assert_allclose(pairs.hs[0, :, :, 2], np.broadcast_to(coarse_down[:, None], (6, 6)), atol=1e-5)
    assert pairs.windows is not None
    np.testing.assert_allclose(pairs.windows[0], [12, 16, 20, 24], atol=1e-6)


def test_coordinate_systems_need_not_be_the_same(tmp_path: Path, colour: str, scene: str) -> None:
    shapes = gpd.GeoSeries([ground(60, 90, 40, 40)], crs=UTM33)
    in_degrees = layer(tmp_path / "degrees.gpkg", shapes.to_crs("EPSG:4326"), "EPSG:4326")
    # ETRS89 / UTM 33N lies within a metre of WGS 84 / UTM 33N.
    other = write(tmp_path / "other.tif", ramps(), COARSE, UTM32)
    plain = cut(colour, scene, layer(tmp_path / "o.gpkg", shapes))
    moved = cut(colour, other, in_degrees)
    np.testing.assert_allclose(moved.rgb, plain.rgb, atol=2e-3)
    np.testing.assert_allclose(moved.hs, plain.hs, atol=1e-2)


def test_a_large_object_is_averaged_not_picked_from(tmp_path: Path, scene: str) -> None:
    board = np.indices((200, 200)).sum(axis=0) % 2
    colour = write(tmp_path / "board.tif", np.stack([board] * 3).astype(float), FINE, UTM33)
    pairs = cut(colour, scene, layer(tmp_path / "o.gpkg", [ground(4, 4, 192, 192)]))
    np.testing.assert_allclose(pairs.rgb, 0.5, atol=0.07)


def test_what_lies_outside_is_named_by_its_feature(tmp_path: Path, colour: str, scene: str) -> None:
    small = write(tmp_path / "small.tif", ramps(20), COARSE, UTM33)
    shapes = [ground(300, 10, 10, 10), ground(10, 10, 20, 20), ground(150, 150, 20, 20), ground(40, 40, 9, 9)]
    pairs = cut(colour, small, layer(tmp_path / "o.gpkg", shapes))
    assert pairs.called == ("2", "4")
    assert pairs.warnings == (
        "Feature 1 is outside the colour image and left out.",
        "Feature 3 is outside the hyperspectral scene and left out.",
    )
    assert pairs.positions is not None
    assert pairs.positions.tolist() == [1, 3]
    with pytest.raises(
        LabelError, match=r"None of the 1 objects lies in both rasters\. Feature 1 is outside"
    ):
        cut(colour, scene, layer(tmp_path / "far.gpkg", shapes[:1]))


def test_what_has_no_data_is_named_by_its_feature(tmp_path: Path, colour: str) -> None:
    values = ramps()
    values[:, :20] = -1.0
    scene = write(tmp_path / "half.tif", values, COARSE, UTM33, nodata=-1.0)
    shapes = [ground(20, 20, 20, 20), ground(20, 150, 20, 20), ground(100, 95, 20, 20)]
    pairs = cut(colour, scene, layer(tmp_path / "o.gpkg", shapes))
    assert pairs.called[0] == "2"
    assert pairs.warnings[0].startswith("Feature 1")
    assert "without data" in pairs.warnings[0]
    assert np.isfinite(pairs.hs).all()


def test_the_surroundings_can_be_blanked_out(tmp_path: Path, colour: str, scene: str) -> None:
    preparation = Preparation(patch=6, side=24, margin=0.0, blank=True, stretch=((0.0, 1.0),) * 3)
    shape = Point(LEFT + 100, TOP - 100).buffer(40, quad_segs=1)
    pairs = cut(colour, scene, layer(tmp_path / "o.gpkg", [shape]), preparation)
    assert (pairs.rgb[0, 0, 0] == 1.0).all()
    assert (pairs.hs[0, 0, 0] == 0.0).all()
    assert pairs.rgb[0, 12, 12, 2] == 0.0
    assert pairs.hs[0, 3, 3, 3] == 1.0


def test_an_object_smaller_than_a_pixel_shows_that_pixel(tmp_path: Path, colour: str, scene: str) -> None:
    pairs = cut(colour, scene, layer(tmp_path / "o.gpkg", [ground(100.2, 50.2, 0.1, 0.1)]))
    assert pairs.rgb[0, 12, 12, 0] == pytest.approx(0.5, abs=0.01)


def test_parts_are_objects_and_lines_are_none(tmp_path: Path, colour: str, scene: str) -> None:
    two = MultiPolygon([ground(10, 10, 20, 20), ground(60, 60, 20, 20)])
    pairs = cut(colour, scene, layer(tmp_path / "o.gpkg", [two, ground(100, 100, 20, 20)]))
    assert pairs.called == ("1, part 1", "1, part 2", "2")
    lines = layer(tmp_path / "lines.gpkg", [ground(1, 1, 9, 9), LineString([(LEFT, TOP), (LEFT + 9, TOP)])])
    with pytest.raises(LabelError, match="Feature 2 of lines is a LineString"):
        cut(colour, scene, lines)


def test_a_polygon_around_everything_is_no_object(tmp_path: Path) -> None:
    rasters = []
    for name, pixel in (("fine.tif", 0.01), ("coarse.tif", 0.05)):
        path = tmp_path / name
        with rasterio.open(
            path, "w", driver="GTiff", width=20_000, height=20_000, count=3, dtype="uint8", crs=UTM33,
            transform=Affine(pixel, 0, LEFT, 0, -pixel, TOP), sparse_ok=True, tiled=True,
        ):  # fmt: skip
            rasters.append(str(path))
    with pytest.raises(LabelError, match=r"Feature 1 spans 20,000 pixels of the colour image"):
        cut(*rasters, layer(tmp_path / "o.gpkg", [ground(0, 0, 200, 200)]))


def test_rasters_need_coordinates(tmp_path: Path, colour: str) -> None:
    plain = write(tmp_path / "plain.tif", ramps(), COARSE, None, transform=Affine.identity())
    with pytest.raises(SceneError, match=r"plain\.tif has no coordinates"):
        open_rasters(colour, plain, None, None)
    unnamed = write(tmp_path / "unnamed.tif", ramps(), COARSE, None)
    with pytest.raises(SceneError, match="One of the two rasters states a coordinate system"):
        open_rasters(colour, unnamed, None, None)


def test_classes_without_an_object_are_left_out(tmp_path: Path, colour: str, scene: str) -> None:
    shapes = [ground(10, 10, 20, 20), ground(50, 50, 20, 20), ground(500, 500, 20, 20)]
    objects = layer(tmp_path / "o.gpkg", shapes, kinds=["oak", "ash", "yew"])
    pairs = read_pairs(Layers(colour, scene, objects, "kind"), PREPARED, None, Progress())
    assert pairs.classes.names == ("ash", "oak")
    assert pairs.labels is not None
    assert pairs.labels.tolist() == [1, 0]
    assert "The class 'yew' has no object in both rasters and was left out." in pairs.warnings


def test_colour_bands_by_number_by_wavelength_and_by_place(tmp_path: Path, colour: str) -> None:
    raster = open_scene(colour)
    assert colour_bands(raster) == (0, 1, 2)
    assert colour_bands(raster, "3, 2,1") == (2, 1, 0)
    assert colour_bands(raster.isel(band=[0])) == (0, 0, 0)
    sensed = raster.assign_coords(wavelength=("band", [480.0, 560.0, 650.0]))
    assert colour_bands(sensed) == (2, 1, 0)
    for wrong in ("1,2", "0,1,2", "1,2,9", "red"):
        with pytest.raises(SceneError, match="Give three band numbers"):
            colour_bands(raster, wrong)


def test_spectra_are_scaled_as_the_network_s_authors_do() -> None:
    import torch

    values = np.random.default_rng(0).random((3, 4, 4, 9), np.float32)
    values[0, 0, 0] = 7.0
    np.testing.assert_allclose(
        spectra_from_zero_to_one(values), spectral_minmax(torch.from_numpy(values)).numpy(), atol=1e-6
    )


def test_sizes_that_do_not_fit_are_said() -> None:
    with pytest.raises(ParameterError, match="A colour image of 50 pixels cannot be cut into patches of 24"):
        Preparation(patch=24, side=50)
