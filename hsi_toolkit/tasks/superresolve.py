"""Sharpen a scene with a guide."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common, scene_network
from .base import Task, parameter
from .train import HYPERSIGMA_PAPER


@dataclass(frozen=True)
class Superresolve(Task):
    """Give a scene the pixels of a sharper image of the same place."""

    name: ClassVar[str] = "superresolve"
    title: ClassVar[str] = "Super-resolve"
    summary: ClassVar[str] = "A sharp hyperspectral cube from a scene and a sharper multispectral image."
    description: ClassVar[str] = (
        "Fuses the spectra of the scene with the detail of a multispectral or panchromatic image of the "
        "same place and, at best, the same day. Response functions and point spread are estimated from the "
        "pair. The guide must lie in the scene's coordinate system; without coordinates both must cover the "
        "same ground. Memory does not grow with the images. Materials that the guide's bands cannot tell "
        "apart keep the scene's own resolution. Without a guide the method hypersigma trains transformers to "
        "restore the scene from its own block means, and applies them to the scene: plausible detail, not "
        "measured detail."
    )
    group: ClassVar[str] = "Analysis"
    tags: ClassVar[Tuple[str, ...]] = ("fusion", "pansharpening", "super-resolution", "sharpen", "Sentinel-2")
    references: ClassVar[Tuple[str, ...]] = (
        "Loncan et al. 2015, Hyperspectral Pansharpening: A Review, IEEE Geoscience and Remote Sensing "
        "Magazine 3, doi:10.1109/MGRS.2015.2440094",
        "Aiazzi et al. 2007, Improving Component Substitution Pansharpening Through Multivariate Regression "
        "of MS+Pan Data, IEEE Transactions on Geoscience and Remote Sensing 45, "
        "doi:10.1109/TGRS.2007.901007",
        "Yokoya, Yairi and Iwasaki 2012, Coupled Nonnegative Matrix Factorization Unmixing for Hyperspectral "
        "and Multispectral Data Fusion, IEEE Transactions on Geoscience and Remote Sensing 50, "
        "doi:10.1109/TGRS.2011.2161320",
        "Simões et al. 2015, A Convex Formulation for Hyperspectral Image Superresolution via Subspace-Based "
        "Regularization, IEEE Transactions on Geoscience and Remote Sensing 53, "
        "doi:10.1109/TGRS.2014.2375320",
        HYPERSIGMA_PAPER,
    )
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi superresolve scene.hdr --guide sentinel2.tif -o sharp.tif",
        "hsi superresolve scene.hdr --method hypersigma --scale 2 -o sharp.tif",
    )

    scene: str = common.scene()
    output: str = parameter(
        "raster_output",
        "Sharp scene",
        "The scene's good bands on the guide's pixels.",
        suffixes=common.MAP_SUFFIXES,
        option="-o",
    )
    guide: Optional[str] = parameter(
        "raster",
        "Guide",
        "The sharper image: multispectral, colour or panchromatic; every method but hypersigma needs one.",
        default=None,
        option="-g",
    )
    method: str = parameter(
        "choice",
        "Method",
        "gsa: component substitution with regression, robust and fast; bayes: the most probable cube under "
        "both images and their noise, sharper where the scene has little noise; cnmf: coupled non-negative "
        "factorisation, fractions of the scene's purest spectra; hypersigma: without a guide, a network "
        "trained on the scene.",
        choices=("gsa", "bayes", "cnmf", "hypersigma"),
        default="gsa",
    )
    scale: str = parameter(
        "choice",
        "Scale",
        "For hypersigma: how many times smaller the pixels become. With a guide its pixels decide.",
        choices=("2", "4", "8"),
        default="2",
    )
    weights: Optional[str] = scene_network.weights()
    size: str = scene_network.size()
    epochs: int = scene_network.epochs(6)
    seed: int = common.seed()
    variable: Optional[str] = common.variable()
    device: str = common.device()
    memory_limit: Optional[int] = common.memory_limit()
    overwrite: bool = common.overwrite()
