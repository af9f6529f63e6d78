"""Few-label tasks are what they claim, and pretraining on them learns, resumes and refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from hsi_toolkit.errors import Cancelled, ModelError, ParameterError, SceneError
from hsi_toolkit.models.hsimae import HSIMAEConfig
from hsi_toolkit.progress import Progress
from hsi_toolkit.training import few_label
from hsi_toolkit.training.episodes import EpisodeScene, draw_episode, ridge_scores
from hsi_toolkit.training.few_label import FewLabelConfig, pretrain_few_label

MODEL = HSIMAEConfig(
    embed_dim=32, depth=2, num_heads=2, s_depth=1, decoder_embed_dim=16, decoder_depth=1, decoder_num_heads=2
)
TINY = FewLabelConfig(model=MODEL, steps=6, episodes=2, windows=4, seed=3)


def make_scene(seed: int = 0, labelled: bool = True, noise: float = 0.5) -> EpisodeScene:
    """Fields of four materials, 40 bands."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(1, 5, (5, 5)).repeat(8, axis=0).repeat(8, axis=1)
    classes[:4, :4] = np.arange(1, 5)  # every class is there
    spectra = np.cumsum(rng.normal(size=(5, 40)), axis=1)
    cube = spectra[classes].transpose(2, 0, 1) + noise * rng.normal(size=(40, 40, 40))
    scene = xr.DataArray(cube.astype(np.float32), dims=("band", "y", "x"))
    return EpisodeScene.of(scene, classes if labelled else None, MODEL)


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return all(torch.equal(left[name], right[name]) for name in left)


def test_windows_and_pixels_are_those_of_the_scene() -> None:
    scene = make_scene()
    positions = np.array([[0, 0], [20, 31], [39, 39]])
    windows, pixels = scene.windows(positions), scene.pixels(positions, 0.0)
    assert windows.shape == (3, 32, 9, 9)
    torch.testing.assert_close(windows[:, :, 4, 4], pixels)
    torch.testing.assert_close(windows[0, :, 3, 4], windows[0, :, 5, 4])  # mirrored at the edge
    blurred = scene.blurred[:, positions[:, 0], positions[:, 1]].T.float()
    torch.testing.assert_close(scene.pixels(positions, 1.0), 2 * pixels - blurred)


@pytest.mark.parametrize("seed", range(8))
def test_an_episode_learns_from_clusters_and_judges_elsewhere(seed: int) -> None:
    scene, rng = make_scene(), np.random.default_rng(seed)
    episode = draw_episode(scene, rng)
    assert 2 <= episode.n_classes <= 4
    assert len(np.unique(episode.labelled, axis=0)) == len(episode.labelled)
    assert torch.bincount(episode.labels).unique().numel() == 1
    assert torch.bincount(episode.truth).tolist() == [12] * episode.n_classes
    for label in range(episode.n_classes):
        known, asked = episode.labelled[episode.labels == label], episode.judged[episode.truth == label]
        assert not (known[:, None] == asked[None]).all(axis=2).any()
    most = draw_episode(scene, rng, most=4)
    assert torch.bincount(most.labels).tolist() == [4] * most.n_classes


def test_ridge_scores_are_those_of_the_primal_regression() -> None:
    generator = torch.Generator().manual_seed(0)
    known, others = torch.randn(12, 5, generator=generator), torch.randn(7, 5, generator=generator)
    labels = torch.arange(12) % 3
    found = ridge_scores(known, labels, others, torch.tensor(0.2))
    centred, targets = known - known.mean(0), torch.nn.functional.one_hot(labels).float()
    weight = torch.linalg.solve(
        centred.T @ centred + 0.2 * 12 * torch.eye(5), centred.T @ (targets - targets.mean(0))
    )
    torch.testing.assert_close(found, (others - known.mean(0)) @ weight)


def test_tasks_are_learnt() -> None:
    scenes = [make_scene(seed, noise=4.0) for seed in range(3)]
    result = pretrain_few_label(scenes, replace(TINY, steps=60, learning_rate=3e-3, warmup_steps=10))
    start = pretrain_few_label(scenes, replace(TINY, steps=5, learning_rate=1e-9))
    assert result.accuracies[-1] > start.accuracies[-1]
    assert result.ridge > 0
    assert result.temperature > 0


def test_an_interrupted_run_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few_label, "_ROUND", 2)
    scenes, path = [make_scene(), make_scene(1, labelled=False)], tmp_path / "run.safetensors"
    whole = pretrain_few_label(scenes, TINY)

    class Stop(Progress):
        def __init__(self) -> None:
            self.fraction = 0.0

        def report(self, fraction: float, message: str = "") -> None:
            self.fraction = fraction

        def cancelled(self) -> bool:
            return self.fraction >= 0.5

    with pytest.raises(Cancelled):
        pretrain_few_label(scenes, TINY, checkpoint=path, progress=Stop())
    assert path.exists()
    resumed = pretrain_few_label(scenes, TINY, checkpoint=path)
    assert same_weights(whole.network, resumed.network)
    assert whole.accuracies == resumed.accuracies
    with pytest.raises(ModelError, match="other scenes or settings"):
        pretrain_few_label(scenes, replace(TINY, seed=9), checkpoint=path)


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ParameterError, match="steps is 0"):
        pretrain_few_label([make_scene()], replace(TINY, steps=0))
    with pytest.raises(SceneError, match="two classes"):
        pretrain_few_label([make_scene(labelled=False)], TINY)
    scene = xr.DataArray(np.full((40, 9, 9), np.nan, np.float32), dims=("band", "y", "x"))
    with pytest.raises(SceneError, match="no data"):
        EpisodeScene.of(scene, None, MODEL)
