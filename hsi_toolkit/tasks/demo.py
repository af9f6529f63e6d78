"""The main job on a scene the project makes itself."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common
from .base import Task, parameter


@dataclass(frozen=True)
class Demo(Task):
    """Make a scene with training polygons and run the main job on it."""

    name: ClassVar[str] = "demo"
    title: ClassVar[str] = "Demo"
    summary: ClassVar[str] = "Makes a scene with training polygons and goes from them to a map and a report."
    description: ClassVar[str] = (
        "Writes a synthetic landscape of about 120 bands and a layer of training polygons into the folder "
        "and runs Polygons to map on them, to see what to expect before working on own data."
    )
    group: ClassVar[str] = "Scene"
    tags: ClassVar[Tuple[str, ...]] = ("example", "sample data", "synthetic")
    examples: ClassVar[Tuple[str, ...]] = ("hsi demo -o demo",)

    output: str = parameter(
        "folder_output",
        "Folder",
        "The folder for the scene and the results; made when it does not exist.",
        default="demo",
        option="-o",
    )
    device: str = common.device()
    seed: int = common.seed()
    memory_limit: Optional[int] = common.memory_limit()
    overwrite: bool = common.overwrite()
