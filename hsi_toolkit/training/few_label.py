"""Pretraining for few labels: masked reconstruction of HSIMAE, and few-label tasks on labelled scenes."""

import hashlib
import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hsi_toolkit.errors import ModelError, ParameterError, SceneError
from hsi_toolkit.models.classifier import pixel_embedding
from hsi_toolkit.models.hsimae import HSIMAE, HSIMAEConfig, aggregate
from hsi_toolkit.models.masking import joint_mask, joint_mask_lengths
from hsi_toolkit.progress import Progress
from hsi_toolkit.training.augment import shrunk, turned
from hsi_toolkit.training.episodes import LEAST_PIXELS, Episode, EpisodeScene, draw_episode, ridge_scores
from hsi_toolkit.training.pretrain import parameter_groups
from hsi_toolkit.training.run_files import load_run, optimizer_groups, restore_optimizer, save_run
from hsi_toolkit.training.schedule import CosineSchedule

# Steps between two checkpoints.
_ROUND = 250
# Labelled windows a class at most: a window takes nine times the tokens of a pixel.
_WINDOW_LABELS = 8


@dataclass(frozen=True)
class FewLabelConfig:
    """A pretraining run for few labels.

    A step takes either ``episodes`` tasks of single pixels or, a ``window_share`` of the steps, one task of
    windows; and it restores ``windows`` masked windows of a random scene.
    """

    model: HSIMAEConfig = field(default_factory=lambda: HSIMAEConfig.of_size("small"))
    steps: int = 4000
    episodes: int = 4
    window_share: float = 0.2
    windows: int = 8
    mask_ratio: float = 0.5
    reconstruction_weight: float = 0.1
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warmup_steps: int = 100
    seed: int = 42


class FewLabelModel(NamedTuple):
    """The trained network, on the CPU in eval mode; the ridge and the scale of scores that its tasks taught.

    ``accuracies`` and ``losses`` are the tasks' mean accuracy and the mean reconstruction loss of each round
    of 250 steps.
    """

    network: HSIMAE
    ridge: float
    temperature: float
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]


class _Learner(nn.Module):
    """The network with the two numbers of its tasks' regressions, called biases for they must not decay."""

    def __init__(self, model: HSIMAEConfig) -> None:
        super().__init__()
        self.network = HSIMAE(model)
        self.log_ridge_bias = nn.Parameter(torch.tensor(-2.0))
        self.log_scale_bias = nn.Parameter(torch.tensor(2.0))

    def embedded(self, inputs: Tensor) -> Tensor:
        """Embeddings (n, D) of pixels (n, F) or windows (n, F, side, side)."""
        if inputs.ndim == 2:
            return pixel_embedding(self.network, inputs)
        return aggregate(self.network.encode(inputs.unsqueeze(1)), self.network.config.groups)

    def judge(self, embedded: Tensor, episode: Episode) -> tuple[Tensor, Tensor]:
        """Cross-entropy on judged pixels, as a share of guessing's, and accuracy.

        ``embedded`` (n, D) are first the episode's labelled, then its judged pixels.
        """
        n = len(episode.labels)
        scores = ridge_scores(embedded[:n], episode.labels, embedded[n:], self.log_ridge_bias.exp())
        logits = scores * self.log_scale_bias.exp()
        loss = F.cross_entropy(logits, episode.truth) / math.log(episode.n_classes)
        return loss, (logits.argmax(dim=1) == episode.truth).float().mean()


def pretrain_few_label(
    scenes: Sequence[EpisodeScene],
    config: FewLabelConfig,
    *,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> FewLabelModel:
    """Pretrain on the CPU; the same scenes and config give the same weights.

    Every 250 steps the run is written to ``checkpoint`` (.safetensors); where that file holds the same run,
    it continues from it and ends with the weights of an uninterrupted one. Scenes without labels are only
    reconstructed.

    Raises:
        ParameterError: a setting is out of range.
        SceneError: no scene has two classes with enough pixels.
        ModelError: the checkpoint is damaged, or the loss is no longer finite.
        Cancelled: the user cancelled; the checkpoint holds the last whole round.
    """
    _check(scenes, config)
    progress = progress or Progress()
    run = _Run(scenes, config)
    if checkpoint is not None and checkpoint.exists():
        run.restore(checkpoint)
    while run.done < config.steps:
        run.advance(progress)
        if checkpoint is not None:
            run.save(checkpoint)
    learner = run.learner.eval()
    return FewLabelModel(
        learner.network,
        float(learner.log_ridge_bias.detach().exp()),
        float(learner.log_scale_bias.detach().exp()),
        tuple(run.accuracies),
        tuple(run.losses),
    )


class _Run:
    """Network, optimiser and what is known of the run so far."""

    def __init__(self, scenes: Sequence[EpisodeScene], config: FewLabelConfig) -> None:
        self.config, self.done = config, 0
        self.accuracies, self.losses = list[float](), list[float]()
        self._scenes, self._labelled = scenes, [scene for scene in scenes if scene.labelled]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.learner = _Learner(config.model).train()
        self._optimizer = torch.optim.AdamW(
            parameter_groups(self.learner, config.weight_decay), betas=(0.9, 0.98)
        )
        self._schedule = CosineSchedule(config.learning_rate, 1e-6, config.steps, config.warmup_steps)

    def advance(self, progress: Progress) -> None:
        """One round of steps."""
        config = self.config
        accuracies, losses = [], []
        for step in range(self.done, min(self.done + _ROUND, config.steps)):
            progress.check()
            told = f", accuracy {self.accuracies[-1]:.3f}" if self.accuracies else ""
            progress.report(step / config.steps, f"Step {step} of {config.steps}{told}")
            for group in self._optimizer.param_groups:
                group["lr"] = self._schedule.lr(step)
            accuracy, loss = self._step(step)
            accuracies.append(accuracy)
            losses.append(loss)
        if not math.isfinite(sum(losses)):
            raise ModelError(f"Pretraining diverged before step {step + 1}.", "Lower the learning rate.")
        self.done = step + 1
        self.accuracies.append(float(np.mean(accuracies)))
        self.losses.append(float(np.mean(losses)))

    def _step(self, step: int) -> tuple[float, float]:
        """One optimiser step; its random numbers come from its number alone, so that a run can go on."""
        config = self.config
        rng = np.random.default_rng([config.seed, step])
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        self._optimizer.zero_grad()
        windows = bool(rng.random() < config.window_share)
        episodes, inputs = [], []
        for _ in range(1 if windows else config.episodes):
            scene = self._labelled[int(rng.integers(len(self._labelled)))]
            episode = draw_episode(scene, rng, most=_WINDOW_LABELS if windows else None)
            positions = np.concatenate([episode.labelled, episode.judged])
            if windows:
                inputs.append(shrunk(turned(scene.windows(positions), generator), generator))
            else:
                inputs.append(scene.pixels(positions, float(rng.random())))
            episodes.append(episode)
        embedded = self.learner.embedded(torch.cat(inputs)).split([len(each) for each in inputs])  # type: ignore[no-untyped-call]
        judged = [self.learner.judge(each, of) for each, of in zip(embedded, episodes, strict=True)]
        loss = torch.stack([loss for loss, _ in judged]).mean()
        reconstruction = self._reconstruction(rng, generator)
        (loss + config.reconstruction_weight * reconstruction).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.learner.parameters(), 1.0)
        self._optimizer.step()
        return float(np.mean([float(accuracy) for _, accuracy in judged])), float(reconstruction.detach())

    def _reconstruction(self, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        """The masked loss of windows of a random scene."""
        config, model = self.config, self.config.model
        scene = self._scenes[int(rng.integers(len(self._scenes)))]
        windows = turned(scene.windows(scene.anywhere(config.windows, rng)), generator)
        lengths = joint_mask_lengths(
            model.groups, model.cells, config.mask_ratio, random.Random(int(rng.integers(1 << 62)))
        )
        mask = joint_mask(
            lengths, samples=len(windows), groups=model.groups, cells=model.cells, generator=generator
        )
        loss: Tensor = self.learner.network.reconstruct(windows.unsqueeze(1), mask).loss
        return loss

    def save(self, path: Path) -> None:
        """Write the run, whole or not at all."""
        state = {"done": self.done, "accuracies": self.accuracies, "losses": self.losses}
        groups = {"learner": self.learner.state_dict(), **optimizer_groups(self._optimizer, self.learner)}
        save_run(path, identity=self._identity(), state=state, groups=groups)

    def restore(self, path: Path) -> None:
        """Take up the run at ``path``, if it is this one.

        Raises:
            ModelError: the file is damaged, or holds another run.
        """
        stored = load_run(path, self._identity())
        if stored is None:
            raise ModelError(
                f"{path} belongs to a pretraining run with other scenes or settings.",
                "Remove it to start anew.",
            )
        self.learner.load_state_dict(stored.groups["learner"])
        restore_optimizer(self._optimizer, self.learner, stored.groups)
        state = stored.state
        self.done = int(state["done"])  # type: ignore[arg-type]
        self.accuracies = [float(value) for value in state["accuracies"]]  # type: ignore[union-attr,arg-type]
        self.losses = [float(value) for value in state["losses"]]  # type: ignore[union-attr,arg-type]

    def _identity(self) -> str:
        digest = hashlib.sha256(json.dumps(asdict(self.config)).encode())
        for scene in self._scenes:
            digest.update(json.dumps([list(scene.features.shape), *map(len, scene.positions)]).encode())
        return digest.hexdigest()


def _check(scenes: Sequence[EpisodeScene], config: FewLabelConfig) -> None:
    for name in ("steps", "episodes", "windows"):
        if getattr(config, name) < 1:
            raise ParameterError(f"{name} is {getattr(config, name)}.", "Choose 1 or more.")
    if not 0 < config.mask_ratio < 1:
        raise ParameterError(f"mask_ratio is {config.mask_ratio}.", "Choose a share between 0 and 1.")
    if not any(scene.labelled for scene in scenes):
        raise SceneError(
            f"None of the {len(scenes)} scenes has two classes of {LEAST_PIXELS} pixels.",
            "Give at least one that has.",
        )
