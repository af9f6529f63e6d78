"""Pretraining HyperSIGMA learns, resumes exactly, and is the same with two processes as with one."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import rasterio
import torch

from hsi_toolkit.errors import Cancelled, ModelError, ParameterError
from hsi_toolkit.models.bundle import ModelBundle
from hsi_toolkit.models.hypersigma.encoders import TransformerSize
from hsi_toolkit.models.hypersigma.mae import MAEConfig
from hsi_toolkit.models.hypersigma.weights import read_encoders
from hsi_toolkit.progress import Progress
from hsi_toolkit.training.mae_pretrain import MAEPretrainConfig, PretrainedMAE, pretrain_mae
from hsi_toolkit.training.patches import PatchPool
from hsi_toolkit.training.ranks import Ranks

TINY = TransformerSize(dim=24, depth=4, heads=3, out_indices=(0, 1, 2, 3))
ALONE = Ranks(0, 1, torch.device("cpu"))
QUICK = MAEPretrainConfig("spatial", "tiny", epochs=4, batch_size=8, micro_batch=4, learning_rate=3e-3)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Smooth fields of three materials, 40 bands."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :40] / 6
    fields = np.stack([1 + np.sin(a * y + b * x) for a, b in rng.uniform(0.3, 1, (3, 2))])
    cube = np.einsum("mb,myx->byx", rng.uniform(0.5, 1, (3, 40)).cumsum(axis=1), fields).astype(np.float32)
    path = tmp_path / "scene.tif"
    with rasterio.open(path, "w", driver="GTiff", count=40, height=40, width=40, dtype="float32") as file:
        file.write(cube)
    return path


@pytest.fixture
def pool(scene: Path, monkeypatch: pytest.MonkeyPatch) -> PatchPool:
    sizes = {"tiny": MAEConfig(9, 16, 4, 9, TINY, 16, 1, 4)}
    monkeypatch.setattr("hsi_toolkit.training.mae_pretrain.MAE_SIZES", sizes)
    return PatchPool([scene], bands=9, side=16, per_scene=24, seed=0)


def same_weights(a: PretrainedMAE, b: PretrainedMAE) -> bool:
    left, right = a.network.state_dict(), b.network.state_dict()
    return all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("branch", ["spatial", "spectral"])
def test_the_loss_falls(pool: PatchPool, branch: str) -> None:
    losses = pretrain_mae(pool, replace(QUICK, branch=branch, epochs=8), ALONE).losses  # type: ignore[arg-type]
    assert len(losses) == 8
    assert losses[-1] < 0.5 * losses[0]


def test_a_cancelled_run_goes_on_as_if_it_had_not_been(pool: PatchPool, tmp_path: Path) -> None:
    whole = pretrain_mae(pool, QUICK, ALONE)

    class Stop(Progress):
        seen = False

        def report(self, fraction: float, message: str = "") -> None:
            self.seen |= message.startswith("Epoch 3")

        def cancelled(self) -> bool:
            return self.seen

    checkpoint = tmp_path / "run.part.safetensors"
    with pytest.raises(Cancelled):
        pretrain_mae(pool, QUICK, ALONE, checkpoint=checkpoint, progress=Stop())
    resumed = pretrain_mae(pool, QUICK, ALONE, checkpoint=checkpoint)
    assert resumed.losses == whole.losses
    assert same_weights(resumed, whole)
    with pytest.raises(ModelError, match="other scenes or settings"):
        pretrain_mae(pool, replace(QUICK, seed=5), ALONE, checkpoint=checkpoint)
    checkpoint.write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="damaged"):
        pretrain_mae(pool, QUICK, ALONE, checkpoint=checkpoint)


def test_recomputing_and_bfloat16_train_alike(pool: PatchPool) -> None:
    plain = pretrain_mae(pool, QUICK, ALONE)
    recomputed = pretrain_mae(pool, replace(QUICK, recompute=True), ALONE)
    np.testing.assert_allclose(recomputed.losses, plain.losses, rtol=1e-4)
    half = pretrain_mae(pool, replace(QUICK, precision="bf16"), ALONE)
    np.testing.assert_allclose(half.losses, plain.losses, rtol=0.05)


def test_the_published_schedule_warms_up_and_ends_at_zero() -> None:
    config = MAEPretrainConfig("spatial", "base", epochs=1600, batch_size=2048)
    assert config.peak == pytest.approx(1.2e-3)
    assert config.rate(20) == pytest.approx(0.6e-3)
    assert config.rate(40) == pytest.approx(1.2e-3)
    assert config.rate(820) == pytest.approx(0.6e-3)
    assert config.rate(1600) == pytest.approx(0, abs=1e-12)


def test_batches_that_cannot_be_divided_are_refused(pool: PatchPool) -> None:
    with pytest.raises(ParameterError, match="micro-batches of 3"):
        pretrain_mae(pool, replace(QUICK, micro_batch=3), ALONE)
    with pytest.raises(ParameterError, match="among 4 processes"):
        pretrain_mae(pool, QUICK, Ranks(0, 4, torch.device("cpu")))


def command(scene: Path, output: Path, epochs: int, progress: str = "none") -> list[str]:
    return [
        "-m", "hsi_toolkit.cli", "pretrain", str(scene), "-o", str(output), "--model", "spec-mae-small",
        "--epochs", str(epochs), "--windows", "16", "--batch-size", "8", "--micro-batch", "4", "--device",
        "cpu", "--progress", progress,
    ]  # fmt: skip


def losses_of(model: Path) -> list[float]:
    return ModelBundle.read_metadata(model).provenance.metrics["losses"]  # type: ignore[return-value]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_two_processes_train_like_one_and_a_killed_run_goes_on(scene: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    subprocess.run(
        [sys.executable, *command(scene, one, 4)], check=True, env=ENVIRONMENT, capture_output=True
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    part = two.with_suffix(".part.safetensors")
    started = subprocess.Popen(
        [*torchrun, *command(scene, two, 4, progress="json")],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stderr is not None
    assert any("Epoch 2 of 4" in line for line in started.stderr)
    # torchrun's workers are sessions of their own and would live on without it.
    for process in [psutil.Process(started.pid), *psutil.Process(started.pid).children(recursive=True)]:
        process.kill()
    started.communicate()
    assert part.exists()
    assert not two.exists()
    done = subprocess.run(
        [*torchrun, *command(scene, two, 4)], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    # The processes sum the same gradients in another order; four epochs of AdamW carry that to 1e-5.
    np.testing.assert_allclose(losses_of(two), losses_of(one), rtol=1e-5)
    assert not part.exists()
    assert read_encoders(two).size == "small"
