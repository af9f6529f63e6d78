"""Training the learned codecs on patches, with the recipe of HySpecNet-11k (Fuchs and Demir 2023).

Mean squared error, Adam with a constant learning rate, gradients clipped to a norm of 1, the parameters of
the best validation loss kept.

Of several processes each computes a part of every batch; their gradients are summed before they are clipped,
so that any number of processes gives the same training but for rounding.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from hsi_toolkit.datasets import PatchSet
from hsi_toolkit.datasets.patches import Cube
from hsi_toolkit.errors import ModelError, OutOfMemoryError, ParameterError
from hsi_toolkit.inference.devices import describe_device
from hsi_toolkit.models.codecs import Codec, make_codec
from hsi_toolkit.progress import Pace, Progress
from hsi_toolkit.training.ranks import ALONE, Ranks
from hsi_toolkit.training.run_files import load_run, optimizer_groups, restore_optimizer, save_run

Loss = Literal["mse", "l1"]

_LOSSES: dict[Loss, nn.Module] = {"mse": nn.MSELoss(), "l1": nn.L1Loss()}


@dataclass(frozen=True)
class CodecConfig:
    """A training run; the defaults are the benchmark's.

    Attributes:
        codec, rate: as ``make_codec`` takes them.
        batch_size: patches a step, of all processes together.
        crop: side in pixels of a random window of each patch that is trained on; None for whole patches.
        workers: threads that read patches.
    """

    codec: str = "cae1d"
    rate: str = "8"
    loss: Loss = "mse"
    epochs: int = 500
    batch_size: int = 2
    validation_batch_size: int = 4
    learning_rate: float = 1e-4
    clip: float = 1.0
    crop: int | None = None
    workers: int = field(default=2, metadata={"identity": False})
    seed: int = 10587


class TrainedCodec(NamedTuple):
    """The codec of the best epoch on the CPU in eval mode, and training and validation loss of each epoch."""

    codec: Codec
    losses: tuple[float, ...]
    validation: tuple[float, ...]

    @property
    def best_epoch(self) -> int:
        """Counted from 1."""
        return int(np.argmin(self.validation)) + 1


def train_codec(
    training: PatchSet,
    validation: PatchSet,
    config: CodecConfig,
    *,
    ranks: Ranks = ALONE,
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
) -> TrainedCodec:
    """Train a codec; the same patches, config and processes give the same parameters.

    After each epoch the first process writes the run's state to ``checkpoint`` (.safetensors); where that
    file exists, the run goes on from it and ends as an uninterrupted one would.

    Raises:
        ParameterError: patches or windows do not fit the codec, or it cannot be divided among the processes.
        ModelError: ``checkpoint`` is damaged or belongs to another run, or the loss is no longer finite.
        OutOfMemoryError: a batch does not fit into memory.
        Cancelled: the user cancelled; the checkpoint holds the last whole epoch.
    """
    progress = progress or Progress()
    run = _Run(training, validation, config, ranks)
    if checkpoint is not None and Path(checkpoint).exists():
        run.restore(Path(checkpoint))
    pace = Pace(
        progress,
        f"Training {config.codec}: {config.epochs} epochs of {len(training)} patches",
        config.epochs * len(training),
        "patches",
        parts=max(1, config.epochs - len(run.losses)),
        where=describe_device(ranks.device),
    )
    for epoch in range(len(run.losses), config.epochs):
        run.epoch(epoch, pace.part(epoch / config.epochs, (epoch + 1) / config.epochs))
        if checkpoint is not None and ranks.first:
            run.save(Path(checkpoint))
    codec = run.codec.cpu()
    codec.load_state_dict(run.best)
    return TrainedCodec(codec.eval(), tuple(run.losses), tuple(run.validated))


class _Run:
    """The codec, its optimiser, and what is known of the run so far."""

    def __init__(self, training: PatchSet, validation: PatchSet, config: CodecConfig, ranks: Ranks) -> None:
        self._training, self._validation, self._config, self._ranks = training, validation, config, ranks
        bands = training.shape[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.codec = make_codec(config.codec, config.rate, bands).to(ranks.device)
        _check(training, validation, config, self.codec)
        _check_processes(config, self.codec, ranks.count)
        self._optimizer = torch.optim.Adam(self.codec.parameters(), lr=config.learning_rate)
        self._loss = _LOSSES[config.loss]
        self.losses: list[float] = []
        self.validated: list[float] = []
        self.best: dict[str, Tensor] = {}
        named = {key: value for key, value in asdict(config).items() if key not in ("workers", "epochs")}
        self._identity = json.dumps({"config": named, "patches": [path.name for path in training.paths]})

    def epoch(self, epoch: int, progress: Progress) -> None:
        """Train on all patches in random order, then validate."""
        config, count = self._config, len(self._training)
        rng = np.random.default_rng([config.seed, epoch])
        order = rng.permutation(count).tolist()
        message = f"Epoch {epoch + 1} of {config.epochs}"
        if self.validated:
            message += f", validation PSNR {-10 * np.log10(self.validated[-1]):.2f} dB"
        self.codec.train()
        total, ranks = 0.0, self._ranks
        # A batch is dealt out to the processes, which divide it evenly; but for the last one of the epoch.
        own = slice(ranks.rank, None, ranks.count)
        batches = self._training.batches(
            order[own],
            config.batch_size // ranks.count,
            crop=self._windows(rng, count)[own],
            workers=config.workers,
        )
        for done in range(0, count, config.batch_size):
            progress.check()
            progress.report(0.9 * done / count, message)
            total += self._step(next(batches, None), min(config.batch_size, count - done))
        self._note(epoch, self._over_all(total) / count, self._validate(progress))

    def _over_all(self, value: float) -> float:
        """The sum of a value over all processes."""
        return float(self._ranks.total(torch.tensor(value, dtype=torch.float64, device=self._ranks.device)))

    def _windows(self, rng: np.random.Generator, count: int) -> Sequence[tuple[slice, slice]]:
        side = self._config.crop
        if side is None:
            return ()
        _, rows, columns = self._training.shape
        corners = rng.integers(0, (rows - side + 1, columns - side + 1), size=(count, 2)).tolist()
        return [(slice(row, row + side), slice(column, column + side)) for row, column in corners]

    def _step(self, patches: Cube | None, size: int) -> float:
        """One step on a batch of ``size`` patches, given those of this process; the sum of their losses."""
        own = 0.0
        try:
            self._optimizer.zero_grad()
            if patches is not None:
                wanted = torch.from_numpy(patches).to(self._ranks.device)
                loss = self._loss(self.codec(wanted), wanted) * (len(patches) / size)
                loss.backward()
                own = float(loss.detach()) * size
            self._ranks.sum_gradients(self.codec)
            nn.utils.clip_grad_norm_(self.codec.parameters(), self._config.clip)
            self._optimizer.step()
            return own
        except torch.OutOfMemoryError as error:
            raise OutOfMemoryError(
                f"A batch of {size} patches does not fit into the device's memory.",
                "Choose a smaller batch or window.",
            ) from error

    @torch.no_grad()
    def _validate(self, progress: Progress) -> float:
        """Mean squared error of the validation patches."""
        self.codec.eval()
        total, config = 0.0, self._config
        order = range(self._ranks.rank, len(self._validation), self._ranks.count)
        for patches in self._validation.batches(order, config.validation_batch_size, workers=config.workers):
            progress.check()
            batch = torch.from_numpy(patches).to(self._ranks.device)
            total += float(nn.functional.mse_loss(self.codec(batch), batch)) * len(patches)
        return self._over_all(total) / len(self._validation)

    def _note(self, epoch: int, loss: float, validated: float) -> None:
        if not np.isfinite((loss, validated)).all():
            raise ModelError(
                f"The loss of epoch {epoch + 1} is {loss}, of validation {validated}: training has diverged.",
                "Lower the learning rate.",
            )
        if validated < min(self.validated, default=np.inf):
            self.best = {name: value.cpu().clone() for name, value in self.codec.state_dict().items()}
        self.losses.append(loss)
        self.validated.append(validated)

    def save(self, path: Path) -> None:
        """Write parameters, the best ones, the optimiser's moments and the curves, whole or not at all."""
        groups = {"codec": self.codec.state_dict(), "best": self.best}
        groups |= optimizer_groups(self._optimizer, self.codec)
        curves = {"losses": self.losses, "validated": self.validated}
        save_run(path, identity=self._identity, state=curves, groups=groups)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint of the same run.

        Raises:
            ModelError: it is damaged or belongs to another run.
        """
        stored = load_run(path, self._identity)
        if stored is None:
            raise ModelError(
                f"{path} belongs to a training with other patches or settings.",
                "Remove it to start anew, or repeat the settings it was started with.",
            )
        self.codec.load_state_dict(stored.groups["codec"])
        restore_optimizer(self._optimizer, self.codec, stored.groups)
        self.best = stored.groups["best"]
        self.losses, self.validated = (
            [float(loss) for loss in cast(list[float], stored.state[name])]
            for name in ("losses", "validated")
        )


def _check(training: PatchSet, validation: PatchSet, config: CodecConfig, codec: Codec) -> None:
    bands, rows, columns = training.shape
    if validation.shape[0] != bands:
        raise ParameterError(
            f"Training patches have {bands} bands, validation patches {validation.shape[0]}.",
            "Give a data set of one number of bands.",
        )
    if config.crop is not None and config.crop > min(rows, columns):
        raise ParameterError(
            f"Windows of {config.crop} pixels do not fit into patches of {rows} × {columns}.",
            "Choose smaller windows.",
        )
    step = codec.spatial_step
    sides = [rows, columns] if config.crop is None else [config.crop]
    if any(side % step for side in (*sides, *validation.shape[1:])):
        raise ParameterError(
            f"The codec {config.codec} takes patches whose sides are multiples of {step}, not "
            f"{' × '.join(map(str, sides))}.",
            "Choose cae1d, or other patches.",
        )


def _check_processes(config: CodecConfig, codec: Codec, count: int) -> None:
    if config.batch_size % count:
        raise ParameterError(
            f"A batch of {config.batch_size} patches cannot be divided among {count} processes.",
            "Choose a multiple.",
        )
    # torch's own means over all processes exist on CUDA alone.
    if count > 1 and any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in codec.modules()):
        raise ParameterError(
            f"The codec {config.codec} normalises over a batch, of which each process would see a part.",
            "Train it in one process, or choose cae1d or sscnet.",
        )
