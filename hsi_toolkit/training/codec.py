"""Training the learned codecs on patches, with the recipe of HySpecNet-11k (Fuchs and Demir 2023).

Mean squared error, Adam with a constant learning rate, gradients clipped to a norm of 1, the parameters of
the best validation loss kept.
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
from hsi_toolkit.errors import ModelError, OutOfMemoryError, ParameterError
from hsi_toolkit.inference.devices import describe_device
from hsi_toolkit.models.codecs import Codec, make_codec
from hsi_toolkit.progress import Pace, Progress
from hsi_toolkit.training.run_files import load_run, optimizer_groups, restore_optimizer, save_run

Loss = Literal["mse", "l1"]

_LOSSES: dict[Loss, nn.Module] = {"mse": nn.MSELoss(), "l1": nn.L1Loss()}


@dataclass(frozen=True)
class CodecConfig:
    """A training run; the defaults are the benchmark's.

    Attributes:
        codec, rate: as ``make_codec`` takes them.
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
    device: torch.device | str = "cpu",
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
) -> TrainedCodec:
    """Train a codec; the same patches, config and device give the same parameters.

    After each epoch the run's state is written to ``checkpoint`` (.safetensors); where that file exists, the
    run goes on from it and ends as an uninterrupted one would.

    Raises:
        ParameterError: patches or windows do not fit the codec.
        ModelError: ``checkpoint`` is damaged or belongs to another run, or the loss is no longer finite.
        OutOfMemoryError: a batch does not fit into memory.
        Cancelled: the user cancelled; the checkpoint holds the last whole epoch.
    """
    progress = progress or Progress()
    run = _Run(training, validation, config, torch.device(device))
    if checkpoint is not None and Path(checkpoint).exists():
        run.restore(Path(checkpoint))
    pace = Pace(
        progress,
        f"Training {config.codec}: {config.epochs} epochs of {len(training)} patches",
        config.epochs * len(training),
        "patches",
        parts=max(1, config.epochs - len(run.losses)),
        where=describe_device(torch.device(device)),
    )
    for epoch in range(len(run.losses), config.epochs):
        run.epoch(epoch, pace.part(epoch / config.epochs, (epoch + 1) / config.epochs))
        if checkpoint is not None:
            run.save(Path(checkpoint))
    codec = run.codec.cpu()
    codec.load_state_dict(run.best)
    return TrainedCodec(codec.eval(), tuple(run.losses), tuple(run.validated))


class _Run:
    """The codec, its optimiser, and what is known of the run so far."""

    def __init__(
        self, training: PatchSet, validation: PatchSet, config: CodecConfig, device: torch.device
    ) -> None:
        self._training, self._validation, self._config, self._device = training, validation, config, device
        bands = training.shape[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.codec = make_codec(config.codec, config.rate, bands).to(device)
        _check(training, validation, config, self.codec)
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
        total, done = 0.0, 0
        batches = self._training.batches(
            order, config.batch_size, crop=self._windows(rng, count), workers=config.workers
        )
        for patches in batches:
            progress.check()
            progress.report(0.9 * done / count, message)
            total += self._step(torch.from_numpy(patches).to(self._device)) * len(patches)
            done += len(patches)
        self._note(epoch, total / count, self._validate(progress))

    def _windows(self, rng: np.random.Generator, count: int) -> Sequence[tuple[slice, slice]]:
        side = self._config.crop
        if side is None:
            return ()
        _, rows, columns = self._training.shape
        corners = rng.integers(0, (rows - side + 1, columns - side + 1), size=(count, 2)).tolist()
        return [(slice(row, row + side), slice(column, column + side)) for row, column in corners]

    def _step(self, patches: Tensor) -> float:
        try:
            self._optimizer.zero_grad()
            loss = self._loss(self.codec(patches), patches)
            loss.backward()
            nn.utils.clip_grad_norm_(self.codec.parameters(), self._config.clip)
            self._optimizer.step()
            return float(loss.detach())
        except torch.OutOfMemoryError as error:
            raise OutOfMemoryError(
                f"A batch of {len(patches)} patches does not fit into the device's memory.",
                "Choose a smaller batch or window.",
            ) from error

    @torch.no_grad()
    def _validate(self, progress: Progress) -> float:
        """Mean squared error of the validation patches."""
        self.codec.eval()
        total, config = 0.0, self._config
        order = list(range(len(self._validation)))
        for patches in self._validation.batches(order, config.validation_batch_size, workers=config.workers):
            progress.check()
            batch = torch.from_numpy(patches).to(self._device)
            total += float(nn.functional.mse_loss(self.codec(batch), batch)) * len(patches)
        return total / len(order)

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
