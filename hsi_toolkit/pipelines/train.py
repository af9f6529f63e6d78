"""Train a classifier from polygons, and judge it on polygons it has not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit import __version__
from hsi_toolkit.errors import LabelError
from hsi_toolkit.files import check_output
from hsi_toolkit.models.bundle import ModelBundle
from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.models.metadata import Provenance, plain_json
from hsi_toolkit.pipelines.models import classifier_bundle
from hsi_toolkit.pipelines.train_methods import Trained, chosen_method
from hsi_toolkit.progress import Progress
from hsi_toolkit.reports.accuracy import AccuracyReport, Basis, assess
from hsi_toolkit.reports.plots import ClassSpectra, TrainingCurve
from hsi_toolkit.reports.report import KeyFigure, ReportContent, write_report
from hsi_toolkit.scene import open_scene, read_pixels, read_windows
from hsi_toolkit.tasks.train import Train
from hsi_toolkit.training.labels import Grid, Labels, drop_nodata, read_labels, require_trainable
from hsi_toolkit.training.leakage import TrainingPixels
from hsi_toolkit.training.preparation import LabelledPixels
from hsi_toolkit.training.splits import Split, hold_out
from hsi_toolkit.training.windows import SceneWindows

#: Share of the training polygons that early stopping watches.
_WATCHED = 0.25
#: Spectra behind the class means of the report, and test pixels classified at a time.
_SPECTRA_PIXELS = 20_000
_PIXELS_AT_ONCE = 2_000


@dataclass(frozen=True, eq=False)
class Training:
    """A finished training: the model, what it was trained and judged on, and what to tell about it."""

    scene: xr.DataArray
    labels: Labels
    split: Split | None
    trained: Trained
    bundle: ModelBundle
    accuracy: AccuracyReport | None
    warnings: tuple[str, ...]


def run(task: Train, progress: Progress) -> Mapping[str, object]:
    """Train, judge, and write the model and the report."""
    outputs = {"model": check_output(task.output, overwrite=task.overwrite)}
    if task.report:
        outputs["report"] = check_output(task.report, overwrite=task.overwrite)
    training = train(task, progress.part(0.0, 0.97))
    progress.report(0.97, "Writing the model and the report")
    if task.report:
        write_report(report_content(training, task), task.report, overwrite=task.overwrite)
    training.bundle.save(task.output, overwrite=task.overwrite)
    training.trained.discard_checkpoint()
    return {**result_of(training), "outputs": {name: str(path) for name, path in outputs.items()}}


def train(task: Train, progress: Progress) -> Training:
    """Train and judge without writing anything but the checkpoint for resuming.

    Raises:
        SceneError, LabelError, ModelError: scene, labels or pretrained weights cannot be used.
    """
    scene = open_scene(task.scene, task.variable)
    progress.report(0.0, "Reading the labels")
    labels = _usable_labels(task, scene, progress)
    method = chosen_method(task)
    split, notes = _held_out(labels, task, method.radius)
    fitted = labels if split is None else labels.select(split.train)
    watched, watch_notes = _watched(fitted, task, method.radius)
    trained = method.train(
        SceneWindows(scene),
        _pixels(fitted if watched is None else fitted.select(watched.train)),
        None if watched is None else _pixels(fitted.select(watched.test)),
        len(labels.names),
        progress.part(0.05, 0.9),
    )
    progress.report(0.9, "Judging on held-out polygons")
    accuracy = None if split is None else _judge(trained.classifier, scene, labels, split, progress)
    bundle = classifier_bundle(
        trained.classifier,
        name=Path(task.output).stem,
        scene=scene,
        labels=fitted,
        trained_on=TrainingPixels(Grid.of(scene), fitted.rows, fitted.cols, method.radius),
        accuracy=accuracy,
        provenance=Provenance(
            data=(Path(task.scene).name,),
            labels=f"{Path(task.labels).name}, field {task.field}",
            source=method.source,
            licence="as the data",
            seed=task.seed,
            parameters={name: plain_json(value) for name, value in _settings(task).items()},
            metrics=_metrics(accuracy),
        ),
    )
    return Training(scene, labels, split, trained, bundle, accuracy, (*labels.warnings, *notes, *watch_notes))


def report_content(
    training: Training, task: Train, *, map_png: bytes | None = None, title: str | None = None
) -> ReportContent:
    """What the report of a training says; with the map's picture where one was made."""
    labels, accuracy = training.labels, training.accuracy
    units = "points" if labels.geometry == "point" else "polygons"
    return ReportContent(
        title=title or f"Classifier of {Path(task.scene).name}",
        kind="Training",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        summary=accuracy.headline()
        if accuracy
        else "No polygons were held out, so no accuracy can be given.",
        facts={
            "Scene": task.scene,
            "Labels": f"{Path(task.labels).name}, field {task.field}",
            "Labelled": f"{len(labels):,} pixels in {labels.group_counts.sum():,} {units}",
            "Network": training.trained.network_name,
            "Context": training.trained.context_sentence,
        },
        legend=labels.legend(),
        accuracy=accuracy,
        figures=[KeyFigure("Labelled pixels", f"{len(labels):,}", f"{len(labels.names)} classes")],
        warnings=training.warnings,
        spectra=_spectra(training),
        curve=TrainingCurve(
            losses=dict(training.trained.losses),
            scores=dict(training.trained.scores),
            best=training.trained.best_epoch,
        ),
        map_png=map_png,
        model_card=training.bundle.card(),
        reproduction={
            "hsi_toolkit": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            **_settings(task),
        },
    )


def result_of(training: Training) -> dict[str, object]:
    """The JSON-able result of a training, without its outputs."""
    accuracy = training.accuracy
    return {
        "summary": accuracy.headline() if accuracy else "Trained; no polygons were held out to judge it.",
        "warnings": list(training.warnings),
        "classes": list(training.labels.names),
        "pixels": training.labels.counts.tolist(),
        "epochs": training.trained.epochs,
        "accuracy": None if accuracy is None else accuracy.to_dict(),
    }


def _usable_labels(task: Train, scene: xr.DataArray, progress: Progress) -> Labels:
    labels = read_labels(task.labels, task.field, scene, layer=task.layer, progress=progress)
    good = scene.hsi.good_bands
    valid = np.concatenate(
        [
            np.isfinite(read_pixels(good, labels.rows[part], labels.cols[part])).mean(axis=1) > 0.5
            for part in _parts(len(labels))
        ]
    )
    labels = drop_nodata(labels, valid)
    require_trainable(labels)
    return labels


def _held_out(labels: Labels, task: Train, radius: int) -> tuple[Split | None, tuple[str, ...]]:
    """The test polygons, or none and the sentence why."""
    if task.test_fraction == 0:
        return None, ("No polygons were held out, as asked; the accuracy is unknown.",)
    try:
        return hold_out(labels, fraction=task.test_fraction, radius=radius, seed=task.seed), ()
    except LabelError as error:
        return None, (f"The accuracy is unknown. {error}",)


def _watched(fitted: Labels, task: Train, radius: int) -> tuple[Split | None, tuple[str, ...]]:
    """The polygons that early stopping watches, none of them a test polygon."""
    try:
        split = hold_out(fitted, fraction=_WATCHED, radius=radius, seed=task.seed)
    except LabelError:
        return None, ("There are too few polygons to watch any during training: it ran to its last epoch.",)
    missing = np.setdiff1d(np.unique(fitted.classes), np.unique(fitted.classes[split.train]))
    return (None if len(missing) else split), ()


def _judge(
    classifier: SceneClassifier, scene: xr.DataArray, labels: Labels, split: Split, progress: Progress
) -> AccuracyReport:
    test = labels.select(split.test)
    mapped = np.concatenate(
        [
            _classify(classifier, scene, test.rows[part], test.cols[part], progress)
            for part in _parts(len(test))
        ]
    )
    return assess(mapped, test.classes, labels.names, Basis.held_out(split), groups=test.groups)


def _classify(
    classifier: SceneClassifier,
    scene: xr.DataArray,
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    progress: Progress,
) -> NDArray[np.int64]:
    progress.check()
    windows = torch.from_numpy(read_windows(scene, rows, cols, classifier.radius))
    with torch.inference_mode():
        log_probabilities = classifier(windows)
    mapped: NDArray[np.int64] = log_probabilities.argmax(dim=1).numpy()
    return np.where(log_probabilities.isfinite().all(dim=1).numpy(), mapped, -1)


def _spectra(training: Training) -> ClassSpectra:
    labels, scene = training.labels, training.scene
    chosen = np.random.default_rng(0).permutation(len(labels))[:_SPECTRA_PIXELS]
    spectra = read_pixels(scene, labels.rows[chosen], labels.cols[chosen])
    return ClassSpectra.of(
        spectra,
        labels.classes[chosen],
        labels.legend(),
        wavelength=scene["wavelength"].to_numpy() if "wavelength" in scene.coords else None,
        good=np.asarray(scene["good"].to_numpy(), bool),
        quantity=scene.attrs.get("quantity") or "dn",
    )


def _pixels(labels: Labels) -> LabelledPixels:
    return LabelledPixels(labels.rows, labels.cols, labels.classes, labels.groups)


def _parts(n: int) -> Sequence[slice]:
    return [slice(start, start + _PIXELS_AT_ONCE) for start in range(0, n, _PIXELS_AT_ONCE)]


def _settings(task: Train) -> dict[str, object]:
    """The parameters that change the model."""
    paths = {"scene", "labels", "output", "report", "overwrite", "memory_limit"}
    return {name: value for name, value in task.to_dict().items() if name not in paths}


def _metrics(accuracy: AccuracyReport | None) -> dict[str, float | None]:
    if accuracy is None:
        return {}
    return {
        "overall_accuracy": accuracy.overall.value,
        "average_accuracy": accuracy.average.value,
        "kappa": accuracy.kappa.value,
    }
