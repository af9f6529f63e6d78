"""Compressing and decompressing a scene inside QGIS, with the real engine."""

import os

import pytest
import tiny
from qgis.core import QgsProcessingException, QgsRasterLayer

from hsi_toolkit.qgis_plugin import client

pytestmark = pytest.mark.usefixtures("engine", "project")


@pytest.fixture(scope="module")
def engine(engine_python, provider):
    """The real engine, ended when the module is done."""
    before = os.environ.get("HSI_PYTHON")
    os.environ["HSI_PYTHON"] = str(engine_python)
    yield
    client.stop()
    if before is None:
        del os.environ["HSI_PYTHON"]
    else:
        os.environ["HSI_PYTHON"] = before


@pytest.fixture
def scene(tmp_path):
    return tiny.write_scene(tmp_path / "tiny.bsq")


def values(path):
    layer = QgsRasterLayer(str(path), "scene", "gdal")
    assert layer.isValid(), path
    provider, side = layer.dataProvider(), tiny.SIDE
    blocks = [provider.block(band + 1, layer.extent(), side, side) for band in range(tiny.BANDS)]
    return [[block.value(row, row) for row in range(tiny.SIDE)] for block in blocks]


def test_a_scene_there_and_back_is_the_same(processing, scene, tmp_path):
    packed = tmp_path / "tiny.hsz"
    result = processing.run("hsi:compress", {"INPUT": str(scene), "OUTPUT": str(packed)})
    assert result["LARGEST_ERROR"] == 0
    assert result["RATIO"] > 1
    assert packed.read_bytes()[1:4] == b"HSZ"
    processing.run("hsi:decompress", {"SCENE": str(packed), "OUTPUT": str(tmp_path / "back.tif")})
    assert values(tmp_path / "back.tif") == values(scene)


def test_a_compressed_scene_is_an_input_of_other_tasks(processing, scene, tmp_path):
    packed = tmp_path / "tiny.hsz"
    processing.run("hsi:compress", {"INPUT": str(scene), "OUTPUT": str(packed)})
    result = processing.run("hsi:info", {"INPUT": str(packed)})
    assert result["BANDS"] == tiny.BANDS


def test_an_impossible_rate_is_said_in_a_sentence(processing, scene, tmp_path):
    with pytest.raises(QgsProcessingException, match=r"more than 0\.01 bits"):
        processing.run("hsi:compress", {"INPUT": str(scene), "OUTPUT": str(tmp_path / "a.hsz"), "RATE": 0.01})
    assert not (tmp_path / "a.hsz").exists()
