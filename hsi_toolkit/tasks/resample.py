"""Spectral resampling."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common
from .base import Task, parameter


@dataclass(frozen=True)
class Resample(Task):
    """Give a scene the bands of another sensor."""

    name: ClassVar[str] = "resample"
    title: ClassVar[str] = "Resample to another sensor"
    summary: ClassVar[str] = "A scene with the bands of another sensor, so that its models and libraries fit."
    description: ClassVar[str] = (
        "Weights the scene's good bands with the other sensor's: Gaussian responses where it states centres "
        "and widths, its own response functions where these are given, the nearest bands interpolated where "
        "only centres are known. What the scene has blurred already is not blurred again. Bands that the "
        "scene does not cover are refused by name, or left out if you allow it. The scene is read once, in "
        "blocks."
    )
    group: ClassVar[str] = "Scene"
    tags: ClassVar[Tuple[str, ...]] = (
        "spectral resampling",
        "response function",
        "convolution",
        "band",
        "sensor",
        "SRF",
        "FWHM",
    )
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi resample scene.hdr --to enmap.hdr -o as_enmap.tif",
        "hsi resample scene.hdr --to sentinel2_responses.csv -o as_sentinel2.tif --partial",
    )

    scene: str = common.scene()
    to: str = parameter(
        "file",
        "Bands of",
        "An ENVI header, a table of wavelengths and widths, response functions, or a scene of the sensor.",
        suffixes=(".hdr", ".csv", ".txt", ".tif", ".nc", ".he5"),
    )
    output: str = parameter(
        "raster_output",
        "Resampled scene",
        "A GeoTIFF, float32, with the new wavelengths.",
        suffixes=common.MAP_SUFFIXES,
        option="-o",
    )
    partial: bool = parameter(
        "flag",
        "Leave out what is not covered",
        "Write only the bands that the scene covers, instead of refusing.",
        default=False,
    )
    variable: Optional[str] = common.variable()
    memory_limit: Optional[int] = common.memory_limit()
    overwrite: bool = common.overwrite()
