"""Training a classifier of objects, from pretrained weights or from scratch.

The recipe is that of Kukushkin et al. 2024: AdamW over the whole network, warm-up and half a cosine over all
steps, cross-entropy. Both images of an object are turned and mirrored alike, while the original flips them
separately.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hsi_toolkit.bimodal.networks import new_classifier
from hsi_toolkit.bimodal.pairs import Pairs
from hsi_toolkit.bimodal.steps import Steps, batch_for, batches, objects_at_once, steps_of, tensors, turned
from hsi_toolkit.errors import ModelError
from hsi_toolkit.inference.devices import describe_device
from hsi_toolkit.models.bimae import BiMAEClassifier, ClassifierConfig
from hsi_toolkit.progress import Pace, Progress

_WARMUP_SHARE = 0.05
#: The default of Keras's AdamW, which the original leaves as it is.
_WEIGHT_DECAY = 0.004


@dataclass(frozen=True)
class BiMAEFinetuning:
    """A fine-tuning run; the defaults are the published ones."""

    classifier: ClassifierConfig
    epochs: int = 50
    batch_size: int = 512
    learning_rate: float = 5e-4
    seed: int = 0


def finetune_bimae(
    pairs: Pairs,
    train: NDArray[np.int64],
    config: BiMAEFinetuning,
    *,
    pretrained: Mapping[str, Tensor] | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> tuple[BiMAEClassifier, list[float]]:
    """The classifier trained on the objects ``train``, on the CPU in eval mode, and the mean loss of each
    epoch.

    Args:
        pretrained: parameters of a pretraining network of the same sizes, by name; None to train from
            scratch.

    Raises:
        LabelError: there are fewer than two classes.
        ModelError: the weights do not fit, or the loss is no longer finite.
        OutOfMemoryError: not even one object fits into the device's memory.
        Cancelled: ``progress`` said so.
    """
    device, labels = torch.device(device), torch.from_numpy(pairs.known_labels())
    network = new_classifier(config.classifier, pretrained, config.seed).to(device).train()
    batch = batch_for(config.batch_size, len(train))
    per_epoch, sizes = steps_of(len(train), batch), config.classifier.network
    steps = Steps(
        network,
        learning_rate=config.learning_rate,
        weight_decay=_WEIGHT_DECAY,
        warmup_share=_WARMUP_SHARE,
        total=config.epochs * per_epoch,
        at_once=objects_at_once(sizes, sizes.bands + sizes.rgb_patches, device),
        device=device,
    )
    pace = Pace(
        progress or Progress(),
        f"Training: {config.epochs} epochs",
        config.epochs * len(train),
        "objects",
        where=describe_device(device),
    )
    losses = list[float]()
    for epoch in range(config.epochs):
        generator = torch.Generator().manual_seed(config.seed + epoch)
        message = f"Epoch {epoch + 1} of {config.epochs}" + (f", loss {losses[-1]:.3f}" if losses else "")
        total = torch.zeros((), device=device)
        for step, places in enumerate(batches(len(train), batch, generator)):
            pace.report((epoch + step / per_epoch) / config.epochs, message)
            chosen = train[places]
            rgb, hs = turned(*tensors(pairs, chosen), generator)
            wanted = labels[torch.from_numpy(chosen)]

            def loss_of(part: slice, rgb: Tensor = rgb, hs: Tensor = hs, wanted: Tensor = wanted) -> Tensor:
                logits = network(hs[part].to(device), rgb[part].to(device))
                return F.cross_entropy(logits.float(), wanted[part].to(device))

            total += steps.take(epoch * per_epoch + step, len(chosen), loss_of, pace) * (
                len(chosen) / len(train)
            )
        losses.append(float(total))
        if not np.isfinite(losses[-1]):
            raise ModelError(
                f"The loss of epoch {epoch + 1} is {losses[-1]}: training has diverged.",
                "Lower the learning rate.",
            )
    return network.cpu().eval(), losses
