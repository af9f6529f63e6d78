"""Pretraining learns, resumes exactly, and refuses what cannot work."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from hsi_toolkit.errors import Cancelled, ModelError, ParameterError, SceneError
from hsi_toolkit.models.bundle import ModelBundle
from hsi_toolkit.models.checkpoints import load_by_name
from hsi_toolkit.models.hsimae import HSIMAEConfig, HSIViT
from hsi_toolkit.progress import Progress
from hsi_toolkit.training.pretrain import PretrainConfig, PretrainedModel, _Run, parameter_groups, pretrain
from hsi_toolkit.training.ranks import ALONE, Ranks
from hsi_toolkit.training.windows import SceneWindows

TINY = PretrainConfig(
    model=HSIMAEConfig(
        embed_dim=32,
        depth=2,
        num_heads=2,
        s_depth=1,
        decoder_embed_dim=16,
        decoder_depth=1,
        decoder_num_heads=2,
        trunc_init=False,
    ),
    epochs=3,
    windows_per_epoch=192,
    pixels=2000,
    batch_size=64,
    seed=1,
)


def scene(bands: int = 40, rows: int = 36, columns: int = 30, seed: int = 0) -> np.ndarray:
    """Smooth fields of five materials, (bands, rows, columns) float32."""
    rng = np.random.default_rng(seed)
    materials = np.cumsum(rng.normal(size=(5, bands)), axis=1)
    y, x = np.mgrid[:rows, :columns] / 8
    waves = [np.sin(a * y + b * x + c) for a, b, c in rng.uniform(0.5, 2, size=(5, 3))]
    cube = np.einsum("mb,myx->byx", materials, np.array(waves)) + 0.05 * rng.normal(
        size=(bands, rows, columns)
    )
    return cube.astype(np.float32)


def source(cube: np.ndarray, good: np.ndarray | None = None) -> SceneWindows:
    array = xr.DataArray(cube, dims=("band", "y", "x"))
    return SceneWindows(array if good is None else array.assign_coords(good=("band", good)))


def same_weights(a: PretrainedModel, b: PretrainedModel) -> bool:
    left, right = a.network.state_dict(), b.network.state_dict()
    return all(torch.equal(left[name], right[name]) for name in left)


class StopAfter(Progress):
    """Cancels as soon as a message has been seen."""

    def __init__(self, message: str) -> None:
        self.message, self.seen, self.fractions = message, False, list[float]()

    def report(self, fraction: float, message: str = "") -> None:
        self.fractions.append(fraction)
        self.seen |= message.startswith(self.message)

    def cancelled(self) -> bool:
        return self.seen


def test_the_loss_falls_and_the_weights_start_a_classifier() -> None:
    result = pretrain([source(scene())], replace(TINY, epochs=8, learning_rate=1e-2))
    assert len(result.losses) == 8
    assert result.losses[-1] < 0.9 * result.losses[0]
    report = load_by_name(HSIViT(TINY.model, 4), result.network.state_dict())
    assert report.left == ("cls_head.weight", "cls_head.bias")


def test_the_same_seed_gives_the_same_weights_and_another_gives_others() -> None:
    sources = [source(scene())]
    config = replace(TINY, epochs=1)
    first = pretrain(sources, config)
    torch.rand(3)  # whoever else draws random numbers changes nothing
    assert same_weights(first, pretrain(sources, config))
    assert not same_weights(first, pretrain(sources, replace(config, seed=2)))


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    sources = [source(scene()), source(scene(bands=50, seed=5))]
    whole = pretrain(sources, TINY)
    with pytest.raises(Cancelled):
        pretrain(sources, TINY, checkpoint=tmp_path / "run.safetensors", progress=StopAfter("Epoch 3"))
    resumed = pretrain(sources, TINY, checkpoint=tmp_path / "run.safetensors")
    assert resumed.losses == whole.losses
    assert same_weights(resumed, whole)
    assert [path.name for path in tmp_path.iterdir()] == ["run.safetensors"]


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    path, config = tmp_path / "run.safetensors", replace(TINY, epochs=1)
    first = pretrain([source(scene())], config, checkpoint=path)
    assert same_weights(first, pretrain([source(scene())], config, checkpoint=path))


def test_cancelling_stops_within_a_batch_and_writes_nothing(tmp_path: Path) -> None:
    progress = StopAfter("Epoch 1")
    with pytest.raises(Cancelled):
        pretrain([source(scene())], TINY, checkpoint=tmp_path / "run.safetensors", progress=progress)
    assert list(tmp_path.iterdir()) == []
    assert progress.fractions == sorted(progress.fractions)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    config = replace(TINY, epochs=1)
    pretrain([source(scene())], config, checkpoint=path)
    with pytest.raises(ModelError, match="other scenes or settings"):
        pretrain([source(scene())], replace(config, mask_ratio=0.8), checkpoint=path)
    with pytest.raises(ModelError, match="other scenes or settings"):
        pretrain([source(scene(rows=40))], config, checkpoint=path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="damaged"):
        pretrain([source(scene())], config, checkpoint=path)


def test_parts_of_a_batch_give_the_gradients_of_the_whole() -> None:
    imgs = torch.randn(70, 1, 32, 9, 9, generator=torch.Generator().manual_seed(0))
    gradients = []
    for part in (32, 70):
        run = _Run(TINY, ALONE, [(40, 36, 30)])
        run._part = part
        mask = run._mask(random.Random(0), 70, torch.Generator().manual_seed(0))
        run._gradients(imgs, mask, Progress())
        gradients.append({name: p.grad for name, p in run.network.named_parameters() if p.requires_grad})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-6, rtol=1e-3)


def test_a_batch_that_processes_cannot_divide_is_refused() -> None:
    with pytest.raises(ParameterError, match="64 windows cannot be divided among 3"):
        pretrain([source(scene())], TINY, ranks=Ranks(0, 3, torch.device("cpu")))


@pytest.mark.slow
def test_two_processes_pretrain_like_one(tmp_path: Path, run_command: Callable[..., None]) -> None:
    path = tmp_path / "scene.npy"
    np.save(path, scene().transpose(1, 2, 0))
    curves = []
    for processes in (1, 2):
        model = tmp_path / f"{processes}.safetensors"
        run_command(
            "pretrain", str(path), "-o", str(model), "--size", "small", "--epochs", "3", "--windows", "128",
            "--batch-size", "32", "--device", "cpu", processes=processes,
        )  # fmt: skip
        curves.append(ModelBundle.load(model).metadata.provenance.metrics["losses"])
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-4)


def test_holes_and_bad_bands_are_left_out() -> None:
    cube = scene()
    cube[:, :10, :10] = np.nan
    cube[7] = np.nan
    cube[20, 30, 5] = np.nan
    good = np.ones(40, bool)
    good[3] = False
    cube[3] = 1e30
    result = pretrain([source(cube, good)], replace(TINY, epochs=1))
    assert np.isfinite(result.losses).all()


def test_scenes_that_cannot_be_used_are_named() -> None:
    with pytest.raises(ParameterError, match=r"Scene 2: .*at least 32 bands, but there are 20"):
        pretrain([source(scene()), source(scene(bands=20))], TINY)
    with pytest.raises(SceneError, match="Scene 1: No pixel"):
        pretrain([source(np.full((40, 20, 20), np.nan, np.float32))], TINY)
    with pytest.raises(ParameterError, match="no scene"):
        pretrain([], TINY)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"mask_ratio": 1.0}, "mask_ratio is 1.0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"model": HSIMAEConfig(img_size=6)}, "6 pixels have no middle"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object], problem: str) -> None:
    with pytest.raises(ParameterError, match=problem):
        pretrain([source(scene())], replace(TINY, **change))  # type: ignore[arg-type]


def test_a_run_that_diverges_is_stopped() -> None:
    with pytest.raises(ModelError, match="diverged"):
        pretrain([source(scene())], replace(TINY, learning_rate=1e30))


def test_biases_and_norms_do_not_decay() -> None:
    decayed, exempt = parameter_groups(HSIViT(TINY.model, 3), 0.05)
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (0.05, 0.0)
    assert all(parameter.ndim > 1 for parameter in decayed["params"])  # type: ignore[attr-defined]
    assert all(parameter.ndim == 1 for parameter in exempt["params"])  # type: ignore[attr-defined]
