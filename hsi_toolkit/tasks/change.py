"""Find what has changed between two scenes."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common, scene_network
from .base import Task, parameter
from .train import HYPERSIGMA_PAPER


@dataclass(frozen=True)
class Change(Task):
    """Score how much each pixel has changed between two dates."""

    name: ClassVar[str] = "change"
    title: ClassVar[str] = "Detect change"
    summary: ClassVar[str] = "What has changed between two scenes of the same place, and in which way."
    description: ClassVar[str] = (
        "Checks how far the scenes are shifted against each other, finds pixels that have not changed, "
        "brings the later scene to the radiometry of the earlier one by them, and scores what differs beyond "
        "light, season and noise. The map's threshold follows from the scores. Changes are sorted into types "
        "by the direction in which spectra moved. Both scenes need the same bands on the same pixels. "
        "The method hypersigma trains transformers on the pair, with the default's surest pixels for labels; "
        "it takes minutes where the others take seconds."
    )
    group: ClassVar[str] = "Analysis"
    tags: ClassVar[Tuple[str, ...]] = (
        "change detection",
        "IR-MAD",
        "change vector analysis",
        "chronochrome",
        "normalisation",
        "time",
        "HyperSIGMA",
    )
    references: ClassVar[Tuple[str, ...]] = (
        "Nielsen 2007, The Regularized Iteratively Reweighted MAD Method for Change Detection in Multi- and "
        "Hyperspectral Data, IEEE Transactions on Image Processing 16, doi:10.1109/TIP.2006.888195",
        "Canty and Nielsen 2008, Automatic Radiometric Normalization of Multitemporal Satellite Imagery with "
        "the Iteratively Re-Weighted MAD Transformation, Remote Sensing of Environment 112, "
        "doi:10.1016/j.rse.2007.07.013",
        "Schaum and Stocker 1998, Long-Interval Chronochrome Target Detection, Int. Symposium on Spectral "
        "Sensing Research",
        HYPERSIGMA_PAPER,
    )
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi change before.hdr after.hdr -o score.tif --map change.tif --types types.tif",
    )

    before: str = parameter("raster", "Before", "The earlier scene.", positional=True)
    after: str = parameter(
        "raster", "After", "The later scene: the same bands on the same pixels.", positional=True
    )
    output: str = parameter(
        "raster_output",
        "Scores",
        "How much each pixel has changed.",
        suffixes=common.MAP_SUFFIXES,
        option="-o",
    )
    map: Optional[str] = parameter(
        "raster_output",
        "Change map",
        "Changed and unchanged pixels, by a threshold that follows from the scores.",
        suffixes=common.MAP_SUFFIXES,
        default=None,
    )
    types: Optional[str] = parameter(
        "raster_output",
        "Change types",
        "A map of the kinds of change.",
        suffixes=common.MAP_SUFFIXES,
        default=None,
    )
    method: str = parameter(
        "choice",
        "Method",
        "auto: normalised difference in spreads of unchanged pixels; irmad: multivariate alteration; "
        "chronochrome: difference from what the earlier scene predicts; cva: length of the change vector; "
        "sam: spectral angle; hypersigma: a network trained on what auto is sure of; its score is the odds.",
        choices=("auto", "irmad", "chronochrome", "cva", "sam", "hypersigma"),
        default="auto",
    )
    type_count: Optional[int] = parameter(
        "integer",
        "Number of types",
        "Kinds of change to tell apart; by default as many, up to six, as stand apart.",
        default=None,
        minimum=1,
        maximum=20,
        advanced=True,
    )
    threshold: Optional[float] = parameter(
        "number",
        "Threshold",
        "The score above which a pixel has changed; by default it follows from the scores.",
        default=None,
        minimum=0.0,
        advanced=True,
    )
    device: str = common.device()
    cluster: Optional[str] = common.cluster()
    seed: int = common.seed()
    weights: Optional[str] = scene_network.weights()
    size: str = scene_network.size()
    epochs: int = scene_network.epochs(10)
    memory_limit: Optional[int] = common.memory_limit()
    overwrite: bool = common.overwrite()
