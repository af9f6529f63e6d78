"""Brightness, uncertainty, variability and sparsity."""

import numpy as np
import pytest
import torch

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.spectral.library import SpectralLibrary
from hsi_toolkit.unmixing.brightness import UNEVEN, fit_brightness, unevenness
from hsi_toolkit.unmixing.naming import name_endmembers
from hsi_toolkit.unmixing.sparse import SparseUnmixer, select_spectra, sunsal, sunsal_tv
from hsi_toolkit.unmixing.unmixer import Unmixer
from hsi_toolkit.unmixing.variability import MultipleEndmembers, thin_bundles

from .conftest import mixtures, smooth_spectra

NAMES = ("a", "b", "c", "d")


def tensor(values):
    return torch.from_numpy(np.ascontiguousarray(values))


def test_even_light_is_told_from_uneven_light_beside_a_dark_material(four):
    assert unevenness(mixtures(four, 2000, noise=0.003)[0], four) < UNEVEN
    assert unevenness(mixtures(four, 2000, noise=0.003, light=0.3)[0], four) > UNEVEN


def test_brightness_is_fitted_to_even_light(four):
    pixels, _ = mixtures(four, 2000, noise=0.001)
    fitted, spread = fit_brightness(pixels, four * np.array([[2.0], [0.5], [1.0], [3.0]]))
    np.testing.assert_allclose(fitted, four, rtol=0.05)
    assert spread < UNEVEN


def test_a_brightness_of_its_own_leaves_the_fractions(four):
    pixels, shares = mixtures(four, 200, light=0.5)
    found = Unmixer(four, NAMES, brightness="scaled")(tensor(pixels))
    np.testing.assert_allclose(found.abundances, shares, atol=1e-6)
    assert found.error.max() < 1e-8


def test_fractions_by_shape_do_not_depend_on_the_endmembers_brightness(four):
    pixels = tensor(mixtures(four, 200, light=0.5, noise=0.01)[0])
    first = Unmixer(four, NAMES, brightness="free")(pixels).abundances
    second = Unmixer(four * [[1.0], [5.0], [0.1], [2.0]], NAMES, brightness="free")(pixels).abundances
    assert (first - second).abs().max() < 1e-9
    assert (first.sum(1) - 1).abs().max() < 1e-9


@pytest.mark.parametrize("brightness", ["even", "scaled"])
def test_the_uncertainty_is_the_spread_of_the_error(brightness):
    spectra = smooth_spectra(3)
    rng = np.random.default_rng(3)
    shares = rng.dirichlet(np.full(3, 20.0), 3000)
    # Noise that neighbouring bands have in common, as spectral variability is.
    noise = np.repeat(rng.standard_normal((3000, 30)), 2, axis=1) * 0.005
    pixels = tensor(shares @ spectra + noise)
    unmixer = Unmixer(spectra, NAMES[:3], brightness=brightness)
    unmixer.fit_uncertainty(pixels)
    unmixed = unmixer(pixels)
    real = (unmixed.abundances.numpy() - shares).std(axis=0)
    stated = unmixer.uncertainty(unmixed).square().mean(0).sqrt().numpy()
    assert np.all(stated < 1.4 * real)
    assert np.all(stated > 0.6 * real)


def test_an_empty_endmember_is_refused(four):
    four[1] = 0
    with pytest.raises(ParameterError, match="empty"):
        Unmixer(four, NAMES)


def test_each_pixel_takes_the_spectra_that_fit_it():
    bundle = smooth_spectra(4)
    rng = np.random.default_rng(0)
    which = rng.integers(0, 2, (100, 2))
    shares = rng.dirichlet([1.0, 1.0], 100)
    chosen = np.stack([bundle[which[:, 0]], bundle[2 + which[:, 1]]], axis=1)
    pixels = np.einsum("nk,nkb->nb", shares, chosen)
    model = MultipleEndmembers(bundle, ["tree", "tree", "soil", "soil"])
    found = model(tensor(pixels))
    assert model.names == ("tree", "soil")
    np.testing.assert_allclose(found.abundances, shares, atol=1e-6)


def test_bundles_are_thinned_where_spectra_repeat():
    spectra = smooth_spectra(3)
    spectra = np.concatenate([spectra, spectra[:1] * 1.01, spectra[1:2]])
    kept = thin_bundles(spectra, [np.array([0, 1, 3]), np.array([2, 4])], 4)
    assert sorted(len(each) for each in kept) == [2, 2]
    assert 1 in kept[0]


def test_one_class_is_no_mixture(four):
    with pytest.raises(ParameterError, match="two or more classes"):
        MultipleEndmembers(four, ["tree"] * 4)


def test_too_many_classes_to_combine_are_refused():
    with pytest.raises(ParameterError, match="11 classes"):
        MultipleEndmembers(smooth_spectra(11), list("abcdefghijk"))


def test_sparse_unmixing_finds_the_few_that_are_there():
    library = smooth_spectra(10, bands=80)
    pixels, shares = mixtures(library[[2, 7]], 100, noise=0.001)
    present = select_spectra(tensor(pixels), tensor(library), 1e-3, 5)
    assert set(present[:2]) == {2, 7}
    found = SparseUnmixer(library[[2, 7]], ("a", "b"), sparsity=1e-4)(tensor(pixels))
    light = shares * np.linalg.norm(library[[2, 7]], axis=1)
    np.testing.assert_allclose(found.abundances, light / light.sum(1, keepdims=True), atol=0.02)


def test_total_variation_brings_neighbours_together():
    library = smooth_spectra(4)
    truth = np.zeros((12, 12, 4))
    truth[:, :6, 0] = truth[:, 6:, 2] = 1
    rng = np.random.default_rng(0)
    image = tensor(truth @ library + 0.1 * rng.standard_normal((12, 12, 60)))
    alone = sunsal(image.reshape(-1, 60), tensor(library), 1e-3).reshape(12, 12, 4)
    together = sunsal_tv(image, tensor(library), 1e-3, 0.03)
    assert np.square(together.numpy() - truth).mean() < 0.7 * np.square(alone.numpy() - truth).mean()


def test_endmembers_are_named_after_what_they_resemble(four):
    library = SpectralLibrary(np.stack([four[2], four[0], np.ones(60)]), ("soil", "tree", "snow"))
    found = name_endmembers(four * 0.5, library)
    assert [each.text for each in found] == ["tree", "endmember 2", "soil", "endmember 4"]
    assert found[0].angle < 1e-6
