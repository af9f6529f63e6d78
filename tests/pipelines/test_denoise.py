"""Denoising, from file to file."""

import csv
from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr
from affine import Affine

from hsi_toolkit.errors import Cancelled, OutputError, SceneError
from hsi_toolkit.pipelines import run
from hsi_toolkit.pipelines.denoise import _cut
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import RasterWriter, open_scene
from hsi_toolkit.tasks.denoise import Denoise

BANDS, ROWS, COLS = 30, 72, 48
SIGMA = 0.02


def clean_cube() -> np.ndarray:
    """Four spectra in blocks with soft edges, (bands, rows, cols)."""
    rng = np.random.default_rng(3)
    position = np.linspace(0, 1, BANDS)
    spectra = np.stack([0.2 + 0.3 * np.sin(3 * position * (k + 1) + k) ** 2 for k in range(4)], axis=1)
    cells = np.kron(rng.dirichlet(np.full(4, 0.4), size=(ROWS // 12, COLS // 12)), np.ones((12, 12, 1)))
    return np.einsum("bk,yxk->byx", spectra, cells).astype(np.float32)


def with_noise(cube: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(4)
    return cube + (SIGMA * rng.standard_normal(cube.shape)).astype(np.float32)


def write(path: Path, cube: np.ndarray, good: np.ndarray | None = None) -> Path:
    grid = xr.DataArray(np.zeros(cube.shape[1:]), dims=("y", "x")).rio.write_crs("EPSG:32633")
    grid = grid.rio.write_transform(Affine(30, 0, 4e5, 0, -30, 5.8e6))
    centres = np.linspace(420, 2400, len(cube))
    widths = np.full(len(cube), 9.5)
    with RasterWriter(
        path, like=grid, count=len(cube), wavelengths=centres, fwhm=widths, good=good
    ) as writer:
        writer.write(cube, 0)
    return path


def rmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean((a - b) ** 2)))


@pytest.mark.parametrize(("method", "least"), [("auto", 4), ("subspace", 4), ("robust", 4), ("mnf", 2)])
def test_noise_is_reduced_and_never_added(tmp_path: Path, method: str, least: float) -> None:
    clean = clean_cube()
    noisy = with_noise(clean)
    scene = write(tmp_path / "scene.tif", noisy)
    run(Denoise(str(scene), str(tmp_path / "out.tif"), method=method))
    result = open_scene(tmp_path / "out.tif").to_numpy()
    assert rmse(result, clean) < rmse(noisy, clean) / least


def test_place_wavelengths_widths_bad_bands_and_missing_pixels_stay(tmp_path: Path) -> None:
    noisy = with_noise(clean_cube())
    noisy[:, 10:14, 20:30] = np.nan
    noisy[7] = np.random.default_rng(0).random((ROWS, COLS))
    good = np.arange(BANDS) != 7
    scene = open_scene(write(tmp_path / "scene.tif", noisy, good))
    run(Denoise(str(tmp_path / "scene.tif"), str(tmp_path / "out.tif")))
    result = open_scene(tmp_path / "out.tif")
    for name in ("wavelength", "fwhm", "good"):
        np.testing.assert_array_equal(result[name], scene[name])
    assert result.rio.crs == scene.rio.crs
    assert result.rio.transform() == scene.rio.transform()
    assert result.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(result), np.isnan(noisy))
    np.testing.assert_array_equal(result[7], noisy[7])


def test_the_difference_and_the_denoised_scene_add_up_to_the_scene(tmp_path: Path) -> None:
    noisy = with_noise(clean_cube())
    scene = write(tmp_path / "scene.tif", noisy)
    run(Denoise(str(scene), str(tmp_path / "out.tif"), difference=str(tmp_path / "removed.tif")))
    total = open_scene(tmp_path / "out.tif").to_numpy() + open_scene(tmp_path / "removed.tif").to_numpy()
    np.testing.assert_allclose(total, noisy, atol=1e-6)


def test_the_noise_table_says_what_each_band_had(tmp_path: Path) -> None:
    noisy = with_noise(clean_cube())
    noisy[5, :, 30] += 0.3
    noisy[9, :, 12] = 0
    scene = write(tmp_path / "scene.tif", noisy)
    table = tmp_path / "noise.csv"
    result = run(Denoise(str(scene), str(tmp_path / "out.tif"), noise_table=str(table)))
    with table.open(encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == BANDS
    sigma = np.array([float(line["noise_sigma"]) for line in lines])
    np.testing.assert_allclose(np.median(sigma), SIGMA, rtol=0.05)
    assert [line["striped_columns"] for line in lines][5] == "1"
    assert [line["dead_columns"] for line in lines][9] == "1"
    assert "stripes" in str(result["summary"])
    # One of 30 x (72 + 48) lines each.
    assert result["facts"]["Stripes"] == "0.028 % (1 column, in 1 band)"  # type: ignore[index]
    assert result["facts"]["Dead lines"] == "0.028 % (1 column, in 1 band)"  # type: ignore[index]
    assert float(lines[0]["removed_rms"]) == pytest.approx(SIGMA, rel=0.2)


def test_auto_repairs_stripes_dead_lines_and_impulses(tmp_path: Path) -> None:
    clean = clean_cube()
    noisy = with_noise(clean)
    rng = np.random.default_rng(5)
    for band in (3, 11, 21):
        noisy[band][:, rng.choice(COLS, 8, replace=False)] += 0.2
        noisy[band + 2][:, 17:19] = 0
        noisy[band + 4][rng.random((ROWS, COLS)) < 0.05] = 1
    scene = write(tmp_path / "scene.tif", noisy)
    run(Denoise(str(scene), str(tmp_path / "out.tif")))
    run(Denoise(str(scene), str(tmp_path / "plain.tif"), method="subspace"))
    auto = rmse(open_scene(tmp_path / "out.tif").to_numpy(), clean)
    plain = rmse(open_scene(tmp_path / "plain.tif").to_numpy(), clean)
    assert auto < 0.4 * SIGMA
    assert auto < plain / 2


def test_destriping_alone_leaves_the_noise(tmp_path: Path) -> None:
    noisy = with_noise(clean_cube())
    striped = noisy.copy()
    striped[5, :, 30] += 0.3
    scene = write(tmp_path / "scene.tif", striped)
    run(Denoise(str(scene), str(tmp_path / "out.tif"), method="destripe"))
    result = open_scene(tmp_path / "out.tif").to_numpy()
    np.testing.assert_allclose(result[5, :, 30], noisy[5, :, 30], atol=0.01)
    others = np.arange(BANDS) != 5
    np.testing.assert_allclose(result[others], noisy[others], atol=1e-5)


def test_a_scene_without_noise_comes_back_as_it_was(tmp_path: Path) -> None:
    clean = clean_cube()
    scene = write(tmp_path / "scene.tif", clean)
    run(Denoise(str(scene), str(tmp_path / "out.tif")))
    result = open_scene(tmp_path / "out.tif").to_numpy()
    assert np.abs(result - clean).max() < 1e-3 * np.ptp(clean)


def test_a_scene_without_noise_but_with_rare_materials_comes_back_as_it_was(tmp_path: Path) -> None:
    clean = clean_cube()
    rng = np.random.default_rng(8)
    for row, col in zip(rng.integers(0, ROWS, 40), rng.integers(0, COLS, 40), strict=True):
        clean[:, row, col] *= rng.uniform(0.6, 1.4, BANDS)
    clean[:, 20:40, 10] *= rng.uniform(0.8, 1.2, (BANDS, 1))
    scene = write(tmp_path / "scene.tif", clean)
    run(Denoise(str(scene), str(tmp_path / "out.tif")))
    result = open_scene(tmp_path / "out.tif").to_numpy()
    assert np.abs(result - clean).max() < 1e-3 * np.ptp(clean)


def test_a_wide_scene_is_denoised_in_parts_that_do_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = np.tile(with_noise(clean_cube())[:8, :40], (1, 1, 12))
    noisy[:, 5:9, 250:270] = np.nan
    scene = write(tmp_path / "scene.tif", noisy)
    run(Denoise(str(scene), str(tmp_path / "whole.tif"), difference=str(tmp_path / "removed.tif")))
    monkeypatch.setattr("hsi_toolkit.pipelines.denoise._MEMORY", 4 * 384 * (8 * 160 + 3 * 450))
    result = run(Denoise(str(scene), str(tmp_path / "parts.tif"), difference=str(tmp_path / "less.tif")))
    for one, other in (("whole.tif", "parts.tif"), ("removed.tif", "less.tif")):
        pair = [open_scene(tmp_path / name).to_numpy() for name in (one, other)]
        np.testing.assert_allclose(*pair, atol=1e-5)
    assert result["bands"][0]["removed_rms"] == pytest.approx(SIGMA, rel=0.2)  # type: ignore[index]


@pytest.mark.parametrize(
    ("memory", "components", "columns"), [(256, 6, 1792), (1024, 6, 5000), (None, 6, 5000), (None, 150, 2560)]
)
def test_what_is_held_of_a_wide_scene_fits_the_memory(
    memory: int | None, components: int, columns: int
) -> None:
    scene = xr.DataArray(np.broadcast_to(np.float32(0), (200, 5000, 5000)), dims=("band", "y", "x"))
    parts, rows = _cut(scene, components, memory)
    assert max(own.stop - own.start for _, own in parts) == columns
    widest = max(whole.stop - whole.start for whole, _ in parts)
    assert 4 * widest * (200 * (112 + 6 * rows) + 450 * components) <= (memory or 1024) * 2**20
    assert sum(own.stop - own.start for _, own in parts) == 5000


def test_a_writer_that_fails_behind_the_work_fails_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OutputError("The disk is full.", "Make room.")

    scene = write(tmp_path / "scene.tif", with_noise(clean_cube()))
    monkeypatch.setattr("hsi_toolkit.scene.writer.RasterWriter.write", full)
    with pytest.raises(OutputError, match="disk is full"):
        run(Denoise(str(scene), str(tmp_path / "out.tif")))
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_a_rare_material_keeps_its_spectrum(tmp_path: Path) -> None:
    clean = clean_cube()
    clean[:, 30, 20] += 0.5 * (np.arange(BANDS) % 7 == 3)
    clean[:, 30, 20] -= 0.2 * (np.arange(BANDS) % 5 == 1)
    scene = write(tmp_path / "scene.tif", with_noise(clean))
    run(Denoise(str(scene), str(tmp_path / "out.tif")))
    result = open_scene(tmp_path / "out.tif").to_numpy()
    assert rmse(result[:, 30, 20], clean[:, 30, 20]) < 2 * SIGMA


def test_cancelling_leaves_what_was_there(tmp_path: Path) -> None:
    class Impatient(Progress):
        def cancelled(self) -> bool:
            return True

    scene = write(tmp_path / "scene.tif", with_noise(clean_cube()))
    output = tmp_path / "out.tif"
    output.write_text("before")
    with pytest.raises(Cancelled):
        run(Denoise(str(scene), str(output), overwrite=True), Impatient())
    assert output.read_text() == "before"


def test_a_scene_of_a_few_pixels_is_refused_with_a_remedy(tmp_path: Path) -> None:
    scene = write(tmp_path / "scene.tif", with_noise(clean_cube())[:, :2, :3])
    with pytest.raises(SceneError, match="too few"):
        run(Denoise(str(scene), str(tmp_path / "out.tif")))
