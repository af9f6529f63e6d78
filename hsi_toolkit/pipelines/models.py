"""Classifiers as model bundles, and back."""

from collections.abc import Mapping
from pathlib import Path

import xarray as xr

from hsi_toolkit.errors import ModelError
from hsi_toolkit.models import zoo
from hsi_toolkit.models.bundle import ModelBundle
from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.models.hypersigma.window_classifier import HyperSigmaClassifier
from hsi_toolkit.models.metadata import (
    Architecture,
    Json,
    ModelMetadata,
    Preprocessing,
    Provenance,
    plain_json,
)
from hsi_toolkit.reports.accuracy import AccuracyReport
from hsi_toolkit.reports.model_figures import OF_OBJECTS
from hsi_toolkit.spectral.resample import SensorBands
from hsi_toolkit.training.labels import Labels
from hsi_toolkit.training.leakage import TrainingPixels

ARCHITECTURES: Mapping[str, type[SceneClassifier]] = {
    "scene_classifier": SceneClassifier,
    "hypersigma": HyperSigmaClassifier,
}
"""What bundles call the classifiers."""
_FEATURES = {"scene_classifier": "GroupwisePCA", "hypersigma": "PCA"}

#: What a classifier's bundle says beyond its metadata: the pixels it was trained on, how many of each class
#: these were, and its accuracy on held-out polygons.
TRAINING_PIXELS, LABELLED, ACCURACY = "training_pixels", "labelled", "accuracy"


def classifier_bundle(
    classifier: SceneClassifier,
    *,
    name: str,
    scene: xr.DataArray,
    labels: Labels,
    trained_on: TrainingPixels,
    accuracy: AccuracyReport | None,
    provenance: Provenance,
) -> ModelBundle:
    """The bundle of a classifier trained on ``labels`` of ``scene``: all it takes to classify another one."""
    tensors, config = classifier.to_tensors()
    used = tuple(classifier.bands.tolist())
    architecture = next(name for name, kind in ARCHITECTURES.items() if kind is type(classifier))
    metadata = ModelMetadata(
        name=name,
        kind="classifier",
        architecture=Architecture(architecture, config),
        preprocessing=Preprocessing(
            SensorBands(scene.sizes["band"], used, _of(scene, "wavelength", used), _of(scene, "fwhm", used)),
            features=_FEATURES[architecture],
            quantity=scene.attrs.get("quantity"),
            sensor=scene.attrs.get("sensor"),
        ),
        classes=labels.legend(),
        provenance=provenance,
        extra={
            TRAINING_PIXELS: plain_json(trained_on.to_dict()),
            LABELLED: plain_json(labels.summary()),
            ACCURACY: None if accuracy is None else plain_json(accuracy.to_dict()),
        },
    )
    return ModelBundle(metadata, tensors)


def open_classifier(name: str | Path) -> tuple[ModelBundle, SceneClassifier]:
    """The classifier at a path, or of that name in the model folder, with its bundle.

    Raises:
        ModelError: there is none, it is damaged, or it is no classifier.
    """
    path = zoo.resolve(name)
    bundle = ModelBundle.load(path)
    architecture = bundle.metadata.architecture
    if bundle.metadata.kind != "classifier" or architecture.name not in ARCHITECTURES:
        if bundle.metadata.kind == OF_OBJECTS:
            raise ModelError(
                f"{path} tells whole objects apart and not pixels.", "Use it with 'hsi bimae classify'."
            )
        raise ModelError(
            f"{path} holds a model of the kind {bundle.metadata.kind!r}, which has no classes.",
            "Train a classifier from it with 'hsi train --weights'.",
        )
    classifier = ARCHITECTURES[architecture.name].from_tensors(bundle.tensors, architecture.config)
    if classifier.n_classes != len(bundle.metadata.classes):
        raise ModelError(
            f"{path} names {len(bundle.metadata.classes)} classes, its network has {classifier.n_classes}.",
            "Train or download the model again.",
        )
    return bundle, classifier


def training_pixels(extra: Mapping[str, Json]) -> TrainingPixels | None:
    """The pixels a model was trained on, None where it does not say."""
    stored = extra.get(TRAINING_PIXELS)
    return TrainingPixels.from_dict(stored) if isinstance(stored, Mapping) else None


def _of(scene: xr.DataArray, coordinate: str, used: tuple[int, ...]) -> tuple[float, ...] | None:
    if coordinate not in scene.coords:
        return None
    return tuple(float(value) for value in scene[coordinate].to_numpy()[list(used)])
