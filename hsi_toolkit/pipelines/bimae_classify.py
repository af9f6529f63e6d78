"""Give every object of a layer its class."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hsi_toolkit.bimodal.cutting import colour_bands, cut_pairs
from hsi_toolkit.bimodal.networks import CLASSIFIER, classifier_config, preparation_of
from hsi_toolkit.bimodal.object_layer import classified, read_layer, write_objects
from hsi_toolkit.bimodal.objects import Objects, polygons_of
from hsi_toolkit.bimodal.pairs import Preparation
from hsi_toolkit.bimodal.sources import open_rasters
from hsi_toolkit.bimodal.steps import predict
from hsi_toolkit.errors import ModelError
from hsi_toolkit.files import check_output
from hsi_toolkit.inference.devices import choose_device
from hsi_toolkit.models import zoo
from hsi_toolkit.models.bimae import BiMAEClassifier
from hsi_toolkit.models.bundle import ModelBundle
from hsi_toolkit.progress import Progress
from hsi_toolkit.spectral.resample import SensorBands
from hsi_toolkit.tasks.bimae_classify import BimaeClassify
from hsi_toolkit.training.label_vector import open_layer


def run(task: BimaeClassify, progress: Progress) -> Mapping[str, object]:
    """Cut the objects out, classify them, and write the layer."""
    check_output(task.output, overwrite=task.overwrite)
    bundle, network, preparation, bands = _model(task.model)
    progress.report(0.0, "Reading the objects")
    layer = open_layer(task.objects, None, task.layer)
    frame = read_layer(layer.path, layer.name)
    outlines, rows = polygons_of(frame, layer.name)
    rasters = open_rasters(task.colour, task.scene, task.variable, bands)
    if task.colour_bands:
        chosen = colour_bands(rasters.colour, task.colour_bands)
        preparation = replace(preparation, colour_bands=chosen)
    pairs = cut_pairs(rasters, Objects(outlines, rows, layer.crs), preparation, progress.part(0.0, 0.5))
    probabilities = predict(network, pairs, choose_device(task.device), progress.part(0.5, 0.95))
    progress.report(0.95, "Writing the layer")
    classes, positions = bundle.metadata.classes, pairs.positions
    assert positions is not None
    single = frame.iloc[rows].reset_index(drop=True)
    single = single.set_geometry(outlines, crs=frame.crs)
    made, column = classified(single, classes, probabilities, positions)
    write_objects(task.output, made, classes, column, overwrite=task.overwrite)
    counts = np.bincount(probabilities.argmax(axis=1), minlength=len(classes))
    without = len(made) - len(positions)
    warnings = [*pairs.warnings, *([rasters.plan.note] if rasters.plan.note else [])]
    return {
        "summary": f"{len(positions):,} of {len(made):,} objects classified.",
        "facts": {entry.name: int(count) for entry, count in zip(classes, counts, strict=True)},
        "outputs": {"objects": task.output},
        "warnings": warnings,
        "objects": len(made),
        "without_class": without,
        "mean_probability": float(probabilities.max(axis=1).mean()),
    }


def _model(name: str) -> tuple[ModelBundle, BiMAEClassifier, Preparation, SensorBands]:
    """A classifier of objects, and what its images were like.

    Raises:
        ModelError: there is none, it is damaged, or of another kind.
    """
    path = zoo.resolve(name)
    bundle = ModelBundle.load(path)
    architecture, preprocessing = bundle.metadata.architecture, bundle.metadata.preprocessing
    preparation = preparation_of(preprocessing)
    if architecture.name != CLASSIFIER or preprocessing is None or preparation is None:
        raise ModelError(
            f"{path} is no classifier of objects, but a model of the kind {bundle.metadata.kind!r}.",
            "Train one with 'hsi bimae finetune'.",
        )
    config = classifier_config(architecture.config, len(bundle.metadata.classes), path)
    network = BiMAEClassifier(config)
    try:
        network.load_state_dict(bundle.part("network"))
    except RuntimeError as error:
        raise ModelError(
            f"{path} is damaged: its weights do not fit its description.", "Copy or train it again."
        ) from error
    sizes = (config.network.patch, config.network.rgb_patches, config.network.bands)
    if sizes != (preparation.patch, preparation.patches, len(preprocessing.bands)):
        raise ModelError(f"{path} is damaged: its images do not fit its network.", "Copy or train it again.")
    return bundle, network, preparation, preprocessing.bands
