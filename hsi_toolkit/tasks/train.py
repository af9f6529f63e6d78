"""Train a classifier from polygons."""

from dataclasses import dataclass
from typing import Any, ClassVar, Optional, Tuple

from . import common
from .base import Task, parameter

HYPERSIGMA_PAPER = (
    "Wang et al. 2025, HyperSIGMA: Hyperspectral Intelligence Comprehension Foundation Model, IEEE "
    "Transactions on Pattern Analysis and Machine Intelligence"
)


def method() -> Any:
    return parameter(
        "choice",
        "Method",
        "hsimae trains HSIMAE together with spectral experts; hypersigma the fused transformers of "
        "HyperSIGMA.",
        choices=("hsimae", "hypersigma"),
        default="hsimae",
    )


def weights() -> Any:
    return parameter(
        "model",
        "Pretrained weights",
        "A pretrained model of the method to start from: a file, or the name of a built-in or fetched one, "
        "such as hsimae-small; for hypersigma a spatial and a spectral one with a comma between. Its size is "
        "taken over.",
        suffixes=(".safetensors", ".pth"),
        default=None,
    )


@dataclass(frozen=True)
class Train(Task):
    """Fine-tune a masked autoencoder on the polygons a user has drawn."""

    name: ClassVar[str] = "train"
    title: ClassVar[str] = "Train a classifier from polygons"
    summary: ClassVar[str] = "Trains a network on labelled polygons and reports its accuracy."
    description: ClassVar[str] = (
        "Takes the pixels whose centres lie in the polygons, holds whole polygons out for judging, and "
        "trains on the rest. The method hsimae learns labelled windows by cross-entropy, labelled and "
        "unlabelled windows by masked reconstruction, guided by spectral experts fitted on the same pixels; "
        "whether the neighbourhood of a pixel helps is decided from the scene itself. The method hypersigma "
        "trains the fused spatial and spectral transformers on windows of principal components, from "
        "released weights or from a random start; it takes longer, and without pretrained weights it is "
        "rarely as accurate. Draw at least two polygons a class, more where a class varies; with one polygon "
        "a class nothing can be held out and no accuracy is reported."
    )
    group: ClassVar[str] = "Classification"
    tags: ClassVar[Tuple[str, ...]] = (
        "HSIMAE",
        "HyperSIGMA",
        "supervised",
        "deep learning",
        "fine-tuning",
        "land cover",
        "MAE",
    )
    references: ClassVar[Tuple[str, ...]] = (common.HSIMAE_PAPER, HYPERSIGMA_PAPER)
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi train scene.hdr --labels polygons.gpkg --field class -o model.safetensors --report report.html",
        "hsi train scene.hdr --labels polygons.gpkg --field class --method hypersigma --weights "
        "hypersigma-spatial-base,hypersigma-spectral-base -o model.safetensors",
    )

    scene: str = common.scene()
    labels: str = common.labels()
    field: str = common.label_field()
    output: str = parameter(
        "model_output", "Model", "The model file.", suffixes=(".safetensors",), option="-o"
    )
    report: Optional[str] = parameter(
        "file_output",
        "Report",
        "An HTML report of the training and the accuracy on held-out polygons; its figures go beside it as "
        "JSON.",
        suffixes=(".html",),
        default=None,
    )
    method: str = method()
    size: str = common.size()
    weights: Optional[str] = weights()
    epochs: Optional[int] = parameter(
        "integer",
        "Epochs",
        "The most passes over the labelled windows; the best on watched polygons is kept. By default 8 with "
        "hsimae and 40 with hypersigma.",
        default=None,
        minimum=1,
        maximum=10000,
        unit="epochs",
        advanced=True,
    )
    test_fraction: float = parameter(
        "number",
        "Held-out share",
        "The share of each class's polygons that is kept for judging and never trained on.",
        default=0.3,
        minimum=0.0,
        maximum=0.8,
        advanced=True,
    )
    layer: Optional[str] = common.layer()
    variable: Optional[str] = common.variable()
    device: str = common.device()
    seed: int = common.seed()
    memory_limit: Optional[int] = common.memory_limit()
    overwrite: bool = common.overwrite()
