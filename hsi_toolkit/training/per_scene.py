"""Training a network on the very scene it is for: one loop for unmixing, detection and change.

There are no labels from outside and no second scene: the loss says how well the network explains the scene
or agrees with what a training-free method is sure of, and a held-out part of the samples when to stop.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from hsi_toolkit.errors import ModelError, ParameterError
from hsi_toolkit.inference.devices import choose_device, describe_device, fast_dtype
from hsi_toolkit.models.hypersigma.blocks import round_blocks
from hsi_toolkit.models.hypersigma.encoders import BASE, TransformerSize
from hsi_toolkit.models.hypersigma.weights import Weights, load_encoders, read_encoders
from hsi_toolkit.progress import Pace, Progress
from hsi_toolkit.training.parameter_groups import parameter_groups
from hsi_toolkit.training.schedule import warmup_cosine

Network = TypeVar("Network", bound=nn.Module)

Samples = tuple[Tensor, ...]
"""Tensors with the samples along their first axis: tiles, and what is known of them."""

FEWEST_HELD_OUT = 2
"""Held-out samples below which none are: all are trained on, and watched without augmentation."""

_GRADIENT_NORM = 1.0
_SLOW = 0.1


@dataclass(frozen=True)
class Start:
    """What a network starts from, and where: a size by name, pretrained encoders, a seed and a device.

    ``weights`` bring their own size.
    """

    size: str = "small"
    weights: Weights = None
    seed: int = 0
    device: str = "auto"

    def torch_device(self) -> torch.device:
        """The device to train and predict on."""
        return choose_device(self.device)

    def begin(self, build: Callable[[TransformerSize], "Network"], progress: Progress) -> "Begun[Network]":
        """``build`` a network of this size, the same for the same seed, with the weights in its encoders.

        Raises:
            ModelError: the weights cannot be used.
            ParameterError: there is no such size.
        """
        encoders = read_encoders(self.weights, progress)
        name = encoders.size or self.size
        with seeded(self.seed):
            network = build(TransformerSize.of(name))
        taken = load_encoders(network, encoders, progress)
        return Begun(network.to(self.torch_device()), name, taken)


@dataclass(frozen=True, eq=False)
class Begun(Generic[Network]):
    """A network on its device, the name of its size, and a sentence for each encoder that was pretrained."""

    network: Network
    size: str
    taken: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train.

    Training ends after ``epochs`` passes over the samples, or ``patience`` passes after the best; the best
    state on the share ``held_out`` of the samples is kept. The rate rises over the first twentieth of the
    steps and falls as half a cosine (AdamW; vectors and position tables do not decay). What is in the part of
    the network called ``slow``, because it starts from what is known already, learns at a tenth of the rate.
    """

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float = 0.05
    patience: int = 10
    held_out: float = 0.125
    seed: int = 0
    slow: str | None = None


@dataclass
class Curve:
    """Mean loss of each epoch on the samples trained on and on those held out; ``best`` counts from 1.

    ``start`` is the loss on the held-out samples before the first step.
    """

    start: float = math.nan
    training: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    best: int = 0

    @property
    def epochs(self) -> int:
        """Epochs trained."""
        return len(self.training)

    def sentence(self) -> str:
        """How training went, in words."""
        if not self.best:
            return f"{self.epochs} epochs; none was better than the start"
        return (
            f"{self.epochs} epochs, the best of them number {self.best}: loss "
            f"{self.held_out[self.best - 1]:.4g}, {self.start:.4g} at the start"
        )


@dataclass(frozen=True)
class Learning:
    """How a network came about: the name of its size, what its encoders took over, and its training."""

    size: str
    taken: tuple[str, ...]
    curve: Curve

    def facts(self) -> dict[str, str]:
        """The same in words, by name."""
        start = "; ".join(self.taken) or "random weights"
        return {"Network": f"HyperSIGMA {self.size}, from {start}", "Training": self.curve.sentence()}


def tile_side(size: TransformerSize, published: int) -> int:
    """The side of tiles: the published one, or half of it for a network smaller than the published ones.

    A quarter of the tokens takes less than a quarter of the time, which is what such a network is for.
    """
    return published // 2 if size.dim < BASE.dim else published


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from PyTorch's own generators as if nothing had been drawn, and leave them as they were."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def fit(
    network: nn.Module,
    samples: Samples,
    loss: Callable[[Samples], Tensor],
    recipe: Recipe,
    *,
    augment: Callable[[Samples, torch.Generator], Samples] | None = None,
    after_step: Callable[[], None] | None = None,
    progress: Progress | None = None,
) -> Curve:
    """Train ``network``, which lies on its device, on ``samples``, which may stay in main memory.

    The network ends up in its best state and ready to predict, see ``ready_to_predict``. Matrix products of
    training run in bfloat16 where a CUDA device multiplies it.

    Args:
        loss: the mean loss of a batch on the network's device; it may be NaN where nothing in the batch is
            known, which then teaches nothing.
        augment: turns a batch and a generator into another batch, for training alone.
        after_step: called after each step, for instance to keep weights within bounds.

    Raises:
        ModelError: the loss is infinite, or never a number.
        ParameterError: there is no sample.
        Cancelled: the user asked to stop.
    """
    progress = progress or Progress()
    count = len(samples[0])
    if not count:
        raise ParameterError("There is nothing to train on.", "Check the scene's nodata value and bad bands.")
    generator = torch.Generator().manual_seed(recipe.seed)
    watched, trained = _split(count, recipe.held_out, generator)
    optimizer = torch.optim.AdamW(_groups(network, recipe), lr=recipe.lr)
    steps = -(-len(trained) // recipe.batch_size)
    total = steps * recipe.epochs
    device = next(network.parameters()).device
    pace = Pace(
        progress,
        f"Training: at most {recipe.epochs} epochs",
        recipe.epochs * len(trained),
        "samples",
        where=describe_device(device),
    )
    curve = Curve()
    run = _Run(network, samples, loss, device, pace)
    with seeded(recipe.seed):
        curve.start = run.mean_loss(watched, recipe.batch_size)
        lowest, best = curve.start, _copy(network)
        for epoch in range(recipe.epochs):
            network.train()
            losses = []
            shuffled = trained[torch.randperm(len(trained), generator=generator)]
            for number, chosen in enumerate(_batches(shuffled, recipe.batch_size)):
                step = epoch * steps + number
                rate = warmup_cosine(step, base=recipe.lr, total=total, warmup=max(1, total // 20))
                for group in optimizer.param_groups:
                    group["lr"] = rate * group["scale"]
                losses.append(run.step(chosen, optimizer, augment, generator))
                if after_step is not None:
                    after_step()
                pace.report((step + 1) / total, f"Training: epoch {epoch + 1} of {recipe.epochs}")
            curve.training.append(_mean(losses))
            curve.held_out.append(run.mean_loss(watched, recipe.batch_size))
            if not curve.held_out[-1] >= lowest and math.isfinite(curve.held_out[-1]):
                lowest, best, curve.best = curve.held_out[-1], _copy(network), epoch + 1
            elif epoch + 1 - curve.best >= recipe.patience:
                break
    network.load_state_dict(best)
    ready_to_predict(network)
    return curve


class _Run:
    """A network and its loss, applied to batches of samples by their numbers."""

    def __init__(
        self,
        network: nn.Module,
        samples: Samples,
        loss: Callable[[Samples], Tensor],
        device: torch.device,
        progress: Progress,
    ) -> None:
        self._network, self._samples, self._loss = network, samples, loss
        self._device, self._progress = device, progress

    def step(
        self,
        chosen: Tensor,
        optimizer: torch.optim.Optimizer,
        augment: Callable[[Samples, torch.Generator], Samples] | None,
        generator: torch.Generator,
    ) -> float:
        """The loss of a batch before the step it leads to."""
        batch = tuple(each[chosen] for each in self._samples)
        value = self._of(batch if augment is None else augment(batch, generator))
        reached = float(value.detach())
        if math.isnan(reached):
            return math.nan
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._network.parameters(), _GRADIENT_NORM)
        optimizer.step()
        return reached

    @torch.no_grad()
    def mean_loss(self, chosen: Tensor, batch_size: int) -> float:
        """The mean loss of samples as they are, in evaluation mode."""
        self._network.eval()
        batches = (tuple(each[some] for each in self._samples) for some in _batches(chosen, batch_size))
        return _mean([float(self._of(batch)) for batch in batches])

    def _of(self, batch: Samples) -> Tensor:
        self._progress.check()
        moved = tuple(each.to(self._device) for each in batch)
        with mixed_precision(self._device):
            value = self._loss(moved)
        if math.isinf(float(value.detach())):
            raise ModelError("Training diverged: the loss is infinite.", "Choose another seed or size.")
        return value


def mixed_precision(device: torch.device) -> torch.autocast:
    """Matrix products in bfloat16 where a CUDA device multiplies it itself, else as they are."""
    fast = device.type == "cuda" and fast_dtype(device) is torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


def ready_to_predict(network: Network) -> Network:
    """Put ``network`` into evaluation mode, its blocks in bfloat16 where its device multiplies that itself.

    This is for good: the rounded weights are not for training. Outputs move by less than a hundredth of their
    range, in half of the time.
    """
    device = next(network.parameters()).device
    if fast_dtype(device) is torch.bfloat16:
        round_blocks(network, torch.bfloat16)
    return network.eval()


def flipped(batch: Samples, generator: torch.Generator) -> Samples:
    """A batch of tiles whose last two axes are rows and columns, one of its eight orientations at random."""
    up, left, turned = (torch.rand(3, generator=generator) < 0.5).tolist()

    def turn(tiles: Tensor) -> Tensor:
        tiles = tiles.flip([axis for axis, wanted in ((-2, up), (-1, left)) if wanted])
        return tiles.transpose(-1, -2) if turned else tiles

    return tuple(turn(tiles) for tiles in batch)


def _split(count: int, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Numbers of the samples held out and trained on; all for both where too few could be held out."""
    order = torch.randperm(count, generator=generator)
    held_out = round(share * count)
    return (order, order) if held_out < FEWEST_HELD_OUT else (order[:held_out], order[held_out:])


def _batches(numbers: Tensor, size: int) -> list[Tensor]:
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def _groups(network: nn.Module, recipe: Recipe) -> list[dict[str, object]]:
    named = [(name, each) for name, each in network.named_parameters() if each.requires_grad]
    slow = [] if recipe.slow is None else [each for each in named if each[0].startswith(f"{recipe.slow}.")]
    known = {name for name, _ in slow}
    others = [each for each in named if each[0] not in known]
    groups = []
    for part, share in ((others, 1.0), (slow, _SLOW)):
        for group in parameter_groups(part, lr=recipe.lr, weight_decay=recipe.weight_decay, depth=0):
            groups.append(group.as_dict() | {"scale": share})
    return groups


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _mean(losses: list[float]) -> float:
    known = [each for each in losses if not math.isnan(each)]
    return sum(known) / len(known) if known else math.nan
