"""The network's share of fine-tuning: labels, the experts' soft labels, and masked reconstruction at once."""

import json
import math
import random
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from hsi_toolkit.errors import ModelError
from hsi_toolkit.files import atomic_path
from hsi_toolkit.models.classifier import pixel_embedding, pixel_logits
from hsi_toolkit.models.hsimae import DualViT, HSIMAEConfig, aggregate
from hsi_toolkit.models.masking import JointMask, joint_mask, joint_mask_lengths
from hsi_toolkit.progress import Progress
from hsi_toolkit.training.augment import shrunk, turned
from hsi_toolkit.training.head_start import HeadStart
from hsi_toolkit.training.preparation import Prepared
from hsi_toolkit.training.pretrain import parameter_groups
from hsi_toolkit.training.schedule import CosineSchedule

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
# Windows embedded at a time.
_CHUNK = 512


@dataclass(frozen=True)
class Recipe:
    """What the network's training is made of.

    A step takes ``batch_size`` windows: a third labelled, classes drawn equally often, the others unlabelled.
    An epoch passes the labelled windows once, in ``least_steps`` steps where they are few; where they are
    many, which within polygons are much alike, it takes ``most_steps``.
    """

    epochs: int
    seed: int
    batch_size: int = 48
    least_steps: int = 20
    most_steps: int = 60
    learning_rate: float = 1e-3
    weight_decay: float = 5e-3
    warmup: float = 0.1
    reconstruction_weight: float = 0.1
    mask_ratio: float = 0.8

    @property
    def labelled(self) -> int:
        """Labelled windows in a batch."""
        return max(1, self.batch_size // 3)

    def steps(self, n_labelled: int) -> int:
        """Steps of an epoch."""
        return min(max(self.least_steps, -(-n_labelled // self.labelled)), self.most_steps)


@dataclass
class Curve:
    """What is known after each epoch: mean losses, and the loss and accuracy on validation pixels."""

    classification: list[float] = field(default_factory=list)
    reconstruction: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return len(self.classification)

    @property
    def best(self) -> int:
        """The epoch, from 1, with the least validation loss; the last where there is no validation."""
        if not self.validation_loss:
            return self.epochs
        return int(np.argmin(self.validation_loss)) + 1


class DualBranchRun:
    """A dual-branch network in training, which can be stored after each epoch and taken up again."""

    def __init__(
        self,
        prepared: Prepared,
        recipe: Recipe,
        model: HSIMAEConfig,
        *,
        n_classes: int,
        device: torch.device,
        identity: str,
    ) -> None:
        self.recipe, self.curve, self._identity = recipe, Curve(), identity
        self._context, self._device = prepared.gate.context, device
        self._half = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        self._train, self._unlabelled = prepared.train, prepared.unlabelled
        self._soft = prepared.soft_labels
        self._pixels = {
            "train": prepared.spectral.components(self._train.filtered),
            "unlabelled": prepared.spectral.components(self._unlabelled.filtered),
        }
        counts = torch.bincount(self._train.classes, minlength=n_classes)
        self._weights = 1.0 / counts[self._train.classes]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.network = DualViT(model, n_classes).to(device)
        self.best = _copy(self.network)
        self._optimizer = torch.optim.AdamW(parameter_groups(self.network, recipe.weight_decay))

    def start_head(self, start: HeadStart) -> None:
        """Give the head the weights that a pretrained network's tasks had, in place of random ones."""
        self.network.eval()
        weight, bias = start.head(self._embedded(), self._train.classes, self._soft.shape[1])
        head = self.network.cls_head
        with torch.no_grad():
            head.weight.copy_(weight)
            head.bias.copy_(bias)

    def _embedded(self) -> Tensor:
        """What the head sees (n, D) of the labelled pixels, on the CPU."""
        seen = self._train.windows if self._context else self._pixels["train"]
        parts = []
        with torch.inference_mode():
            for part in torch.split(seen, _CHUNK):
                values = part.to(self._device)
                if self._context:
                    tokens = self.network.encode(values.unsqueeze(1))
                    parts.append(aggregate(tokens, self.network.config.groups).cpu())
                else:
                    parts.append(pixel_embedding(self.network, values).cpu())
        return torch.cat(parts).clone()

    @property
    def windows_per_epoch(self) -> int:
        """Windows, each as often as it is drawn, that the network sees in an epoch."""
        return self.recipe.steps(len(self._train)) * self.recipe.batch_size

    def train_epoch(self, progress: Progress) -> None:
        """One epoch; the same for the same seed and number of the epoch."""
        recipe, epoch = self.recipe, self.curve.epochs
        steps = recipe.steps(len(self._train))
        total = recipe.epochs * steps
        floor = 0.01 * recipe.learning_rate
        schedule = CosineSchedule(
            recipe.learning_rate, floor, total, math.ceil(recipe.warmup * total), start=floor
        )
        generator = torch.Generator().manual_seed((recipe.seed << 16) + epoch)
        lengths = random.Random((recipe.seed << 16) + epoch)
        self.network.train()
        sums = torch.zeros(2, device=self._device)
        for step in range(steps):
            progress.check()
            progress.report(step / steps, f"Epoch {epoch + 1} of at most {recipe.epochs}")
            for group in self._optimizer.param_groups:
                group["lr"] = schedule.lr(epoch * steps + step)
            losses = self._losses(generator, lengths)
            self._optimizer.zero_grad()
            (losses[0] + recipe.reconstruction_weight * losses[1]).backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            sums += losses.detach()
        classification, reconstruction = (sums / steps).tolist()
        if not math.isfinite(classification + reconstruction):
            raise ModelError(
                f"Training has diverged in epoch {epoch + 1}.", "Start from other weights or another seed."
            )
        self.curve.classification.append(classification)
        self.curve.reconstruction.append(reconstruction)
        self.network.eval()

    def _losses(self, generator: torch.Generator, lengths: random.Random) -> Tensor:
        """Classification and reconstruction loss of a random batch."""
        recipe = self.recipe
        labelled = torch.multinomial(self._weights, recipe.labelled, replacement=True, generator=generator)
        others = recipe.batch_size - recipe.labelled
        unlabelled = torch.randint(len(self._unlabelled), (others,), generator=generator)
        windows = torch.cat([self._train.windows[labelled], self._unlabelled.windows[unlabelled]])
        windows = turned(windows.to(self._device), generator)
        model = self.network.config
        grid = joint_mask_lengths(model.groups, model.cells, recipe.mask_ratio, lengths)
        # The decoder works on all tokens: a third of the batch is enough for what it teaches.
        masked = windows[::3]
        mask = joint_mask(
            grid, samples=len(masked), groups=model.groups, cells=model.cells, generator=generator
        )
        targets = self._train.classes[labelled].to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            if self._context:
                logits = self.network.classify(shrunk(windows, generator).unsqueeze(1))
            else:
                pixels = [self._pixels["train"][labelled], self._pixels["unlabelled"][unlabelled]]
                logits = pixel_logits(self.network, torch.cat(pixels).to(self._device))
            reconstruction = self.network.reconstruct(
                masked.unsqueeze(1), _on_device(mask, self._device)
            ).loss
        logits = logits.float()
        hard = F.cross_entropy(logits[: recipe.labelled], targets)
        soft = F.cross_entropy(logits[recipe.labelled :], self._soft[unlabelled].to(self._device))
        return torch.stack([hard + soft, reconstruction])

    def judge(self, loss: float, accuracy: float) -> None:
        """Note the validation loss and accuracy of the epoch just done."""
        self.curve.validation_loss.append(loss)
        self.curve.validation_accuracy.append(accuracy)

    def keep_best(self) -> None:
        """Remember the network if the epoch just done is the best so far."""
        if self.curve.best == self.curve.epochs:
            self.best = _copy(self.network)

    def save(self, path: Path) -> None:
        """Write network, best network, optimiser moments and curve, whole or not at all."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for name, parameter in self._trainable():
            moments = self._optimizer.state[parameter]
            tensors |= {f"{kind}.{name}": moments[kind] for kind in _MOMENTS}
        run = json.dumps({"identity": self._identity, "curve": asdict(self.curve)})
        with atomic_path(path) as temporary:
            save_file({name: t.contiguous().cpu() for name, t in tensors.items()}, temporary, {"run": run})

    def restore(self, path: Path) -> bool:
        """Take up the run stored at ``path``; false, and nothing done, if it is another run or damaged."""
        try:
            with safe_open(path, "pt", device=str(self._device)) as file:
                run = json.loads((file.metadata() or {})["run"])
                if run["identity"] != self._identity:
                    return False
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
            curve = Curve(**run["curve"])
            self.network.load_state_dict(_under("network", tensors))
            moments: dict[Tensor, dict[str, Tensor]] = {
                parameter: {kind: tensors[f"{kind}.{name}"] for kind in _MOMENTS}
                for name, parameter in self._trainable()
            }
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError):
            return False
        self._optimizer.state.update(moments)
        self.best, self.curve = _under("best", tensors), curve
        return True

    def _trainable(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, p) for name, p in self.network.named_parameters() if p.requires_grad]


def _copy(network: DualViT) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _on_device(mask: JointMask, device: torch.device) -> JointMask:
    return JointMask(mask.ids_keep.to(device), mask.ids_restore.to(device), mask.len_t, mask.len_l)


def _under(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{name}."
    return {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
