"""Classify a scene with a trained model."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common
from .base import Task, parameter


@dataclass(frozen=True)
class Classify(Task):
    """Map the classes of a model over a scene of any size."""

    name: ClassVar[str] = "classify"
    title: ClassVar[str] = "Classify"
    summary: ClassVar[str] = (
        "Maps a trained model's classes over a scene, with probabilities and uncertainty."
    )
    description: ClassVar[str] = (
        "Streams the scene block by block, each with the margin its windows need, so that a scene of any "
        "size fits. Pixels without data stay without a class. A model of another sensor is applied after "
        "resampling the scene to the model's wavelengths, when the scene covers them. A run that is "
        "cancelled or fails leaves what was there before."
    )
    group: ClassVar[str] = "Classification"
    tags: ClassVar[Tuple[str, ...]] = (
        "HSIMAE",
        "HyperSIGMA",
        "map",
        "land cover",
        "inference",
        "probability",
        "uncertainty",
    )
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi classify scene.hdr --model model.safetensors -o map.tif --uncertainty uncertainty.tif",
    )

    scene: str = common.scene()
    model: str = common.model()
    output: str = parameter(
        "raster_output",
        "Class map",
        "The class map, with names and colours; 0 is no data.",
        suffixes=common.MAP_SUFFIXES,
        option="-o",
    )
    probabilities: Optional[str] = parameter(
        "raster_output",
        "Probabilities",
        "One band a class with its probability, 0 to 1.",
        suffixes=common.MAP_SUFFIXES,
        default=None,
    )
    uncertainty: Optional[str] = parameter(
        "raster_output",
        "Uncertainty",
        "How undecided the model is at each pixel, 0 (certain) to 1 (all classes alike).",
        suffixes=common.MAP_SUFFIXES,
        default=None,
    )
    mode: str = common.mode()
    variable: Optional[str] = common.variable()
    device: str = common.device()
    cluster: Optional[str] = common.cluster()
    memory_limit: Optional[int] = common.memory_limit()
    overwrite: bool = common.overwrite()
