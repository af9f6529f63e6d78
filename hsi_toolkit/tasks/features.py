"""Spectral features."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common
from .base import Task, parameter


@dataclass(frozen=True)
class Features(Task):
    """Write the spectral features that the masked autoencoders see."""

    name: ClassVar[str] = "features"
    title: ClassVar[str] = "Spectral features (MS-PCA)"
    summary: ClassVar[str] = "Multi-scale or group-wise principal components of a scene, whitened."
    description: ClassVar[str] = (
        "Splits the spectrum in halves, quarters and eighths and takes the principal components of each "
        "part (multi-scale, 64 features), or of four equal groups of bands (group-wise, 32 features). "
        "Unlike one PCA of the whole spectrum this keeps narrow absorption features that carry little of "
        "the total variance. The scene is read twice, block by block; memory does not grow with it."
    )
    group: ClassVar[str] = "Spectral features"
    tags: ClassVar[Tuple[str, ...]] = ("PCA", "MS-PCA", "GWPCA", "dimension reduction", "components")
    references: ClassVar[Tuple[str, ...]] = (common.HSIMAE_PAPER,)
    examples: ClassVar[Tuple[str, ...]] = ("hsi features scene.hdr -o features.tif --method mspca",)

    scene: str = common.scene()
    output: str = parameter(
        "raster_output", "Features", "The feature raster, float32.", suffixes=common.MAP_SUFFIXES, option="-o"
    )
    method: str = parameter(
        "choice",
        "Method",
        "mspca: multi-scale, 64 features; gwpca: group-wise, 32 features.",
        choices=("mspca", "gwpca"),
        default="mspca",
    )
    variable: Optional[str] = common.variable()
    memory_limit: Optional[int] = common.memory_limit()
    overwrite: bool = common.overwrite()
