"""Classify objects from two layers."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import bimodal, common
from .base import Task, parameter


@dataclass(frozen=True)
class BimaeClassify(Task):
    """Give every polygon of a layer its class and probability."""

    name: ClassVar[str] = "bimae_classify"
    family: ClassVar[str] = "bimae"
    title: ClassVar[str] = "Classify objects from two layers"
    summary: ClassVar[str] = (
        "Gives every object its class and probability, from a colour image and a hyperspectral scene."
    )
    description: ClassVar[str] = (
        "Cuts every polygon out of both rasters as in training and writes a copy of the layer with all its "
        "attributes, the class, its probability, and the probability of every class. A multipolygon of "
        "several parts becomes several features, one an object. Objects outside a raster or without data "
        "keep their feature, without a class. A scene of another sensor is resampled to the model's "
        "wavelengths, when it covers them."
    )
    group: ClassVar[str] = "Classification"
    tags: ClassVar[Tuple[str, ...]] = (
        "BiMAE",
        "object-based",
        "multimodal",
        "inference",
        "probability",
        "attributes",
    )
    references: ClassVar[Tuple[str, ...]] = (bimodal.BIMAE_PAPER,)
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi bimae classify colour.tif scene.hdr --objects crowns.gpkg -m model.safetensors -o classes.gpkg",
    )

    colour: str = parameter(
        "raster",
        "Colour image",
        "The sharp image, of the kind the model was trained on.",
        positional=True,
    )
    scene: str = parameter(
        "raster",
        "Hyperspectral scene",
        "The hyperspectral scene of the same ground; its coordinate system may be another.",
        positional=True,
    )
    objects: str = parameter(
        "vector",
        "Objects",
        "A polygon around each object.",
        suffixes=common.VECTOR_SUFFIXES,
        geometries=("polygon",),
        option="-l",
    )
    model: str = common.model()
    output: str = parameter(
        "vector_output",
        "Classified objects",
        "A copy of the layer with class and probability, coloured by class.",
        suffixes=(".gpkg",),
        option="-o",
    )
    colour_bands: Optional[str] = bimodal.colour_bands()
    layer: Optional[str] = common.layer()
    variable: Optional[str] = common.variable()
    device: str = common.device()
    overwrite: bool = common.overwrite()
