"""Train a learned codec."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np

from hsi_toolkit.datasets import PatchSet
from hsi_toolkit.files import check_output
from hsi_toolkit.models.bundle import ModelBundle, parts
from hsi_toolkit.models.metadata import Architecture, ModelMetadata, Provenance, plain_json
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene.readers.hyspecnet import Difficulty
from hsi_toolkit.tasks.codec_train import CodecTrain
from hsi_toolkit.training.codec import CodecConfig, Loss, train_codec
from hsi_toolkit.training.ranks import joined_ranks


def run(task: CodecTrain, progress: Progress) -> Mapping[str, object]:
    """Train, with a checkpoint beside the output from which an interrupted run goes on."""
    target = check_output(task.output, overwrite=task.overwrite)
    mode = cast("Difficulty", task.mode)
    training, validation = (PatchSet.of(task.dataset, mode, part) for part in ("train", "val"))
    config = CodecConfig(
        codec=task.codec,
        rate=task.rate,
        loss=cast("Loss", task.loss),
        epochs=task.epochs,
        batch_size=task.batch_size,
        validation_batch_size=task.validation_batch_size,
        learning_rate=task.learning_rate,
        clip=task.clip,
        crop=task.crop,
        workers=task.workers,
        seed=task.seed,
    )
    checkpoint = target.with_suffix(".part.safetensors")
    with joined_ranks(task.device) as ranks:
        told = progress if ranks.first else Progress()
        trained = train_codec(training, validation, config, ranks=ranks, checkpoint=checkpoint, progress=told)
    if not ranks.first:
        return {"summary": f"{task.codec}: process {ranks.rank + 1} of {ranks.count} has finished."}
    codec, best = trained.codec, min(trained.validation)
    psnr = -10 * np.log10(best)
    metadata = ModelMetadata(
        name=target.stem,
        kind="codec",
        architecture=Architecture(codec.name, codec.config),
        provenance=Provenance(
            data=(f"{Path(task.dataset).name}, {task.mode} split, {len(training)} patches",),
            licence="as the data",
            seed=task.seed,
            parameters={name: plain_json(value) for name, value in task.to_dict().items()},
            metrics={
                "losses": list(trained.losses),
                "validation": list(trained.validation),
                "best_epoch": trained.best_epoch,
            },
        ),
    )
    ModelBundle(metadata, parts(network=codec.state_dict())).save(target, overwrite=task.overwrite)
    checkpoint.unlink(missing_ok=True)
    return {
        "summary": f"{task.codec} at {codec.bpppc:.2f} bits per pixel and band: PSNR {psnr:.2f} dB on the "
        f"validation patches after epoch {trained.best_epoch} of {task.epochs}.",
        "outputs": {"model": str(target)},
        "losses": list(trained.losses),
        "validation": list(trained.validation),
        "psnr": float(psnr),
        "bpppc": codec.bpppc,
    }
