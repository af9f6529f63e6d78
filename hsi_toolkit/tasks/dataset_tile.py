"""Make a data set of patches from scenes."""

from dataclasses import dataclass
from typing import ClassVar, Tuple

from .base import Task, parameter
from .codec_train import HYSPECNET_PAPER


@dataclass(frozen=True)
class DatasetTile(Task):
    """Cut scenes into patches."""

    name: ClassVar[str] = "dataset_tile"
    family: ClassVar[str] = "dataset"
    title: ClassVar[str] = "Cut scenes into patches"
    summary: ClassVar[str] = "A data set in the layout of HySpecNet-11k from any scenes of one sensor."
    description: ClassVar[str] = (
        "Writes each patch as a GeoTIFF of all bands and as an array of the good bands with values from 0 to "
        "1, and lists of patches for training, validation and test (70, 20 and 10 %): easy ones divide "
        "patches at random, hard ones keep the patches of a scene together, or strips of rows where there "
        "are fewer than three scenes. Codecs train on it, and pretraining reads it."
    )
    group: ClassVar[str] = "Models"
    tags: ClassVar[Tuple[str, ...]] = ("HySpecNet", "patches", "tiles", "training data")
    references: ClassVar[Tuple[str, ...]] = (HYSPECNET_PAPER,)
    examples: ClassVar[Tuple[str, ...]] = ("hsi dataset tile scene1.hdr scene2.tif -o patches --side 64",)

    scenes: Tuple[str, ...] = parameter("rasters", "Scenes", "The scenes to cut.", positional=True)
    output: str = parameter(
        "folder_output", "Data set", "The folder that gets patches and splits.", option="-o"
    )
    side: int = parameter(
        "integer",
        "Side",
        "Of a patch; a multiple of 8 suits every codec.",
        default=128,
        minimum=8,
        maximum=4096,
        unit="pixels",
    )
    maximum: float = parameter(
        "number",
        "Largest value",
        "What becomes 1; larger values are cut off. 0 takes what 99.9 % of a scene's values stay below, for "
        "scenes that hold no reflectance.",
        default=1.0,
        minimum=0.0,
    )
    valid: float = parameter(
        "number",
        "Data share",
        "The share of a patch's pixels that must have data.",
        default=1.0,
        minimum=0.0,
        maximum=1.0,
        advanced=True,
    )
    seed: int = parameter(
        "integer",
        "Seed",
        "Of the random division into training, validation and test.",
        default=10587,
        minimum=0,
        advanced=True,
    )
