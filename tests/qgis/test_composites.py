"""Colours are chosen by wavelength, without bad bands, and stretched so that they can be seen."""

import array

import pytest
import tiny


@pytest.fixture(scope="module")
def composites(qgis_app):
    from hsi_toolkit.qgis_plugin import composites

    return composites


def scene(folder, centres, bands, *lines):
    """An ENVI layer, 10 × 10; ``bands`` are functions from a pixel's number, 0 to 99, to its value."""
    from qgis.core import QgsRasterLayer

    path = folder / "scene.img"
    values = array.array("f", [band(pixel) for band in bands for pixel in range(100)])
    path.write_bytes(values.tobytes())
    head = [
        "ENVI",
        "samples = 10",
        "lines = 10",
        f"bands = {len(bands)}",
        "data type = 4",
        "interleave = bsq",
    ]
    if centres:
        head += [f"wavelength = {{{', '.join(map(str, centres))}}}", "wavelength units = nm"]
    path.with_suffix(".hdr").write_text("\n".join([*head, *lines]) + "\n")
    layer = QgsRasterLayer(str(path), "scene", "gdal")
    assert layer.isValid()
    return layer


def limits(layer):
    renderer = layer.renderer()
    each = (
        renderer.redContrastEnhancement(),
        renderer.greenContrastEnhancement(),
        renderer.blueContrastEnhancement(),
    )
    return [(stretch.minimumValue(), stretch.maximumValue()) for stretch in each]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("natural", (660, 550, 470)), ("infrared", (860, 660, 550)), ("swir", (2200, 1650, 860))],
)
def test_the_nearest_bands_are_shown(composites, tmp_path, name, expected):
    centres = list(range(400, 2500, 10))
    layer = scene(tmp_path, centres, [float] * len(centres))
    chosen = composites.show_composite(layer, name)
    assert tuple(centres[band - 1] for band in chosen) == expected
    renderer = layer.renderer()
    assert (renderer.redBand(), renderer.greenBand(), renderer.blueBand()) == chosen


def test_bad_bands_are_passed_over(composites, tmp_path):
    layer = scene(tmp_path, [470, 550, 655, 660, 700], [float] * 5, "bbl = {1, 1, 1, 0, 1}")
    assert composites.show_composite(layer, "natural") == (3, 2, 1)


def test_reflectance_keeps_grey_grey_by_one_stretch(composites, tmp_path):
    bands = [lambda pixel: pixel / 100, lambda pixel: pixel / 200, lambda pixel: pixel / 400]
    layer = scene(tmp_path, [470, 550, 660], bands, "description = {reflectance}")
    composites.show_composite(layer, "natural")
    found = limits(layer)
    assert found[0] == found[1] == found[2]


def test_false_colours_of_reflectance_are_stretched_band_by_band(composites, tmp_path):
    bands = [lambda pixel: pixel / 400, lambda pixel: pixel / 200, lambda pixel: pixel / 100]
    layer = scene(tmp_path, [550, 660, 860], bands, "description = {reflectance}")
    composites.show_composite(layer, "infrared")
    assert limits(layer) == [
        (pytest.approx(0.02), pytest.approx(0.97)),
        (pytest.approx(0.01), pytest.approx(0.485)),
        (pytest.approx(0.005), pytest.approx(0.2425)),
    ]


def test_other_numbers_are_stretched_band_by_band_between_their_percentiles(composites, tmp_path):
    bands = [lambda pixel: pixel, lambda pixel: 10 * pixel, lambda pixel: 100 * pixel]
    layer = scene(tmp_path, [470, 550, 660], bands)
    composites.show_composite(layer, "natural")
    assert limits(layer) == [(200, 9700), (20, 970), (2, 97)]


def test_pixels_without_data_do_not_count(composites, tmp_path):
    bands = [lambda pixel: -9999 if pixel < 50 else pixel] * 3
    layer = scene(tmp_path, [470, 550, 660], bands, "data ignore value = -9999")
    composites.show_composite(layer, "natural")
    assert limits(layer)[0] == (51, 98)


def test_a_scene_of_one_value_can_still_be_shown(composites, tmp_path):
    layer = scene(tmp_path, [470, 550, 660], [lambda pixel: 7.0] * 3)
    composites.show_composite(layer, "natural")
    low, high = limits(layer)[0]
    assert low < high


def test_without_wavelengths_there_is_a_sentence_and_the_layer_stays(composites, tmp_path):
    layer = scene(tmp_path, None, [float] * 4)
    before = layer.renderer().type(), layer.renderer().usesBands()
    with pytest.raises(composites.CompositeError, match=r"scene has no wavelengths.*Add them"):
        composites.show_composite(layer, "natural")
    assert (layer.renderer().type(), layer.renderer().usesBands()) == before


def test_a_scene_that_does_not_see_the_light_says_so(composites, tmp_path):
    layer = scene(tmp_path, [900, 1000, 1100], [float] * 3)
    with pytest.raises(composites.CompositeError, match=r"within 60 nm of 660 nm.*nearest is 900 nm"):
        composites.show_composite(layer, "natural")


def test_meadow_glows_red_in_false_colour(composites, tmp_path):
    from qgis.core import QgsRasterLayer
    from qgis.PyQt.QtGui import QColor

    layer = QgsRasterLayer(str(tiny.write_scene(tmp_path / "tiny.img")), "tiny", "gdal")
    composites.show_composite(layer, "infrared")
    colour = QColor(layer.renderer().block(1, layer.extent(), tiny.SIDE, tiny.SIDE).color(5 * tiny.SIDE + 5))
    assert colour.red() > 1.5 * max(colour.green(), colour.blue())
