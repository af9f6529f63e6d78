"""Checking the engine."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common
from .base import Task, parameter


@dataclass(frozen=True)
class Doctor(Task):
    """Say what the engine runs on and whether its parts work."""

    name: ClassVar[str] = "doctor"
    title: ClassVar[str] = "Check the engine"
    summary: ClassVar[str] = (
        "Versions, memory, devices and folders of the engine, and whether its parts work."
    )
    description: ClassVar[str] = (
        "Transforms a coordinate, writes and reads a small raster and computes on each device, and lists the "
        "versions of everything that takes part. The report names nobody and can be pasted into a bug report "
        "as it is."
    )
    group: ClassVar[str] = "Engine"
    tags: ClassVar[Tuple[str, ...]] = ("diagnostics", "environment", "CUDA", "GPU", "versions", "bug report")
    examples: ClassVar[Tuple[str, ...]] = ("hsi doctor", "hsi doctor -o report.txt")

    output: Optional[str] = parameter(
        "file_output", "Report", "A text file for the report.", suffixes=(".txt",), default=None, option="-o"
    )
    overwrite: bool = common.overwrite()
