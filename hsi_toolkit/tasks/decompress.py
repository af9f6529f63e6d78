"""Decompress a scene."""

from dataclasses import dataclass
from typing import ClassVar, Tuple

from . import common
from .base import Task, parameter


@dataclass(frozen=True)
class Decompress(Task):
    """Write a compressed scene as a GeoTIFF of the numbers it was made from."""

    name: ClassVar[str] = "decompress"
    title: ClassVar[str] = "Decompress a scene"
    summary: ClassVar[str] = "The numbers of an .hsz file as a GeoTIFF that any program opens."
    description: ClassVar[str] = (
        "Writes the stored numbers in their own type, with scale, no-data, wavelengths, bad bands and "
        "georeference. Each tile is held against its checksum; a damaged one stops the task, or becomes "
        "no-data where that is allowed, and all others are written. The tasks of this toolbox need no "
        "decompression: they open .hsz files as they are."
    )
    group: ClassVar[str] = "Scene"
    tags: ClassVar[Tuple[str, ...]] = ("compression", "archive", "hsz", "GeoTIFF", "unpack", "damaged")
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi decompress scene.hsz -o scene.tif",
        "hsi decompress broken.hsz -o rest.tif --skip-damaged",
    )

    scene: str = parameter("file", "Compressed scene", "The .hsz file.", suffixes=(".hsz",), positional=True)
    output: str = parameter(
        "raster_output", "Scene", "The GeoTIFF.", suffixes=common.MAP_SUFFIXES, option="-o"
    )
    skip_damaged: bool = parameter(
        "flag", "Skip damaged tiles", "Write damaged tiles as no-data rather than stop.", default=False
    )
    overwrite: bool = common.overwrite()
