"""Compress a scene."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common
from .base import Task, parameter


@dataclass(frozen=True)
class Compress(Task):
    """Write a scene as a compressed file that keeps what it promises."""

    name: ClassVar[str] = "compress"
    title: ClassVar[str] = "Compress a scene"
    summary: ClassVar[str] = (
        "A scene as an .hsz file: lossless, or lossy within an error that every sample keeps."
    )
    description: ClassVar[str] = (
        "Predicts each band from those before it and from its neighbours, and codes what is left. Without a "
        "bound the file gives back the very numbers that were stored. With a largest error every sample is "
        "checked to keep it; with a largest angle, every spectrum. With a rate, the smallest error that "
        "reaches it is found. Georeference, wavelengths, bad bands, scale and no-data stay as they are. All "
        "other tasks open .hsz files as they are, by windows. A learned codec needs its model, which then "
        "travels in the file."
    )
    group: ClassVar[str] = "Scene"
    tags: ClassVar[Tuple[str, ...]] = (
        "compression",
        "archive",
        "lossless",
        "near-lossless",
        "hsz",
        "CCSDS",
        "codec",
    )
    references: ClassVar[Tuple[str, ...]] = (
        "CCSDS 123.0-B-2, Low-Complexity Lossless and Near-Lossless Multispectral and Hyperspectral Image "
        "Compression, 2019",
        "Li and Zhu, Novel Lossless Compression Method for Hyperspectral Images Based on Variable Forgetting "
        "Factor Recursive Least Squares, J. of Information Processing Systems, doi:10.3745/JIPS.02.0219",
        "Fuchs and Demir 2023, HySpecNet-11k: A Large-Scale Hyperspectral Dataset for Benchmarking "
        "Learning-Based Hyperspectral Image Compression Methods, IGARSS, arXiv:2306.00385",
    )
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi compress scene.hdr -o scene.hsz",
        "hsi compress scene.hdr -o small.hsz --max-error 5",
        "hsi compress scene.hdr -o small.hsz --codec cae1d --model cae1d.safetensors --max-error 20",
    )

    scene: str = common.scene()
    output: str = parameter(
        "file_output", "Compressed scene", "The .hsz file.", suffixes=(".hsz",), option="-o"
    )
    codec: str = parameter(
        "choice",
        "Codec",
        "auto: prediction, or the learned codec with a coded residual where that is smaller; lossless: "
        "prediction without any loss; the others are learned codecs and need a model.",
        choices=("auto", "lossless", "cae1d", "cae1da", "cae1de", "sscnet", "cae3d"),
        default="auto",
    )
    max_error: Optional[float] = parameter(
        "number",
        "Largest error",
        "How far any sample may be off, in the numbers that the file stores.",
        default=None,
        minimum=0,
    )
    max_angle: Optional[float] = parameter(
        "number",
        "Largest angle",
        "How far any spectrum may be turned.",
        default=None,
        minimum=0,
        maximum=90,
        unit="degrees",
    )
    rate: Optional[float] = parameter(
        "number",
        "Rate",
        "How many bits a sample the file may take.",
        default=None,
        minimum=0.01,
        maximum=64,
        unit="bits",
    )
    model: Optional[str] = parameter(
        "file",
        "Model",
        "A learned codec: a model of 'hsi codec train', or a released checkpoint.",
        suffixes=(".safetensors", ".tar", ".pth"),
        default=None,
    )
    verify: bool = parameter(
        "flag",
        "Read back",
        "Decompress what was written and compare every sample with the scene.",
        default=False,
        advanced=True,
    )
    variable: Optional[str] = common.variable()
    overwrite: bool = common.overwrite()
