"""Train a classifier from polygons."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common
from .base import Task, parameter


@dataclass(frozen=True)
class Train(Task):
    """Fine-tune a masked autoencoder on the polygons a user has drawn."""

    name: ClassVar[str] = "train"
    title: ClassVar[str] = "Train a classifier from polygons"
    summary: ClassVar[str] = "Fine-tunes a masked autoencoder on labelled polygons and reports its accuracy."
    description: ClassVar[str] = (
        "Takes the pixels whose centres lie in the polygons, holds whole polygons out for judging, and "
        "trains on the rest: labelled windows by cross-entropy, labelled and unlabelled windows by masked "
        "reconstruction, guided by spectral experts fitted on the same pixels. Whether the neighbourhood "
        "of a pixel helps is decided from the scene itself. Draw at least two polygons a class, more where "
        "a class varies; with one polygon a class nothing can be held out and no accuracy is reported."
    )
    group: ClassVar[str] = "Classification"
    tags: ClassVar[Tuple[str, ...]] = (
        "HSIMAE",
        "supervised",
        "deep learning",
        "fine-tuning",
        "land cover",
        "MAE",
    )
    references: ClassVar[Tuple[str, ...]] = (common.HSIMAE_PAPER,)
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi train scene.hdr --labels polygons.gpkg --field class -o model.safetensors --report report.html",
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
    size: str = common.size()
    weights: Optional[str] = parameter(
        "model",
        "Pretrained weights",
        "A pretrained model to start from: a file, or the name of a fetched one. Its size is taken over.",
        suffixes=(".safetensors",),
        default=None,
    )
    epochs: int = parameter(
        "integer",
        "Epochs",
        "The most passes over the labelled windows; the best on watched polygons is kept.",
        default=8,
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
