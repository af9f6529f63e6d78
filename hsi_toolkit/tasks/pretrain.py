"""Pretrain a masked autoencoder."""

from dataclasses import dataclass
from typing import ClassVar, Tuple

from . import common
from .base import Task, parameter


@dataclass(frozen=True)
class Pretrain(Task):
    """Pretrain a masked autoencoder on scenes without labels."""

    name: ClassVar[str] = "pretrain"
    title: ClassVar[str] = "Pretrain a model"
    summary: ClassVar[str] = "Masked pretraining of an HSIMAE network on any number of unlabelled scenes."
    description: ClassVar[str] = (
        "Draws windows from the scenes, hides most of each and trains the network to restore what was "
        "hidden. Every scene has its own group-wise components, so scenes of different sensors go "
        "together. An interrupted run goes on from its last epoch when it is started again with the same "
        "output."
    )
    group: ClassVar[str] = "Models"
    tags: ClassVar[Tuple[str, ...]] = ("HSIMAE", "MAE", "self-supervised", "foundation model", "unlabelled")
    references: ClassVar[Tuple[str, ...]] = (common.HSIMAE_PAPER,)
    examples: ClassVar[Tuple[str, ...]] = ("hsi pretrain scene1.hdr scene2.tif -o pretrained.safetensors",)

    scenes: Tuple[str, ...] = parameter("rasters", "Scenes", "The scenes to learn from.", positional=True)
    output: str = parameter(
        "model_output", "Model", "The pretrained model.", suffixes=(".safetensors",), option="-o"
    )
    size: str = common.size()
    epochs: int = parameter(
        "integer",
        "Epochs",
        "Passes over the windows.",
        default=10,
        minimum=1,
        maximum=100000,
        unit="epochs",
    )
    windows: int = parameter(
        "integer",
        "Windows a scene",
        "How many windows are drawn from each scene in an epoch.",
        default=20000,
        minimum=64,
        unit="windows",
    )
    batch_size: int = parameter(
        "integer", "Batch size", "Windows a step.", default=512, minimum=8, unit="windows", advanced=True
    )
    mask_ratio: float = parameter(
        "number",
        "Mask ratio",
        "The share of tokens that is hidden.",
        default=0.5,
        minimum=0.1,
        maximum=0.95,
        advanced=True,
    )
    learning_rate: float = parameter(
        "number",
        "Learning rate",
        "The highest learning rate of the schedule.",
        default=5e-3,
        minimum=1e-7,
        maximum=1.0,
        advanced=True,
    )
    device: str = common.device()
    seed: int = common.seed()
    overwrite: bool = common.overwrite()
