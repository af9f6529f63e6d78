"""Denoising."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common, scene_network
from .base import Task, parameter
from .train import HYPERSIGMA_PAPER


@dataclass(frozen=True)
class Denoise(Task):
    """Take noise, stripes, dead lines and impulses from a scene."""

    name: ClassVar[str] = "denoise"
    title: ClassVar[str] = "Denoise"
    summary: ClassVar[str] = "A scene without noise, stripes, dead lines and impulses, and what was removed."
    description: ClassVar[str] = (
        "Measures the noise of each band, finds the few dimensions the scene's spectra lie in, and filters "
        "the images of these components together with similar patches around them. Stripes, dead lines and "
        "impulses are found by what the other bands of a line or pixel say, and put right before. Pixels "
        "whose spectra are foreign to the rest keep what is theirs. Units, wavelengths, bad bands, no-data "
        "and georeference stay; bad bands are passed on unchanged. The scene is read twice, in blocks of "
        "rows; memory does not grow with its length. The method hypersigma trains transformers to give "
        "back what the default makes of parts of the scene when noise is added to them, or takes a released "
        "denoiser; it takes minutes where the others take seconds."
    )
    group: ClassVar[str] = "Analysis"
    tags: ClassVar[Tuple[str, ...]] = (
        "noise",
        "destriping",
        "stripes",
        "dead lines",
        "impulse",
        "MNF",
        "FastHyDe",
        "SNR",
        "smoothing",
        "HyperSIGMA",
    )
    references: ClassVar[Tuple[str, ...]] = (
        "Bioucas-Dias and Nascimento 2008, Hyperspectral Subspace Identification, IEEE Transactions on "
        "Geoscience and Remote Sensing 46, doi:10.1109/TGRS.2008.918089",
        "Zhuang and Bioucas-Dias 2018, Fast Hyperspectral Image Denoising and Inpainting Based on Low-Rank "
        "and Sparse Representations, IEEE J. of Selected Topics in Applied Earth Observations and Remote "
        "Sensing 11, doi:10.1109/JSTARS.2018.2796570",
        "Dabov et al. 2007, Image Denoising by Sparse 3-D Transform-Domain Collaborative Filtering, IEEE "
        "Transactions on Image Processing 16, doi:10.1109/TIP.2007.901238",
        "Green et al. 1988, A Transformation for Ordering Multispectral Data in Terms of Image Quality, IEEE "
        "Transactions on Geoscience and Remote Sensing 26, doi:10.1109/36.3001",
        HYPERSIGMA_PAPER,
    )
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi denoise scene.hdr -o clean.tif",
        "hsi denoise scene.hdr -o clean.tif --difference removed.tif --noise-table noise.csv",
    )

    scene: str = common.scene()
    output: str = parameter(
        "raster_output",
        "Denoised scene",
        "All bands of the scene, float32, in its units.",
        suffixes=common.MAP_SUFFIXES,
        option="-o",
    )
    method: str = parameter(
        "choice",
        "Method",
        "auto: by what is found; subspace: noise alone; robust: stripes, dead lines and impulses too; "
        "destripe: these lines alone; mnf: pixel by pixel, no spatial smoothing; hypersigma: a network "
        "trained on the scene, or a released denoiser.",
        choices=("auto", "subspace", "robust", "destripe", "mnf", "hypersigma"),
        default="auto",
    )
    difference: Optional[str] = parameter(
        "raster_output",
        "Removed",
        "What was removed: the scene less the denoised scene, band by band.",
        suffixes=common.MAP_SUFFIXES,
        default=None,
    )
    noise_table: Optional[str] = parameter(
        "file_output",
        "Noise table",
        "For each band its noise, signal-to-noise ratio, stripes, dead lines, impulses and what was removed.",
        suffixes=(".csv",),
        default=None,
    )
    weights: Optional[str] = scene_network.weights()
    size: str = scene_network.size()
    epochs: int = scene_network.epochs(20)
    seed: int = common.seed()
    variable: Optional[str] = common.variable()
    device: str = common.device()
    cluster: Optional[str] = common.cluster()
    memory_limit: Optional[int] = common.memory_limit()
    overwrite: bool = common.overwrite()
