"""Networks trained on the scene itself, from QGIS: their own method of tasks that have others."""

import os

import pytest
import tiny
from qgis.core import QgsRasterLayer

from hsi_toolkit.qgis_plugin import client

ALGORITHMS = ("unmix", "anomalies", "target", "change")


@pytest.fixture
def engine(engine_python, provider, monkeypatch):
    """The real engine, ended after the test."""
    monkeypatch.setitem(os.environ, "HSI_PYTHON", str(engine_python))
    yield
    client.stop()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_method_its_weights_and_its_size_are_offered(provider, name):
    algorithm = provider.algorithm(name)
    assert "hypersigma" in algorithm.parameterDefinition("METHOD").options()
    for each in ("WEIGHTS", "SPECTRAL_WEIGHTS", "SIZE", "EPOCHS", "SEED"):
        assert algorithm.parameterDefinition(each) is not None, each


@pytest.mark.parametrize("name", ALGORITHMS)
def test_both_weights_become_one_text_for_the_task(provider, name):
    request = {"weights": "a.safetensors", "spectral_weights": "b.safetensors"}
    assert provider.algorithm(name).adapt(request)["weights"] == "a.safetensors,b.safetensors"


@pytest.mark.usefixtures("engine", "project")
def test_a_network_is_trained_and_its_scores_are_a_layer(processing, tmp_path):
    scene = str(tiny.write_scene(tmp_path / "tiny.bsq"))
    outputs = {"OUTPUT": str(tmp_path / "scores.tif"), "DETECTIONS": str(tmp_path / "map.tif")}
    found = processing.run("hsi:anomalies", {"INPUT": scene, "METHOD": "hypersigma", "EPOCHS": 1, **outputs})
    layer = QgsRasterLayer(found["OUTPUT"])
    assert (layer.isValid(), layer.width(), layer.height()) == (True, tiny.SIDE, tiny.SIDE)
    assert QgsRasterLayer(found["DETECTIONS"]).isValid()
