"""Synthetic scenes for pretraining: seeded, physical enough, and labelled by what covers a pixel."""

import numpy as np
import pytest

from hsi_toolkit.synthetic.corpus import SENSORS, Materials, draw_scene, sensor_bands, smooth_curves

GRID = np.arange(400.0, 2451.0, 10.0)


@pytest.fixture(scope="module")
def materials() -> Materials:
    """Six named and six other classes of eight sources with two spectra each."""
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(12), 16)
    shapes = np.exp(0.3 * smooth_curves(12, len(GRID), 40, rng))[classes]
    spectra = 0.3 * shapes * np.exp(0.05 * smooth_curves(len(classes), len(GRID), 30, rng))
    source = np.arange(len(classes)) // 2
    levels = np.stack([classes // 2, 100 + classes])
    return Materials(GRID, spectra.astype(np.float32), levels, source, classes < 6)


def test_a_scene_repeats_with_its_seed_and_differs_with_another(materials: Materials) -> None:
    first, again, other = (draw_scene(materials, np.random.default_rng(seed), 32) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.scene, again.scene)
    np.testing.assert_array_equal(first.classes, again.classes)
    assert first.scene.shape != other.scene.shape or not np.array_equal(first.scene, other.scene)


@pytest.mark.parametrize("seed", range(12))
def test_every_scene_is_whole(materials: Materials, seed: int) -> None:
    drawn = draw_scene(materials, np.random.default_rng(seed), 32)
    bands = drawn.scene.sizes["band"]
    assert drawn.scene.shape == (bands, 32, 32)
    assert drawn.scene.dtype == np.float32
    assert np.isfinite(drawn.scene).all()
    assert drawn.scene.attrs["sensor"] in SENSORS
    wavelength = drawn.scene["wavelength"].to_numpy()
    assert wavelength.min() >= 400
    assert wavelength.max() <= 2450
    vapour = (wavelength > 1350) & (wavelength < 1440)
    assert not drawn.scene["good"].to_numpy()[vapour].any()
    assert drawn.classes.shape == (32, 32)
    assert drawn.classes.min() >= 0
    assert len(np.unique(drawn.classes[drawn.classes > 0])) >= 2


def test_pixels_of_a_class_are_more_alike_than_those_of_others(materials: Materials) -> None:
    ratios = []
    for seed in range(8):
        drawn = draw_scene(materials, np.random.default_rng(seed), 32)
        labelled = drawn.classes > 0
        spectra = drawn.scene.to_numpy()[drawn.scene["good"].to_numpy()][:, labelled].T.astype(np.float64)
        classes = drawn.classes[labelled]
        spectra /= np.linalg.norm(spectra, axis=1, keepdims=True)
        within = np.zeros_like(spectra)
        for label in np.unique(classes):
            within[classes == label] = spectra[classes == label] - spectra[classes == label].mean(axis=0)
        ratios.append(within.var() / (spectra - spectra.mean(axis=0)).var())
    assert np.mean(ratios) < 0.7


@pytest.mark.parametrize("name", SENSORS)
def test_bands_of_sensors_keep_within_the_libraries(name: str) -> None:
    wavelength, fwhm = sensor_bands(name, np.random.default_rng(0))
    assert len(wavelength) == len(fwhm) >= 32
    assert (fwhm > 0).all()
    assert wavelength.min() >= 400
    assert wavelength.max() <= 2450


def test_random_curves_are_smooth_and_of_unit_variance() -> None:
    curves = smooth_curves(4000, 100, 25, np.random.default_rng(0))
    assert curves.std() == pytest.approx(1, abs=0.05)
    assert np.abs(np.diff(curves, axis=1)).max() < 1.0
