"""The methods of ``train``: how a classifier is made of labelled pixels."""

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from hsi_toolkit.inference.devices import choose_device
from hsi_toolkit.models import zoo
from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.models.hypersigma.weights import read_encoders
from hsi_toolkit.progress import Progress
from hsi_toolkit.tasks.train import Train
from hsi_toolkit.training.finetune import FinetuneConfig, train_classifier
from hsi_toolkit.training.preparation import RADIUS, LabelledPixels
from hsi_toolkit.training.sigma_finetune import SigmaConfig, train_hypersigma
from hsi_toolkit.training.windows import SceneWindows


class Trained(Protocol):
    """A trained classifier of any method, and how its training went."""

    @property
    def classifier(self) -> SceneClassifier:
        """The classifier, on the CPU."""

    @property
    def network_name(self) -> str:
        """System and size."""

    @property
    def epochs(self) -> int:
        """Epochs trained."""

    @property
    def best_epoch(self) -> int:
        """The epoch, from 1, whose network was kept."""

    @property
    def losses(self) -> dict[str, list[float]]:
        """Losses of each epoch by their names."""

    @property
    def scores(self) -> dict[str, list[float]]:
        """Accuracies of each epoch by their names."""

    @property
    def context_sentence(self) -> str:
        """Whether the neighbourhood is used, and why."""

    def discard_checkpoint(self) -> None:
        """Remove what an interrupted training would go on from."""


class Method(Protocol):
    """How a classifier is trained."""

    @property
    def radius(self) -> int:
        """Reach of its windows in pixels."""

    @property
    def source(self) -> str | None:
        """What was taken from which pretrained weights, known after training; None for a random start."""

    def train(
        self,
        source: SceneWindows,
        train: LabelledPixels,
        validation: LabelledPixels | None,
        n_classes: int,
        progress: Progress,
    ) -> Trained:
        """Train on labelled pixels."""


class HSIMAEMethod:
    """HSIMAE together with spectral experts."""

    radius = RADIUS

    def __init__(self, task: Train) -> None:
        self._task, self.source = task, task.weights

    def train(
        self,
        source: SceneWindows,
        train: LabelledPixels,
        validation: LabelledPixels | None,
        n_classes: int,
        progress: Progress,
    ) -> Trained:
        """See ``train_classifier``."""
        task = self._task
        config = FinetuneConfig(
            size=task.size,
            seed=task.seed,
            weights=str(zoo.resolve(task.weights)) if task.weights else None,
        )
        return train_classifier(
            source,
            train,
            validation,
            config if task.epochs is None else replace(config, epochs=task.epochs),
            n_classes=n_classes,
            device=choose_device(task.device),
            checkpoint=_checkpoint(task),
            progress=progress,
        )


class HyperSigmaMethod:
    """HyperSIGMA's fused classifier, of the size of the weights where there are some."""

    def __init__(self, task: Train) -> None:
        self._task, self._encoders = task, read_encoders(task.weights)
        config = SigmaConfig(size=self._encoders.size or task.size, seed=task.seed)
        self._config = config if task.epochs is None else replace(config, epochs=task.epochs)
        self.radius = config.radius
        self.source: str | None = None

    def train(
        self,
        source: SceneWindows,
        train: LabelledPixels,
        validation: LabelledPixels | None,
        n_classes: int,
        progress: Progress,
    ) -> Trained:
        """See ``train_hypersigma``."""
        trained = train_hypersigma(
            source,
            train,
            validation,
            self._config,
            n_classes=n_classes,
            encoders=self._encoders,
            device=choose_device(self._task.device),
            checkpoint=_checkpoint(self._task),
            progress=progress,
        )
        for sentence in trained.taken:
            progress.log(f"Took over: {sentence}.")
        self.source = "; ".join(trained.taken) or None
        return trained


def _checkpoint(task: Train) -> Path:
    return Path(task.output).with_suffix(".part.safetensors")


def chosen_method(task: Train) -> Method:
    """The method that the task names.

    Raises:
        ModelError: the pretrained weights cannot be used.
    """
    return HyperSigmaMethod(task) if task.method == "hypersigma" else HSIMAEMethod(task)
