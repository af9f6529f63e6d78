"""Unmix a scene."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common, scene_network
from .base import Task, parameter
from .train import HYPERSIGMA_PAPER


@dataclass(frozen=True)
class Unmix(Task):
    """Map which part of each pixel every material takes."""

    name: ClassVar[str] = "unmix"
    title: ClassVar[str] = "Unmix a scene"
    summary: ClassVar[str] = "The fraction of each material in every pixel, and the materials' spectra."
    description: ClassVar[str] = (
        "Takes every pixel for a mixture of a few spectra (endmembers) and maps their fractions. The "
        "endmembers are found in the scene itself, or come from a spectral library or from polygons. The "
        "default finds archetypes: mixtures of the scene's own spectra that explain it best once each pixel "
        "may have its own brightness. It tests whether the light is even: then fractions are fractions of "
        "area; otherwise each pixel gets a brightness of its own, so that shade is no material. The fully "
        "constrained fractions are the exact minimum, none negative and with a sum of one. The "
        "method hypersigma trains transformers on the scene from these endmembers on; it takes minutes where "
        "the others take seconds."
    )
    group: ClassVar[str] = "Analysis"
    tags: ClassVar[Tuple[str, ...]] = (
        "unmixing",
        "endmembers",
        "abundances",
        "fractions",
        "VCA",
        "N-FINDR",
        "FCLS",
        "NNLS",
        "MESMA",
        "SUnSAL",
        "HyperSIGMA",
    )
    references: ClassVar[Tuple[str, ...]] = (
        "Heinz and Chang 2001, Fully Constrained Least Squares Linear Spectral Mixture Analysis Method for "
        "Material Quantification in Hyperspectral Imagery, IEEE Transactions on Geoscience and Remote "
        "Sensing 39, doi:10.1109/36.911111",
        "Cutler and Breiman 1994, Archetypal Analysis, Technometrics 36, doi:10.1080/00401706.1994.10485840",
        "Zouaoui et al. 2023, Entropic Descent Archetypal Analysis for Blind Hyperspectral Unmixing, IEEE "
        "Transactions on Image Processing 32",
        "Roberts et al. 1998, Mapping Chaparral in the Santa Monica Mountains Using Multiple Endmember "
        "Spectral Mixture Models, Remote Sensing of Environment 65, doi:10.1016/S0034-4257(98)00037-6",
        "Iordache, Bioucas-Dias and Plaza 2012, Total Variation Spatial Regularization for Sparse "
        "Hyperspectral Unmixing, IEEE Transactions on Geoscience and Remote Sensing 50, "
        "doi:10.1109/TGRS.2012.2191590",
        HYPERSIGMA_PAPER,
    )
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi unmix scene.hdr --endmembers 4 -o abundances.tif --spectra em.csv",
        "hsi unmix scene.hdr --endmembers library.sli -o abundances.tif --error rmse.tif",
        "hsi unmix scene.hdr --endmembers polygons.gpkg --field material --method mesma -o abundances.tif",
    )

    scene: str = common.scene()
    output: str = parameter(
        "raster_output",
        "Abundances",
        "The fractions, a band for each endmember.",
        suffixes=common.MAP_SUFFIXES,
        option="-o",
    )
    endmembers: str = parameter(
        "text",
        "Endmembers",
        "How many to find, or auto; or the path of a spectral library (.sli, .csv) or of polygons on pure "
        "ground.",
        default="auto",
        option="-e",
    )
    method: str = parameter(
        "choice",
        "Method",
        "fcls: no fraction negative and a sum of one; nnls: none negative; scls: a sum of one; ucls: "
        "neither; mesma: several spectra a material, the best combination for each pixel; sparse: few of a "
        "library's spectra; sparse-tv: the same, smooth over neighbouring pixels; "
        "hypersigma: a network that is trained on the scene and refines the endmembers.",
        choices=("fcls", "nnls", "scls", "ucls", "mesma", "sparse", "sparse-tv", "hypersigma"),
        default="fcls",
    )
    brightness: str = parameter(
        "choice",
        "Brightness",
        "even: all pixels are lit alike; free: each has its own brightness, endmembers count by their shape; "
        "scaled: each has its own, endmembers keep theirs; auto: even where the scene shows it, else free.",
        choices=("auto", "even", "free", "scaled"),
        default="auto",
    )
    extraction: str = parameter(
        "choice",
        "Extraction",
        "How endmembers are found. archetypes: for uneven light and varying materials; minimum-volume: for "
        "scenes without pure pixels that hold little else than noise; nfindr, vca: the purest pixels; auto: "
        "the first or the second, as the scene is.",
        choices=("auto", "archetypes", "minimum-volume", "nfindr", "vca"),
        default="auto",
    )
    spectra: Optional[str] = parameter(
        "file_output",
        "Spectra",
        "The endmembers' spectra: .csv, or .sli for an ENVI library.",
        suffixes=(".csv", ".sli"),
        default=None,
    )
    error: Optional[str] = parameter(
        "raster_output",
        "Reconstruction error",
        "Root mean square over the bands of what the mixture leaves unexplained.",
        suffixes=common.MAP_SUFFIXES,
        default=None,
    )
    uncertainty: Optional[str] = parameter(
        "raster_output",
        "Uncertainty",
        "Standard deviation of each fraction, a band for each endmember.",
        suffixes=common.MAP_SUFFIXES,
        default=None,
    )
    names: Optional[str] = parameter(
        "text",
        "Library for names",
        "The path of a spectral library that endmembers found in the scene are named from.",
        default=None,
    )
    field: Optional[str] = parameter(
        "text",
        "Class field",
        "The field of the polygons with the material's name; by default the only one, or class or name.",
        default=None,
        option="-f",
    )
    layer: Optional[str] = common.layer()
    sparsity: float = parameter(
        "number",
        "Sparsity",
        "For sparse methods: 0 for none; near 1 no spectrum is left.",
        default=0.002,
        minimum=0.0,
        maximum=1.0,
        advanced=True,
    )
    smoothness: float = parameter(
        "number",
        "Smoothness",
        "For sparse-tv: how much neighbouring pixels are drawn together.",
        default=0.001,
        minimum=0.0,
        maximum=1.0,
        advanced=True,
    )
    weights: Optional[str] = scene_network.weights()
    size: str = scene_network.size()
    epochs: int = scene_network.epochs(40)
    variable: Optional[str] = common.variable()
    device: str = common.device()
    seed: int = common.seed()
    cluster: Optional[str] = common.cluster()
    memory_limit: Optional[int] = common.memory_limit()
    overwrite: bool = common.overwrite()
