"""Products that QGIS does not open: their paths reach the engine as they are."""

import subprocess
import zipfile
from pathlib import Path

import pytest
from qgis.core import QgsProcessingContext, QgsProcessingException, QgsProcessingFeedback, QgsProperty

from hsi_toolkit.qgis_plugin import client
from hsi_toolkit.qgis_plugin.inputs import ProductInput, product_path

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def product(engine_python, tmp_path_factory):
    """The folder of an EnMAP product, written by the engine's Python, which has rasterio."""
    folder = tmp_path_factory.mktemp("product")
    code = "import sys, pathlib; from tests.scene.made_products import write_enmap; "
    code += "print(write_enmap(pathlib.Path(sys.argv[1])))"
    done = subprocess.run(
        [str(engine_python), "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def names(product):
    """The product's folder, zip, metadata file and image."""
    archive = product.with_suffix(".zip")
    with zipfile.ZipFile(str(archive), "w", zipfile.ZIP_DEFLATED) as file:
        for part in product.iterdir():
            file.write(str(part), f"{product.name}/{part.name}")
    parts = {each: product / f"{product.name}-{each}" for each in ("METADATA.XML", "SPECTRAL_IMAGE.TIF")}
    return {
        "folder": product,
        "zip": archive,
        "xml": parts["METADATA.XML"],
        "tif": parts["SPECTRAL_IMAGE.TIF"],
    }


@pytest.fixture
def asked(monkeypatch):
    """The requests that the engine was sent."""
    requests = []

    def run_task(task, request, feedback):
        requests.append(request)
        return {"summary": "done", "facts": {}, "outputs": {}, "warnings": []}

    monkeypatch.setattr(client, "run_task", run_task)
    return requests


@pytest.mark.parametrize("kind", ["folder", "zip", "xml", "tif"])
def test_a_path_reaches_the_engine_untouched(processing, project, names, asked, kind):
    processing.run("hsi:info", {"INPUT": str(names[kind])})
    assert asked[0]["scene"] == str(names[kind])


def test_expressions_may_name_a_product(processing, project, names, asked):
    given = QgsProperty.fromExpression(f"'{names['folder'].as_posix()}'")
    processing.run("hsi:info", {"INPUT": given})
    assert asked[0]["scene"] == str(names["folder"])


def test_optional_rasters_may_be_left_out_beside_a_product(processing, project, names, asked, tmp_path):
    processing.run("hsi:denoise", {"INPUT": str(names["xml"]), "OUTPUT": str(tmp_path / "clean.tif")})
    assert asked[0]["scene"] == str(names["xml"])


def test_what_is_no_product_is_still_refused(processing, project, names, asked, tmp_path):
    (tmp_path / "notes.doc").write_text("no raster")
    for value in ("no such layer", str(tmp_path / "gone.zip"), str(tmp_path / "notes.doc")):
        with pytest.raises(QgsProcessingException):
            processing.run("hsi:info", {"INPUT": value})
    assert not asked


def test_names_of_layers_are_no_paths(qgis_app, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scene").mkdir()
    context = QgsProcessingContext()
    assert product_path("scene", context) is None
    assert product_path(None, context) is None
    assert product_path(str(tmp_path / "scene"), context) == tmp_path / "scene"
    given = ProductInput(tmp_path / "scene")
    assert (given.name, given.file(tmp_path, QgsProcessingFeedback())) == ("scene", str(tmp_path / "scene"))


def test_the_engine_opens_what_it_is_given(processing, project, names, engine_python, monkeypatch):
    monkeypatch.setenv("HSI_PYTHON", str(engine_python))
    results = processing.run("hsi:info", {"INPUT": str(names["zip"])})
    assert results["SUMMARY"].startswith("9 bands, 6 × 4 pixels")
