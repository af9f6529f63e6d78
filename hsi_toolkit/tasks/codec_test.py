"""Test learned codecs."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common
from .base import Task, parameter
from .codec_train import HYSPECNET_PAPER


@dataclass(frozen=True)
class CodecTest(Task):
    """Measure codecs on the patches of a data set."""

    name: ClassVar[str] = "codec_test"
    family: ClassVar[str] = "codec"
    title: ClassVar[str] = "Test codecs"
    summary: ClassVar[str] = "PSNR, SSIM, spectral angle and rate of codecs, as a table and a plot."
    description: ClassVar[str] = (
        "Compresses and restores the test patches with each codec and reports the benchmark's measures, each "
        "the mean over the patches: peak signal-to-noise ratio of the whole patch, structural similarity, "
        "and spectral angle. Rates are those of the latents in 32-bit floats, as the benchmark counts them. "
        "Beside them stand principal components of the training patches at the same rates: what a codec "
        "without any learning of networks reaches."
    )
    group: ClassVar[str] = "Models"
    tags: ClassVar[Tuple[str, ...]] = ("compression", "HySpecNet", "rate-distortion", "PSNR", "bpppc")
    references: ClassVar[Tuple[str, ...]] = (HYSPECNET_PAPER,)
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi codec test hyspecnet-11k cae1d_8bpppc.pth.tar cae1d_2bpppc.pth.tar --report codecs.html",
    )

    dataset: str = parameter(
        "folder", "Data set", "The folder that holds patches and splits.", positional=True
    )
    models: Tuple[str, ...] = parameter(
        "files", "Codecs", "Trained codecs, or released checkpoints.", positional=True
    )
    report: Optional[str] = parameter(
        "file_output",
        "Report",
        "A page with the table and the rate-distortion plot.",
        suffixes=(".html",),
        default=None,
    )
    mode: str = parameter(
        "choice",
        "Split",
        "easy divides patches at random, hard whole tiles.",
        choices=("easy", "hard"),
        default="easy",
    )
    half: bool = parameter(
        "flag", "Half precision", "Run the networks in 16 bits, as the benchmark does.", default=False
    )
    device: str = common.device()
    overwrite: bool = common.overwrite()
