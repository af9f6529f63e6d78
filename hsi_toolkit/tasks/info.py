"""Scene information."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common
from .base import Task


@dataclass(frozen=True)
class Info(Task):
    """Say what a scene is: size, wavelengths, bad bands, units, georeference."""

    name: ClassVar[str] = "info"
    title: ClassVar[str] = "Scene information"
    summary: ClassVar[str] = "Size, wavelengths, bad bands, physical quantity and georeference of a scene."
    description: ClassVar[str] = (
        "Opens the scene's header alone, so it answers at once for a cube of any size. Use it first: if "
        "the wavelengths are missing here, every tool that needs them will say so too."
    )
    group: ClassVar[str] = "Scene"
    tags: ClassVar[Tuple[str, ...]] = ("metadata", "wavelength", "header", "ENVI", "EnMAP", "bad bands")
    examples: ClassVar[Tuple[str, ...]] = ("hsi info scene.hdr", "hsi info scene.mat --variable cube --json")

    scene: str = common.scene()
    variable: Optional[str] = common.variable()
