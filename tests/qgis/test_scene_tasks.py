"""Checking, resampling and exporting a scene inside QGIS, with the real engine."""

import json
import os
import shutil

import pytest
import tiny
from qgis.core import QgsProcessingException, QgsRasterLayer

from hsi_toolkit.qgis_plugin import client
from hsi_toolkit.qgis_plugin.wavelengths import layer_bands

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


def opened(path):
    layer = QgsRasterLayer(str(path), "exported", "gdal")
    assert layer.isValid(), path
    return layer


def assert_same(before, band, after, other):
    """Both show the same values at the same place in their bands."""
    assert (after.width(), after.height()) == (tiny.SIDE, tiny.SIDE)
    assert after.crs() == before.crs()
    assert after.extent() == before.extent()
    blocks = [
        layer.dataProvider().block(number, before.extent(), tiny.SIDE, tiny.SIDE)
        for layer, number in ((before, band), (after, other))
    ]
    values = [[block.value(row, row) for row in range(tiny.SIDE)] for block in blocks]
    assert values[1] == pytest.approx(values[0], rel=1e-6)


def test_check_reports_and_returns_figures(processing, scene, tmp_path):
    report = tmp_path / "check.html"
    result = processing.run("hsi:check", {"INPUT": str(scene), "REPORT": str(report)})
    assert result["GOOD_BANDS"] + result["BAD_BANDS"] == tiny.BANDS
    assert result["MISSING"] == 0
    assert "Signal to noise" in report.read_text(encoding="utf-8")
    assert not list(tmp_path.glob("*.hsi.json"))


def test_corrections_are_seen_in_qgis_at_once(processing, scene, tmp_path):
    header = scene.with_suffix(".hdr")
    plain = header.read_text()
    header.write_text("".join(line for line in plain.splitlines(True) if not line.startswith("wavelength")))
    assert layer_bands(opened(scene)).wavelengths is None
    table = tmp_path / "bands.csv"
    table.write_text("wavelength_nm\n" + "\n".join(str(centre) for centre in tiny.wavelengths()) + "\n")
    processing.run(
        "hsi:check",
        {"INPUT": str(scene), "BANDS": str(table), "QUANTITY": "reflectance", "SCALE": 0.5, "FIX": True},
    )
    found = layer_bands(opened(scene))
    assert found.wavelengths == pytest.approx(tiny.wavelengths())
    assert found.quantity == "reflectance"
    assert found.scale == 0.5
    (sidecar,) = tmp_path.glob("*.hsi.json")
    content = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**content, "bad_bands": [3, 40]}))
    os.utime(sidecar, ns=(1, 1))
    assert layer_bands(opened(scene)).bad == {2, 39}
    sidecar.write_text("{")
    assert layer_bands(opened(scene)).wavelengths is None


def test_corrections_need_a_file_of_their_own(processing, scene, tmp_path):
    made = processing.run("hsi:export", {"INPUT": str(scene), "OUTPUT": str(tmp_path / "out.tif")})["LAYER"]
    renamed = shutil.copy(made, str(tmp_path / "out.unknown"))
    with pytest.raises(QgsProcessingException, match="no file that the engine opens"):
        processing.run("hsi:check", {"INPUT": renamed, "FIX": True})


def test_resample_gives_the_bands_asked_for(processing, scene, tmp_path):
    table = tmp_path / "bands.csv"
    table.write_text("wavelength_nm,fwhm_nm\n500,60\n700,60\n5000,60\n")
    parameters = {"INPUT": str(scene), "TO": str(table), "OUTPUT": str(tmp_path / "out.tif")}
    with pytest.raises(QgsProcessingException, match="5000 nm are missing"):
        processing.run("hsi:resample", parameters)
    result = processing.run("hsi:resample", {**parameters, "PARTIAL": True})
    assert (result["BANDS"], result["LEFT_OUT"]) == (2, 1)
    assert layer_bands(opened(result["OUTPUT"])).wavelengths == pytest.approx([500, 700])


@pytest.mark.parametrize("suffix", ["tif", "hdr", "nc"])
def test_exports_open_in_qgis(processing, scene, tmp_path, suffix):
    target = tmp_path / f"out.{suffix}"
    result = processing.run("hsi:export", {"INPUT": str(scene), "OUTPUT": str(target)})
    before, after = opened(scene), opened(result["LAYER"])
    assert after.bandCount() == tiny.BANDS
    for band in (1, 17, tiny.BANDS):
        assert_same(before, band, after, band)
    if suffix in ("tif", "hdr"):
        assert layer_bands(after).wavelengths == pytest.approx(tiny.wavelengths(), abs=0.01)


def test_a_zarr_store_opens_band_by_band(processing, scene, tmp_path):
    result = processing.run("hsi:export", {"INPUT": str(scene), "OUTPUT": str(tmp_path / "out.zarr")})
    # GDAL before 3.8 wants the band, counted from zero.
    assert_same(opened(scene), 17, opened(result["LAYER"] + ":16"), 1)


def test_an_extent_is_cut_out(processing, scene, tmp_path):
    west, north = tiny.LEFT + 5 * tiny.PIXEL, tiny.TOP - 10 * tiny.PIXEL
    extent = f"{west},{west + 8 * tiny.PIXEL},{north - 4 * tiny.PIXEL},{north} [{tiny.CRS}]"
    result = processing.run(
        "hsi:export",
        {"INPUT": str(scene), "EXTENT": extent, "WAVELENGTHS": "500-700", "OUTPUT": str(tmp_path / "p.tif")},
    )
    part = opened(result["LAYER"])
    assert (part.width(), part.height()) == (8, 4)
    assert (part.extent().xMinimum(), part.extent().yMaximum()) == (west, north)
    assert part.bandCount() == sum(500 <= centre <= 700 for centre in tiny.wavelengths())
