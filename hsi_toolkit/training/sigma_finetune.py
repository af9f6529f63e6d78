"""Training HyperSIGMA's fused classifier on a few polygons, from pretrained encoders or from scratch.

Wang et al. 2025, "HyperSIGMA: Hyperspectral Intelligence Comprehension Foundation Model", IEEE TPAMI:
whitened principal components, windows, AdamW and cross-entropy. Beyond the paper, windows are turned and
blended with their middle pixel, classes weigh the same, and polygons that were not trained on choose the
epoch that is kept; the published code keeps the one with the lowest training loss.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from hsi_toolkit.errors import LabelError, ModelError, ParameterError
from hsi_toolkit.inference.devices import describe_device
from hsi_toolkit.models.hypersigma.blocks import recompute_activations
from hsi_toolkit.models.hypersigma.classification import ClassifierConfig, FusionClassifier
from hsi_toolkit.models.hypersigma.encoders import TransformerSize
from hsi_toolkit.models.hypersigma.weights import PretrainedEncoders, load_encoders
from hsi_toolkit.models.hypersigma.window_classifier import HyperSigmaClassifier
from hsi_toolkit.progress import Pace, Progress
from hsi_toolkit.training.augment import shrunk, turned
from hsi_toolkit.training.dual_branch import Curve
from hsi_toolkit.training.parameter_groups import parameter_groups
from hsi_toolkit.training.preparation import LabelledPixels
from hsi_toolkit.training.run_files import load_run, optimizer_groups, restore_optimizer, save_run
from hsi_toolkit.training.schedule import warmup_cosine
from hsi_toolkit.training.sigma_windows import (
    LIGHT,
    PUBLISHED,
    Geometry,
    WindowReader,
    Windows,
    check_classes,
    fit_components,
)
from hsi_toolkit.training.windows import WindowSource

# Windows the network judges at a time.
_CHUNK = 64


@dataclass(frozen=True)
class SigmaConfig:
    """What a user can set; the learning rate is 6e-5, as published, from pretrained weights and 5e-4 without.

    Training ends after ``epochs``, or ``patience`` epochs after the best one if there are validation pixels.
    An epoch passes the labelled windows once, in at least ``least_steps`` and at most ``most_steps`` steps.
    ``recompute`` trades time for memory. With ``layer_decay`` a block learns so much more slowly than the one
    behind it (``parameter_groups``).
    """

    size: str = "small"
    seed: int = 0
    epochs: int = 40
    patience: int = 10
    batch_size: int = 32
    least_steps: int = 20
    most_steps: int = 60
    weight_decay: float = 0.05
    recompute: bool = False
    layer_decay: float | None = None

    @property
    def geometry(self) -> Geometry:
        """Windows and tokens of that size."""
        return LIGHT if self.size == "small" else PUBLISHED

    @property
    def radius(self) -> int:
        """Reach of a window in pixels."""
        return self.geometry.side // 2


@dataclass(frozen=True, eq=False)
class TrainedHyperSigma:
    """A trained classifier and how its training went; ``taken`` says what came from pretrained weights."""

    classifier: HyperSigmaClassifier
    size: str
    curve: Curve
    taken: tuple[str, ...] = ()
    checkpoint: Path | None = field(default=None)

    @property
    def network_name(self) -> str:
        """System and size."""
        return f"HyperSIGMA {self.size}"

    @property
    def epochs(self) -> int:
        """Epochs trained."""
        return self.curve.epochs

    @property
    def best_epoch(self) -> int:
        """The epoch, from 1, whose network was kept."""
        return self.curve.best

    @property
    def losses(self) -> dict[str, list[float]]:
        """Losses of each epoch by their names."""
        losses = {"classification": self.curve.classification}
        return losses | ({"validation": self.curve.validation_loss} if self.curve.validation_loss else {})

    @property
    def scores(self) -> dict[str, list[float]]:
        """Average accuracy on validation pixels after each epoch, 0 to 1; empty without such pixels."""
        scores = self.curve.validation_accuracy
        return {"average accuracy": scores} if scores else {}

    @property
    def context_sentence(self) -> str:
        """That the neighbourhood is used."""
        side = 2 * self.classifier.radius + 1
        return f"used: every pixel is classified by its window of {side} × {side} pixels"

    def discard_checkpoint(self) -> None:
        """Remove the checkpoint, once the model is stored."""
        if self.checkpoint is not None:
            self.checkpoint.unlink(missing_ok=True)


def train_hypersigma(
    source: WindowSource,
    train: LabelledPixels,
    validation: LabelledPixels | None,
    config: SigmaConfig,
    *,
    n_classes: int,
    encoders: PretrainedEncoders | None = None,
    device: torch.device | str = "cpu",
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> TrainedHyperSigma:
    """Train on labelled pixels of a scene; the same result for the same seed, also after an interruption.

    After each epoch the run is stored at ``checkpoint`` (.safetensors); where that file holds the same run,
    training continues from it. ``validation`` pixels, of polygons of their own, decide which epoch is kept.

    Raises:
        LabelError: there are fewer than two classes, or one has no training pixel with data.
        SceneError: the scene has too few pixels or bands with data.
        ModelError: the weights are of another size, or training diverges.
        Cancelled: the user cancelled; the checkpoint holds the last whole epoch.
    """
    if n_classes < 2:
        raise LabelError("There is only one class.", "Draw polygons of at least two classes.")
    if config.epochs < 1:
        raise ParameterError(f"epochs is {config.epochs}.", "Give at least 1.")
    progress, encoders = progress or Progress(), encoders or PretrainedEncoders()
    bands, spectral = fit_components(source, config.seed, progress)
    reader = WindowReader(
        source, bands, spectral, side=config.geometry.side, n_classes=n_classes, seed=config.seed
    )
    training = reader.read(train, progress.part(0.02, 0.08))
    check_classes(training.classes, n_classes)
    watched = None if validation is None else reader.read(validation, progress.part(0.08, 0.1))
    network, taken = _network(config, spectral.n_features, n_classes, encoders)
    classifier = HyperSigmaClassifier(
        network, spectral, bands=torch.from_numpy(bands), n_bands=source.shape[0]
    )
    run = _Run(
        classifier.to(device),
        training,
        config,
        rate=5e-4 if encoders.size is None else 6e-5,
        identity=_identity(source, train, validation, config, encoders),
    )
    pace = Pace(
        progress.part(0.1, 1.0),
        f"Training: at most {config.epochs} epochs",
        config.epochs * run.steps * config.batch_size,
        "windows",
        where=describe_device(torch.device(device)),
    )
    _run_epochs(run, watched, config, checkpoint, pace)
    network.load_state_dict(run.best)
    return TrainedHyperSigma(classifier.cpu().eval(), config.size, run.curve, taken, checkpoint)


class _Run:
    """A classifier in training, which can be stored after each epoch and taken up again."""

    def __init__(
        self,
        classifier: HyperSigmaClassifier,
        training: Windows,
        config: SigmaConfig,
        *,
        rate: float,
        identity: str,
    ) -> None:
        self.classifier, self.curve, self._identity = classifier, Curve(), identity
        self._training, self._config, self._rate = training, config, rate
        network = classifier.network
        self._device = next(network.parameters()).device
        self._half = self._device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        recompute_activations(network, config.recompute)
        trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
        groups = parameter_groups(
            trained,
            lr=rate,
            weight_decay=config.weight_decay,
            depth=network.config.size.depth,
            layer_decay=config.layer_decay,
        )
        self._optimizer = torch.optim.AdamW([group.as_dict() for group in groups])
        counts = torch.bincount(training.classes, minlength=classifier.n_classes)
        self._weights = 1.0 / counts[training.classes]
        self.best = _copy(network)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        once = -(-len(self._training.classes) // self._config.batch_size)
        return min(max(self._config.least_steps, once), self._config.most_steps)

    def train_epoch(self, progress: Progress) -> None:
        """One epoch; the same for the same seed and number of the epoch."""
        config, epoch, network = self._config, self.curve.epochs, self.classifier.network
        seed = (config.seed << 16) + epoch
        generator = torch.Generator().manual_seed(seed)
        total, warmup = config.epochs * self.steps, self.steps
        network.train()
        loss_sum = torch.zeros((), device=self._device)
        # Dropout and drop-path draw from the global generator, whose state is left as it was.
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            for step in range(self.steps):
                progress.check()
                progress.report(step / self.steps, f"Epoch {epoch + 1} of at most {config.epochs}")
                rate = warmup_cosine(
                    epoch * self.steps + step, base=self._rate, total=total, warmup=warmup, start=0.0
                )
                for group in self._optimizer.param_groups:
                    group["lr"] = rate * group["scale"]
                loss = self._loss(generator)
                self._optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                self._optimizer.step()
                loss_sum += loss.detach()
        mean = float(loss_sum) / self.steps
        if not math.isfinite(mean):
            raise ModelError(
                f"Training has diverged in epoch {epoch + 1}.", "Start from other weights or another seed."
            )
        self.curve.classification.append(mean)
        network.eval()

    def _loss(self, generator: torch.Generator) -> Tensor:
        """Cross-entropy of a random batch, classes drawn equally often."""
        drawn = torch.multinomial(
            self._weights, self._config.batch_size, replacement=True, generator=generator
        )
        windows = turned(self._training.windows[drawn].to(self._device), generator)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            logits = self.classifier.network(shrunk(windows, generator))
        return F.cross_entropy(logits.float(), self._training.classes[drawn].to(self._device))

    def judge(self, watched: Windows, progress: Progress) -> None:
        """Note loss and average accuracy on ``watched``, all classes weighing the same."""
        parts = []
        with torch.inference_mode():
            for windows in torch.split(watched.windows, _CHUNK):
                progress.check()
                parts.append(self.classifier.network(windows.to(self._device)).float().cpu())
        logits, classes = torch.cat(parts), watched.classes
        share = 1.0 / torch.bincount(classes, minlength=self.classifier.n_classes)[classes]
        share = share / share.sum()
        self.curve.validation_loss.append(float(F.cross_entropy(logits, classes, reduction="none") @ share))
        right = (logits.argmax(dim=1) == classes).float() @ share
        self.curve.validation_accuracy.append(min(1.0, float(right)))

    def keep_best(self) -> None:
        """Remember the network if the epoch just done is the best so far."""
        if self.curve.best == self.curve.epochs:
            self.best = _copy(self.classifier.network)

    def save(self, path: Path) -> None:
        """Write network, best network, optimiser moments and curve, whole or not at all."""
        network = self.classifier.network
        groups = {"network": network.state_dict(), "best": self.best}
        groups |= optimizer_groups(self._optimizer, network)
        save_run(path, identity=self._identity, state=asdict(self.curve), groups=groups)

    def restore(self, path: Path) -> bool:
        """Take up the run stored at ``path``; false, and nothing done, if it is another run or damaged."""
        try:
            stored = load_run(path, self._identity)
        except ModelError:
            return False
        if stored is None:
            return False
        self.classifier.network.load_state_dict(stored.groups["network"])
        self.best = stored.groups["best"]
        restore_optimizer(self._optimizer, self.classifier.network, stored.groups)
        self.curve = Curve(**stored.state)  # type: ignore[arg-type]
        return True


def _run_epochs(
    run: _Run, watched: Windows | None, config: SigmaConfig, checkpoint: Path | None, progress: Progress
) -> None:
    """Train until the last epoch, or until patience ends."""
    if checkpoint is not None and checkpoint.exists() and run.restore(checkpoint):
        progress.log(f"Continuing after epoch {run.curve.epochs}.")
    watching = watched is not None and len(watched.classes) > 0
    while run.curve.epochs < config.epochs:
        if watching and run.curve.epochs - run.curve.best >= config.patience:
            break
        done = run.curve.epochs
        run.train_epoch(progress.part(done / config.epochs, (done + 1) / config.epochs))
        if watched is not None and watching:
            run.judge(watched, progress)
        run.keep_best()
        if checkpoint is not None:
            run.save(checkpoint)


def _network(
    config: SigmaConfig, components: int, n_classes: int, encoders: PretrainedEncoders
) -> tuple[FusionClassifier, tuple[str, ...]]:
    """The network, drawn by the seed, with what it takes from pretrained weights.

    The widths of layers that released files have and nobody uses are made as small as can be.
    """
    side, patch, tokens = config.geometry
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = FusionClassifier(
            ClassifierConfig(
                bands=components,
                classes=n_classes,
                img_size=side,
                patch=patch,
                tokens=encoders.tokens or tokens,
                size=TransformerSize.of(config.size),
                unused_widths=(1, 1),
            )
        )
    return network, load_encoders(network, encoders)


def _identity(
    source: WindowSource,
    train: LabelledPixels,
    validation: LabelledPixels | None,
    config: SigmaConfig,
    encoders: PretrainedEncoders,
) -> str:
    """What tells one run from another: labels, settings, weights and the scene's shape."""
    digest = hashlib.sha256(json.dumps([source.shape, asdict(config), encoders.names]).encode())
    for pixels in (train, validation):
        if pixels is not None:
            for values in (pixels.rows, pixels.cols, pixels.classes):
                digest.update(values.tobytes())
    return digest.hexdigest()


def _copy(network: FusionClassifier) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
