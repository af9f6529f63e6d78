"""Pretrain HSIMAE or an encoder of HyperSIGMA on unlabelled scenes."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal, cast

from torch import nn

from hsi_toolkit.files import check_output
from hsi_toolkit.models.bundle import ModelBundle, parts
from hsi_toolkit.models.hsimae import HSIMAEConfig
from hsi_toolkit.models.hypersigma.description import described
from hsi_toolkit.models.hypersigma.loading import Branch
from hsi_toolkit.models.metadata import Architecture, ModelMetadata, Provenance, plain_json
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import open_scene
from hsi_toolkit.tasks.pretrain import Pretrain
from hsi_toolkit.training.mae_pretrain import MAEPretrainConfig, pretrain_mae
from hsi_toolkit.training.patches import PatchPool
from hsi_toolkit.training.pretrain import PretrainConfig, pretrain
from hsi_toolkit.training.ranks import Ranks, joined_ranks
from hsi_toolkit.training.windows import SceneWindows

_WINDOWS, _PATCHES, _BATCH = 20_000, 64, 64


def run(task: Pretrain, progress: Progress) -> Mapping[str, object]:
    """Pretrain, with a checkpoint beside the output from which an interrupted run goes on."""
    target = check_output(task.output, overwrite=task.overwrite)
    return _hsimae(task, target, progress) if task.model == "hsimae" else _sigma(task, target, progress)


def _hsimae(task: Pretrain, target: Path, progress: Progress) -> Mapping[str, object]:
    sources = [SceneWindows(open_scene(path)) for path in task.scenes]
    config = PretrainConfig(
        model=HSIMAEConfig.of_size(task.size),
        epochs=task.epochs,
        windows_per_epoch=(task.windows or _WINDOWS) * len(sources),
        seed=task.seed,
    )
    given = {name: getattr(task, name) for name in ("batch_size", "learning_rate", "mask_ratio")}
    config = replace(config, **{name: value for name, value in given.items() if value is not None})
    title = f"HSIMAE {task.size}"
    with joined_ranks(task.device) as ranks:
        told = progress if ranks.first else Progress()
        model = pretrain(sources, config, ranks=ranks, checkpoint=_checkpoint(target), progress=told)
    if not ranks.first:
        return _finished(title, ranks)
    architecture = Architecture("hsimae", asdict(config.model))
    _write(task, target, architecture, model.network, model.losses)
    return _result(title, target, model.losses)


def _sigma(task: Pretrain, target: Path, progress: Progress) -> Mapping[str, object]:
    short, _, size = task.model.split("-")
    branch: Branch = "spatial" if short == "spat" else "spectral"
    config = MAEPretrainConfig(
        branch=branch,
        size=size,
        epochs=task.epochs,
        batch_size=task.batch_size or task.micro_batch * max(1, _BATCH // task.micro_batch),
        micro_batch=task.micro_batch,
        learning_rate=task.learning_rate,
        precision=cast(Literal["auto", "bf16", "fp32"], task.precision),
        seed=task.seed,
    )
    if task.mask_ratio is not None:
        config = replace(config, mask_ratio=task.mask_ratio)
    progress.report(0.0, "Opening the scenes")
    pool = PatchPool(
        task.scenes,
        bands=config.model.bands,
        side=config.model.img_size,
        per_scene=task.windows or _PATCHES,
        seed=task.seed,
    )
    with joined_ranks(task.device) as ranks:
        told = progress if ranks.first else Progress()
        model = pretrain_mae(pool, config, ranks, checkpoint=_checkpoint(target), progress=told)
    title = f"HyperSIGMA {branch} {size}"
    if not ranks.first:
        return _finished(title, ranks)
    architecture = Architecture(f"hypersigma_{branch}_mae", described(config.model))
    _write(task, target, architecture, model.network, model.losses)
    return _result(title, target, model.losses)


def _checkpoint(target: Path) -> Path:
    return target.with_suffix(".part.safetensors")


def _write(
    task: Pretrain, target: Path, architecture: Architecture, network: nn.Module, losses: tuple[float, ...]
) -> None:
    """Write the bundle, and remove the checkpoint that it makes useless."""
    metadata = ModelMetadata(
        name=target.stem,
        kind="pretrained",
        architecture=architecture,
        provenance=Provenance(
            data=tuple(Path(path).name for path in task.scenes),
            licence="as the data",
            seed=task.seed,
            parameters={name: plain_json(value) for name, value in task.to_dict().items()},
            metrics={"losses": list(losses)},
        ),
    )
    bundle = ModelBundle(metadata, parts(network=network.state_dict()))
    bundle.save(target, overwrite=task.overwrite)
    _checkpoint(target).unlink(missing_ok=True)


def _finished(title: str, ranks: Ranks) -> Mapping[str, object]:
    """What the processes say that write nothing."""
    return {"summary": f"{title}: process {ranks.rank + 1} of {ranks.count} has finished."}


def _result(title: str, target: Path, losses: tuple[float, ...]) -> Mapping[str, object]:
    return {
        "summary": f"{title}: {len(losses)} epochs, loss {losses[-1]:.4f}.",
        "outputs": {"model": str(target)},
        "losses": list(losses),
    }
