"""The plugin finds wavelengths and bad bands wherever the core does, and agrees with it."""

import json
import os
import shutil
import subprocess

import pytest
import tiny
from osgeo import gdal

gdal.UseExceptions()

NM = [450.0, 560.0, 665.0, 842.0]
UM = [0.45, 0.56, 0.665, 0.842]


@pytest.fixture(scope="module")
def wavelengths(qgis_app):
    from hsi_toolkit.qgis_plugin import wavelengths

    return wavelengths


def open_layer(path):
    from qgis.core import QgsRasterLayer

    layer = QgsRasterLayer(str(path), path.stem, "gdal")
    assert layer.isValid()
    return layer


def envi(folder, *lines, name="scene.img", bands=4):
    """An ENVI file of zeros with these lines in its header."""
    data = folder / name
    data.write_bytes(bytes(3 * 2 * bands * 4))
    head = ["ENVI", "samples = 3", "lines = 2", f"bands = {bands}", "data type = 4", "interleave = bsq"]
    data.with_suffix(".hdr").write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
    return data


def geotiff(path, bands=4, *, names=(), tags=(), whole=None, scale=None):
    """A GeoTIFF of zeros; ``tags`` per band and ``whole`` map domains to tags."""
    raster = gdal.GetDriverByName("GTiff").Create(str(path), 3, 2, bands, gdal.GDT_Int16)
    for index in range(bands):
        band = raster.GetRasterBand(index + 1)
        if names:
            band.SetDescription(names[index])
        for domain, values in (tags[index] if tags else {}).items():
            band.SetMetadata(values, domain)
        if scale:
            band.SetScale(scale)
    for domain, values in (whole or {}).items():
        raster.SetMetadata(values, domain)
    raster = None
    return path


def listed(values):
    return "{" + ", ".join(f"{value:g}" for value in values) + "}"


@pytest.mark.parametrize(
    ("unit", "values"),
    [
        ("Nanometers", NM), ("nanometer", NM), ("nm", NM), ("Micrometers", UM), ("micrometer", UM),
        ("um", UM), ("µm", UM), ("μm", UM), ("microns", UM), ("Unknown", UM), ("Unknown", NM), (None, UM),
        ("Wavenumber", [1e7 / value for value in NM]),
    ],
)  # fmt: skip
def test_every_spelling_of_the_unit_in_an_envi_header_is_understood(wavelengths, tmp_path, unit, values):
    lines = [f"wavelength = {listed(values)}"]
    if unit:
        lines.append(f"wavelength units = {unit}")
    found = wavelengths.layer_wavelengths(open_layer(envi(tmp_path, *lines)))
    assert found == pytest.approx(NM, rel=1e-4)


def test_lists_over_several_lines_with_comments_are_read(wavelengths, tmp_path):
    data = envi(
        tmp_path, "Wavelength  = {", " 450, 560,", "; a comment }", " 665, 842}", "bbl = {1, 0,", "1, 1}"
    )
    layer = open_layer(data)
    assert wavelengths.layer_wavelengths(layer) == NM
    assert wavelengths.layer_bad_bands(layer) == {1}


def test_a_header_beside_a_file_without_ending_is_found(wavelengths, tmp_path):
    data = envi(tmp_path, f"wavelength = {listed(NM)}")
    data.rename(tmp_path / "scene")
    assert wavelengths.layer_wavelengths(open_layer(tmp_path / "scene")) == NM


def test_band_names_in_an_envi_header_do_where_there_is_no_list(wavelengths, tmp_path):
    names = ", ".join(f"band {number} ({value} Micrometers)" for number, value in enumerate(UM, start=8))
    found = wavelengths.layer_wavelengths(open_layer(envi(tmp_path, f"band names = {{{names}}}")))
    assert found == pytest.approx(NM)


@pytest.mark.parametrize(
    "lines",
    [
        ("wavelength = {450, 560, 665}",),
        ("wavelength = {450, 560, none, 842}",),
        ("wavelength = {450, 560, 665, -1}",),
        ("wavelength = {450, 560, 665, 842",),
        ("wavelength = {1, 2, 3, 4}", "wavelength units = Index"),
        ("wavelength = {1984.1, 1991.5, 2001.2, 2015.7}", "description = {FORCE time series}"),
        (),
    ],
)
def test_nonsense_is_no_wavelength(wavelengths, tmp_path, lines):
    assert wavelengths.layer_wavelengths(open_layer(envi(tmp_path, *lines))) is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([f"{value:.2f} nm" for value in NM], NM),
        ([f"Band 12: {value} um" for value in UM], NM),
        ([f"Resize (Band 1:x) ({value})" for value in NM], NM),
        (["Band_450", "Band_560", "Band_665", "Band_842"], NM),
        (["Band_301", "Band_302", "Band_303", "Band_304"], None),
        (["red", "green", "blue", "842 nm"], None),
        ((), None),
    ],
)
def test_wavelengths_in_band_descriptions_count(wavelengths, tmp_path, names, expected):
    found = wavelengths.layer_wavelengths(open_layer(geotiff(tmp_path / "a.tif", names=names)))
    assert found == (None if expected is None else pytest.approx(expected))


def test_tags_of_each_band_are_read_with_their_bad_bands(wavelengths, tmp_path):
    tags = [
        {"": {"wavelength": str(value), "wavelength_units": "Nanometers", "bbl": str(int(value != 665))}}
        for value in NM
    ]
    layer = open_layer(geotiff(tmp_path / "a.tif", tags=tags))
    assert wavelengths.layer_wavelengths(layer) == NM
    assert wavelengths.layer_bad_bands(layer) == {2}


def test_imagery_metadata_are_read_from_the_sidecar_and_refined_by_exacter_names(wavelengths, tmp_path):
    path = geotiff(tmp_path / "a.tif", names=[f"{value + 0.25:.2f} nm" for value in NM])
    bands = "".join(
        f'<PAMRasterBand band="{number}"><Metadata domain="IMAGERY">'
        f'<MDI key="CENTRAL_WAVELENGTH_UM">{value}</MDI></Metadata></PAMRasterBand>'
        for number, value in enumerate(UM, start=1)
    )
    sidecar = tmp_path / "a.tif.aux.xml"
    sidecar.write_text(f"<PAMDataset>{bands}</PAMDataset>")
    assert wavelengths.layer_wavelengths(open_layer(path)) == pytest.approx([value + 0.25 for value in NM])


def test_lists_in_the_envi_domain_of_a_sidecar_are_read(wavelengths, tmp_path):
    path = geotiff(tmp_path / "a.tif")
    (tmp_path / "a.tif.aux.xml").write_text(
        '<PAMDataset><Metadata domain="ENVI"><MDI key="wavelength">{0.45, 0.56, 0.665, 0.842}</MDI>'
        '<MDI key="wavelength_units">Micrometers</MDI><MDI key="bbl">{0, 1, 1, 1}</MDI>'
        "</Metadata></PAMDataset>"
    )
    layer = open_layer(path)
    assert wavelengths.layer_wavelengths(layer) == pytest.approx(NM)
    assert wavelengths.layer_bad_bands(layer) == {0}


def test_a_sidecar_with_entities_is_not_read(qgis_app, tmp_path):
    from hsi_toolkit.qgis_plugin.band_tags import read_tags

    path = geotiff(tmp_path / "a.tif")
    layer = open_layer(path)
    (tmp_path / "a.tif.aux.xml").write_text(
        '<!DOCTYPE x [<!ENTITY list "{450, 560, 665, 842}">]><PAMDataset><Metadata domain="ENVI">'
        '<MDI key="wavelength">&list;</MDI></Metadata></PAMDataset>'
    )
    assert "ENVI" not in read_tags(layer).whole


def test_a_stac_item_beside_the_file_is_read(wavelengths, tmp_path):
    path = geotiff(tmp_path / "a.tif")
    bands = [{"center_wavelength": value, "enmapbox:bad_band_multiplier": int(value > 0.5)} for value in UM]
    (tmp_path / "a.stac.json").write_text(json.dumps({"properties": {"eo:bands": bands}}))
    layer = open_layer(path)
    assert wavelengths.layer_wavelengths(layer) == pytest.approx(NM)
    assert wavelengths.layer_bad_bands(layer) == {0}


def test_what_is_stored_with_the_layer_goes_first_and_travels_with_it(wavelengths, tmp_path):
    layer = open_layer(envi(tmp_path, f"wavelength = {listed(NM)}", "bbl = {0, 1, 1, 1}"))
    wavelengths.store_bands(layer, [500.0, 600.0, 700.0, 800.5], [3])
    copy = layer.clone()
    assert wavelengths.layer_wavelengths(copy) == [500.0, 600.0, 700.0, 800.5]
    assert wavelengths.layer_bad_bands(copy) == {3}


def test_a_stored_list_of_another_length_does_not_count(wavelengths, tmp_path):
    layer = open_layer(envi(tmp_path, f"wavelength = {listed(NM)}"))
    layer.setCustomProperty(wavelengths.WAVELENGTHS_PROPERTY, "500,600")
    assert wavelengths.layer_wavelengths(layer) == NM


def test_files_are_read_again_only_when_they_change(wavelengths, tmp_path, monkeypatch):
    data = envi(tmp_path, f"wavelength = {listed(NM)}")
    layer = open_layer(data)
    read = []
    original = wavelengths.read_tags
    monkeypatch.setattr(wavelengths, "read_tags", lambda layer: read.append(1) or original(layer))
    for _ in range(3):
        assert wavelengths.layer_wavelengths(layer) == NM
    assert len(read) == 1
    header = data.with_suffix(".hdr")
    header.write_text(header.read_text().replace("842", "900"))
    os.utime(header, ns=(1, 1))
    assert wavelengths.layer_wavelengths(layer) == [450.0, 560.0, 665.0, 900.0]


def test_the_quantity_is_told_where_the_file_tells_it(wavelengths, tmp_path):
    scaled = envi(tmp_path, "reflectance scale factor = 10000", name="scaled.img")
    stated = envi(tmp_path, "description = {surface Reflectance}", name="stated.img")
    assert wavelengths.layer_bands(open_layer(scaled)).quantity == "reflectance"
    assert wavelengths.layer_bands(open_layer(scaled)).scale == pytest.approx(1e-4)
    assert wavelengths.layer_bands(open_layer(stated)).quantity == "reflectance"
    by_gdal = wavelengths.layer_bands(open_layer(geotiff(tmp_path / "a.tif", scale=1e-4)))
    assert (by_gdal.quantity, by_gdal.scale) == ("reflectance", 1.0)
    assert wavelengths.layer_bands(open_layer(geotiff(tmp_path / "b.tif"))).quantity == ""


READ_BY_CORE = """
import json, sys
from hsi_toolkit.scene import open_scene
found = {}
for path in sys.argv[1:]:
    scene = open_scene(path).sortby("band")  # as the file has them
    centres = scene["wavelength"].values.tolist() if "wavelength" in scene.coords else None
    bad = [band for band, good in enumerate(scene["good"].values.tolist()) if not good]
    found[path] = [centres, bad]
print(json.dumps(found))
"""


def read_by_core(python, paths):
    """Wavelengths and bad bands as the core reads them, by path."""
    command = [str(python), "-I", "-c", READ_BY_CORE, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    return json.loads(done.stdout)


def test_the_core_reads_the_same(wavelengths, tmp_path, engine_python):
    per_band = [{"": {"wavelength": str(value), "wavelength_units": "um", "bbl": "1"}} for value in UM]
    paths = [
        envi(tmp_path, f"wavelength = {listed(UM)}", "bbl = {1, 0, 1, 0}", name="a.img"),
        envi(tmp_path, f"wavelength = {listed(NM)}", "wavelength units = nm", name="b.img"),
        envi(tmp_path, "wavelength = {1, 2, 3, 4}", "wavelength units = Index", name="c.img"),
        geotiff(tmp_path / "d.tif", names=[f"{value:.2f} nm" for value in NM]),
        geotiff(tmp_path / "e.tif", tags=per_band),
        geotiff(tmp_path / "f.tif", names=["Band_301", "Band_302", "Band_303", "Band_304"]),
        geotiff(tmp_path / "g.tif"),
        tiny.write_scene(tmp_path / "tiny.img"),
    ]
    core = read_by_core(engine_python, paths)
    for path in paths:
        centres, bad = core[str(path)]
        found = wavelengths.layer_wavelengths(open_layer(path))
        assert found == (None if centres is None else pytest.approx(centres)), path.name
        assert sorted(wavelengths.layer_bad_bands(open_layer(path))) == bad, path.name


def test_the_core_reads_the_same_from_real_scenes(wavelengths, tmp_path, engine_python, shared):
    names = [
        "berlin/EnMAP_BerlinUrbanGradient.bsq", "potsdam/enmap_potsdam_mosaic18.tif",
        "gamsberg/cubus_gamsberg_subset", "aviris_ng/ang20160910t185702_2rdn_img",
    ]  # fmt: skip
    paths = []
    for name in names:
        # Copies: QGIS writes statistics beside what it opens.
        source = shared / "scenes" / name
        paths.append(tmp_path / source.name)
        for each in (source, source.with_suffix(".hdr")):
            if each.is_file():
                shutil.copyfile(each, tmp_path / each.name)
    core = read_by_core(engine_python, paths)
    for path in paths:
        centres, bad = core[str(path)]
        assert wavelengths.layer_wavelengths(open_layer(path)) == pytest.approx(centres), path.name
        assert sorted(wavelengths.layer_bad_bands(open_layer(path))) == bad, path.name
