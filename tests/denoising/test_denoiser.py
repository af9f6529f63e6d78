"""What is measured of a scene, and its denoising in blocks."""

import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_toolkit.denoising.denoiser import SURROUNDINGS, CleanBlock, Denoiser, NoiseModel, Removed
from hsi_toolkit.denoising.impulses import find_impulses
from hsi_toolkit.denoising.noise import noise_levels
from hsi_toolkit.denoising.robust import fit_incomplete, outliers
from hsi_toolkit.denoising.statistics import SceneStatistics
from hsi_toolkit.denoising.stripes import LineFaults, Lines, find_line_faults
from hsi_toolkit.denoising.subspace import SignalSubspace
from hsi_toolkit.errors import Cancelled
from hsi_toolkit.progress import Progress

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


def test_a_few_rare_pixels_do_not_count_as_noise() -> None:
    _, noisy = scene()
    rng = np.random.default_rng(7)
    for row, col in zip(rng.integers(0, ROWS, 20), rng.integers(0, COLS, 20), strict=True):
        noisy[:, row, col] += rng.normal(0, 1, BANDS)
    found = statistics(noisy)
    assert noise_levels(found.differences).min() > 2 * SIGMA.min()
    np.testing.assert_allclose(noise_levels(found.differences, found.some_differences), SIGMA, rtol=0.2)


def test_where_half_of_a_scene_is_noisier_it_is_noise() -> None:
    clean, noisy = scene()
    noisy[:, ROWS // 3 :] += 6 * (noisy - clean)[:, ROWS // 3 :]
    found = statistics(noisy)
    all_pixels = noise_levels(found.differences)
    np.testing.assert_allclose(noise_levels(found.differences, found.some_differences), all_pixels)


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
    np.testing.assert_array_equal(blocks.some_differences, whole.some_differences)


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


def test_what_only_a_part_of_a_line_shows_is_no_stripe() -> None:
    _, noisy = scene()
    mosaic = noisy.copy()
    # A band that differs in one tile of a mosaic: from there on, and with an edge along the lines.
    mosaic[6, :32, 8:20] += 0.1
    mosaic[6, 40:44, :12] -= 0.1
    faults = find_line_faults(statistics(mosaic), SIGMA)
    assert not faults.columns.striped.any()
    assert not faults.rows.striped.any()


def test_lines_with_little_data_are_not_judged() -> None:
    _, noisy = scene()
    noisy[6, 40] += 0.1
    noisy[:, 40, 14:] = np.nan
    assert not find_line_faults(statistics(noisy), SIGMA).rows.striped.any()


def test_a_scene_without_noise_has_no_stripes_however_rich_it_is() -> None:
    rng = np.random.default_rng(5)
    clean, _ = scene()
    for row, col in zip(rng.integers(0, ROWS, 60), rng.integers(0, COLS, 60), strict=True):
        clean[:, row, col] *= rng.uniform(0.5, 1.5, BANDS)
    faults = find_line_faults(statistics(clean), noise_levels(statistics(clean).differences) + 1e-7)
    assert not faults.any


def test_bands_that_others_cannot_foretell_have_no_stripes() -> None:
    rng = np.random.default_rng(6)
    unrelated = rng.standard_normal((8, ROWS, COLS)).astype(np.float32)
    unrelated[3, :, 10] += 2
    assert not find_line_faults(statistics(unrelated), np.full(8, 0.05)).columns.striped.any()


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


def faulty_scene() -> tuple[np.ndarray, NoiseModel]:
    """A scene with gaps, a stripe, a dead line and impulses, and what there is to know of it."""
    _, noisy = scene()
    subspace = subspace_of(noisy)
    faults = LineFaults.none(*noisy.shape)
    faults.columns.offset[5, 12], faults.columns.dead[7, 30] = 0.2, True
    noisy[5, :, 12] += 0.2
    noisy[7, :, 30] = 0
    noisy[9, 3:90:9, 20] += 1
    noisy[:, 40:52, :25] = np.nan
    noisy[:, 60:64] = np.nan
    noisy[2, 10, 10] = np.nan
    return noisy, NoiseModel(subspace, faults, np.full(BANDS, 6.0))


@pytest.mark.parametrize("smoothing", ["spatial", "spectral", "none"])
@pytest.mark.parametrize("step", [5, 32])
def test_the_result_does_not_depend_on_the_blocks(smoothing: str, step: int) -> None:
    noisy, model = faulty_scene()
    device = torch.device("cpu")
    at_once = Denoiser(model, smoothing, device)
    (whole,) = at_once.blocks([(noisy, 0)])
    cut = [(noisy[:, start : start + step], start) for start in range(0, ROWS, step)]
    in_blocks = Denoiser(model, smoothing, device)
    parts = list(in_blocks.blocks(cut))
    assert [block.y0 for block in parts] == list(range(0, ROWS, step))
    clean = np.concatenate([part.clean for part in parts], axis=1)
    np.testing.assert_allclose(clean, whole.clean, atol=1e-5)
    total = Removed.nothing(BANDS)
    for part in parts:
        total.add(part.removed)
    np.testing.assert_array_equal(total.outliers, whole.removed.outliers)
    np.testing.assert_allclose(total.squares, whole.removed.squares, rtol=1e-4)
    assert total.pixels == whole.removed.pixels == ROWS * COLS - 12 * 25 - 4 * COLS


@pytest.mark.parametrize("rows", [8, 32, 64])
def test_what_starts_further_down_comes_out_as_of_the_whole(rows: int) -> None:
    noisy, model = faulty_scene()
    tall = np.tile(noisy, (1, 5, 1))
    tall[:, 300:360] = np.nan  # more rows than are filled from those above
    faults = LineFaults(model.faults.columns, Lines.none(BANDS, tall.shape[1]))
    denoiser = Denoiser(NoiseModel(model.subspace, faults, model.threshold), "spatial", torch.device("cpu"))

    def denoised(first: int) -> dict[int, CleanBlock]:
        cut = [(tall[:, start : start + rows], start) for start in range(first, tall.shape[1], rows)]
        return {block.y0: block for block in denoiser.blocks(cut)}

    whole = denoised(0)
    for first in (64, 192, 320):
        further = denoised(first)
        for y0 in range(first + SURROUNDINGS, tall.shape[1], rows):
            np.testing.assert_array_equal(further[y0].clean, whole[y0].clean)
            np.testing.assert_array_equal(further[y0].removed.outliers, whole[y0].removed.outliers)


def test_columns_can_be_denoised_in_parts_with_their_surroundings() -> None:
    noisy, model = faulty_scene()
    wide = np.concatenate([noisy] * 5, axis=2)
    faults = LineFaults(
        Lines(np.tile(model.faults.columns.offset, 5), np.tile(model.faults.columns.dead, 5)),
        model.faults.rows,
    )
    model = NoiseModel(model.subspace, faults, model.threshold)
    device = torch.device("cpu")
    whole = next(iter(Denoiser(model, "spatial", device).blocks([(wide, 0)]))).clean
    denoiser = Denoiser(model, "spatial", device)
    left = next(iter(denoiser.blocks([(wide[:, :, :160], 0)], own=slice(0, 96)))).clean
    right = next(iter(denoiser.blocks([(wide[:, :, 32:], 0)], x0=32, own=slice(64, None)))).clean
    np.testing.assert_allclose(np.concatenate([left, right], axis=2), whole, atol=1e-5)


def test_few_blocks_are_held_however_many_there_are() -> None:
    model = NoiseModel(subspace_of(scene()[1]), LineFaults.none(BANDS, 10 * ROWS, COLS))
    held: list[weakref.ref[np.ndarray]] = []

    def blocks() -> Iterator[tuple[np.ndarray, int]]:
        noisy = scene()[1]
        for start in range(0, 10 * ROWS, 8):
            block = noisy[:, start % ROWS : start % ROWS + 8].copy()
            held.append(weakref.ref(block))
            yield block, start

    most = 0
    for _ in Denoiser(model, "spatial", torch.device("cpu")).blocks(blocks()):
        most = max(most, sum(each() is not None for each in held))
    assert most * 8 <= 128


def test_a_block_can_be_cancelled_while_it_is_projected() -> None:
    class AfterTheFirst(Progress):
        asked = 0

        def cancelled(self) -> bool:
            self.asked += 1
            return self.asked > 1

    _, noisy = scene()
    wide = np.tile(noisy, (1, 1, 60))
    model = NoiseModel(subspace_of(noisy), LineFaults.none(*wide.shape))
    progress = AfterTheFirst()
    with pytest.raises(Cancelled):
        list(Denoiser(model, "spatial", torch.device("cpu")).blocks([(wide, 0)], progress))
    assert progress.asked == 2
