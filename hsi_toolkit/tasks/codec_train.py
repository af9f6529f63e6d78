"""Train a learned codec."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common
from .base import Task, parameter

HYSPECNET_PAPER = (
    "Fuchs and Demir 2023, HySpecNet-11k: A Large-Scale Hyperspectral Dataset for Benchmarking "
    "Learning-Based Hyperspectral Image Compression Methods, IGARSS, arXiv:2306.00385"
)
CODECS = ("cae1d", "cae1da", "cae1de", "sscnet", "cae3d")


@dataclass(frozen=True)
class CodecTrain(Task):
    """Train a codec on a data set of patches."""

    name: ClassVar[str] = "codec_train"
    family: ClassVar[str] = "codec"
    title: ClassVar[str] = "Train a codec"
    summary: ClassVar[str] = "Trains a learned codec on patches in the layout of HySpecNet-11k."
    description: ClassVar[str] = (
        "Trains an autoencoder that compresses patches, with the benchmark's recipe: mean squared error, "
        "Adam, gradients clipped to a norm of 1, the best of the validated epochs kept. cae1d, cae1da and "
        "cae1de work spectrum by spectrum, sscnet and cae3d with the neighbours, too. An interrupted run "
        "goes on from its last epoch when it is started again with the same output."
    )
    group: ClassVar[str] = "Models"
    tags: ClassVar[Tuple[str, ...]] = ("compression", "HySpecNet", "autoencoder", "CAE", "SSCNet")
    references: ClassVar[Tuple[str, ...]] = (
        HYSPECNET_PAPER,
        "Kuester, Gross and Middelmann 2021, 1D-Convolutional Autoencoder Based Hyperspectral Data "
        "Compression, ISPRS Archives XLIII-B1, doi:10.5194/isprs-archives-XLIII-B1-2021-15-2021",
        "La Grassa et al. 2022, Hyperspectral Data Compression Using Fully Convolutional Autoencoder, Remote "
        "Sensing 14, doi:10.3390/rs14102472",
        "Chong, Chen and Pan 2021, End-to-End Joint Spectral-Spatial Compression and Reconstruction of "
        "Hyperspectral Images Using a 3D Convolutional Autoencoder, Journal of Electronic Imaging 30, "
        "doi:10.1117/1.JEI.30.4.041403",
    )
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi codec train hyspecnet-11k -o cae1d.safetensors",
        "hsi codec train patches -o fast.safetensors --rate 2 --epochs 50 --crop 32",
    )

    dataset: str = parameter(
        "folder", "Data set", "The folder that holds patches and splits.", positional=True
    )
    output: str = parameter(
        "model_output", "Model", "The trained codec.", suffixes=(".safetensors",), option="-o"
    )
    codec: str = parameter("choice", "Codec", "The network.", choices=CODECS, default="cae1d")
    rate: str = parameter(
        "choice",
        "Rate",
        "About how many bits per pixel and band its latent takes; 6 and 2.5 for sscnet alone.",
        choices=("8", "6", "4", "2.5", "2", "1"),
        default="8",
    )
    mode: str = parameter(
        "choice",
        "Split",
        "easy divides patches at random, hard whole tiles.",
        choices=("easy", "hard"),
        default="easy",
    )
    epochs: int = parameter(
        "integer",
        "Epochs",
        "Passes over the patches.",
        default=500,
        minimum=1,
        maximum=100000,
        unit="epochs",
    )
    batch_size: int = parameter(
        "integer", "Batch size", "Patches a step.", default=2, minimum=1, unit="patches", advanced=True
    )
    validation_batch_size: int = parameter(
        "integer",
        "Validation batch size",
        "Patches validated at a time.",
        default=4,
        minimum=1,
        unit="patches",
        advanced=True,
    )
    crop: Optional[int] = parameter(
        "integer",
        "Window",
        "Side of a random window of each patch that a step sees, for speed; by default the whole patch.",
        default=None,
        minimum=1,
        maximum=4096,
        unit="pixels",
        advanced=True,
    )
    loss: str = parameter(
        "choice",
        "Loss",
        "mse: mean squared error; l1: mean absolute error.",
        choices=("mse", "l1"),
        default="mse",
        advanced=True,
    )
    learning_rate: float = parameter(
        "number",
        "Learning rate",
        "Of every step.",
        default=1e-4,
        minimum=1e-8,
        maximum=1.0,
        advanced=True,
    )
    clip: float = parameter(
        "number",
        "Gradient norm",
        "The norm that gradients are clipped to.",
        default=1.0,
        minimum=1e-6,
        maximum=1e6,
        advanced=True,
    )
    workers: int = parameter(
        "integer",
        "Workers",
        "Threads that read patches.",
        default=4,
        minimum=1,
        maximum=64,
        unit="threads",
        advanced=True,
    )
    device: str = common.device()
    seed: int = parameter(
        "integer",
        "Seed",
        "Of the first parameters and of the order of patches; the same seed gives the same codec.",
        default=10587,
        minimum=0,
        advanced=True,
    )
    overwrite: bool = common.overwrite()
