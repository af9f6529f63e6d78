"""Denoising and super-resolution by networks that are trained on the scene."""

import numpy as np
import pytest
import torch
import xarray as xr

from hsi_toolkit.denoising.learned import learn_denoiser, released_denoiser
from hsi_toolkit.errors import Cancelled, HsiError, ModelError, ParameterError, SceneError
from hsi_toolkit.models.bundle import ModelBundle, ModelMetadata, parts
from hsi_toolkit.models.hypersigma.denoising import FusionDenoiser, denoising_config
from hsi_toolkit.models.hypersigma.description import described
from hsi_toolkit.models.hypersigma.encoders import SIZES, TransformerSize
from hsi_toolkit.models.importing import DENOISER
from hsi_toolkit.models.metadata import Architecture
from hsi_toolkit.pipelines import run
from hsi_toolkit.pipelines.denoise import survey_scene
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import RasterWriter, open_scene
from hsi_toolkit.tasks import TASKS
from hsi_toolkit.training.per_scene import Start

BANDS = 6
TINY = TransformerSize(dim=12, depth=4, heads=2, out_indices=(0, 1, 2, 3), interval=2, drop_path=0.0)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """The small size in a few milliseconds, and few tiles."""
    monkeypatch.setattr("hsi_toolkit.models.hypersigma.encoders.SIZES", {**SIZES, "small": TINY})
    for module in ("hsi_toolkit.denoising.learned", "hsi_toolkit.fusion.learned"):
        monkeypatch.setattr(f"{module}.TILES", 8)
        monkeypatch.setattr(f"{module}.SIDE", 16)


def clean_cube(rows=40, columns=36):
    y, x = np.mgrid[:rows, :columns] / 9.0
    maps = np.stack([np.sin(x) + 1.5, np.cos(y) + 1.5, np.sin(x + y) + 1.5])
    mixing = np.random.default_rng(0).random((BANDS, 3))
    return np.einsum("bm,myx->byx", mixing, maps).astype(np.float32) * 100


def as_scene(cube):
    return xr.DataArray(cube, dims=("band", "y", "x"), coords={"good": ("band", np.ones(len(cube), bool))})


def written(path, cube, good=None):
    with RasterWriter(path, like=as_scene(cube), count=len(cube), good=good) as writer:
        writer.write(cube, 0)
    return path


@pytest.fixture
def scene_path(tmp_path):
    """A noisy scene whose third band is bad and whose corner is without data."""
    cube = clean_cube() + np.random.default_rng(1).normal(0, 10, (BANDS, 40, 36)).astype(np.float32)
    cube[:, :2, :2] = np.nan
    return written(tmp_path / "scene.tif", cube, np.arange(BANDS) != 2)


def task(name, **values):
    return TASKS[name].from_dict({"method": "hypersigma", "device": "cpu", **values})


def test_denoising_keeps_what_is_bad_or_missing_and_says_what_it_removed(scene_path, tmp_path):
    outputs = {
        "output": str(tmp_path / "clean.tif"),
        "difference": str(tmp_path / "removed.tif"),
        "noise_table": str(tmp_path / "noise.csv"),
    }
    result = run(task("denoise", scene=str(scene_path), epochs=2, **outputs))
    given, clean, removed = (
        open_scene(path).values for path in (scene_path, outputs["output"], outputs["difference"])
    )
    assert np.array_equal(clean[2], given[2], equal_nan=True)
    assert np.array_equal(np.isnan(clean), np.isnan(given))
    np.testing.assert_allclose(removed, given - clean, atol=1e-3)
    assert result["warnings"] == ["1 bands marked as bad were passed on unchanged."]
    assert [band["band"] for band in result["bands"]] == [1, 2, 4, 5, 6]
    assert "from random weights" in result["facts"]["Network"]
    assert len((tmp_path / "noise.csv").read_text().splitlines()) == BANDS


def test_the_same_seed_denoises_the_same(scene_path, tmp_path):
    cubes = []
    for name in ("a", "b"):
        path = str(tmp_path / f"{name}.tif")
        run(task("denoise", scene=str(scene_path), epochs=1, output=path, seed=4))
        cubes.append(open_scene(path).values)
    assert np.array_equal(*cubes, equal_nan=True)


def released(path, bands):
    torch.manual_seed(0)
    config = denoising_config(bands, 16, 9, TINY)
    metadata = ModelMetadata("denoiser", "denoiser", Architecture(DENOISER, described(config)))
    network = FusionDenoiser(config)
    ModelBundle(metadata, parts(network=network.state_dict())).save(path)
    return network.eval()


def test_a_released_denoiser_is_used_as_it_is(scene_path, tmp_path):
    released(tmp_path / "denoiser.safetensors", BANDS - 1)
    result = run(
        task(
            "denoise",
            scene=str(scene_path),
            output=str(tmp_path / "clean.tif"),
            weights=str(tmp_path / "denoiser.safetensors"),
        )
    )
    assert result["facts"]["Network"] == "released"


def test_a_released_denoiser_of_other_bands_is_refused(scene_path, tmp_path):
    released(tmp_path / "denoiser.safetensors", 9)
    start = Start(weights=str(tmp_path / "denoiser.safetensors"), device="cpu")
    with pytest.raises(ModelError, match="is for 9 bands, and 5 bands of the scene are good"):
        released_denoiser(open_scene(scene_path).hsi.good_bands, start, Progress())


@pytest.mark.parametrize("moment", [0.02, 0.1, 0.5, 0.9])
def test_denoising_can_be_cancelled_at_any_time_and_leaves_nothing(scene_path, tmp_path, moment):
    class Late(Progress):
        fraction = 0.0

        def report(self, fraction, message=""):
            assert fraction >= self.fraction - 1e-9, message
            self.fraction = fraction

        def cancelled(self):
            return self.fraction > moment

    with pytest.raises(Cancelled):
        run(task("denoise", scene=str(scene_path), output=str(tmp_path / "clean.tif"), epochs=3), Late())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["scene.tif"]


def test_training_takes_more_noise_than_the_projection_it_starts_from(monkeypatch):
    monkeypatch.setattr("hsi_toolkit.denoising.learned.TILES", 16)
    monkeypatch.setattr("hsi_toolkit.denoising.learned.LEARNING_RATE", 0.01)
    clean = clean_cube()
    noisy = clean + np.random.default_rng(3).normal(0, 10, clean.shape).astype(np.float32)
    scene = as_scene(noisy)
    model = survey_scene(scene, "subspace", Progress()).model
    errors = {}
    for epochs in (0, 18):
        learned = learn_denoiser(scene, model, Start(device="cpu"), epochs, Progress())
        found = np.concatenate([rows.data for rows in learned.rows(Progress())], axis=1)
        errors[epochs] = float(np.sqrt(np.mean((found - clean) ** 2)))
    # Three of six dimensions hold signal, so that half of the noise's power is gone by then.
    assert errors[0] == pytest.approx(10 * np.sqrt(0.5), rel=0.05)
    assert errors[18] < 0.9 * errors[0]


def test_a_gap_in_a_spectrum_takes_no_other_band_with_it(tmp_path):
    cube = clean_cube() + np.random.default_rng(1).normal(0, 5, (BANDS, 40, 36)).astype(np.float32)
    cube[4, 7, 9] = np.nan
    path, output = written(tmp_path / "scene.tif", cube), tmp_path / "clean.tif"
    run(task("denoise", scene=str(path), output=str(output), epochs=1))
    found = open_scene(output).values
    assert np.argwhere(np.isnan(found)).tolist() == [[4, 7, 9]]
    assert np.abs(found[:4, 7, 9] - clean_cube()[:4, 7, 9]).max() < 20


@pytest.mark.parametrize(
    ("bands", "shape"), [(1, (20, 25)), (60, (9, 40)), (200, (17, 16)), (425, (30, 3)), (60, (1, 1))]
)
@pytest.mark.parametrize("name", ["denoise", "superresolve"])
def test_any_size_and_number_of_bands_gives_a_result_or_a_sentence(tmp_path, name, bands, shape):
    y, x = np.mgrid[: shape[0], : shape[1]] / 5.0
    spectra = np.random.default_rng(0).random((bands, 2)) + 1
    cube = np.einsum("bm,myx->byx", spectra, np.stack([np.sin(x) + 2, np.cos(y) + 2]))
    cube += np.random.default_rng(1).normal(0, 0.05, cube.shape)
    path, output = written(tmp_path / "scene.tif", cube.astype(np.float32)), tmp_path / "out.tif"
    denoise_or_sharpen = task(name, scene=str(path), output=str(output), epochs=1)
    # One pixel has no noise to measure, and sharpening trains on what is twice a tile's side.
    if max(shape) == 1 or (name == "superresolve" and min(shape) < 16):
        with pytest.raises(HsiError, match="pixel") as caught:
            run(denoise_or_sharpen)
        assert caught.value.remedy
        assert not output.exists()
        return
    run(denoise_or_sharpen)
    times = 2 if name == "superresolve" else 1
    found = open_scene(output)
    assert found.shape == (bands, times * shape[0], times * shape[1])
    assert np.isfinite(found.values).all()


def test_sharpening_without_a_guide_keeps_place_and_means(tmp_path, scene_path):
    path = tmp_path / "sharp.tif"
    result = run(task("superresolve", scene=str(scene_path), output=str(path), epochs=1))
    coarse, sharp = open_scene(scene_path).hsi.good_bands, open_scene(path)
    assert sharp.shape == (BANDS - 1, 80, 72)
    assert result["ratio"] == 2
    means = sharp.values.reshape(BANDS - 1, 40, 2, 36, 2).mean(axis=(2, 4))
    known = np.isfinite(coarse.values)
    assert np.isnan(means[~known]).all()
    # Close to what bicubic interpolation gives after so little training.
    assert np.abs(means[known] - coarse.values[known]).mean() < 15


def test_a_scene_too_small_for_the_scale_is_refused(scene_path, tmp_path):
    with pytest.raises(SceneError, match="training for a scale of 8 takes 64 × 64"):
        run(task("superresolve", scene=str(scene_path), output=str(tmp_path / "s.tif"), scale="8"))


def test_methods_with_a_guide_ask_for_it(scene_path, tmp_path):
    with pytest.raises(ParameterError, match="The method gsa needs a guide"):
        run(
            TASKS["superresolve"].from_dict(
                {"scene": str(scene_path), "output": str(tmp_path / "s.tif"), "method": "gsa"}
            )
        )
