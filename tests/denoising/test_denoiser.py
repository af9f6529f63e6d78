"""What is measured of a scene, and its denoising in blocks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_toolkit.denoising.denoiser import Denoiser, NoiseModel
from hsi_toolkit.denoising.impulses import find_impulses
from hsi_toolkit.denoising.noise import noise_levels
from hsi_toolkit.denoising.robust import fit_incomplete, outliers
from hsi_toolkit.denoising.statistics import SceneStatistics
from hsi_toolkit.denoising.stripes import LineFaults, find_line_faults
from hsi_toolkit.denoising.subspace import SignalSubspace

BANDS, ROWS, COLS = 24, 96, 40
SIGMA = np.linspace(0.01, 0.05, BANDS)


def scene(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Clean and noisy cube (bands, rows, cols) of three spectra."""
    rng = np.random.default_rng(seed)
    spectra = np.abs(np.cumsum(rng.standard_normal((BANDS, 3)), axis=0)) * 0.1
    cells = np.kron(rng.dirichlet(np.ones(3), size=(ROWS // 8, COLS // 8)), np.ones((8, 8, 1)))
    clean = np.einsum("bk,yxk->byx", spectra, cells).astype(np.float32)
    noisy = clean + (SIGMA[:, None, None] * rng.standard_normal(clean.shape)).astype(np.float32)
    return clean, noisy


def statistics(cube: np.ndarray, step: int = ROWS) -> SceneStatistics:
    gathered = SceneStatistics(*cube.shape)
    for start in range(0, cube.shape[1], step):
        gathered.update(cube[:, start : start + step])
    return gathered


def subspace_of(cube: np.ndarray) -> SignalSubspace:
    found = statistics(cube)
    return SignalSubspace.fit(
        found.spectra.covariance, found.spectra.mean, noise_levels(found.differences), cube[0].size
    )


def test_the_noise_of_each_band_is_measured_within_a_few_percent() -> None:
    _, noisy = scene()
    np.testing.assert_allclose(noise_levels(statistics(noisy).differences), SIGMA, rtol=0.06)


def test_stripes_do_not_count_as_noise() -> None:
    _, noisy = scene()
    striped = noisy + np.random.default_rng(1).uniform(-0.3, 0.3, (BANDS, 1, COLS)).astype(np.float32)
    np.testing.assert_allclose(
        noise_levels(statistics(striped).differences), noise_levels(statistics(noisy).differences), rtol=1e-4
    )


@settings(max_examples=10, deadline=None)
@given(step=st.integers(1, ROWS))
def test_statistics_do_not_depend_on_the_blocks(step: int) -> None:
    _, noisy = scene()
    whole, blocks = statistics(noisy), statistics(noisy, step)
    np.testing.assert_allclose(blocks.spectra.covariance, whole.spectra.covariance, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        blocks.differences.covariance, whole.differences.covariance, rtol=1e-6, atol=1e-9
    )
    np.testing.assert_allclose(blocks.columns.mean, whole.columns.mean, rtol=1e-5)
    np.testing.assert_array_equal(blocks.rows.low, whole.rows.low)


def test_offsets_can_be_taken_from_the_covariance_afterwards() -> None:
    _, noisy = scene()
    offset = np.zeros((BANDS, COLS))
    offset[4, 7], offset[9, 20:22] = 0.4, -0.2
    striped = noisy + offset[:, None].astype(np.float32)
    found = statistics(striped).without(offset, np.zeros((BANDS, ROWS)))
    # The mean that offsets moved is that of the scene with them.
    expected = np.cov(noisy.reshape(BANDS, -1).astype(np.float64))
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_the_subspace_has_the_dimensions_of_the_mixtures() -> None:
    _, noisy = scene()
    # Three spectra whose fractions sum to one span two dimensions about their mean.
    assert subspace_of(noisy).dimension == 2


def test_stripes_are_found_where_they_are_and_nowhere_else() -> None:
    _, noisy = scene()
    striped = noisy.copy()
    striped[6, :, [5, 6, 30]] += 0.1
    striped[15, 40] -= 0.1
    faults = find_line_faults(statistics(striped), SIGMA)
    assert set(zip(*np.nonzero(faults.columns.striped), strict=True)) == {(6, 5), (6, 6), (6, 30)}
    assert set(zip(*np.nonzero(faults.rows.striped), strict=True)) == {(15, 40)}
    np.testing.assert_allclose(faults.columns.offset[6, [5, 6, 30]], 0.1, atol=0.02)


def test_a_road_along_a_column_is_no_stripe() -> None:
    clean, noisy = scene()
    road = noisy.copy()
    road[:, :, 12] += clean[:, :, 30] - clean[:, :, 12]
    assert not find_line_faults(statistics(road), SIGMA).columns.any


def test_dead_lines_are_found_but_an_empty_band_is_not_one() -> None:
    _, noisy = scene()
    noisy[3, :, 8] = 0
    noisy[11] = 0
    faults = find_line_faults(statistics(noisy), SIGMA)
    assert set(zip(*np.nonzero(faults.columns.dead), strict=True)) == {(3, 8)}


def test_missing_values_are_filled_with_what_the_spectrum_says() -> None:
    rng = np.random.default_rng(0)
    basis = torch.tensor(np.linalg.qr(rng.standard_normal((BANDS, 3)))[0], dtype=torch.float32)
    exact = basis @ torch.randn(3, 50, generator=torch.Generator().manual_seed(1))
    missing = torch.zeros(BANDS, 50, dtype=torch.bool)
    missing[4:7, ::2] = True
    filled = fit_incomplete(torch.where(missing, 99.0, exact), basis, missing)
    torch.testing.assert_close(filled, exact, atol=0.02, rtol=0)


def test_outliers_are_single_bands_and_not_other_materials() -> None:
    rng = np.random.default_rng(0)
    basis = torch.tensor(np.linalg.qr(rng.standard_normal((BANDS, 3)))[0], dtype=torch.float32)
    spectra = 20 * basis @ torch.randn(3, 60, generator=torch.Generator().manual_seed(1))
    spectra += torch.randn(BANDS, 60, generator=torch.Generator().manual_seed(2))
    spectra[8, 10] += 30
    spectra[::2, 40] += 30
    found = outliers(spectra, basis, torch.zeros(BANDS, 60, dtype=torch.bool), torch.full((BANDS,), 5.0))
    assert torch.nonzero(found).tolist() == [[8, 10]]


@pytest.mark.parametrize("share", [0.0, 0.03])
def test_impulses_are_counted(share: float) -> None:
    _, noisy = scene()
    hit = np.random.default_rng(2).random((ROWS, COLS)) < share
    noisy[10][hit] = 2.0
    sample = noisy.reshape(BANDS, -1)
    found = find_impulses(sample, np.zeros(sample.shape, bool), subspace_of(noisy))
    assert found.present == (share > 0)
    assert found.share[10] == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("smoothing", ["spatial", "spectral", "none"])
def test_the_result_does_not_depend_on_the_blocks(smoothing: str) -> None:
    _, noisy = scene()
    model = NoiseModel(subspace_of(noisy), LineFaults.none(*noisy.shape))
    device = torch.device("cpu")
    whole = next(iter(Denoiser(model, smoothing, device).blocks([(noisy, 0)]))).clean
    cut = [(noisy[:, start : start + 32], start) for start in range(0, ROWS, 32)]
    parts = [block.clean for block in Denoiser(model, smoothing, device).blocks(cut)]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-4)
