"""Pretrain BiMAE on pairs of images."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hsi_toolkit.bimodal.networks import PRETRAINED, PRETRAINED_KIND, described, require_masking, sized
from hsi_toolkit.bimodal.pairs import Pairs, Preparation
from hsi_toolkit.bimodal.pretraining import BiMAEPretraining, pretrain_bimae
from hsi_toolkit.bimodal.sources import Layers, read_pairs, require_source
from hsi_toolkit.files import check_output
from hsi_toolkit.inference.devices import choose_device
from hsi_toolkit.models.bundle import ModelBundle, parts
from hsi_toolkit.models.metadata import Architecture, ModelMetadata, Preprocessing, Provenance, plain_json
from hsi_toolkit.progress import Progress
from hsi_toolkit.tasks.base import Task
from hsi_toolkit.tasks.bimae_pretrain import BimaePretrain

#: Parameters that say where data comes from and goes to, which a model states elsewhere.
_FILES = {"colour", "scene", "objects", "labels", "data", "output", "report", "overwrite"}


def run(task: BimaePretrain, progress: Progress) -> Mapping[str, object]:
    """Pretrain, with a checkpoint beside the output from which an interrupted run goes on."""
    target = check_output(task.output, overwrite=task.overwrite)
    require_source(task.data, {"colour": task.colour, "scene": task.scene, "objects": task.objects})
    source = task.data or Layers(
        task.colour or "",
        task.scene or "",
        task.objects or "",
        layer=task.layer,
        variable=task.variable,
        colour_bands=task.colour_bands,
    )
    preparation = Preparation(task.patch_size, task.image_size, task.margin, task.blank)
    pairs = read_pairs(source, preparation, None, progress.part(0.0, 0.1))
    network = replace(
        sized(task.size, preparation, len(pairs.bands)), hs_masked=task.hs_mask, rgb_masked=task.rgb_mask
    )
    require_masking(network)
    config = BiMAEPretraining(network, task.epochs, task.batch_size, task.learning_rate, task.seed)
    checkpoint = target.with_suffix(".part.safetensors")
    model, losses = pretrain_bimae(
        pairs,
        config,
        device=choose_device(task.device),
        checkpoint=checkpoint,
        progress=progress.part(0.1, 1.0),
    )
    bundle = ModelBundle(
        ModelMetadata(
            name=target.stem,
            kind=PRETRAINED_KIND,
            architecture=Architecture(PRETRAINED, described(network)),
            preprocessing=images_of(pairs),
            provenance=Provenance(
                data=names_of(task.data, task.colour, task.scene),
                licence="as the data",
                seed=task.seed,
                parameters={name: plain_json(value) for name, value in settings_of(task).items()},
                metrics={"losses": list(losses)},
            ),
        ),
        parts(network=model.state_dict()),
    )
    bundle.save(target, overwrite=task.overwrite)
    checkpoint.unlink(missing_ok=True)
    return {
        "summary": f"BiMAE {task.size}: {len(pairs)} objects, {len(losses)} epochs, loss {losses[-1]:.4f}.",
        "outputs": {"model": str(target)},
        "warnings": list(pairs.warnings),
        "losses": list(losses),
        "objects": len(pairs),
    }


def names_of(*paths: str | None) -> tuple[str, ...]:
    """The names of the files that are given."""
    return tuple(Path(path).name for path in paths if path)


def settings_of(task: Task) -> dict[str, object]:
    """The parameters that change the model."""
    return {name: value for name, value in task.to_dict().items() if name not in _FILES}


def images_of(pairs: Pairs) -> Preprocessing:
    """How the pairs were made, as a bundle states it."""
    return Preprocessing(
        bands=pairs.bands,
        config=pairs.preparation.to_config(),
        quantity=pairs.quantity,
        sensor=pairs.sensor,
    )
