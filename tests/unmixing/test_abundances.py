"""Abundances are the minimum they claim to be."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.unmixing.abundances import AbundanceSolver, estimate_abundances

from .conftest import mixtures, smooth_spectra


def by_enumeration(pixel, endmembers):
    """The fully constrained minimum, by trying every set of endmembers."""
    count, best = len(endmembers), (np.inf, None)
    for code in range(1, 2**count):
        inside = [index for index in range(count) if code >> index & 1]
        some = endmembers[inside]
        system = np.block([[some @ some.T, np.ones((len(inside), 1))], [np.ones((1, len(inside))), 0.0]])
        part = np.linalg.solve(system, [*(some @ pixel), 1.0])[:-1]
        error = np.sum((pixel - part @ some) ** 2)
        if (part >= 0).all() and error < best[0]:
            best = (error, np.zeros(count))
            best[1][inside] = part
    return best[1]


@given(st.integers(2, 6), st.integers(0, 10_000), st.sampled_from([0.0, 0.02, 0.3]))
@settings(max_examples=25, deadline=None)
def test_fully_constrained_is_the_best_of_all_sets(count, seed, noise):
    spectra = smooth_spectra(count, seed=seed)
    pixels, _ = mixtures(spectra, 6, noise=noise, seed=seed)
    found = estimate_abundances(torch.from_numpy(pixels), torch.from_numpy(spectra)).numpy()
    wanted = np.array([by_enumeration(pixel, spectra) for pixel in pixels])
    np.testing.assert_allclose(found, wanted, atol=1e-9)


@pytest.mark.parametrize("count", [3, 12, 30])
def test_the_optimality_conditions_hold(count):
    spectra = smooth_spectra(count, bands=90)
    pixels, _ = mixtures(spectra, 500, noise=0.05)
    values, endmembers = torch.from_numpy(pixels), torch.from_numpy(spectra)
    found = estimate_abundances(values, endmembers)
    slope = (found @ endmembers - values) @ endmembers.T
    slope = slope - (slope * found).sum(1, keepdim=True)
    assert found.min() >= 0
    assert (found.sum(1) - 1).abs().max() < 1e-10
    assert slope.min() > -1e-8
    assert (slope * found).abs().max() < 1e-8


def test_non_negative_agrees_with_lawson_and_hanson(four):
    pixels, _ = mixtures(four, 40, noise=0.1)
    found = estimate_abundances(torch.from_numpy(pixels), torch.from_numpy(four), "nnls").numpy()
    np.testing.assert_allclose(found, [nnls(four.T, pixel)[0] for pixel in pixels], atol=1e-9)


def test_unbounded_methods_are_linear(four):
    pixels, _ = mixtures(four, 20, noise=0.1)
    values, endmembers = torch.from_numpy(pixels), torch.from_numpy(four)
    free = estimate_abundances(values, endmembers, "ucls").numpy()
    np.testing.assert_allclose(free, np.linalg.lstsq(four.T, pixels.T, rcond=None)[0].T, atol=1e-9)
    summed = estimate_abundances(values, endmembers, "scls")
    assert (summed.sum(1) - 1).abs().max() < 1e-10
    assert summed.min() < 0


def test_unmixing_undoes_mixing(four):
    pixels, shares = mixtures(four, 300)
    found = estimate_abundances(torch.from_numpy(pixels), torch.from_numpy(four)).numpy()
    np.testing.assert_allclose(found, shares, atol=1e-8)


def test_the_answer_does_not_depend_on_which_pixels_come_along(four):
    pixels = torch.from_numpy(mixtures(four, 300, noise=0.1)[0])
    solver = AbundanceSolver(torch.from_numpy(four))
    alone = torch.cat([solver(pixels[index : index + 1]) for index in range(0, 300, 30)])
    assert (solver(pixels)[::30] - alone).abs().max() < 1e-12


def test_pixels_without_data_have_no_abundances(four):
    pixels = torch.from_numpy(mixtures(four, 5, noise=0.1)[0])
    pixels[2, 7] = torch.nan
    found = estimate_abundances(pixels, torch.from_numpy(four))
    assert torch.isnan(found).any(1).tolist() == [False, False, True, False, False]


def test_dependent_endmembers_are_refused(four):
    four[2] = 0.5 * (four[0] + four[1])
    with pytest.raises(ParameterError, match="Only 3 of the 4"):
        estimate_abundances(torch.zeros((1, 60)), torch.from_numpy(four))


def test_other_bands_are_refused(four):
    with pytest.raises(ParameterError, match="same bands"):
        estimate_abundances(torch.zeros((1, 59)), torch.from_numpy(four))
