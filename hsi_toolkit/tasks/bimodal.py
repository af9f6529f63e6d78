"""Parameters that the tasks on pairs of images have in common."""

from typing import Any

from . import common
from .base import parameter

BIMAE_PAPER = (
    "Kukushkin, Bogdan and Schmid 2024, BiMAE - A Bimodal Masked Autoencoder Architecture for Single-Label "
    "Hyperspectral Image Classification, CVPR Workshops, doi:10.1109/CVPRW63382.2024.00304"
)


def colour() -> Any:
    return parameter(
        "raster",
        "Colour image",
        "The sharp image: colour, or three bands of a multispectral one, georeferenced.",
        default=None,
        positional=True,
    )


def scene() -> Any:
    return parameter(
        "raster",
        "Hyperspectral scene",
        "The hyperspectral scene of the same ground, georeferenced; its coordinate system may be another.",
        default=None,
        positional=True,
    )


def objects(help: str) -> Any:
    return parameter(
        "vector",
        "Objects",
        help,
        suffixes=common.VECTOR_SUFFIXES,
        geometries=("polygon",),
        default=None,
        option="-l",
    )


def data(labelled: str) -> Any:
    return parameter(
        "file",
        "Data set",
        "Instead of rasters and polygons: a TFRecord file or a folder of them with id, rgb_image, hs_image "
        "and label, or a folder of images, rgb/CLASS/NAME.png beside hs/CLASS/NAME.hdr" + labelled,
        default=None,
    )


def size() -> Any:
    return parameter(
        "choice",
        "Network size",
        "Mini suits processors and some hundred objects; tiny, small and base are the published sizes, with "
        "9, 34 and 134 million weights in their encoders.",
        choices=("mini", "tiny", "small", "base"),
        default="mini",
    )


def patch_size() -> Any:
    return parameter(
        "integer",
        "Patch size",
        "Side of the hyperspectral image of an object, and of the patches of its colour image.",
        default=24,
        minimum=2,
        maximum=256,
        unit="pixels",
        advanced=True,
    )


def image_size() -> Any:
    return parameter(
        "integer",
        "Image size",
        "Side of the colour image of an object; a multiple of the patch size.",
        default=192,
        minimum=4,
        maximum=4096,
        unit="pixels",
        advanced=True,
    )


def margin() -> Any:
    return parameter(
        "number",
        "Margin",
        "How much ground around an object its images show, as a share of its longer side.",
        default=0.1,
        minimum=0.0,
        maximum=10.0,
        advanced=True,
    )


def blank() -> Any:
    return parameter(
        "flag",
        "Blank the surroundings",
        "Blank out what lies outside an object's outline, so that only the object itself counts.",
        default=False,
        advanced=True,
    )


def colour_bands() -> Any:
    return parameter(
        "text",
        "Colour bands",
        "Numbers of the three bands of the colour image, such as 3,2,1; by default natural colours by "
        "wavelength, else the first three.",
        default=None,
        advanced=True,
    )


def batch_size() -> Any:
    return parameter(
        "integer",
        "Batch size",
        "Objects a step at most; of few objects fewer, so that an epoch has 32 steps.",
        default=512,
        minimum=1,
        unit="objects",
        advanced=True,
    )


def learning_rate(default: float) -> Any:
    return parameter(
        "number",
        "Learning rate",
        "The highest learning rate of the schedule.",
        default=default,
        minimum=1e-7,
        maximum=1.0,
        advanced=True,
    )
