"""Masked pretraining of HyperSIGMA's encoders, on one device or many.

The recipe is that of Wang et al. 2025, "HyperSIGMA: Hyperspectral Intelligence Comprehension Foundation
Model", IEEE TPAMI: AdamW, the learning rate growing with the batch, a warm-up and half a cosine over epochs,
three quarters of the tokens hidden, the loss on values as they are.

A batch is divided into micro-batches, whose gradients are summed. What is random (patches, hidden tokens,
dropped branches) follows from the number of the micro-batch, not from the process that computes it: any
number of processes gives the same training but for rounding.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from hsi_toolkit.errors import ModelError, OutOfMemoryError, ParameterError
from hsi_toolkit.inference.devices import describe_device
from hsi_toolkit.models.hypersigma.blocks import recompute_activations
from hsi_toolkit.models.hypersigma.loading import Branch
from hsi_toolkit.models.hypersigma.mae import MAE_SIZES, MAEConfig, MaskedAutoencoder, SpatMAE, SpecMAE
from hsi_toolkit.progress import Pace, Progress
from hsi_toolkit.scene.blocks import ahead
from hsi_toolkit.training.parameter_groups import parameter_groups
from hsi_toolkit.training.patches import PatchPool
from hsi_toolkit.training.ranks import Ranks
from hsi_toolkit.training.run_files import load_run, optimizer_groups, restore_optimizer, save_run
from hsi_toolkit.training.schedule import warmup_cosine

Precision = Literal["auto", "bf16", "fp32"]

BASE_RATE = 1.5e-4
"""Learning rate of a batch of 256, as published."""
SMALL_RATE = 1e-3
"""That of the small networks, which learn at higher rates."""

_REFERENCE_BATCH = 256
# Of the published 1600 epochs, 40 are warm-up.
_WARMUP_SHARE = 1 / 40


@dataclass(frozen=True)
class MAEPretrainConfig:
    """A pretraining run.

    ``batch_size`` is of all processes together and a multiple of ``micro_batch``, patches computed at a time.
    ``learning_rate`` None grows with the batch. ``precision`` auto is bfloat16 on CUDA devices that have it.
    ``recompute`` trades time for memory.
    """

    branch: Branch
    size: str = "base"
    epochs: int = 100
    batch_size: int = 64
    micro_batch: int = 16
    learning_rate: float | None = None
    weight_decay: float = 0.05
    mask_ratio: float = 0.75
    precision: Precision = "auto"
    recompute: bool = False
    seed: int = 0

    @property
    def model(self) -> MAEConfig:
        """The network's sizes."""
        return MAE_SIZES[self.size]

    @property
    def peak(self) -> float:
        """The highest learning rate."""
        if self.learning_rate is not None:
            return self.learning_rate
        base = SMALL_RATE if self.size == "small" else BASE_RATE
        return base * self.batch_size / _REFERENCE_BATCH

    @property
    def parts(self) -> int:
        """Micro-batches of a batch."""
        return self.batch_size // self.micro_batch

    def rate(self, epoch: float) -> float:
        """The learning rate at ``epoch``, a fraction included; the warm-up is one epoch at least."""
        warmup = min(self.epochs / 2, max(1.0, self.epochs * _WARMUP_SHARE))
        return warmup_cosine(epoch, base=self.peak, total=self.epochs, warmup=warmup, start=0.0)


class PretrainedMAE(NamedTuple):
    """The trained network, on the CPU in eval mode, and the mean loss of each epoch."""

    network: MaskedAutoencoder
    losses: tuple[float, ...]


class _Part(NamedTuple):
    """A micro-batch: its step, its number in the step, and its patches."""

    step: int
    number: int
    patches: Tensor


def pretrain_mae(
    pool: PatchPool,
    config: MAEPretrainConfig,
    ranks: Ranks,
    *,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> PretrainedMAE:
    """Pretrain on patches; the same pool and settings give the same weights but for rounding.

    After each epoch the first process writes the state of the run to ``checkpoint`` (.safetensors); where
    that file exists, the run continues from it, with any number of processes.

    Raises:
        ParameterError: a parameter is out of range, or the batch cannot be divided among the processes.
        SceneError: a file cannot be read or has no data.
        ModelError: ``checkpoint`` is damaged or belongs to another run, or the loss is no longer finite.
        OutOfMemoryError: a micro-batch does not fit into the device's memory.
        Cancelled: the user cancelled; the checkpoint holds the last whole epoch.
    """
    _check(config, ranks)
    progress = progress or Progress()
    run = _Run(pool, config, ranks)
    if checkpoint is not None and checkpoint.exists():
        run.restore(checkpoint)
        progress.log(f"Continuing after epoch {len(run.losses)}.")
    pace = Pace(
        progress,
        f"Pretraining: {config.epochs} epochs",
        config.epochs * run.steps * config.batch_size,
        "patches",
        where=describe_device(ranks.device),
    )
    while len(run.losses) < config.epochs:
        done = len(run.losses)
        run.train_epoch(pace.part(done / config.epochs, (done + 1) / config.epochs))
        if checkpoint is not None and ranks.first:
            run.save(checkpoint)
    return PretrainedMAE(run.network.cpu().eval(), tuple(run.losses))


class _Run:
    """Network, optimiser and what is known of the run so far."""

    def __init__(self, pool: PatchPool, config: MAEPretrainConfig, ranks: Ranks) -> None:
        self._pool, self._config, self._ranks = pool, config, ranks
        self.losses: list[float] = []
        settings = json.dumps([asdict(config), asdict(config.model), len(pool), pool.identity])
        self._identity = hashlib.sha256(settings.encode()).hexdigest()
        kind = SpatMAE if config.branch == "spatial" else SpecMAE
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            network = kind(config.model)
        self.network: MaskedAutoencoder = network.to(ranks.device).train()
        recompute_activations(self.network, config.recompute)
        trained = [(name, p) for name, p in self.network.named_parameters() if p.requires_grad]
        groups = parameter_groups(
            trained, lr=config.peak, weight_decay=config.weight_decay, depth=config.model.size.depth
        )
        self._optimizer = torch.optim.AdamW([group.as_dict() for group in groups], betas=(0.9, 0.95))
        self._parallel = DistributedDataParallel(self.network) if ranks.count > 1 else None
        self._half = _bfloat16(config.precision, ranks.device)

    @property
    def steps(self) -> int:
        """Optimiser steps of an epoch."""
        return max(1, len(self._pool) // self._config.batch_size)

    def train_epoch(self, progress: Progress) -> None:
        """One epoch of steps."""
        config, epoch = self._config, len(self.losses)
        told = f", loss {self.losses[-1]:.4f}" if self.losses else ""
        total = torch.zeros((), device=self._ranks.device)
        for part in self._parts(epoch):
            progress.check()
            done = (part.step + part.number / config.parts) / self.steps
            progress.report(done, f"Epoch {epoch + 1} of {config.epochs}{told}")
            last = part.number + self._ranks.count >= config.parts
            total += self._gradients(part, epoch, last)
            if last:
                for group in self._optimizer.param_groups:
                    group["lr"] = config.rate(epoch + part.step / self.steps)
                self._optimizer.step()
                self._optimizer.zero_grad()
        loss = float(self._ranks.total(total)) / (self.steps * config.parts)
        if not np.isfinite(loss):
            raise ModelError(
                f"The loss of epoch {epoch + 1} is {loss}: training has diverged.",
                "Lower the learning rate.",
            )
        self.losses.append(loss)

    def _parts(self, epoch: int) -> Iterator[_Part]:
        """The micro-batches of this process, read ahead."""
        config, files = self._config, self._pool.order(epoch)
        size = config.micro_batch

        def read(key: tuple[int, int]) -> _Part:
            first = (key[0] * config.parts + key[1]) * size
            # A pool smaller than a batch is gone through again, at other places.
            patches = [
                self._pool.patch(int(files[number % len(files)]), epoch, number)
                for number in range(first, first + size)
            ]
            return _Part(*key, torch.from_numpy(np.stack(patches)))

        own = range(self._ranks.rank, config.parts, self._ranks.count)
        return ahead(read, [(step, number) for step in range(self.steps) for number in own])

    def _gradients(self, part: _Part, epoch: int, last: bool) -> Tensor:
        """The loss of a micro-batch; its gradient is added to what the parameters have."""
        config, device = self._config, self._ranks.device
        seed = np.random.SeedSequence([config.seed, epoch, part.step, part.number]).generate_state(1)[0]
        noise = torch.rand(
            len(part.patches), _length(config), generator=torch.Generator().manual_seed(int(seed))
        )
        forward = self._parallel or self.network
        # Gradients are exchanged once a batch, after the last micro-batch.
        quiet = self._parallel.no_sync() if self._parallel is not None and not last else nullcontext()
        devices = [device] if device.type == "cuda" else []
        try:
            with quiet, torch.random.fork_rng(devices=devices):
                torch.manual_seed(int(seed))
                with torch.autocast(device.type, torch.bfloat16, enabled=self._half):
                    loss: Tensor = forward(part.patches.to(device), config.mask_ratio, noise.to(device)).loss
                # Parallel processes' gradients are averaged, micro-batches' summed.
                (loss * (self._ranks.count / config.parts)).backward()  # type: ignore[no-untyped-call]
        except torch.OutOfMemoryError as error:
            raise OutOfMemoryError(
                f"{config.micro_batch} patches do not fit into the device's memory at a time.",
                "Lower the micro-batch.",
            ) from error
        return loss.detach().float()

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


def _length(config: MAEPretrainConfig) -> int:
    model = config.model
    return (model.img_size // model.patch) ** 2 if config.branch == "spatial" else model.tokens


def _bfloat16(precision: Precision, device: torch.device) -> bool:
    if precision != "auto":
        return precision == "bf16"
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def _check(config: MAEPretrainConfig, ranks: Ranks) -> None:
    """Raise ``ParameterError`` on the first setting that is out of range."""
    for name in ("epochs", "batch_size", "micro_batch"):
        if getattr(config, name) < 1:
            raise ParameterError(f"{name} is {getattr(config, name)}.", "Choose 1 or more.")
    if config.batch_size % config.micro_batch:
        raise ParameterError(
            f"A batch of {config.batch_size} cannot be divided into micro-batches of {config.micro_batch}.",
            "Choose a multiple.",
        )
    if config.parts % ranks.count:
        raise ParameterError(
            f"{config.parts} micro-batches cannot be divided among {ranks.count} processes.",
            "Choose a batch of as many micro-batches as processes, or a multiple.",
        )
    if not 0 < config.mask_ratio < 1:
        raise ParameterError(f"mask_ratio is {config.mask_ratio}.", "Choose a share between 0 and 1.")
