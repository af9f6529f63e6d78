"""Targets, from a drawn example to scores and a map."""

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from shapely.geometry import Point, box

from hsi_toolkit.errors import HsiError, LabelError, ParameterError
from hsi_toolkit.pipelines import run
from hsi_toolkit.scene import RasterWriter, open_scene, read_class_map
from hsi_toolkit.spectral.library import SpectralLibrary
from hsi_toolkit.tasks.target import Target

from ..detection.conftest import ODD
from ..detection.conftest import odd_scene as odd_scene

LEFT, TOP, SIZE = 400_000.0, 5_800_000.0, 10.0


@pytest.fixture
def path(tmp_path, odd_scene):
    target = tmp_path / "scene.tif"
    like = odd_scene.scene()
    like = like.rio.write_crs("EPSG:32633").rio.write_transform(Affine(SIZE, 0, LEFT, 0, -SIZE, TOP))
    with RasterWriter(target, like=like, count=len(odd_scene.cube)) as writer:
        writer.write(odd_scene.cube, 0)
    return str(target)


def middle(row, col):
    return LEFT + SIZE * (col + 0.5), TOP - SIZE * (row + 0.5)


def layer(path, geometries, **columns):
    gpd.GeoDataFrame(columns, geometry=geometries, crs="EPSG:32633").to_file(path, driver="GPKG")
    return str(path)


def task(tmp_path, path, target, **more):
    return Target(
        scene=path,
        target=target,
        output=str(tmp_path / "s.tif"),
        detections=str(tmp_path / "d.tif"),
        **more,
    )


def test_one_point_finds_the_other_targets(tmp_path, path, odd_scene):
    result = run(task(tmp_path, path, layer(tmp_path / "p.gpkg", [Point(middle(*ODD[0]))])))
    labels, legend = read_class_map(tmp_path / "d.tif")
    assert [entry.name for entry in legend] == ["background", "target"]
    assert (labels[odd_scene.odd] == 2).all()
    assert result["detected_pixels"] == (labels == 2).sum() < 20
    assert result["facts"]["Examples"] == "1 objects, 1 pixels"


def test_a_polygon_smaller_than_a_pixel_stands_for_the_pixel_it_lies_in(tmp_path, path, odd_scene):
    x, y = middle(*ODD[1])
    small = box(x + 1, y + 1, x + 3, y + 3)
    result = run(task(tmp_path, path, layer(tmp_path / "p.gpkg", [small])))
    scores = open_scene(tmp_path / "s.tif")[0].to_numpy()
    assert result["facts"]["Examples"] == "1 objects, 1 pixels"
    assert scores[odd_scene.odd].min() > scores[~odd_scene.odd].max()


def test_a_field_and_value_choose_the_targets(tmp_path, path, odd_scene):
    geometries = [Point(middle(*ODD[0])), Point(middle(20, 3)), Point(middle(25, 8))]
    drawn = layer(tmp_path / "p.gpkg", geometries, kind=["target", "other", "other"])
    result = run(task(tmp_path, path, drawn, field="kind", value="target"))
    assert result["signatures"] == 1
    with pytest.raises(LabelError, match=r"'tank' in the field 'kind'.*'other', 'target'"):
        run(task(tmp_path, path, drawn, field="kind", value="tank", overwrite=True))


def test_a_value_without_a_field_is_refused(tmp_path, path):
    drawn = layer(tmp_path / "p.gpkg", [Point(middle(*ODD[0]))])
    with pytest.raises(ParameterError, match="'target' is given without a field"):
        run(task(tmp_path, path, drawn, value="target"))


def test_features_elsewhere_are_refused(tmp_path, path):
    with pytest.raises(HsiError, match=r"p\.gpkg"):
        run(task(tmp_path, path, layer(tmp_path / "p.gpkg", [Point(0, 0)])))


def test_a_polygon_gives_the_mean_of_its_pixels(tmp_path, path, odd_scene):
    x, y = middle(30, 20)
    drawn = layer(tmp_path / "p.gpkg", [box(x - 14, y - 14, x + 14, y + 14)])
    result = run(task(tmp_path, path, drawn, method="sam"))
    expected = odd_scene.cube[:, 29:32, 19:22].reshape(12, -1).mean(axis=1)
    pixel = odd_scene.cube[:, 5, 6]
    cosine = expected @ pixel / np.linalg.norm(expected) / np.linalg.norm(pixel)
    assert result["facts"]["Examples"] == "1 objects, 9 pixels"
    assert open_scene(tmp_path / "s.tif")[0, 5, 6].item() == pytest.approx(cosine, abs=1e-5)


def test_a_library_gives_the_signature_by_name_or_class(tmp_path, path, odd_scene):
    library = SpectralLibrary(np.stack([odd_scene.cube[:, 2, 2], odd_scene.signature]), ("soil 1", "car 1"))
    library.write(tmp_path / "library.csv")
    for name in ("car 1", "car"):
        result = run(task(tmp_path, path, str(tmp_path / "library.csv"), value=name, overwrite=True))
        scores = open_scene(tmp_path / "s.tif")[0].to_numpy()
        assert scores[odd_scene.odd].min() > scores[~odd_scene.odd].max()
        assert result["facts"]["Examples"] == "1 of 2 spectra of library.csv"
        assert "reflectance" in result["warnings"][0]


def test_a_library_without_the_name_lists_what_it_has(tmp_path, path, odd_scene):
    SpectralLibrary(odd_scene.signature[None], ("car",)).write(tmp_path / "library.csv")
    with pytest.raises(ParameterError, match=r"library\.csv has no spectrum 'boat'\. It has 'car'"):
        run(task(tmp_path, path, str(tmp_path / "library.csv"), value="boat"))
