"""Where to draw next, as a task: from the rasters of a run to a point layer that QGIS shows as it should."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray

from hsi_toolkit.errors import Cancelled, HsiError, LabelError, OutputError, ParameterError, SceneError
from hsi_toolkit.pipelines import run
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import ClassEntry, open_scene
from hsi_toolkit.scene.class_map import CLASSES_TAG, legend_json
from hsi_toolkit.tasks.draw_next import DrawNext
from hsi_toolkit.training.label_vector import open_layer, read_features
from hsi_toolkit.training.labels import Grid

LEGEND = [ClassEntry(1, "meadow", (160, 220, 160)), ClassEntry(5, "winter wheat", (80, 160, 60))]
TRANSFORM = Affine(5.0, 0.0, 412_300.0, 0.0, -5.0, 5_823_900.0)
SHAPE = (90, 120)

Raster = Callable[..., str]


@pytest.fixture
def raster(tmp_path: Path) -> Raster:
    """Writes arrays (bands, rows, columns) as the classification does: shares as ten-thousandths."""

    def write(
        name: str,
        data: NDArray[np.floating],
        *,
        shares: bool = True,
        georeferenced: bool = True,
        names: tuple[str, ...] = (),
        transform: Affine = TRANSFORM,
    ) -> str:
        path, stored = tmp_path / name, data if data.ndim == 3 else data[None]
        nodata = 65535 if shares else 0
        values = np.where(np.isnan(stored), nodata, np.rint(stored * (10_000 if shares else 1)))
        profile = {
            "driver": "GTiff", "count": len(values), "height": values.shape[1], "width": values.shape[2],
            "dtype": "uint16", "nodata": nodata,
        }  # fmt: skip
        if georeferenced:
            profile |= {"crs": "EPSG:32633", "transform": transform}
        with rasterio.open(path, "w", **profile) as target:
            target.write(values.astype(np.uint16))
            if shares:
                target.scales = (1e-4,) * len(values)
            else:
                target.update_tags(1, **{CLASSES_TAG: legend_json(LEGEND)})
            for band, text in enumerate(names, start=1):
                target.set_band_description(band, text)
        return str(path)

    return write


@pytest.fixture
def uncertainty() -> NDArray[np.float64]:
    """Certain nearly everywhere, but for two patches."""
    values = np.full(SHAPE, 0.02)
    values[10:40, 10:40] = 0.7
    values[50:80, 70:100] = 0.8
    return values


@pytest.fixture
def classes() -> NDArray[np.float64]:
    """Meadow on the left, wheat on the right."""
    return np.where(np.arange(SHAPE[1]) < 60, 1.0, 5.0) * np.ones(SHAPE)


def pixels(path: Path) -> NDArray[np.int64]:
    """Rows and columns (n, 2) of a layer's points."""
    frame = gpd.read_file(path, layer=path.stem)
    cols, rows = ~TRANSFORM @ (frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy())
    return np.floor(np.column_stack([rows, cols])).astype(int)


def test_a_ranked_layer_comes_out_with_class_and_reason(
    raster: Raster, uncertainty: NDArray[np.float64], classes: NDArray[np.float64], tmp_path: Path
) -> None:
    target = tmp_path / "places.gpkg"
    likely = np.stack([np.where(classes == 1, 0.55, 0.4), np.where(classes == 1, 0.45, 0.6)])
    result = run(
        DrawNext(
            uncertainty=raster("u.tif", uncertainty),
            map=raster("map.tif", classes, shares=False),
            probabilities=raster("p.tif", likely, names=("meadow", "winter wheat")),
            output=str(target),
            count=6,
        )
    )
    frame = gpd.read_file(target, layer="places")
    assert frame.crs.to_epsg() == 32633
    assert frame["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    assert set(frame["class"]) == {"meadow", "winter wheat"}
    first = frame[frame["class"] == "meadow"]["reason"].iloc[0]
    assert first == "Undecided between meadow (55 %) and winter wheat (45 %)."
    at = pixels(target)
    means = [uncertainty[row - 4 : row + 5, col - 4 : col + 5].mean() for row, col in at]
    np.testing.assert_allclose(frame["uncertainty"], means, atol=1e-4)
    assert uncertainty[at[:, 0], at[:, 1]].mean() > 0.6
    assert result["outputs"] == {"places": str(target)}
    assert result["warnings"] == []


def test_the_reasons_without_probabilities_tell_what_is_mapped(
    raster: Raster, uncertainty: NDArray[np.float64], classes: NDArray[np.float64], tmp_path: Path
) -> None:
    uncertainty[:] = np.where(np.abs(np.arange(SHAPE[1]) - 60) < 4, 0.9, 0.0)
    values = {
        "uncertainty": raster("u.tif", uncertainty),
        "output": str(tmp_path / "places.gpkg"),
        "count": 1,
    }
    run(DrawNext(map=raster("map.tif", classes, shares=False), **values))
    (reason,) = gpd.read_file(tmp_path / "places.gpkg", layer="places")["reason"]
    assert reason.startswith("Mapped as ")
    assert reason.endswith(" side by side.")
    run(DrawNext(overwrite=True, **values))
    frame = gpd.read_file(tmp_path / "places.gpkg", layer="places")
    assert frame["reason"][0] == "Uncertain on average over 9 × 9 pixels."
    assert frame["class"][0] is None


def test_the_layer_brings_its_style(raster: Raster, uncertainty: NDArray[np.float64], tmp_path: Path) -> None:
    target = tmp_path / "where to draw.gpkg"
    run(DrawNext(uncertainty=raster("u.tif", uncertainty), output=str(target)))
    with closing(sqlite3.connect(target)) as database:
        query = "SELECT f_table_name, f_geometry_column, useAsDefault, styleQML FROM layer_styles"
        ((table, column, default, style),) = database.execute(query)
        columns = database.execute("SELECT table_name, column_name FROM gpkg_geometry_columns").fetchall()
    assert columns == [(table, column)]
    assert table == "where to draw"
    assert default
    assert 'attr="uncertainty"' in style
    assert 'fieldName="rank"' in style


def test_labels_keep_places_away_and_need_no_class_field(
    raster: Raster, uncertainty: NDArray[np.float64], tmp_path: Path
) -> None:
    labels = tmp_path / "labels.gpkg"
    polygon = shapely.transform(
        shapely.box(5, 5, 45, 45), lambda xy: np.column_stack(TRANSFORM @ (xy[:, 0], xy[:, 1]))
    )
    gpd.GeoDataFrame({"id": [1]}, geometry=[polygon], crs="EPSG:32633").to_crs(4326).to_file(labels)
    target = tmp_path / "places.gpkg"
    run(DrawNext(uncertainty=raster("u.tif", uncertainty), output=str(target), labels=str(labels), count=5))
    rows, cols = pixels(target).T
    assert ((rows > 45 + 9) | (cols > 45 + 9)).all()


def test_a_raster_without_coordinates_gets_points_where_qgis_draws_it(
    raster: Raster, uncertainty: NDArray[np.float64], tmp_path: Path
) -> None:
    target, path = tmp_path / "places.gpkg", raster("u.tif", uncertainty, georeferenced=False)
    run(DrawNext(uncertainty=path, output=str(target), count=4))
    frame = gpd.read_file(target, layer=target.stem)
    assert (frame.geometry.y < 0).all()
    rows, cols = -frame.geometry.y.to_numpy() - 0.5, frame.geometry.x.to_numpy() - 0.5
    assert uncertainty[rows.astype(int), cols.astype(int)].mean() > 0.5
    # The layer can be used as labels of that very raster.
    features = read_features(open_layer(target, "rank", "places"), Grid.of(open_scene(path)))
    np.testing.assert_allclose(shapely.get_y(features.shapes), rows + 0.5)


def test_the_same_seed_gives_the_same_places_and_another_others(
    raster: Raster, uncertainty: NDArray[np.float64], tmp_path: Path
) -> None:
    path, found = raster("u.tif", uncertainty), []
    for seed in (1, 1, 2):
        run(DrawNext(uncertainty=path, output=str(tmp_path / "p.gpkg"), seed=seed, overwrite=True, count=8))
        found.append(pixels(tmp_path / "p.gpkg").tolist())
    assert found[0] == found[1] != found[2]


def test_fewer_places_than_asked_for_are_told(
    raster: Raster, uncertainty: NDArray[np.float64], tmp_path: Path
) -> None:
    result = run(
        DrawNext(
            uncertainty=raster("u.tif", uncertainty), output=str(tmp_path / "p.gpkg"), count=50, distance=60
        )
    )
    (warning,) = result["warnings"]  # type: ignore[misc]
    assert "of 50 places" in str(warning)


@pytest.mark.parametrize("change", ["size", "place"])
def test_rasters_of_different_runs_are_refused(
    raster: Raster,
    uncertainty: NDArray[np.float64],
    classes: NDArray[np.float64],
    tmp_path: Path,
    change: str,
) -> None:
    other = classes[:-1] if change == "size" else classes
    moved = TRANSFORM if change == "size" else Affine.translation(5, 0) @ TRANSFORM
    task = DrawNext(
        uncertainty=raster("u.tif", uncertainty),
        map=raster("m.tif", other, shares=False, transform=moved),
        output=str(tmp_path / "p.gpkg"),
    )
    with pytest.raises(SceneError, match="one and the same run"):
        run(task)


def test_what_cannot_work_is_said_and_leaves_nothing(
    raster: Raster, uncertainty: NDArray[np.float64], classes: NDArray[np.float64], tmp_path: Path
) -> None:
    target = tmp_path / "p.gpkg"
    certain = raster("certain.tif", np.zeros(SHAPE))
    with pytest.raises(SceneError, match="no place to draw"):
        run(DrawNext(uncertainty=certain, output=str(target)))
    several = raster("two.tif", np.stack([classes, classes]), shares=False)
    with pytest.raises(ParameterError, match="2 bands"):
        run(DrawNext(uncertainty=raster("u.tif", uncertainty), map=several, output=str(target)))
    with pytest.raises(LabelError, match="no file"):
        run(DrawNext(uncertainty=certain, labels=str(tmp_path / "none.gpkg"), output=str(target)))
    with pytest.raises(HsiError):
        run(DrawNext(uncertainty=str(tmp_path / "none.tif"), output=str(target)))
    target.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        run(DrawNext(uncertainty=raster("u.tif", uncertainty), output=str(target)))
    assert target.read_text() == "mine"
    assert not list(tmp_path.glob(".p*"))


def test_cancelling_leaves_what_was_there(
    raster: Raster, uncertainty: NDArray[np.float64], tmp_path: Path
) -> None:
    class Stop(Progress):
        def cancelled(self) -> bool:
            return True

    target = tmp_path / "p.gpkg"
    target.write_text("mine")
    with pytest.raises(Cancelled):
        run(DrawNext(uncertainty=raster("u.tif", uncertainty), output=str(target), overwrite=True), Stop())
    assert target.read_text() == "mine"
