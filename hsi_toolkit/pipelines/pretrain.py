"""Pretrain HSIMAE on unlabelled scenes."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from hsi_toolkit.files import check_output
from hsi_toolkit.inference.devices import choose_device
from hsi_toolkit.models.bundle import ModelBundle, parts
from hsi_toolkit.models.hsimae import HSIMAEConfig
from hsi_toolkit.models.metadata import Architecture, ModelMetadata, Provenance, plain_json
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import open_scene
from hsi_toolkit.tasks.pretrain import Pretrain
from hsi_toolkit.training.pretrain import PretrainConfig, pretrain
from hsi_toolkit.training.windows import SceneWindows


def run(task: Pretrain, progress: Progress) -> Mapping[str, object]:
    """Pretrain, with a checkpoint beside the output from which an interrupted run goes on."""
    target = check_output(task.output, overwrite=task.overwrite)
    sources = [SceneWindows(open_scene(path)) for path in task.scenes]
    config = PretrainConfig(
        model=HSIMAEConfig.of_size(task.size),
        epochs=task.epochs,
        windows_per_epoch=task.windows * len(sources),
        batch_size=task.batch_size,
        learning_rate=task.learning_rate,
        mask_ratio=task.mask_ratio,
        seed=task.seed,
    )
    checkpoint = target.with_suffix(".part.safetensors")
    model = pretrain(
        sources, config, device=choose_device(task.device), checkpoint=checkpoint, progress=progress
    )
    bundle = ModelBundle(
        ModelMetadata(
            name=target.stem,
            kind="pretrained",
            architecture=Architecture("hsimae", asdict(config.model)),
            provenance=Provenance(
                data=tuple(Path(path).name for path in task.scenes),
                licence="as the data",
                seed=task.seed,
                parameters={name: plain_json(value) for name, value in task.to_dict().items()},
                metrics={"losses": list(model.losses)},
            ),
        ),
        parts(network=model.network.state_dict()),
    )
    bundle.save(target, overwrite=task.overwrite)
    checkpoint.unlink(missing_ok=True)
    return {
        "summary": f"HSIMAE {task.size}: {len(model.losses)} epochs, loss {model.losses[-1]:.4f}.",
        "outputs": {"model": str(target)},
        "losses": list(model.losses),
    }
