"""Classify many scenes with one model."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common
from .base import Task, parameter


@dataclass(frozen=True)
class ClassifyScenes(Task):
    """Map the classes of a model over many scenes, as one job."""

    name: ClassVar[str] = "classify_scenes"
    title: ClassVar[str] = "Classify several scenes"
    summary: ClassVar[str] = "Maps a trained model's classes over many scenes; one that fails stops no other."
    description: ClassVar[str] = (
        "Does for each scene what Classify does, and names the maps after the scenes. A scene that cannot be "
        "read or does not fit the model is reported, and the others go on. Started again, the job passes "
        "over scenes whose map is there and goes on within the one that was interrupted. On a large cluster "
        "several scenes are worked on at a time."
    )
    group: ClassVar[str] = "Classification"
    tags: ClassVar[Tuple[str, ...]] = (
        "HSIMAE",
        "HyperSIGMA",
        "map",
        "batch",
        "archive",
        "inference",
        "cluster",
    )
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi classify-scenes *.hdr --model model.safetensors -o maps",
        "hsi classify-scenes scenes.txt --model model.safetensors -o maps --cluster tcp://host:8786",
    )

    scenes: Tuple[str, ...] = parameter(
        "rasters",
        "Scenes",
        "The scenes; a file whose name ends in .txt lists some, one a line.",
        positional=True,
    )
    model: str = common.model()
    output: str = parameter(
        "folder_output", "Folder", "The folder for the maps; made when it does not exist.", option="-o"
    )
    probabilities: bool = parameter(
        "flag", "Probabilities", "Also write one band a class with its probability.", default=False
    )
    uncertainty: bool = parameter(
        "flag", "Uncertainty", "Also write how undecided the model is at each pixel.", default=False
    )
    mode: str = common.mode()
    variable: Optional[str] = common.variable()
    device: str = common.device()
    cluster: Optional[str] = common.cluster()
    memory_limit: Optional[int] = common.memory_limit()
    overwrite: bool = parameter(
        "flag",
        "Overwrite",
        "Make maps anew that exist, instead of passing over them.",
        default=False,
        advanced=True,
    )
