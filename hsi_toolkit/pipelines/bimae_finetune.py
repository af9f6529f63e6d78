"""Train a classifier of objects, and judge it on objects it has not seen."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hsi_toolkit import __version__
from hsi_toolkit.bimodal.finetuning import BiMAEFinetuning, finetune_bimae
from hsi_toolkit.bimodal.holding_out import HeldOut, hold_out_objects
from hsi_toolkit.bimodal.networks import (
    CLASSIFIER,
    CLASSIFIER_KIND,
    Pretrained,
    described,
    load_pretrained,
    sized,
)
from hsi_toolkit.bimodal.pairs import Pairs, Preparation
from hsi_toolkit.bimodal.sources import Layers, read_pairs, require_source
from hsi_toolkit.bimodal.steps import batch_for, epochs_for, predict
from hsi_toolkit.errors import LabelError, ModelError
from hsi_toolkit.files import check_output
from hsi_toolkit.inference.devices import choose_device
from hsi_toolkit.models.bimae import BiMAEClassifier, ClassifierConfig, Modality
from hsi_toolkit.models.bundle import ModelBundle, parts
from hsi_toolkit.models.metadata import Architecture, ModelMetadata, Provenance, plain_json
from hsi_toolkit.pipelines.bimae_pretrain import images_of, names_of, settings_of
from hsi_toolkit.progress import Progress
from hsi_toolkit.reports.accuracy import AccuracyReport, Basis, assess
from hsi_toolkit.reports.plots import TrainingCurve
from hsi_toolkit.reports.report import KeyFigure, ReportContent, write_report
from hsi_toolkit.tasks.bimae_finetune import BimaeFinetune

_SEEN_BY = {"bimodal": "both images", "rgb": "the colour image alone", "hs": "the hyperspectral image alone"}
#: Share of the loss of guessing above which a network is said to have learned hardly anything.
_LEARNED = 0.7


@dataclass(frozen=True, eq=False)
class _Trained:
    """A finished training, and what to tell about it."""

    pairs: Pairs
    held_out: HeldOut | None
    network: BiMAEClassifier
    losses: list[float]
    accuracy: AccuracyReport | None
    warnings: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The accuracy in a sentence."""
        if self.accuracy is None:
            return "Trained; no objects were held out to judge it."
        return self.accuracy.headline()

    @property
    def learned(self) -> NDArray[np.int64]:
        """How many objects of each class it was trained on."""
        labels, classes = self.pairs.known_labels(), len(self.pairs.classes)
        return np.bincount(
            labels if self.held_out is None else labels[self.held_out.train], minlength=classes
        )


def run(task: BimaeFinetune, progress: Progress) -> Mapping[str, object]:
    """Train, judge, and write the model and the report."""
    outputs = {"model": check_output(task.output, overwrite=task.overwrite)}
    if task.report:
        outputs["report"] = check_output(task.report, overwrite=task.overwrite)
    given = {"colour": task.colour, "scene": task.scene, "labels": task.labels, "field": task.field}
    require_source(task.data, given)
    trained = _train(task, progress.part(0.0, 0.97))
    progress.report(0.97, "Writing the model and the report")
    bundle = _bundle(trained, task)
    if task.report:
        write_report(_report(trained, bundle, task), task.report, overwrite=task.overwrite)
    bundle.save(task.output, overwrite=task.overwrite)
    accuracy, pairs = trained.accuracy, trained.pairs
    return {
        "summary": trained.summary,
        "outputs": {name: str(path) for name, path in outputs.items()},
        "warnings": list(trained.warnings),
        "classes": list(pairs.classes.names),
        "objects": _counts(pairs).tolist(),
        "losses": trained.losses,
        "accuracy": None if accuracy is None else accuracy.to_dict(),
    }


def _train(task: BimaeFinetune, progress: Progress) -> _Trained:
    pretrained = load_pretrained(task.weights) if task.weights else None
    preparation = _preparation(task, pretrained)
    source = task.data or Layers(
        task.colour or "",
        task.scene or "",
        task.labels or "",
        task.field,
        task.layer,
        task.variable,
        task.colour_bands,
    )
    pairs = read_pairs(source, preparation, pretrained, progress.part(0.0, 0.2))
    labels = pairs.known_labels()
    if task.classes not in (None, len(pairs.classes)):
        raise LabelError(
            f"The objects have {len(pairs.classes)} classes instead of {task.classes}: "
            + ", ".join(pairs.classes.names)
            + ".",
            "Correct the labels, or leave the number of classes open.",
        )
    held_out, notes = _held_out(pairs, task)
    train = np.arange(len(pairs)) if held_out is None else held_out.train
    network = sized(task.size, preparation, len(pairs.bands)) if pretrained is None else pretrained.config
    config = BiMAEFinetuning(
        ClassifierConfig(network, len(pairs.classes), _modality(task)),
        epochs=task.epochs or epochs_for(len(train), batch_for(task.batch_size, len(train))),
        batch_size=task.batch_size,
        learning_rate=task.learning_rate,
        seed=task.seed,
    )
    device = choose_device(task.device)
    model, losses = finetune_bimae(
        pairs,
        train,
        config,
        pretrained=None if pretrained is None or task.from_scratch else pretrained.state,
        device=device,
        progress=progress.part(0.2, 0.95),
    )
    notes += _judged_by_loss(losses, len(pairs.classes))
    accuracy = None
    if held_out is not None:
        shares = predict(model, pairs, device, progress.part(0.95, 1.0), chosen=held_out.test)
        accuracy = assess(
            shares.argmax(axis=1).astype(np.int64),
            labels[held_out.test],
            pairs.classes.names,
            Basis(True, (held_out.describe(),)),
            counted="objects",
        )
    return _Trained(pairs, held_out, model, losses, accuracy, (*pairs.warnings, *notes))


def _modality(task: BimaeFinetune) -> Modality:
    return "hs" if task.modality == "hs" else "rgb" if task.modality == "rgb" else "bimodal"


def _preparation(task: BimaeFinetune, pretrained: Pretrained | None) -> Preparation:
    """The sizes asked for, or those of the pretrained network."""
    if pretrained is None:
        return Preparation(task.patch_size, task.image_size, task.margin, task.blank)
    sizes = pretrained.config
    across = round(sizes.rgb_patches**0.5)
    if across**2 != sizes.rgb_patches:
        raise ModelError(
            f"The pretrained network cuts the colour image into {sizes.rgb_patches} patches, no square.",
            "Give another one.",
        )
    return Preparation(sizes.patch, across * sizes.patch, task.margin, task.blank)


def _held_out(pairs: Pairs, task: BimaeFinetune) -> tuple[HeldOut | None, tuple[str, ...]]:
    """The objects held out, or none and the sentence why."""
    if task.test_fraction == 0:
        return None, ("No objects were held out, as asked; the accuracy is unknown.",)
    try:
        held_out = hold_out_objects(pairs, task.test_fraction, task.seed)
    except LabelError as error:
        return None, (f"The accuracy is unknown. {error}",)
    present = np.unique(pairs.known_labels()[held_out.train])
    if len(present) < len(pairs.classes):
        return None, (
            "The accuracy is unknown: holding out objects would leave classes without any to train on, since "
            "images overlap.",
        )
    return held_out, ()


def _judged_by_loss(losses: list[float], classes: int) -> tuple[str, ...]:
    """A sentence where the network has hardly learned to tell the objects apart that it was trained on."""
    chance = math.log(classes)
    if losses[-1] < _LEARNED * chance:
        return ()
    return (
        f"The network has hardly learned: its loss is {losses[-1]:.2f}, and guessing has {chance:.2f}. Give "
        "more epochs, or take a smaller network or pretrained weights.",
    )


def _bundle(trained: _Trained, task: BimaeFinetune) -> ModelBundle:
    pairs, accuracy, config = trained.pairs, trained.accuracy, trained.network.config
    files = names_of(task.data, task.colour, task.scene)
    labels = files[0] if task.labels is None else f"{Path(task.labels).name}, field {task.field}"
    metrics = {} if accuracy is None else {"overall_accuracy": accuracy.overall.value}
    learned = zip(pairs.classes.names, trained.learned.tolist(), strict=True)
    metadata = ModelMetadata(
        name=Path(task.output).stem,
        kind=CLASSIFIER_KIND,
        architecture=Architecture(
            CLASSIFIER, {"network": described(config.network), "modality": config.modality}
        ),
        preprocessing=images_of(pairs),
        classes=pairs.classes.legend(),
        provenance=Provenance(
            data=files,
            labels=labels,
            source=None if task.from_scratch else task.weights,
            licence="as the data",
            seed=task.seed,
            parameters={name: plain_json(value) for name, value in _used(trained, task).items()},
            metrics={**metrics, "losses": list(trained.losses)},
        ),
        extra={
            "labelled": {
                "objects": int(trained.learned.sum()),
                "classes": [{"name": name, "objects": count} for name, count in learned],
            },
            "accuracy": None if accuracy is None else plain_json(accuracy.to_dict()),
        },
    )
    return ModelBundle(metadata, parts(network=trained.network.state_dict()))


def _used(trained: _Trained, task: BimaeFinetune) -> dict[str, object]:
    """The parameters, with the values that training found by itself in place of defaults."""
    prepared, objects = trained.pairs.preparation, int(trained.learned.sum())
    found: dict[str, object] = {
        "epochs": len(trained.losses),
        "batch_size": batch_for(task.batch_size, objects),
        "patch_size": prepared.patch,
        "image_size": prepared.side,
    }
    if task.weights:
        found["size"] = None
    return {**settings_of(task), **found}


def _report(trained: _Trained, bundle: ModelBundle, task: BimaeFinetune) -> ReportContent:
    pairs, counts = trained.pairs, _counts(trained.pairs)
    each = zip(pairs.classes.names, counts.tolist(), strict=True)
    sources = {"Colour image": task.colour, "Scene": task.scene, "Data set": task.data}
    return ReportContent(
        title=f"Classifier of objects, {Path(task.output).stem}",
        kind="Training",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        summary=trained.summary,
        facts={
            **{name: value for name, value in sources.items() if value},
            **({} if task.labels is None else {"Objects": f"{Path(task.labels).name}, field {task.field}"}),
            "Classes": ", ".join(f"{name} ({count})" for name, count in each),
            "Network": f"BiMAE {task.size if task.weights is None else 'of ' + Path(task.weights).name}, "
            f"given {_SEEN_BY[task.modality]}",
        },
        legend=pairs.classes.legend(),
        accuracy=trained.accuracy,
        figures=[KeyFigure("Objects", f"{len(pairs):,}", f"{len(pairs.classes)} classes")],
        warnings=trained.warnings,
        curve=TrainingCurve({"classes": list(trained.losses)}, {}),
        model_card=bundle.card(),
        reproduction={
            "hsi_toolkit": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            **settings_of(task),
        },
    )


def _counts(pairs: Pairs) -> NDArray[np.int64]:
    return np.bincount(pairs.known_labels(), minlength=len(pairs.classes))
