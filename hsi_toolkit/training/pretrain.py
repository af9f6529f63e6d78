"""Masked pretraining of HSIMAE (v2) on windows drawn from any scenes.

The recipe is that of Wang et al. 2024: AdamW, one cosine over all steps, half of the tokens masked, tokens
standardised in the loss. Instead of all windows of a fixed data set, every epoch draws new ones, so that
scenes of any size are streamed; each scene brings its own group-wise components.

Of several processes each computes a part of every batch; their gradients are summed, so that any number of
processes gives the same training but for rounding.
"""

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hsi_toolkit.errors import HsiError, ModelError, OutOfMemoryError, ParameterError, SceneError
from hsi_toolkit.inference.devices import describe_device
from hsi_toolkit.models.hsimae import HSIMAE, HSIMAEConfig
from hsi_toolkit.models.masking import JointMask, joint_mask, joint_mask_lengths
from hsi_toolkit.progress import Pace, Progress
from hsi_toolkit.spectral import GroupwisePCA
from hsi_toolkit.training.ranks import ALONE, Ranks
from hsi_toolkit.training.run_files import load_run, optimizer_groups, restore_optimizer, save_run
from hsi_toolkit.training.schedule import CosineSchedule
from hsi_toolkit.training.windows import WindowSource

# Values of scene windows in memory at a time before they become features, 128 MB.
_CHUNK_VALUES = 32_000_000


@dataclass(frozen=True)
class PretrainConfig:
    """A pretraining run; the defaults are the published recipe, but for the number of windows.

    ``windows_per_epoch`` are drawn anew for every epoch, from the scenes in proportion to their area, and
    ``pixels`` from each scene to fit its components.
    """

    model: HSIMAEConfig = field(default_factory=HSIMAEConfig)
    epochs: int = 10
    windows_per_epoch: int = 16_384
    pixels: int = 200_000
    batch_size: int = 512
    learning_rate: float = 5e-3
    least_learning_rate: float = 1e-6
    warmup_share: float = 0.05
    weight_decay: float = 0.05
    mask_ratio: float = 0.5
    seed: int = 42

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch."""
        return max(1, self.windows_per_epoch // self.batch_size)

    @property
    def schedule(self) -> CosineSchedule:
        """The learning rate over all steps of the run."""
        steps = self.epochs * self.steps_per_epoch
        warmup = math.ceil(steps * self.warmup_share)
        return CosineSchedule(self.learning_rate, self.least_learning_rate, steps, warmup)


class PretrainedModel(NamedTuple):
    """The trained network, on the CPU in eval mode, and the mean loss of each epoch."""

    network: HSIMAE
    losses: tuple[float, ...]


def pretrain(
    sources: Sequence[WindowSource],
    config: PretrainConfig,
    *,
    ranks: Ranks = ALONE,
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
) -> PretrainedModel:
    """Pretrain HSIMAE on windows of ``sources``; the same data, config and processes give the same weights.

    After each epoch the first process writes the state of the run to ``checkpoint`` (.safetensors); where
    that file exists, the run continues from it and ends with the weights of an uninterrupted one. On CUDA the
    network runs in bfloat16 where the device has it.

    Raises:
        ParameterError: a parameter is out of range, a scene has fewer bands than features, or the batch
            cannot be divided among the processes.
        SceneError: a scene has no data or cannot be read.
        ModelError: ``checkpoint`` is damaged or belongs to another run, or the loss is no longer finite.
        OutOfMemoryError: a batch does not fit into the device's memory.
        Cancelled: the user cancelled; the checkpoint holds the last whole epoch.
    """
    _check(config, sources, ranks)
    progress = progress or Progress()
    pool = _WindowPool(sources, config, progress)
    run = _Run(config, ranks, [source.shape for source in sources])
    if checkpoint is not None and Path(checkpoint).exists():
        run.restore(Path(checkpoint))
    pace = Pace(
        progress,
        f"Pretraining: {config.epochs} epochs",
        config.epochs * config.steps_per_epoch * config.batch_size,
        "windows",
        parts=max(1, config.epochs - len(run.losses)),
        where=describe_device(ranks.device),
    )
    for epoch in range(len(run.losses), config.epochs):
        windows = pool.draw(epoch, progress)
        run.train_epoch(windows, pace.part(epoch / config.epochs, (epoch + 1) / config.epochs))
        if checkpoint is not None and ranks.first:
            run.save(Path(checkpoint))
    return PretrainedModel(run.network.cpu().eval(), tuple(run.losses))


class _WindowPool:
    """Draws an epoch's windows, as features, from all scenes."""

    def __init__(self, sources: Sequence[WindowSource], config: PretrainConfig, progress: Progress) -> None:
        self._sources, self._config = sources, config
        self._radius = config.model.img_size // 2
        self._components: list[tuple[NDArray[np.bool_], GroupwisePCA]] = []
        for number, source in enumerate(sources, start=1):
            progress.check()
            progress.report(0.0, f"Fitting the components of scene {number} of {len(sources)}")
            try:
                self._components.append(self._fit(source))
            except HsiError as error:
                raise type(error)(f"Scene {number}: {error.problem}", error.remedy) from error

    def draw(self, epoch: int, progress: Progress) -> Tensor:
        """Windows (n, 1, features, side, side) of the scenes in turn, new ones for every epoch."""
        progress.report(epoch / self._config.epochs, f"Reading the windows of epoch {epoch + 1}")
        areas = np.array([source.shape[1] * source.shape[2] for source in self._sources], dtype=np.float64)
        shares = np.ceil(self._config.windows_per_epoch * areas / areas.sum()).astype(int)
        drawn = []
        for source, (used, pca), share in zip(self._sources, self._components, shares, strict=True):
            rows, columns = source.sample(int(share), self._config.seed + epoch)
            chunk = max(1, _CHUNK_VALUES // (source.shape[0] * self._config.model.img_size**2))
            for start in range(0, len(rows), chunk):
                progress.check()
                part = slice(start, start + chunk)
                windows = source.windows(rows[part], columns[part], self._radius)[:, used]
                drawn.append(_features(windows, pca))
        pool = torch.cat(drawn)
        if not len(pool):
            raise SceneError(
                "No window of the scenes has data in all of its bands.", "Check nodata values and bad bands."
            )
        return pool

    def _fit(self, source: WindowSource) -> tuple[NDArray[np.bool_], GroupwisePCA]:
        """The bands used, good ones with data, and the components of their spectra."""
        spectra = source.pixels(*source.sample(self._config.pixels, self._config.seed))
        used = source.good & np.isfinite(spectra).any(axis=0)
        groups = self._config.model.groups
        pca = GroupwisePCA(self._config.model.bands, groups=groups).fit(spectra[:, used])
        return used, pca


def _features(windows: NDArray[np.float32], pca: GroupwisePCA) -> Tensor:
    """Features (n, 1, features, side, side) of windows (n, bands, side, side) that have data in the middle.

    Other pixels without data take the middle one's features, as in classification.
    """
    n, bands, side, _ = windows.shape
    pixels = windows.transpose(0, 2, 3, 1).reshape(-1, bands)
    features = torch.from_numpy(pca.transform(pixels)).view(n, side, side, -1).permute(0, 3, 1, 2)
    middle = features[:, :, side // 2, side // 2][:, :, None, None]
    filled = torch.where(features.isnan(), middle, features)
    return filled[~middle.isnan().flatten(1).any(dim=1)].unsqueeze(1)


class _Run:
    """Network, optimiser and what is known of the run so far."""

    def __init__(self, config: PretrainConfig, ranks: Ranks, scenes: Sequence[tuple[int, int, int]]) -> None:
        self.config, self.losses = config, list[float]()
        self._identity = json.dumps([asdict(config), [list(shape) for shape in scenes]])
        self._ranks, self._device = ranks, ranks.device
        device = ranks.device
        self._half = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        # On the CPU small parts let a cancellation act soon and keep the memory small.
        self._part = 32 if device.type == "cpu" else config.batch_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = HSIMAE(config.model).to(device).train()
        self._optimizer = torch.optim.AdamW(
            parameter_groups(self.network, config.weight_decay), betas=(0.9, 0.95)
        )

    def train_epoch(self, windows: Tensor, progress: Progress) -> None:
        """One epoch of steps over ``windows`` (n, 1, features, side, side) in random order."""
        config, epoch = self.config, len(self.losses)
        generator = torch.Generator().manual_seed(config.seed + epoch)
        lengths = random.Random(config.seed + epoch)
        steps = config.steps_per_epoch
        total = torch.zeros((), device=self._device)
        for step, ids in enumerate(_batches(len(windows), steps, config.batch_size, generator)):
            message = f"Epoch {epoch + 1} of {config.epochs}"
            if self.losses:
                message += f", loss {self.losses[-1]:.3f}"
            progress.report(step / steps, message)
            for group in self._optimizer.param_groups:
                group["lr"] = config.schedule.lr(epoch * steps + step)
            imgs, mask = _flipped(windows[ids], generator), self._mask(lengths, len(ids), generator)
            own = slice(self._ranks.rank, None, self._ranks.count)
            mask = JointMask(mask.ids_keep[own], mask.ids_restore[own], mask.len_t, mask.len_l)
            total += self._step(imgs[own].to(self._device), mask, progress)
        loss = float(self._ranks.total(total)) / steps
        if not np.isfinite(loss):
            raise ModelError(
                f"The loss of epoch {epoch + 1} is {loss}: training has diverged.",
                "Lower the learning rate.",
            )
        self.losses.append(loss)

    def save(self, path: Path) -> None:
        """Write weights, optimiser moments and losses, whole or not at all."""
        groups = {"network": self.network.state_dict(), **optimizer_groups(self._optimizer, self.network)}
        save_run(path, identity=self._identity, state={"losses": self.losses}, groups=groups)

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint of the same run.

        Raises:
            ModelError: it is damaged or belongs to another run.
        """
        stored = load_run(path, self._identity)
        if stored is None:
            raise ModelError(
                f"{path} belongs to a pretraining run with other scenes or settings.",
                "Remove it to start anew, or repeat the settings it was started with.",
            )
        self.network.load_state_dict(stored.groups["network"])
        restore_optimizer(self._optimizer, self.network, stored.groups)
        self.losses = [float(loss) for loss in stored.state["losses"]]  # type: ignore[union-attr, arg-type]

    def _mask(self, lengths: random.Random, samples: int, generator: torch.Generator) -> JointMask:
        model = self.config.model
        grid = joint_mask_lengths(model.groups, model.cells, self.config.mask_ratio, lengths)
        return joint_mask(grid, samples=samples, groups=model.groups, cells=model.cells, generator=generator)

    def _step(self, imgs: Tensor, mask: JointMask, progress: Progress) -> Tensor:
        """One optimiser step; the batch is halved into parts as long as they do not fit into memory."""
        while True:
            try:
                loss = self._gradients(imgs, mask, progress)
                self._ranks.sum_gradients(self.network)
                self._optimizer.step()
                return loss
            except torch.OutOfMemoryError as error:
                if self._part == 1:
                    raise OutOfMemoryError(
                        "Not even one window fits into the device's memory.",
                        "Choose a smaller model or another device.",
                    ) from error
                self._part = -(-self._part // 2)

    def _gradients(self, imgs: Tensor, mask: JointMask, progress: Progress) -> Tensor:
        """This process's part of the batch's loss, its gradients left in the parameters.

        Every window has as many removed tokens as the others, so that the mean over parts, weighted by their
        windows, is the loss of the batch.
        """
        self._optimizer.zero_grad()
        batch = len(imgs) * self._ranks.count
        total = torch.zeros((), device=self._device)
        for start in range(0, len(imgs), self._part):
            progress.check()
            part = slice(start, start + self._part)
            visible = JointMask(mask.ids_keep[part], mask.ids_restore[part], mask.len_t, mask.len_l)
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
                loss = self.network(imgs[part], mask=visible).loss * (len(imgs[part]) / batch)
            loss.backward()
            total += loss.detach()
        return total


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Trainable parameters for an optimiser; those with "bias" or "norm" in their name do not decay."""
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    exempt = [p for name, p in named if "bias" in name or "norm" in name]
    decayed = [p for name, p in named if not ("bias" in name or "norm" in name)]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": exempt, "weight_decay": 0.0}]


def _batches(windows: int, steps: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """``steps`` batches of indices below ``windows``, every window once before any twice."""
    rounds = -(-steps * size // windows)
    order = torch.cat([torch.randperm(windows, generator=generator) for _ in range(rounds)])
    yield from order[: steps * size].view(steps, size)


def _flipped(imgs: Tensor, generator: torch.Generator) -> Tensor:
    """Each window mirrored left to right with probability one half, and then top to bottom."""
    for axis in (-1, -2):
        chosen = torch.rand(len(imgs), 1, 1, 1, 1, generator=generator) < 0.5
        imgs = torch.where(chosen, imgs.flip(axis), imgs)
    return imgs


def _check(config: PretrainConfig, sources: Sequence[WindowSource], ranks: Ranks) -> None:
    """Raise ``ParameterError`` on the first setting that is out of range."""
    if not sources:
        raise ParameterError("There is no scene to pretrain on.", "Give at least one.")
    at_least_one = {name: getattr(config, name) for name in ("epochs", "windows_per_epoch", "batch_size")}
    for name, value in at_least_one.items():
        if value < 1:
            raise ParameterError(f"{name} is {value}.", "Choose 1 or more.")
    if config.batch_size % ranks.count:
        raise ParameterError(
            f"A batch of {config.batch_size} windows cannot be divided among {ranks.count} processes.",
            "Choose a multiple.",
        )
    if not 0 < config.mask_ratio < 1:
        raise ParameterError(f"mask_ratio is {config.mask_ratio}.", "Choose a share between 0 and 1.")
    if config.learning_rate <= 0:
        raise ParameterError(f"learning_rate is {config.learning_rate}.", "Choose more than 0.")
    if config.model.img_size % 2 == 0:
        raise ParameterError(
            f"Windows of {config.model.img_size} pixels have no middle.", "Choose an odd window size."
        )
