"""Polygons to map, in one go."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common
from .base import Task, parameter
from .train import HYPERSIGMA_PAPER, method, weights


@dataclass(frozen=True)
class Map(Task):
    """Train, classify and report in one go."""

    name: ClassVar[str] = "map"
    title: ClassVar[str] = "Polygons to map"
    summary: ClassVar[str] = "From a scene and training polygons to a class map, its confidence and a report."
    description: ClassVar[str] = (
        "Trains a classifier from the polygons, maps it over the scene and writes a report with the "
        "accuracy on polygons that were held out whole. The folder then holds model.safetensors, map.tif "
        "with its colours, uncertainty.tif, preview.png, report.html and report.json."
    )
    group: ClassVar[str] = "Classification"
    tags: ClassVar[Tuple[str, ...]] = (
        "HSIMAE",
        "HyperSIGMA",
        "supervised",
        "land cover",
        "polygons",
        "classification",
    )
    references: ClassVar[Tuple[str, ...]] = (common.HSIMAE_PAPER, HYPERSIGMA_PAPER)
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi map scene.hdr --labels polygons.gpkg --field class -o result",
    )

    scene: str = common.scene()
    labels: str = common.labels()
    field: str = common.label_field()
    output: str = parameter(
        "folder_output", "Folder", "The folder for the results; made when it does not exist.", option="-o"
    )
    method: str = method()
    size: str = common.size()
    weights: Optional[str] = weights()
    mode: str = common.mode()
    layer: Optional[str] = common.layer()
    variable: Optional[str] = common.variable()
    device: str = common.device()
    seed: int = common.seed()
    cluster: Optional[str] = common.cluster()
    memory_limit: Optional[int] = common.memory_limit()
    overwrite: bool = common.overwrite()
