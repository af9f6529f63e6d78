"""Labels: which pixels a polygon, a point or a class raster labels, and what is left out."""

import sqlite3
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
import xarray as xr
from affine import Affine
from rasterio.crs import CRS

from hsi_toolkit.errors import LabelError
from hsi_toolkit.scene.class_map import CLASSES_TAG, legend_json
from hsi_toolkit.training.labels import (
    Grid,
    Labels,
    drop_nodata,
    labels_from_array,
    labels_from_raster,
    read_labels,
    require_trainable,
)

UTM = CRS.from_epsg(32633)
NORTH_UP = Affine(30, 0, 400_000, 0, -30, 5_800_000)
ROTATED = Affine(26, 15, 400_000, 15, -26, 5_800_000)
GRID = Grid(20, 30, NORTH_UP, UTM)


def at(col: float, row: float, transform: Affine = NORTH_UP) -> tuple[float, float]:
    """The coordinates of a fractional column and row."""
    a, b, c, d, e, f = transform[:6]
    return a * col + b * row + c, d * col + e * row + f


def shifted(cols: float, rows: float) -> Affine:
    """The transform of a raster whose upper left corner lies at that column and row."""
    x, y = at(cols, rows)
    return Affine(30, 0, x, 0, -30, y)


def scene(
    transform: Affine = NORTH_UP, crs: CRS | None = UTM, height: int = 20, width: int = 30
) -> xr.DataArray:
    array = xr.DataArray(np.zeros((2, height, width), np.float32), dims=("band", "y", "x"))
    array = array.rio.write_transform(transform)
    return array if crs is None else array.rio.write_crs(crs)


def box(
    left: float, top: float, right: float, bottom: float, transform: Affine = NORTH_UP
) -> shapely.Polygon:
    """A polygon around columns ``left`` to ``right`` and rows ``top`` to ``bottom`` (fractions allowed)."""
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return shapely.Polygon([at(*corner, transform) for corner in corners])


def write(path: Path, shapes: list, layer: str | None = None, crs: object = 32633, **columns: list) -> Path:
    frame = gpd.GeoDataFrame(columns, geometry=shapes, crs=crs)
    pyogrio.write_dataframe(frame, path, layer=layer, append=path.exists())
    return path


def pixels(labels: Labels, name: str) -> set[tuple[int, int]]:
    own = labels.classes == labels.names.index(name)
    return set(zip(labels.rows[own].tolist(), labels.cols[own].tolist(), strict=True))


def block(rows: range, cols: range) -> set[tuple[int, int]]:
    return {(row, col) for row in rows for col in cols}


def test_a_pixel_belongs_to_the_polygon_that_holds_its_centre(tmp_path: Path) -> None:
    path = write(tmp_path / "l.gpkg", [box(2, 3, 5, 6), box(10.4, 10.6, 12.6, 12.4)], kind=["wood", "water"])
    labels = read_labels(path, "kind", scene())
    assert labels.names == ("water", "wood")
    assert pixels(labels, "wood") == block(range(3, 6), range(2, 5))
    assert pixels(labels, "water") == block(range(11, 12), range(10, 13))
    assert labels.geometry == "polygon"
    assert labels.group_counts.tolist() == [1, 1]


@pytest.mark.parametrize("transform", [NORTH_UP, ROTATED], ids=["north-up", "rotated"])
def test_the_same_drawing_labels_the_same_pixels_whatever_the_transform(
    tmp_path: Path, transform: Affine
) -> None:
    drawn = [box(2, 3, 7, 6, transform), box(15, 10, 20, 19, transform)]
    labels = read_labels(write(tmp_path / "l.gpkg", drawn, k=[2, 1]), "k", scene(transform))
    assert pixels(labels, "2") == block(range(3, 6), range(2, 7))
    assert pixels(labels, "1") == block(range(10, 19), range(15, 20))


def test_labels_are_brought_to_the_scenes_coordinate_system(tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame({"k": ["a", "b"]}, geometry=[box(2, 3, 7, 6), box(15, 10, 20, 19)], crs=32633)
    frame.to_crs(4326).to_file(tmp_path / "l.geojson")
    labels = read_labels(tmp_path / "l.geojson", "k", scene())
    assert pixels(labels, "a") == block(range(3, 6), range(2, 7))


def test_each_part_of_a_multipolygon_is_a_group(tmp_path: Path) -> None:
    several = shapely.MultiPolygon([box(0, 0, 2, 2), box(10, 10, 12, 12), box(20, 0, 22, 2)])
    labels = read_labels(write(tmp_path / "l.gpkg", [several, box(25, 15, 28, 18)], k=["a", "b"]), "k", GRID)
    assert labels.group_counts.tolist() == [3, 1]


def test_overlapping_parts_of_one_feature_do_not_cut_holes(tmp_path: Path) -> None:
    overlapping = shapely.MultiPolygon([box(0, 0, 4, 4), box(2, 2, 6, 6)])
    labels = read_labels(write(tmp_path / "l.gpkg", [overlapping], k=["a"]), "k", GRID)
    assert (3, 3) in pixels(labels, "a")
    assert len(labels) == 16 + 16 - 4


def test_a_self_crossing_outline_is_repaired(tmp_path: Path) -> None:
    bow_tie = shapely.Polygon([at(*c) for c in [(0, 0), (8, 8), (8, 0), (0, 8)]])
    labels = read_labels(write(tmp_path / "l.gpkg", [bow_tie], k=["a"]), "k", GRID)
    assert len(labels) > 10


def test_holes_are_not_labelled(tmp_path: Path) -> None:
    ring = box(0, 0, 10, 10).difference(box(3, 3, 6, 6))
    labels = read_labels(write(tmp_path / "l.gpkg", [ring], k=["a"]), "k", GRID)
    assert pixels(labels, "a") == block(range(10), range(10)) - block(range(3, 6), range(3, 6))


def test_pixels_claimed_by_two_classes_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "l.gpkg", [box(0, 0, 4, 4), box(2, 0, 6, 4), box(0, 0, 2, 4)], k=["a", "b", "a"])
    labels = read_labels(path, "k", GRID)
    assert pixels(labels, "a") == block(range(4), range(2))
    assert pixels(labels, "b") == block(range(4), range(4, 6))
    assert "8 pixels that features of different classes claim were left out." in labels.warnings


def test_nulls_far_away_features_and_tiny_polygons_are_counted(tmp_path: Path) -> None:
    shapes = [
        box(0, 0, 4, 4),
        box(8, 8, 9, 9),
        box(1000, 0, 1004, 4),
        box(12.6, 12.6, 13.4, 13.4),
        box(5, 0, 6, 1),
    ]
    labels = read_labels(write(tmp_path / "l.gpkg", shapes, k=["a", None, "b", "b", "  "]), "k", GRID)
    text = " ".join(labels.warnings)
    assert "2 features without a class in 'k'" in text
    assert "1 of 5 features lie outside the scene" in text
    assert "1 of 2 polygons hold no pixel centre" in text
    assert "The class 'b' labels no pixel" in text
    assert labels.names == ("a",)


def test_a_point_labels_the_pixel_it_lies_in(tmp_path: Path) -> None:
    points = [shapely.Point(at(*c)) for c in [(3.9, 7.1), (3.2, 7.8), (29.5, 19.5)]]
    several = shapely.MultiPoint([at(0.5, 0.5), at(1.5, 0.5)])
    labels = read_labels(write(tmp_path / "l.gpkg", [*points, several], k=["a", "a", "b", "b"]), "k", GRID)
    assert pixels(labels, "a") == {(7, 3)}
    assert pixels(labels, "b") == {(19, 29), (0, 0), (0, 1)}
    assert labels.geometry == "point"
    assert len(np.unique(labels.groups)) == 4


def test_lines_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "l.gpkg", [shapely.LineString([at(1, 1), at(5, 5)])], k=["a"])
    with pytest.raises(LabelError, match=r"kind Linestring.*polygons or points"):
        read_labels(path, "k", GRID)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3, 1, 1], (1, 3)),
        ([3.0, 1.0, None], (1, 3)),
        ([True, False, True], (0, 1)),
        (["b", "a", "b "], ("a", "b")),
        (["class 10", "class 9", "class 9"], ("class 9", "class 10")),
    ],
)
def test_classes_are_texts_or_whole_numbers(tmp_path: Path, values: list, expected: tuple) -> None:
    shapes = [box(0, 0, 2, 2), box(5, 5, 7, 7), box(10, 10, 12, 12)]
    assert read_labels(write(tmp_path / "l.gpkg", shapes, k=values), "k", GRID).values == expected


def test_a_field_of_decimals_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "l.gpkg", [box(0, 0, 2, 2)], k=[0.25])
    with pytest.raises(LabelError, match=r"holds 0.25.*text or whole numbers"):
        read_labels(path, "k", GRID)


def test_a_field_of_identifiers_is_refused(tmp_path: Path) -> None:
    shapes = [box(i % 30, i // 30, i % 30 + 1, i // 30 + 1) for i in range(300)]
    with pytest.raises(LabelError, match="holds 300 different classes"):
        read_labels(write(tmp_path / "l.gpkg", shapes, k=list(range(300))), "k", GRID)


def test_classes_that_differ_in_case_only_are_kept_apart_with_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "l.gpkg", [box(0, 0, 2, 2), box(5, 5, 7, 7)], k=["Roof", "roof"])
    labels = read_labels(path, "k", GRID)
    assert len(labels.names) == 2
    assert any("'Roof', 'roof'" in warning for warning in labels.warnings)


def test_the_layer_with_the_field_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "l.gpkg", [box(0, 0, 2, 2)], layer="extent", note=["x"])
    write(path, [box(3, 3, 5, 5)], layer="classes", k=["a"])
    assert pixels(read_labels(path, "k", GRID), "a") == block(range(3, 5), range(3, 5))
    with pytest.raises(
        LabelError, match=r"No layer .* has a field 'kk'.*'extent' with 'note'; 'classes' with 'k'"
    ):
        read_labels(path, "kk", GRID)
    write(path, [box(6, 6, 8, 8)], layer="more", k=["b"])
    with pytest.raises(LabelError, match=r"2 layers .*'classes', 'more'.*Name the layer"):
        read_labels(path, "k", GRID)
    assert read_labels(path, "k", GRID, layer="more").names == ("b",)
    with pytest.raises(LabelError, match="has no layer 'none'"):
        read_labels(path, "k", GRID, layer="none")


def test_labels_outside_the_scene_are_refused_with_both_extents(tmp_path: Path) -> None:
    path = write(tmp_path / "l.gpkg", [box(500, 500, 510, 510)], k=["a"])
    with pytest.raises(LabelError, match=r"All 1 features .*outside the scene.*400000.*415000"):
        read_labels(path, "k", GRID)


def test_polygons_without_any_pixel_centre_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "l.gpkg", [box(2.6, 2.6, 3.4, 3.4)], k=["a"])
    with pytest.raises(LabelError, match="holds the centre of a pixel"):
        read_labels(path, "k", GRID)


@pytest.mark.parametrize("sign", [1, -1], ids=["downwards", "as QGIS shows it"])
def test_a_scene_without_georeference_takes_pixel_coordinates(tmp_path: Path, sign: int) -> None:
    drawn = box(2, 3, 5, 6, Affine(1, 0, 0, 0, sign, 0))
    with pytest.warns(UserWarning, match="crs"):
        path = write(tmp_path / "l.gpkg", [drawn], crs=None, k=["a"])
    labels = read_labels(path, "k", scene(Affine.identity(), None))
    assert pixels(labels, "a") == block(range(3, 6), range(2, 5))


def test_a_scene_without_georeference_refuses_labels_with_one(tmp_path: Path) -> None:
    path = write(tmp_path / "l.gpkg", [box(2, 3, 5, 6)], k=["a"])
    with pytest.raises(LabelError, match="The scene has no coordinate system, but the labels are in WGS 84"):
        read_labels(path, "k", scene(Affine.identity(), None))


def test_labels_without_a_coordinate_system_are_taken_for_the_scenes_with_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="crs"):
        path = write(tmp_path / "l.shp", [box(2, 3, 5, 6)], crs=None, k=["a"])
    labels = read_labels(path, "k", GRID)
    assert len(labels) == 9
    assert "taken to be in the scene's" in labels.warnings[0]


def test_files_that_are_no_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="There is no file"):
        read_labels(tmp_path / "missing.gpkg", "k", GRID)
    (tmp_path / "text.gpkg").write_text("hello")
    with pytest.raises(LabelError, match="cannot be read"):
        read_labels(tmp_path / "text.gpkg", "k", GRID)


@pytest.mark.parametrize("name", ["l.gml", "l.kml", "l.fgb", "l.shp", "l.geojson", "l.gpkg", "l.csv"])
def test_any_vector_format_will_do(tmp_path: Path, name: str) -> None:
    if name == "l.csv":
        outline = ", ".join(f"{x} {y}" for x, y in box(2, 3, 5, 6).exterior.coords)
        (tmp_path / name).write_text(f'WKT,kind\n"POLYGON (({outline}))",a\n')
    else:
        frame = gpd.GeoDataFrame({"kind": ["a"]}, geometry=[box(2, 3, 5, 6)], crs=32633)
        if name == "l.kml":
            pyogrio.write_dataframe(frame.to_crs(4326), tmp_path / name, driver="KML")
        else:
            pyogrio.write_dataframe(frame, tmp_path / name)
    assert pixels(read_labels(tmp_path / name, "kind", GRID), "a") == block(range(3, 6), range(2, 5))


def test_a_layer_that_points_elsewhere_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "l.gpkg", [box(2, 3, 5, 6)], k=["a"])
    virtual = tmp_path / "l.vrt"
    virtual.write_text(
        f"<OGRVRTDataSource><OGRVRTLayer name='l'><SrcDataSource>{path}</SrcDataSource></OGRVRTLayer>"
        "</OGRVRTDataSource>"
    )
    with pytest.raises(LabelError, match="refers to data elsewhere"):
        read_labels(virtual, "k", GRID)


def test_a_part_of_a_scene_is_labelled_where_it_lies(tmp_path: Path) -> None:
    whole = scene()
    whole = whole.assign_coords(
        x=NORTH_UP.c + 30 * (np.arange(30) + 0.5), y=NORTH_UP.f - 30 * (np.arange(20) + 0.5)
    )
    path = write(tmp_path / "l.gpkg", [box(6, 7, 8, 9)], k=["a"])
    part = whole[:, 5:, 4:]
    assert pixels(read_labels(path, "k", part), "a") == block(range(2, 4), range(2, 4))


QML = """<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis><renderer-v2 attr="{field}" type="categorizedSymbol"><categories>
<category symbol="0" value="water" label="Water"/><category symbol="1" value="wood" label="Wood"/>
<category symbol="1" value="" label="others"/></categories><symbols>
<symbol name="0"><layer class="SimpleFill"><prop k="color" v="0,0,255,255"/></layer></symbol>
<symbol name="1"><layer class="SimpleFill"><Option type="Map">
<Option name="color" value="0,128,0,255,rgb:0,0.5,0,1"/></Option></layer></symbol></symbols>
</renderer-v2></qgis>"""


@pytest.fixture
def three_classes(tmp_path: Path) -> Path:
    shapes = [box(0, 0, 2, 2), box(5, 5, 7, 7), box(10, 10, 12, 12)]
    return write(tmp_path / "l.gpkg", shapes, k=["fen", "wood", "water"])


def test_colours_and_order_come_from_the_style_beside_the_file(three_classes: Path) -> None:
    three_classes.with_suffix(".qml").write_text(QML.format(field="k"))
    labels = read_labels(three_classes, "k", GRID)
    assert labels.names == ("water", "wood", "fen")
    assert labels.colours[:2] == ("#0000ff", "#008000")
    assert labels.colours[2] not in labels.colours[:2]


def test_colours_come_from_the_styles_in_the_geopackage(three_classes: Path) -> None:
    with sqlite3.connect(three_classes) as database:
        database.execute(
            "CREATE TABLE layer_styles "
            "(f_table_name TEXT, styleQML TEXT, useAsDefault INTEGER, update_time TEXT)"
        )
        rows = [("l", QML.format(field="other"), 1, "2"), ("l", QML.format(field="k"), 0, "1")]
        database.executemany("INSERT INTO layer_styles VALUES (?, ?, ?, ?)", rows)
    labels = read_labels(three_classes, "k", GRID)
    assert dict(zip(labels.names, labels.colours, strict=True))["water"] == "#0000ff"


def test_a_style_of_another_field_does_not_count(three_classes: Path) -> None:
    three_classes.with_suffix(".qml").write_text(QML.format(field="id"))
    assert "#0000ff" not in read_labels(three_classes, "k", GRID).colours


def test_a_style_with_entities_or_garbage_is_ignored(three_classes: Path) -> None:
    bomb = (
        '<!DOCTYPE q [<!ENTITY a "0,0,255"><!ENTITY b "&a;&a;">]>' + QML.format(field="k").partition("\n")[2]
    )
    for text in (bomb, "no style", ""):
        three_classes.with_suffix(".qml").write_text(text)
        assert read_labels(three_classes, "k", GRID).names == ("fen", "water", "wood")


def test_whole_numbers_take_their_names_from_the_legend(tmp_path: Path) -> None:
    path = write(tmp_path / "l.gpkg", [box(0, 0, 2, 2), box(5, 5, 7, 7)], k=[2, 1])
    style = QML.format(field="k").replace('value="water"', 'value="2"').replace('value="wood"', 'value="1"')
    path.with_suffix(".qml").write_text(style)
    labels = read_labels(path, "k", GRID)
    assert (labels.values, labels.names, labels.colours) == (
        (1, 2),
        ("Wood", "Water"),
        ("#008000", "#0000ff"),
    )


def test_colours_come_from_a_colour_column(tmp_path: Path) -> None:
    shapes = [box(0, 0, 2, 2), box(5, 5, 7, 7), box(10, 10, 12, 12)]
    path = write(tmp_path / "l.gpkg", shapes, k=["a", "b", "a"], Farbe=["#ABC", "blue", None])
    labels = read_labels(path, "k", GRID)
    assert labels.colours[0] == "#aabbcc"
    assert labels.colours[1].startswith("#")


def test_labels_are_the_same_every_time(three_classes: Path) -> None:
    first, second = (read_labels(three_classes, "k", GRID) for _ in range(2))
    assert first.summary() == second.summary()
    np.testing.assert_array_equal(first.groups, second.groups)


# Class rasters


def write_raster(path: Path, values: np.ndarray, transform: Affine = NORTH_UP, **options: object) -> Path:
    profile = {"driver": "GTiff", "count": 1, "dtype": values.dtype, "crs": UTM, "transform": transform}
    with rasterio.open(path, "w", height=values.shape[0], width=values.shape[1], **profile, **options) as out:
        out.write(values, 1)
        if values.dtype == np.uint8:
            out.write_colormap(1, {2: (255, 0, 0, 255), 7: (0, 0, 255, 255)})
        out.update_tags(1, class_names='{"2": "roof", "7": "tree"}')
    return path


def patches() -> np.ndarray:
    values = np.zeros((20, 30), np.uint8)
    values[2:5, 2:5] = 7
    values[10:12, 10:12] = 7
    values[12, 12] = 7
    values[2:5, 5:9] = 2
    values[19, 29] = 255
    return values


def test_a_class_raster_gives_classes_names_colours_and_patches(tmp_path: Path) -> None:
    labels = labels_from_raster(write_raster(tmp_path / "c.tif", patches(), nodata=255), scene())
    assert (labels.values, labels.names, labels.colours) == ((2, 7), ("roof", "tree"), ("#ff0000", "#0000ff"))
    assert labels.counts.tolist() == [12, 14]
    assert labels.group_counts.tolist() == [1, 2], "pixels that touch at a corner are one patch"


def test_a_class_raster_of_another_extent_is_laid_where_it_belongs(tmp_path: Path) -> None:
    larger = np.zeros((40, 50), np.float32)
    larger[10:30, 10:40] = patches() % 255
    path = write_raster(tmp_path / "c.tif", larger, shifted(-10, -10))
    same = labels_from_raster(write_raster(tmp_path / "d.tif", patches(), nodata=255), GRID)
    labels = labels_from_raster(path, GRID)
    np.testing.assert_array_equal(labels.rows, same.rows)
    np.testing.assert_array_equal(labels.cols, same.cols)
    assert labels.shape == (20, 30)


def test_a_class_raster_on_other_pixels_is_refused(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "c.tif", patches(), shifted(0.5, 0))
    with pytest.raises(LabelError, match="do not coincide"):
        labels_from_raster(path, GRID)


def test_a_class_raster_of_measurements_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"decimal numbers such as 0\.5"):
        labels_from_raster(write_raster(tmp_path / "c.tif", np.full((20, 30), 0.5, np.float32)))
    with pytest.raises(LabelError, match="no labelled pixel"):
        labels_from_raster(write_raster(tmp_path / "d.tif", np.zeros((20, 30), np.uint8)))


def test_a_virtual_raster_is_refused(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "c.tif", patches())
    virtual = tmp_path / "v.tif"
    virtual.write_text(
        '<VRTDataset rasterXSize="30" rasterYSize="20"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{path}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(LabelError, match="cannot be read"):
        labels_from_raster(virtual)


def test_names_come_from_an_envi_classification(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(bytes([0, 1, 2, 2, 1, 1]))
    (tmp_path / "c.hdr").write_text(
        "ENVI\nsamples = 3\nlines = 2\nbands = 1\nfile type = ENVI Classification\ndata type = 1\n"
        "interleave = bsq\nclasses = 3\nclass names = {Unclassified, Roof, Low vegetation}\n"
        "class lookup = {0, 0, 0, 230, 0, 0, 152, 230, 0}\n"
    )
    labels = labels_from_raster(tmp_path / "c")
    assert labels.names == ("Roof", "Low vegetation")
    assert labels.colours == ("#e60000", "#98e600")


def test_a_map_written_here_keeps_its_legend(tmp_path: Path) -> None:
    drawn = labels_from_array(patches() % 255, {2: "roof", 7: "tree"}, {2: "#010203", 7: "#a0b0c0"})
    path = write_raster(tmp_path / "c.tif", patches() % 255)
    with rasterio.open(path, "r+") as out:
        out.update_tags(1, **{CLASSES_TAG: legend_json(drawn.legend())})
    labels = labels_from_raster(path)
    assert (labels.names, labels.colours) == (drawn.names, drawn.colours)


def test_the_legend_keeps_numbers_that_a_map_can_hold() -> None:
    assert [e.value for e in labels_from_array(np.array([[4, 9]])).legend()] == [4, 9]
    assert [e.value for e in labels_from_array(np.array([[4, 900]])).legend()] == [1, 2]
    assert labels_from_array(np.array([[4]]), None, {4: "#0a0b0c"}).legend()[0].colour == (10, 11, 12)


def test_an_array_gives_the_labels_of_its_numbers() -> None:
    labels = labels_from_array(np.array([[0, 1, 1], [3, 0, np.nan]]), {1: "a"}, ignore=(0,))
    assert labels.names == ("a", "3")
    assert list(zip(labels.rows, labels.cols, strict=True)) == [(0, 1), (0, 2), (1, 0)]


# What a classifier needs


def test_one_class_or_one_pixel_is_not_enough() -> None:
    with pytest.raises(LabelError, match="one class only, 'a'"):
        require_trainable(labels_from_array(np.array([[1, 1]]), {1: "a"}))
    with pytest.raises(LabelError, match="class 'b' has one pixel only"):
        require_trainable(labels_from_array(np.array([[1, 1, 2]]), {1: "a", 2: "b"}))
    require_trainable(labels_from_array(np.array([[1, 1, 2, 2]])))


def test_pixels_without_data_are_dropped_and_counted() -> None:
    labels = labels_from_array(np.array([[1, 2, 2], [3, 3, 0]]), {1: "a", 2: "b", 3: "c"})
    valid = np.array([[False, True, True], [True, False, True]])
    kept = drop_nodata(labels, valid)
    assert kept.names == ("b", "c")
    assert kept.classes.tolist() == [0, 0, 1]
    assert kept.warnings == (
        "2 of 5 labelled pixels have no data in the scene and were left out.",
        "The class 'a' has no pixel with data in the scene and was left out.",
    )
    with pytest.raises(LabelError, match="All 5 labelled pixels are without data"):
        drop_nodata(labels, np.zeros(5, bool))


# Real layers


def test_berlin_polygons_with_their_style(shared: Path) -> None:
    folder = shared / "scenes" / "berlin"
    grid = Grid(80, 60, Affine(30, 0, 383472.37, 0, -30, 5818302.35), UTM)
    labels = read_labels(folder / "LandCov_BerlinUrbanGradient.shp", "Level_2", grid)
    assert labels.names == ("Roof", "Pavement", "Low vegetation", "Tree", "Soil", "Other")
    assert labels.colours == ("#e60000", "#9c9c9c", "#98e600", "#267300", "#a87000", "#f5f57a")
    assert labels.group_counts.min() > 1


def test_potsdam_polygons_points_and_raster_agree(shared: Path) -> None:
    folder = shared / "scenes" / "potsdam"
    grid = Grid.of_file(folder / "enmap_potsdam_mosaic18.tif")
    polygons = read_labels(folder / "landcover_mosaic18_polygons.gpkg", "class_id", grid)
    raster = labels_from_raster(folder / "landcover_mosaic18.tif", grid)
    larger = labels_from_raster(folder / "enmap_landcover_unstyled.tif", grid)
    for other in (raster, larger):
        np.testing.assert_array_equal(polygons.rows, other.rows)
        np.testing.assert_array_equal(polygons.cols, other.cols)
        np.testing.assert_array_equal(polygons.classes, other.classes)
    points = read_labels(folder / "landcover_potsdam_point.gpkg", "level_2", grid)
    assert points.colours == ("#e60000", "#98e600", "#267300", "#a87000", "#0064ff")
