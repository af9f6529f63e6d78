"""The figures of a comparison, against their definitions."""

import numpy as np
import pytest

from hsi_toolkit.quality import BandMoments, CubeComparison, match_spectra, pixel_angles
from hsi_toolkit.quality.metrics import SSIM_RADIUS


@pytest.fixture
def cubes():
    rng = np.random.default_rng(3)
    reference = rng.uniform(0.1, 0.9, (4, 24, 30)).astype(np.float32)
    compared = reference + rng.normal(0, 0.02, reference.shape).astype(np.float32)
    return compared, reference


def peaks(cube):
    return cube.max(axis=(1, 2)).astype(np.float64)


def test_equal_cubes_are_perfect(cubes):
    _, reference = cubes
    sums = CubeComparison(peaks(reference))
    sums.update(reference, reference)
    quality = sums.result()
    assert quality.mean_psnr == np.inf
    assert quality.mean_ssim == pytest.approx(1)
    assert quality.spectral_angle == 0
    assert quality.ergas == 0


def test_rmse_psnr_and_ergas_are_their_formulas(cubes):
    compared, reference = cubes
    sums = CubeComparison(peaks(reference), ratio=4)
    sums.update(compared, reference)
    quality = sums.result()
    rmse = np.sqrt(np.mean((compared.astype(float) - reference) ** 2, axis=(1, 2)))
    np.testing.assert_allclose(quality.rmse, rmse, rtol=1e-6)
    np.testing.assert_allclose(quality.psnr, 20 * np.log10(peaks(reference) / rmse), rtol=1e-6)
    relative = rmse / reference.mean(axis=(1, 2))
    assert quality.ergas == pytest.approx(25 * np.sqrt(np.mean(relative**2)), rel=1e-5)


def test_ssim_of_a_constant_shift_is_its_luminance_term():
    reference = np.full((1, 20, 20), 0.5, np.float32)
    sums = CubeComparison(np.ones(1))
    sums.update(reference + np.float32(0.1), reference)
    wanted = (2 * 0.5 * 0.6 + 1e-4) / (0.5**2 + 0.6**2 + 1e-4)
    assert sums.result().mean_ssim == pytest.approx(wanted, rel=1e-5)


def test_blocks_with_a_halo_give_what_the_whole_gives(cubes):
    compared, reference = cubes
    whole = CubeComparison(peaks(reference))
    whole.update(compared, reference)
    parts = CubeComparison(peaks(reference))
    padded = [np.pad(each, ((0, 0), (SSIM_RADIUS,) * 2, (0, 0)), mode="symmetric") for each in cubes]
    for start in range(0, 24, 8):
        window = slice(start, start + 8 + 2 * SSIM_RADIUS)
        parts.update(padded[0][:, window], padded[1][:, window], SSIM_RADIUS)
    np.testing.assert_allclose(parts.result().ssim, whole.result().ssim, rtol=1e-9)
    np.testing.assert_allclose(parts.result().psnr, whole.result().psnr, rtol=1e-9)


def test_pixels_without_data_are_left_out(cubes):
    compared, reference = (each.copy() for each in cubes)
    compared[:, 5, 5] = np.nan
    reference[2, 7, 7] = np.nan
    compared[:, 5, 5] = np.nan
    sums = CubeComparison(peaks(np.nan_to_num(reference)))
    angles = sums.update(compared, reference)
    assert np.isnan(angles[5, 5])
    assert np.isfinite(sums.result().psnr).all()
    assert np.isfinite(sums.result().ssim).all()


def test_the_angle_does_not_depend_on_brightness_and_is_exact_when_small():
    reference = np.array([1.0, 0.0, 0.0], np.float32)[:, None, None]
    compared = np.float32(3) * np.array([1.0, 1e-4, 0.0], np.float32)[:, None, None]
    assert pixel_angles(compared, reference)[0, 0] == pytest.approx(1e-4, rel=1e-4)


def test_endmembers_are_matched_by_their_angles():
    reference = np.eye(3) + 0.05
    matched, angles = match_spectra(reference[[2, 0, 1]] * 1.7, reference)
    assert matched.tolist() == [1, 2, 0]
    np.testing.assert_allclose(angles, 0, atol=1e-7)


def test_bands_in_any_order_are_paired_with_those_they_equal(cubes):
    compared, reference = cubes
    moments = BandMoments(4, 3)
    for rows in (slice(0, 10), slice(10, 24)):
        moments.update(compared[[3, 1, 0, 2], rows], reference[:3, rows])
    assert moments.pairing().tolist() == [2, 1, 3]
