"""The layer that Where to draw next writes, as QGIS opens it: ranked, labelled, with the reason as a tip."""

import subprocess

import pytest
from qgis.core import QgsVectorLayer

WRITE = """
import sys
from rasterio.crs import CRS
from hsi_toolkit.training.place_layer import Place, write_places
places = [Place(n + 1, 4e5 + 100 * n, 5.8e6, 0.2 + 0.1 * n, "meadow", "Undecided.") for n in range(5)]
write_places(sys.argv[1], places, CRS.from_epsg(32633) if sys.argv[2] == "crs" else None)
"""


@pytest.fixture(params=["crs", "none"])
def layer(request, qgis_app, engine_python, tmp_path):
    path = tmp_path / "places to draw.gpkg"
    command = [str(engine_python), "-I", "-c", WRITE, str(path), request.param]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return QgsVectorLayer(f"{path}|layername=places to draw", "places", "ogr")


def test_the_style_in_the_file_is_the_layers_own(layer):
    assert layer.isValid()
    assert layer.featureCount() == 5
    renderer = layer.renderer()
    assert renderer.type() == "graduatedSymbol"
    assert renderer.classAttribute() == "uncertainty"
    assert len(renderer.ranges()) == 4
    assert all(each.symbol().symbolLayer(0).layerType() == "SimpleMarker" for each in renderer.ranges())
    assert len({each.symbol().color().name() for each in renderer.ranges()}) == 4
    values = [feature["uncertainty"] for feature in layer.getFeatures()]
    assert all(renderer.rangeForValue(value) is not None for value in values)


def test_places_are_labelled_with_their_rank(layer):
    assert layer.labelsEnabled()
    settings = layer.labeling().settings()
    assert settings.fieldName == "rank"
    assert settings.format().buffer().enabled()


def test_the_reason_is_what_a_click_shows(layer):
    assert "reason" in layer.mapTipTemplate()
    assert "rank" in layer.displayExpression()


def test_fields_are_those_that_are_documented(layer):
    names = [field.name() for field in layer.fields()]
    assert names == ["fid", "rank", "uncertainty", "class", "reason"]
