"""Train a classifier of objects from two layers."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import bimodal, common
from .base import Task, parameter


@dataclass(frozen=True)
class BimaeFinetune(Task):
    """Train BiMAE's classifier on objects seen in colour and hyperspectrally."""

    name: ClassVar[str] = "bimae_finetune"
    family: ClassVar[str] = "bimae"
    title: ClassVar[str] = "Train an object classifier from two layers"
    summary: ClassVar[str] = (
        "Trains a network to tell objects apart by a sharp colour image and a hyperspectral one together."
    )
    description: ClassVar[str] = (
        "Every polygon is one object with one class: a seed on a tray, a crown in a stand, a roof. Its "
        "surroundings are cut out of both rasters, aligned by coordinates; the network looks at shape and "
        "texture in the one and at the spectrum in the other. Some objects of each class are held out for "
        "judging, none of whose images shows ground that was trained on. Without pretrained weights it "
        "trains from scratch. What the objects have in common besides their class, such as a tray, is "
        "learned as well: let every class come from several."
    )
    group: ClassVar[str] = "Classification"
    tags: ClassVar[Tuple[str, ...]] = (
        "BiMAE",
        "object-based",
        "multimodal",
        "fusion",
        "deep learning",
        "seeds",
        "trees",
    )
    references: ClassVar[Tuple[str, ...]] = (bimodal.BIMAE_PAPER,)
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi bimae finetune colour.tif scene.hdr --labels crowns.gpkg --field species -o model.safetensors",
        "hsi bimae finetune --data records/ --weights pretrained.safetensors -o model.safetensors",
    )

    output: str = parameter(
        "model_output", "Model", "The model file.", suffixes=(".safetensors",), option="-o"
    )
    colour: Optional[str] = bimodal.colour()
    scene: Optional[str] = bimodal.scene()
    labels: Optional[str] = bimodal.objects(
        "A polygon around each object, with its class; parts of a multipolygon are objects of their own."
    )
    field: Optional[str] = parameter(
        "field",
        "Class field",
        "The field with the class: text or whole numbers.",
        parent="labels",
        default=None,
        option="-f",
    )
    report: Optional[str] = parameter(
        "file_output",
        "Report",
        "An HTML report of the training and the accuracy on held-out objects; its figures go beside it as "
        "JSON.",
        suffixes=(".html",),
        default=None,
    )
    data: Optional[str] = bimodal.data(".")
    modality: str = parameter(
        "choice",
        "Modality",
        "What the network is given: both images, the colour image alone (rgb), or the other one (hs).",
        choices=("bimodal", "rgb", "hs"),
        default="bimodal",
    )
    weights: Optional[str] = parameter(
        "model",
        "Pretrained weights",
        "A pretrained BiMAE to start from, or weights of the original (.h5). Sizes are taken over from it.",
        suffixes=(".safetensors", ".h5"),
        default=None,
    )
    size: str = bimodal.size()
    epochs: Optional[int] = parameter(
        "integer",
        "Epochs",
        "Passes over the objects that are trained on; by default 50, or as many as make 2,000 steps.",
        default=None,
        minimum=1,
        maximum=10000,
        unit="epochs",
    )
    test_fraction: float = parameter(
        "number",
        "Held-out share",
        "The share of each class's objects that is kept for judging and never trained on.",
        default=0.3,
        minimum=0.0,
        maximum=0.8,
        advanced=True,
    )
    classes: Optional[int] = parameter(
        "integer",
        "Number of classes",
        "How many classes the objects must have; by default as many as they have.",
        default=None,
        minimum=2,
        maximum=255,
        advanced=True,
    )
    from_scratch: bool = parameter(
        "flag",
        "From scratch",
        "Take over only the sizes of the pretrained weights and start from random ones, to compare.",
        default=False,
        advanced=True,
    )
    batch_size: int = bimodal.batch_size()
    patch_size: int = bimodal.patch_size()
    image_size: int = bimodal.image_size()
    learning_rate: float = bimodal.learning_rate(5e-4)
    margin: float = bimodal.margin()
    blank: bool = bimodal.blank()
    colour_bands: Optional[str] = bimodal.colour_bands()
    layer: Optional[str] = common.layer()
    variable: Optional[str] = common.variable()
    device: str = common.device()
    seed: int = common.seed()
    overwrite: bool = common.overwrite()
