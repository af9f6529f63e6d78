"""Fine-tuning HSIMAE on a few polygons: experts first, then the network with their help.

The published recipe (labelled cross-entropy plus lambda times masked reconstruction) learns the surroundings
of a few training clusters by heart. Here the network also learns from the experts' soft labels of unlabelled
pixels, sees neighbours only where they help, and shares the last word with the experts.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hsi_toolkit.errors import LabelError, ModelError, ParameterError
from hsi_toolkit.inference.devices import describe_device, single_threaded_operations
from hsi_toolkit.models.bundle import Json, ModelBundle
from hsi_toolkit.models.checkpoints import load_by_name, load_hsimae_checkpoint
from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.models.experts import ExpertStack
from hsi_toolkit.models.header import read_header
from hsi_toolkit.models.hsimae import HSIMAEConfig, HSIViT
from hsi_toolkit.progress import Pace, Progress
from hsi_toolkit.training.dual_branch import Curve, DualBranchRun, Recipe
from hsi_toolkit.training.gate import LEAST_AGREEMENT
from hsi_toolkit.training.head_start import HeadStart
from hsi_toolkit.training.preparation import RADIUS, LabelledPixels, Pixels, Prepared, prepare
from hsi_toolkit.training.teachers import fit_experts
from hsi_toolkit.training.windows import WindowSource

# Labelled windows a class beyond which more cost memory and teach nothing new.
_MOST_PER_CLASS = 2000
# Embedding dimension up to which a training step's operations are too short for threads: on a machine with
# other work, threads that wait for each other took three times as long as one.
_SMALL_DIM = 64
# Pixels the network judges at a time.
_CHUNK = 1024


@dataclass(frozen=True)
class FinetuneConfig:
    """What a user can set.

    ``size`` is small, base, large or huge; ``weights`` a pretrained HSIMAE, whose size is then taken over.
    Training ends after ``epochs``, or ``patience`` epochs after the best one if there are validation pixels.
    ``n_unlabelled`` pixels are drawn from the scene, and ``network_weight`` is the network's share in the
    mean with the experts.
    """

    size: str = "small"
    seed: int = 0
    epochs: int = 8
    patience: int = 10
    weights: str | None = None
    n_unlabelled: int = 4096
    network_weight: float = 0.3


@dataclass(frozen=True, eq=False)
class TrainedClassifier:
    """A trained classifier and how its training went."""

    classifier: SceneClassifier
    size: str
    curve: Curve
    prepared: Prepared
    checkpoint: Path | None = field(default=None)

    @property
    def network_name(self) -> str:
        """System and size."""
        return f"HSIMAE {self.size}"

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
        losses = {
            "classification": self.curve.classification,
            "reconstruction": self.curve.reconstruction,
        }
        return losses | ({"validation": self.curve.validation_loss} if self.curve.validation_loss else {})

    @property
    def scores(self) -> dict[str, list[float]]:
        """Average accuracy on validation pixels after each epoch, 0 to 1; empty without such pixels."""
        scores = self.curve.validation_accuracy
        return {"average accuracy": scores} if scores else {}

    @property
    def context_sentence(self) -> str:
        """Whether the neighbourhood is used, and why."""
        gate = self.prepared.gate
        apart = f"pixels {self.classifier.radius} apart agree with kappa {gate.agreement:.2f}"
        if gate.context:
            return f"used: {apart}"
        if gate.favoured:
            return f"not used: {apart}, but smoothing loses {-100 * gate.gain:.0f} points on held-out labels"
        return f"not used: {apart}, less than the {LEAST_AGREEMENT} from which neighbours help"

    def discard_checkpoint(self) -> None:
        """Remove the checkpoint, once the model is stored."""
        if self.checkpoint is not None:
            self.checkpoint.unlink(missing_ok=True)


def train_classifier(
    source: WindowSource,
    train: LabelledPixels,
    validation: LabelledPixels | None,
    config: FinetuneConfig,
    *,
    n_classes: int,
    device: torch.device | str = "cpu",
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> TrainedClassifier:
    """Train on labelled pixels of a scene; the same result for the same seed, also after an interruption.

    After each epoch the run is stored at ``checkpoint`` (.safetensors); where that file holds the same run,
    training continues from it. ``validation`` pixels, of polygons of their own, decide which epoch is kept;
    the experts, which have no epochs, are then fitted on them as well.

    Raises:
        LabelError: there are fewer than two classes, or one has no training pixel with data.
        SceneError: the scene has too few pixels or bands with data.
        ModelError: the weights cannot be used, or training diverges.
        Cancelled: the user cancelled; the checkpoint holds the last whole epoch.
    """
    _check(config, n_classes)
    progress = progress or Progress()
    train = _at_most(train, n_classes, config.seed)
    watched = validation if validation is not None else train.select(np.zeros(len(train), dtype=bool))
    watched = _at_most(watched, n_classes, config.seed)
    weights = None if config.weights is None else _pretrained(Path(config.weights))
    model = HSIMAEConfig.of_size(config.size) if weights is None else weights.config
    prepared = prepare(
        source,
        train,
        watched,
        n_classes=n_classes,
        n_unlabelled=config.n_unlabelled,
        seed=config.seed,
        progress=progress.part(0.0, 0.3),
    )
    run = DualBranchRun(
        prepared,
        Recipe(config.epochs, config.seed),
        model,
        n_classes=n_classes,
        device=torch.device(device),
        identity=_identity(source, train, watched, config),
    )
    if weights is not None:
        load_by_name(run.network, weights.tensors)
        if weights.head is not None:
            run.start_head(weights.head)
    classifier = _assemble(prepared, source.shape[0], HSIViT(model, n_classes), config.network_weight)
    with _operations_of(model):
        pace = Pace(
            progress.part(0.3, 1.0),
            f"Training: at most {config.epochs} epochs",
            config.epochs * run.windows_per_epoch,
            "windows",
            where=describe_device(torch.device(device)),
        )
        _run_epochs(run, classifier, prepared, config, checkpoint, pace)
    load_by_name(classifier.network, run.best)
    if len(prepared.validation):
        classifier.experts = _final_experts(prepared, n_classes, config.seed)
    name = config.size if weights is None else Path(config.weights or "").stem
    return TrainedClassifier(classifier.eval(), name, run.curve, prepared, checkpoint)


def _operations_of(model: HSIMAEConfig) -> AbstractContextManager[object]:
    """One thread for networks whose operations are shorter than threads take to wait for each other."""
    return single_threaded_operations() if model.embed_dim <= _SMALL_DIM else nullcontext()


def _run_epochs(
    run: DualBranchRun,
    classifier: SceneClassifier,
    prepared: Prepared,
    config: FinetuneConfig,
    checkpoint: Path | None,
    progress: Progress,
) -> None:
    """Train until the last epoch, or until patience ends."""
    if checkpoint is not None and checkpoint.exists() and run.restore(checkpoint):
        progress.log(f"Continuing after epoch {run.curve.epochs}.")
    while run.curve.epochs < config.epochs:
        if run.curve.epochs - run.curve.best >= config.patience:
            break
        done = run.curve.epochs
        run.train_epoch(progress.part(done / config.epochs, (done + 1) / config.epochs))
        if len(prepared.validation):
            load_by_name(classifier.network, run.network.state_dict())
            run.judge(*_validate(classifier, prepared.validation))
        run.keep_best()
        if checkpoint is not None:
            run.save(checkpoint)


def _validate(classifier: SceneClassifier, pixels: Pixels) -> tuple[float, float]:
    """Loss and average accuracy on ``pixels``, all classes weighing the same."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(pixels), _CHUNK):
            filtered = pixels.filtered[start : start + _CHUNK]
            windows = pixels.windows[start : start + _CHUNK]
            if not classifier.context:
                windows = classifier.spectral.components(filtered)[:, :, None, None]
            network = classifier.network_logits(windows)
            parts.append(classifier.combine(network, classifier.expert_logits(filtered)))
        log_probabilities = torch.cat(parts)
        share = 1.0 / torch.bincount(pixels.classes, minlength=classifier.n_classes)[pixels.classes]
        share = share / share.sum()
        loss = F.nll_loss(log_probabilities, pixels.classes, reduction="none") @ share
        right = (log_probabilities.argmax(dim=1) == pixels.classes).float() @ share
    return float(loss), min(1.0, float(right))


def _assemble(prepared: Prepared, n_bands: int, network: HSIViT, network_weight: float) -> SceneClassifier:
    return SceneClassifier(
        network,
        prepared.spectral,
        prepared.experts,
        prepared.spatial_filter,
        bands=torch.from_numpy(prepared.bands),
        n_bands=n_bands,
        context=prepared.gate.context,
        network_weight=network_weight,
    ).eval()


def _final_experts(prepared: Prepared, n_classes: int, seed: int) -> ExpertStack:
    """Experts of training and validation pixels: they have no epochs that validation could choose among."""
    filtered = torch.cat([prepared.train.filtered, prepared.validation.filtered])
    classes = torch.cat([prepared.train.classes, prepared.validation.classes])
    return fit_experts(filtered, prepared.spectral, classes.numpy(), n_classes, seed)


class _Pretrained(NamedTuple):
    """Sizes and parameters of a pretrained network, and how its head starts where it says so."""

    config: HSIMAEConfig
    tensors: dict[str, Tensor]
    head: HeadStart | None


def _pretrained(path: Path) -> _Pretrained:
    """A pretrained network: a model file of ours, or a published checkpoint.

    Raises:
        ModelError: it is no HSIMAE of the current generation with windows and features of ours.
    """
    if path.suffix == ".safetensors" and "hsi_toolkit" in read_header(path).metadata:
        bundle = ModelBundle.load(path)
        tensors = bundle.part("network")
        config: object = _network_config(bundle.metadata.architecture.config)
        head = HeadStart.of(bundle.metadata.extra)
    else:
        checkpoint = load_hsimae_checkpoint(path)
        config, tensors, head = checkpoint.config, checkpoint.state_dict, None
    if not isinstance(config, HSIMAEConfig) or (config.img_size, config.bands) != (2 * RADIUS + 1, 32):
        raise ModelError(
            f"{path} cannot be fine-tuned: it is no HSIMAE v2 with windows of 9 × 9 pixels and 32 features.",
            "Choose other weights, or train without.",
        )
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith("cls_head.")}
    return _Pretrained(config, own, head)


def _network_config(settings: Mapping[str, Json]) -> HSIMAEConfig | None:
    """The sizes in a model file's description, be it of a pretrained network or of a classifier."""
    nested = settings.get("network")
    try:
        return HSIMAEConfig(**(nested if isinstance(nested, Mapping) else settings))  # type: ignore[arg-type]
    except TypeError:
        return None


def _at_most(pixels: LabelledPixels, n_classes: int, seed: int) -> LabelledPixels:
    """At most so many random pixels of each class that their windows fit into memory."""
    rng = np.random.default_rng(seed)
    kept = [
        rng.permutation(np.flatnonzero(pixels.classes == label))[:_MOST_PER_CLASS]
        for label in range(n_classes)
    ]
    return pixels.select(np.sort(np.concatenate(kept)))


def _identity(
    source: WindowSource, train: LabelledPixels, validation: LabelledPixels, config: FinetuneConfig
) -> str:
    """What tells one run from another: labels, settings and the scene's shape."""
    digest = hashlib.sha256(json.dumps([source.shape, asdict(config)]).encode())
    for pixels in (train, validation):
        for values in (pixels.rows, pixels.cols, pixels.classes):
            digest.update(values.tobytes())
    return digest.hexdigest()


def _check(config: FinetuneConfig, n_classes: int) -> None:
    if n_classes < 2:
        raise LabelError("There is only one class.", "Draw polygons of at least two classes.")
    for name in ("epochs", "patience", "n_unlabelled"):
        if getattr(config, name) < 1:
            raise ParameterError(f"{name} is {getattr(config, name)}.", "Give at least 1.")
    if not 0.0 <= config.network_weight <= 1.0:
        raise ParameterError(f"network_weight is {config.network_weight}.", "Give a share from 0 to 1.")
