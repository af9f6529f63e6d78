"""Pretrain a network on objects seen in colour and hyperspectrally."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import bimodal, common
from .base import Task, parameter


@dataclass(frozen=True)
class BimaePretrain(Task):
    """Pretrain BiMAE on pairs of images without labels."""

    name: ClassVar[str] = "bimae_pretrain"
    family: ClassVar[str] = "bimae"
    title: ClassVar[str] = "Pretrain an object network from two layers"
    summary: ClassVar[str] = (
        "Masked pretraining of a BiMAE network on objects without labels, seen in colour and hyperspectrally."
    )
    description: ClassVar[str] = (
        "Cuts every polygon out of both rasters, aligned by coordinates, hides most of the bands and most of "
        "the colour image's patches, and trains one network to restore both. It may pay where there are many "
        "more objects than labels: compare with a training from scratch. An interrupted run goes on from its "
        "last epoch when it is started again with the same output."
    )
    group: ClassVar[str] = "Models"
    tags: ClassVar[Tuple[str, ...]] = ("BiMAE", "MAE", "self-supervised", "multimodal", "objects", "seeds")
    references: ClassVar[Tuple[str, ...]] = (bimodal.BIMAE_PAPER,)
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi bimae pretrain colour.tif scene.hdr --objects crowns.gpkg -o pretrained.safetensors",
        "hsi bimae pretrain --data records/ -o pretrained.safetensors",
    )

    output: str = parameter(
        "model_output", "Model", "The pretrained model.", suffixes=(".safetensors",), option="-o"
    )
    colour: Optional[str] = bimodal.colour()
    scene: Optional[str] = bimodal.scene()
    objects: Optional[str] = bimodal.objects(
        "A polygon around each object; parts of a multipolygon are objects of their own."
    )
    data: Optional[str] = bimodal.data("; labels are not looked at.")
    size: str = bimodal.size()
    epochs: int = parameter(
        "integer",
        "Epochs",
        "Passes over the objects.",
        default=300,
        minimum=1,
        maximum=100000,
        unit="epochs",
    )
    batch_size: int = bimodal.batch_size()
    patch_size: int = bimodal.patch_size()
    image_size: int = bimodal.image_size()
    hs_mask: float = parameter(
        "number",
        "Hidden bands",
        "The share of the bands that is hidden.",
        default=0.9,
        minimum=0.1,
        maximum=0.99,
        advanced=True,
    )
    rgb_mask: float = parameter(
        "number",
        "Hidden patches",
        "The share of the colour image's patches that is hidden.",
        default=0.75,
        minimum=0.1,
        maximum=0.99,
        advanced=True,
    )
    learning_rate: float = bimodal.learning_rate(1e-4)
    margin: float = bimodal.margin()
    blank: bool = bimodal.blank()
    colour_bands: Optional[str] = bimodal.colour_bands()
    layer: Optional[str] = common.layer()
    variable: Optional[str] = common.variable()
    device: str = common.device()
    seed: int = common.seed()
    overwrite: bool = common.overwrite()
