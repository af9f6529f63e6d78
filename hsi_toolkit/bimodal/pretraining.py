"""Masked pretraining of BiMAE on pairs without labels, from which an interrupted run goes on.

The recipe is that of Kukushkin et al. 2024: AdamW, warm-up and half a cosine over all steps, both modalities
restored. The original hides the same bands at every step and flips the two images of an object separately;
here the hidden bands are drawn anew, as the patches are, and both images are turned alike.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hsi_toolkit.bimodal.networks import initialised, require_masking
from hsi_toolkit.bimodal.pairs import Pairs
from hsi_toolkit.bimodal.steps import Steps, batch_for, batches, objects_at_once, steps_of, tensors, turned
from hsi_toolkit.errors import ModelError
from hsi_toolkit.inference.devices import describe_device
from hsi_toolkit.models.bimae import BiMAE, BiMAEConfig, Mask, random_mask
from hsi_toolkit.progress import Pace, Progress
from hsi_toolkit.training.run_files import load_run, optimizer_groups, restore_optimizer, save_run

_WARMUP_SHARE, _WEIGHT_DECAY = 0.1, 0.05
#: Objects whose images tell one data set from another.
_FINGERPRINTS = 16


@dataclass(frozen=True)
class BiMAEPretraining:
    """A pretraining run; the defaults are the published ones."""

    network: BiMAEConfig
    epochs: int = 300
    batch_size: int = 512
    learning_rate: float = 1e-4
    seed: int = 0


def pretrain_bimae(
    pairs: Pairs,
    config: BiMAEPretraining,
    *,
    device: torch.device | str = "cpu",
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> tuple[BiMAE, list[float]]:
    """The pretrained network, on the CPU in eval mode, and the mean loss of each epoch.

    After each epoch the run is written to ``checkpoint`` (.safetensors); where that file exists, the run
    goes on from it and ends with the weights of an uninterrupted one.

    Raises:
        ParameterError: nothing can be hidden with these sizes.
        ModelError: the checkpoint is damaged or of another run, or the loss is no longer finite.
        OutOfMemoryError: not even one object fits into the device's memory.
        Cancelled: ``progress`` said so; the checkpoint holds the last whole epoch.
    """
    require_masking(config.network)
    run = _Run(pairs, config, torch.device(device))
    if checkpoint is not None and checkpoint.exists():
        run.restore(checkpoint)
    pace = Pace(
        progress or Progress(),
        f"Pretraining: {config.epochs} epochs",
        config.epochs * len(pairs),
        "objects",
        where=describe_device(torch.device(device)),
    )
    for epoch in range(len(run.losses), config.epochs):
        run.train_epoch(pace.part(epoch / config.epochs, (epoch + 1) / config.epochs))
        if checkpoint is not None:
            run.save(checkpoint)
    return run.network.cpu().eval(), run.losses


class _Run:
    """Network, optimiser and what is known of the run so far."""

    def __init__(self, pairs: Pairs, config: BiMAEPretraining, device: torch.device) -> None:
        self.losses = list[float]()
        self._pairs, self._config, self._device = pairs, config, device
        self._batch = batch_for(config.batch_size, len(pairs))
        self._per_epoch = steps_of(len(pairs), self._batch)
        self.network = initialised(lambda: BiMAE(config.network), config.network, config.seed)
        self.network = self.network.to(device).train()
        sizes = config.network
        visible = sizes.bands + sizes.rgb_patches - sizes.split("hs")[0] - sizes.split("rgb")[0]
        self._steps = Steps(
            self.network,
            learning_rate=config.learning_rate,
            weight_decay=_WEIGHT_DECAY,
            warmup_share=_WARMUP_SHARE,
            total=config.epochs * self._per_epoch,
            at_once=objects_at_once(sizes, visible + 1, device),
            device=device,
        )

    def train_epoch(self, progress: Progress) -> None:
        """One pass over all objects in random order."""
        epoch, config = len(self.losses), self._config
        generator = torch.Generator().manual_seed(config.seed + epoch)
        total, message = torch.zeros((), device=self._device), f"Epoch {epoch + 1} of {config.epochs}"
        if self.losses:
            message += f", loss {self.losses[-1]:.4f}"
        for step, chosen in enumerate(batches(len(self._pairs), self._batch, generator)):
            progress.report(step / self._per_epoch, message)
            loss = self._step(epoch * self._per_epoch + step, chosen, generator, progress)
            total += loss * (len(chosen) / len(self._pairs))
        mean = float(total)
        if not np.isfinite(mean):
            raise ModelError(
                f"The loss of epoch {epoch + 1} is {mean}: training has diverged.", "Lower the learning rate."
            )
        self.losses.append(mean)

    def _step(
        self, step: int, chosen: NDArray[np.int64], generator: torch.Generator, progress: Progress
    ) -> Tensor:
        sizes = self._config.network
        rgb, hs = turned(*tensors(self._pairs, chosen), generator)
        masks = (
            random_mask(len(chosen), sizes.bands, *sizes.split("hs"), generator),
            random_mask(len(chosen), sizes.rgb_patches, *sizes.split("rgb"), generator),
        )

        def loss_of(part: slice) -> Tensor:
            shown = [Mask(*(each[part].to(self._device) for each in mask)) for mask in masks]
            images = (images[part].to(self._device) for images in (hs, rgb))
            loss: Tensor = self.network(*images, *shown).loss
            return loss

        return self._steps.take(step, len(chosen), loss_of, progress)

    def save(self, path: Path) -> None:
        """Write weights, optimiser moments and the run's identity, whole or not at all."""
        groups = {"network": self.network.state_dict()}
        groups |= optimizer_groups(self._steps.optimizer, self.network)
        save_run(path, identity=self._identity(), state={"losses": self.losses}, groups=groups)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint of the same run.

        Raises:
            ModelError: it is damaged or of another run.
        """
        stored = load_run(path, self._identity())
        if stored is None:
            raise ModelError(
                f"{path} belongs to a pretraining run with other data or settings.",
                "Remove it to start anew, or repeat what it was started with.",
            )
        self.network.load_state_dict(stored.groups["network"])
        restore_optimizer(self._steps.optimizer, self.network, stored.groups)
        self.losses = [float(loss) for loss in cast(list[float], stored.state["losses"])]

    def _identity(self) -> str:
        """What tells one run from another: settings, and the data by a sample of it."""
        digest = hashlib.sha256(json.dumps([asdict(self._config), list(self._pairs.called)]).encode())
        for index in range(0, len(self._pairs), max(1, len(self._pairs) // _FINGERPRINTS)):
            digest.update(self._pairs.rgb[index].tobytes())
            digest.update(self._pairs.hs[index].tobytes())
        return digest.hexdigest()
