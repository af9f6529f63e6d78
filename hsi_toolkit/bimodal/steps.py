"""Optimiser steps that BiMAE's two trainings have in common, and predictions."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hsi_toolkit.bimodal.pairs import Images, Pairs
from hsi_toolkit.errors import OutOfMemoryError
from hsi_toolkit.models.bimae import BiMAEClassifier, BiMAEConfig
from hsi_toolkit.progress import Progress
from hsi_toolkit.training.schedule import warmup_cosine

#: Names of what weights never decay.
_EXEMPT = ("global_token", "mask_token", "pos_emb")
#: What Keras adds to the denominator, which differs from PyTorch's.
_KERAS_EPSILON = 1e-7
#: Tokens of the smallest network that a processor works through in a fraction of a second.
_TOKENS_AT_ONCE = 2048
_SMALLEST_DIM = 192
#: Steps of an epoch that few objects are divided into, at the least, and objects a step.
_LEAST_STEPS, _SMALLEST_BATCH = 32, 8
#: Passes of the published fine-tuning, and steps that a network took to learn (benchmarks.bimae).
_EPOCHS, _ENOUGH_STEPS = 50, 2000


def batch_for(asked: int, objects: int) -> int:
    """The batch asked for, or less where there are so few objects that an epoch would be a step or two."""
    return max(1, min(asked, objects, max(_SMALLEST_BATCH, objects // _LEAST_STEPS)))


def epochs_for(objects: int, batch: int) -> int:
    """The published number of passes, or more where these would be too few steps to learn from."""
    return max(_EPOCHS, math.ceil(_ENOUGH_STEPS / steps_of(objects, batch)))


def objects_at_once(config: BiMAEConfig, tokens: int, device: torch.device) -> int:
    """Objects whose gradients are worked out together: on a processor few, so that cancelling acts soon."""
    if device.type != "cpu":
        return 2**31
    return max(1, round(_TOKENS_AT_ONCE * min(1.0, (_SMALLEST_DIM / config.dim) ** 2) / tokens))


class Steps:
    """AdamW with warm-up and half a cosine, a step at a time; batches are divided where memory is short."""

    def __init__(
        self,
        network: nn.Module,
        *,
        learning_rate: float,
        weight_decay: float,
        warmup_share: float,
        total: int,
        at_once: int,
        device: torch.device,
    ) -> None:
        named = [(name, each) for name, each in network.named_parameters() if each.requires_grad]
        exempt = [each for name, each in named if any(word in name for word in _EXEMPT)]
        others = [each for name, each in named if not any(word in name for word in _EXEMPT)]
        groups = [{"params": others, "weight_decay": weight_decay}, {"params": exempt, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=learning_rate, eps=_KERAS_EPSILON)
        self._rate, self._total = learning_rate, total
        self._warmup = max(1, int(warmup_share * total))
        self._at_once, self._device = at_once, device
        self._half = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)

    def take(self, step: int, count: int, loss_of: Callable[[slice], Tensor], progress: Progress) -> Tensor:
        """One step over a batch of ``count``; ``loss_of`` is the mean loss of a part of it. Gives the
        batch's.

        Raises:
            OutOfMemoryError: not even one object fits into the device's memory.
        """
        rate = warmup_cosine(step, base=self._rate, total=self._total, warmup=self._warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        while True:
            try:
                loss = self._gradients(count, loss_of, progress)
                self.optimizer.step()
                return loss
            except torch.OutOfMemoryError as error:
                if min(self._at_once, count) == 1:
                    raise OutOfMemoryError(
                        "Not even one object fits into the device's memory.",
                        "Choose a smaller network or another device.",
                    ) from error
                self._at_once = -(-min(self._at_once, count) // 2)

    def _gradients(self, count: int, loss_of: Callable[[slice], Tensor], progress: Progress) -> Tensor:
        self.optimizer.zero_grad()
        total = torch.zeros((), device=self._device)
        for start in range(0, count, self._at_once):
            progress.check()
            part = slice(start, min(start + self._at_once, count))
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
                loss = loss_of(part) * ((part.stop - part.start) / count)
            loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
            total += loss.detach()
        return total


def batches(count: int, size: int, generator: torch.Generator) -> Iterator[NDArray[np.int64]]:
    """All numbers below ``count`` in random order, in batches of about the same size."""
    order = torch.randperm(count, generator=generator).numpy()
    yield from np.array_split(order, steps_of(count, size))


def steps_of(count: int, size: int) -> int:
    """How many batches these are."""
    return max(1, math.ceil(count / size))


def turned(rgb: Tensor, hs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Both images of each object (B, side, side, values), turned and mirrored alike in one of eight ways."""
    ways = torch.randint(8, (len(rgb),), generator=generator).tolist()
    colours = torch.stack([_turn(image, way) for image, way in zip(rgb, ways, strict=True)])
    return colours, torch.stack([_turn(image, way) for image, way in zip(hs, ways, strict=True)])


def _turn(image: Tensor, way: int) -> Tensor:
    image = image.flip(0) if way & 1 else image
    image = image.flip(1) if way & 2 else image
    return image.transpose(0, 1) if way & 4 else image


def tensors(pairs: Pairs, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Colour and hyperspectral images of these objects."""
    return _tensor(pairs.rgb, chosen), _tensor(pairs.hs, chosen)


def _tensor(images: Images, chosen: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images[chosen]))


def predict(
    network: BiMAEClassifier,
    pairs: Pairs,
    device: torch.device,
    progress: Progress | None = None,
    *,
    chosen: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """The probability of each class for each object, or for those ``chosen``, (n, classes) float32.

    Raises:
        Cancelled: ``progress`` said so.
    """
    progress = progress or Progress()
    config = network.config.network
    size = min(256, 2 * objects_at_once(config, config.bands + config.rgb_patches, device))
    network = network.to(device).eval()
    wanted, found = np.arange(len(pairs)) if chosen is None else chosen, []
    with torch.inference_mode():
        for start in range(0, len(wanted), size):
            progress.check()
            progress.report(start / len(wanted), "Classifying the objects")
            rgb, hs = tensors(pairs, wanted[start : start + size])
            logits = network(hs.to(device), rgb.to(device))
            found.append(logits.float().softmax(dim=1).cpu().numpy())
    return np.concatenate(found)
