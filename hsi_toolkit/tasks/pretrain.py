"""Pretrain a masked autoencoder."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common
from .base import Task, parameter
from .train import HYPERSIGMA_PAPER

SIGMA_MODELS = tuple(
    f"{branch}-mae-{size}" for branch in ("spat", "spec") for size in ("small", "base", "large", "huge")
)
"""The autoencoders of HyperSIGMA: branch and size."""


@dataclass(frozen=True)
class Pretrain(Task):
    """Pretrain a masked autoencoder on scenes without labels."""

    name: ClassVar[str] = "pretrain"
    title: ClassVar[str] = "Pretrain a model"
    summary: ClassVar[str] = "Masked pretraining of HSIMAE or HyperSIGMA on any number of unlabelled scenes."
    description: ClassVar[str] = (
        "Draws windows from the scenes, hides most of each and trains the network to restore what was "
        "hidden. With HSIMAE every scene has its own group-wise components, so scenes of different sensors "
        "go together. The networks of HyperSIGMA, a spatial (spat-mae) and a spectral one (spec-mae), take "
        "patches of 64 pixels, the small ones 32, and 100 neighbouring bands; a folder is an archive of "
        "patches in the layout of HyperGlobal (.mat) or HySpecNet-11k, or of any GeoTIFFs. Any "
        "network trains on several devices when torchrun starts the command. An interrupted run goes on "
        "from its last epoch when it is started again with the same output."
    )
    group: ClassVar[str] = "Models"
    tags: ClassVar[Tuple[str, ...]] = (
        "HSIMAE",
        "HyperSIGMA",
        "MAE",
        "self-supervised",
        "foundation model",
        "unlabelled",
    )
    references: ClassVar[Tuple[str, ...]] = (common.HSIMAE_PAPER, HYPERSIGMA_PAPER)
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi pretrain scene1.hdr scene2.tif -o pretrained.safetensors",
        "hsi pretrain --model spat-mae-base HyperGlobal-450K -o spatial.safetensors",
        "torchrun --nproc-per-node 4 -m hsi_toolkit.cli pretrain --model spec-mae-base patches "
        "-o spectral.safetensors",
    )

    scenes: Tuple[str, ...] = parameter(
        "rasters",
        "Scenes",
        "The scenes to learn from; for HyperSIGMA also folders of patches.",
        positional=True,
    )
    output: str = parameter(
        "model_output", "Model", "The pretrained model.", suffixes=(".safetensors",), option="-o"
    )
    model: str = parameter(
        "choice",
        "Network",
        "hsimae, or an autoencoder of HyperSIGMA: spatial (spat) or spectral (spec), of one of four sizes.",
        choices=("hsimae", *SIGMA_MODELS),
        default="hsimae",
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
    windows: Optional[int] = parameter(
        "integer",
        "Windows a scene",
        "How many windows are drawn from each scene in an epoch; by default 20,000 for HSIMAE and 64 for "
        "HyperSIGMA, which takes each file of a folder once.",
        default=None,
        minimum=1,
        unit="windows",
    )
    batch_size: Optional[int] = parameter(
        "integer",
        "Batch size",
        "Windows a step, of all devices together; by default 512 for HSIMAE and 64 for HyperSIGMA.",
        default=None,
        minimum=1,
        unit="windows",
        advanced=True,
    )
    micro_batch: int = parameter(
        "integer",
        "Micro-batch",
        "HyperSIGMA: windows computed at a time, a divisor of the batch; gradients are accumulated.",
        default=16,
        minimum=1,
        unit="windows",
        advanced=True,
    )
    precision: str = parameter(
        "choice",
        "Precision",
        "HyperSIGMA: auto is bf16 on CUDA devices that have it, else fp32.",
        choices=("auto", "bf16", "fp32"),
        default="auto",
        advanced=True,
    )
    mask_ratio: Optional[float] = parameter(
        "number",
        "Mask ratio",
        "The share of tokens that is hidden; by default 0.5 for HSIMAE and 0.75 for HyperSIGMA.",
        default=None,
        minimum=0.1,
        maximum=0.95,
        advanced=True,
    )
    learning_rate: Optional[float] = parameter(
        "number",
        "Learning rate",
        "The highest learning rate of the schedule; by default 0.005 for HSIMAE, and for HyperSIGMA 0.00015 "
        "a batch of 256 (small: 0.001).",
        default=None,
        minimum=1e-7,
        maximum=1.0,
        advanced=True,
    )
    device: str = common.device()
    seed: int = common.seed()
    overwrite: bool = common.overwrite()
