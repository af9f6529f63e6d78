"""Endmembers are found where they are."""

import numpy as np
import pytest

from hsi_toolkit.errors import Cancelled, ParameterError, SceneError
from hsi_toolkit.progress import Progress
from hsi_toolkit.quality.matching import match_spectra
from hsi_toolkit.unmixing.archetypes import count_archetypes, find_archetypes, nearest_in_hull
from hsi_toolkit.unmixing.blind import find_endmembers
from hsi_toolkit.unmixing.extraction import nfindr, vca
from hsi_toolkit.unmixing.simplex import minimum_volume
from hsi_toolkit.unmixing.subspace import hysime, noise_covariance, virtual_dimensionality

from .conftest import mixtures, smooth_spectra


def angle(found, wanted):
    return float(match_spectra(found, wanted)[1].max())


@pytest.mark.parametrize("extraction", ["auto", "archetypes", "minimum-volume", "nfindr", "vca"])
def test_pure_pixels_are_found(extraction):
    spectra = smooth_spectra(4)
    pixels, _ = mixtures(spectra, 1500, noise=0.002)
    assert angle(find_endmembers(pixels, 4, extraction), spectra) < 0.05


def test_light_and_shade_do_not_matter_to_archetypes():
    spectra = smooth_spectra(3)
    even, _ = mixtures(spectra, 1500, noise=0.002)
    uneven, _ = mixtures(spectra, 1500, noise=0.002, light=0.5)
    found = [find_archetypes(pixels, 3).spectra for pixels in (even, uneven)]
    assert angle(*found) < 0.02
    assert angle(found[1], spectra) < 0.2 < angle(uneven[nfindr(uneven, 3)], spectra)


def test_archetypes_are_the_same_for_every_seed(four):
    pixels, _ = mixtures(four, 1500, noise=0.004, light=0.3)
    first, second = (find_archetypes(pixels, 4, seed=seed).spectra for seed in (0, 1))
    assert angle(first, second) < 0.01


def test_the_same_seed_gives_the_same_bits(four):
    pixels, _ = mixtures(four, 600, noise=0.004)
    np.testing.assert_array_equal(find_archetypes(pixels, 4).spectra, find_archetypes(pixels, 4).spectra)


def test_a_stray_spectrum_is_no_archetype():
    spectra = smooth_spectra(3)
    pixels, _ = mixtures(spectra, 1500, noise=0.002)
    pixels[10] = np.linspace(0.0, 2.0, 60)
    assert angle(find_archetypes(pixels, 3, even=True).spectra, spectra) < 0.05
    assert 10 in nfindr(pixels, 3)


def test_the_smallest_simplex_reaches_beyond_the_pixels():
    spectra = smooth_spectra(3)
    pixels, shares = mixtures(spectra, 6000, noise=0.001)
    mixed = pixels[shares.max(1) < 0.8]
    found = angle(minimum_volume(mixed, 3), spectra)
    assert found < 0.5 * angle(mixed[nfindr(mixed, 3)], spectra)


def test_dark_pixels_of_no_material_are_not_taken_for_one():
    spectra = smooth_spectra(3)
    pixels, _ = mixtures(spectra, 1500, noise=0.004)
    pixels[::15] *= 0.01
    clean, _ = mixtures(spectra, 1500, noise=0.004)
    assert angle(find_archetypes(pixels, 3).spectra, find_archetypes(clean, 3).spectra) < 0.02


@pytest.mark.parametrize("count", [3, 5])
def test_the_number_of_endmembers_is_counted(count):
    pixels, _ = mixtures(smooth_spectra(count), 3000, noise=0.01)
    assert virtual_dimensionality(pixels) == count
    assert hysime(pixels).dimension == count
    assert count <= count_archetypes(pixels, 8) <= count + 1


def test_noise_is_what_other_bands_do_not_tell():
    pixels, _ = mixtures(smooth_spectra(3), 20_000, noise=0.01)
    noise = np.sqrt(np.diag(noise_covariance(pixels.T @ pixels / len(pixels))))
    np.testing.assert_allclose(noise, 0.01, rtol=0.1)


def test_nearest_in_hull_is_inside_and_nearest():
    points = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.5, 0.5]])
    members, weights = nearest_in_hull(np.array([2.0, 2.0]), points, np.array([3]), np.ones(1))
    np.testing.assert_allclose(weights @ points[members], [1.0, 1.0], atol=1e-8)
    members, weights = nearest_in_hull(np.array([0.4, 0.9]), points, np.array([1]), np.ones(1))
    np.testing.assert_allclose(weights @ points[members], [0.4, 0.9], atol=1e-6)


def test_too_few_pixels_are_refused(four):
    for search in (find_archetypes, vca, nfindr):
        with pytest.raises(SceneError, match="too few"):
            search(four[:2], 4)


def test_an_unknown_extraction_is_refused(four):
    with pytest.raises(ParameterError, match="'ppi'"):
        find_endmembers(four, 2, "ppi")


def test_the_search_can_be_cancelled(four):
    class Cancelling(Progress):
        def cancelled(self):
            return True

    with pytest.raises(Cancelled):
        find_archetypes(mixtures(four, 200)[0], 3, progress=Cancelling())


@pytest.mark.parametrize(("name", "most_angle"), [("samson", 0.06), ("jasper", 0.13)])
def test_real_endmembers_are_found(shared, name, most_angle):
    from benchmarks import unmixing

    known = unmixing.truth(name)
    found = find_endmembers(known.pixels, len(known.endmembers))
    assert match_spectra(found, known.endmembers)[1].mean() < most_angle
