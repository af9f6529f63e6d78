"""Products that QGIS does not open: their paths reach the engine as they are."""

import subprocess
import zipfile
from pathlib import Path

import pytest
from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProperty,
    QgsRasterLayer,
)

from hsi_toolkit.qgis_plugin import client
from hsi_toolkit.qgis_plugin.inputs import ProductInput, own_file, product_path
from hsi_toolkit.qgis_plugin.wavelengths import layer_bands

ROOT = Path(__file__).resolve().parents[2]


def written(engine_python, folder, call):
    """The folder of a product, written by the engine's Python, which has rasterio."""
    code = (
        "import sys, pathlib; from tests.scene.made_products import *; folder = pathlib.Path(sys.argv[1]); "
    )
    done = subprocess.run(
        [str(engine_python), "-c", f"{code}print({call})", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def product(engine_python, tmp_path_factory):
    """The folder of an EnMAP L2A product with a band without data."""
    return written(engine_python, tmp_path_factory.mktemp("product"), "write_enmap(folder, dead=[4])")


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


def test_the_image_as_a_layer_has_the_bands_of_its_metadata(qgis_app, names):
    layer = QgsRasterLayer(str(names["tif"]), "enmap", "gdal")
    bands = layer_bands(layer)
    assert bands.wavelengths == (420, 550, 660, 902, 910, 940, 980, 1100, 1650)
    assert (bands.bad, bands.quantity, bands.scale) == (frozenset({3}), "reflectance", 1e-4)
    assert own_file(layer) == names["tif"]


@pytest.mark.parametrize(
    ("call", "part", "wavelengths", "quantity"),
    [
        ("write_enmap(folder, 'L1B')", "SPECTRAL_IMAGE_SWIR.TIF", (902, 940, 1100, 1650), ""),
        (
            "write_enmap(folder, 'L1C')",
            "SPECTRAL_IMAGE.TIF",
            (420, 550, 660, 902, 910, 940, 980, 1100, 1650),
            "",
        ),
        ("write_desis(folder)", "SPECTRAL_IMAGE.tif", (450, 500, 550, 600), "reflectance"),
        (
            "write_enmap(folder, replace=('<level_X>', '<!DOCTYPE x><level_X>'))",
            "SPECTRAL_IMAGE.TIF",
            None,
            "",
        ),
    ],
)
def test_other_products_say_what_they_know(
    qgis_app, engine_python, tmp_path, call, part, wavelengths, quantity
):
    folder = written(engine_python, tmp_path, call)
    bands = layer_bands(QgsRasterLayer(str(folder / f"{folder.name}-{part}"), "scene", "gdal"))
    assert (bands.wavelengths, bands.quantity) == (wavelengths, quantity)
