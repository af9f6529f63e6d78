"""The method hypersigma in the dialogs of training: both weights are asked for, and few bands are enough."""

import pytest
import tiny
from qgis.core import QgsProcessingContext, QgsRasterLayer

BANDS = 12

TRAINING = ("train", "map")


@pytest.fixture
def values(project, tmp_path):
    """Parameters of a training on a scene of fewer bands than HSIMAE takes."""
    scene = tiny.write_scene(tmp_path / "tiny.bsq")
    header = scene.with_suffix(".hdr")
    text = header.read_text(encoding="utf-8").replace(f"bands = {tiny.BANDS}", f"bands = {BANDS}")
    kept = [line for line in text.splitlines() if not line.startswith(("wavelength", "fwhm", "bbl"))]
    header.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return {
        "INPUT": QgsRasterLayer(str(scene), "tiny", "gdal"),
        "LABELS": tiny.polygon_layer(),
        "FIELD": "class",
        "OUTPUT": str(tmp_path / "model.safetensors"),
    }


@pytest.mark.parametrize("name", TRAINING)
def test_the_method_decides_how_many_bands_are_enough(provider, project, values, tmp_path, name):
    context = QgsProcessingContext()
    context.setProject(project)
    if name == "map":
        values["OUTPUT"] = str(tmp_path / "result")
    algorithm = provider.algorithm(name).create()
    assert "32 good bands" in algorithm.checkParameterValues(values, context)[1]
    sentence = algorithm.checkParameterValues({**values, "METHOD": "hypersigma"}, context)[1]
    assert "bands" not in sentence


@pytest.mark.parametrize("name", TRAINING)
def test_both_weights_go_to_the_engine_as_one(provider, name):
    algorithm = provider.algorithm(name).create()
    names = [each.name() for each in algorithm.parameterDefinitions()]
    assert names.index("SPECTRAL_WEIGHTS") == names.index("WEIGHTS") + 1
    both = algorithm.adapt({"size": "small", "weights": "a", "spectral_weights": "b"})
    assert both == {"size": "small", "weights": "a,b"}
    assert algorithm.adapt({"spectral_weights": "b"}) == {"weights": "b"}
    assert algorithm.adapt({"size": "small"}) == {"size": "small"}
