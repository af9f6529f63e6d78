"""Find what is unusual in a scene."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common, scene_network
from .base import Task, parameter
from .train import HYPERSIGMA_PAPER


@dataclass(frozen=True)
class Anomalies(Task):
    """Score how unusual each pixel is."""

    name: ClassVar[str] = "anomalies"
    title: ClassVar[str] = "Detect anomalies"
    summary: ClassVar[str] = "How unusual each pixel is, without any example, and a map of the anomalies."
    description: ClassVar[str] = (
        "Compares each spectrum with what is usual in the scene or around the pixel: vehicles, spills, stray "
        "materials and other rare things stand out without being described. The default looks at the ring "
        "around each pixel and weighs differences by how much both the scene and the ring vary. Scores are "
        "squared distances: larger is more unusual. The map cuts them where the wanted share of ordinary "
        "pixels would be flagged by mistake. The method hypersigma trains transformers on the scene, with "
        "the default's surest pixels for labels; it takes minutes where the others take seconds, and from "
        "random weights it does not reach the default."
    )
    group: ClassVar[str] = "Analysis"
    tags: ClassVar[Tuple[str, ...]] = (
        "RX",
        "anomaly",
        "detection",
        "outlier",
        "false-alarm rate",
        "HyperSIGMA",
    )
    references: ClassVar[Tuple[str, ...]] = (
        "Reed and Yu 1990, Adaptive Multiple-Band CFAR Detection of an Optical Pattern with Unknown Spectral "
        "Distribution, IEEE Transactions on Acoustics, Speech, and Signal Processing 38, "
        "doi:10.1109/29.60107",
        "Caefer et al. 2008, Improved Covariance Matrices for Point Target Detection in Hyperspectral Data, "
        "Optical Engineering 47",
        "Gorelik et al. 2012, Target Detection Using Nonsingular Approximations for a Singular Covariance "
        "Matrix, Journal of Electrical and Computer Engineering, doi:10.1155/2012/628479",
        HYPERSIGMA_PAPER,
    )
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi anomalies scene.hdr -o scores.tif --detections anomalies.tif --false-alarm-rate 0.001",
    )

    scene: str = common.scene()
    output: str = parameter(
        "raster_output",
        "Scores",
        "How unusual each pixel is: a squared distance, or log-odds with hypersigma.",
        suffixes=common.MAP_SUFFIXES,
        option="-o",
    )
    method: str = parameter(
        "choice",
        "Method",
        "auto: against the surroundings, in spreads of both scene and surroundings; rx: against the whole "
        "scene; local-rx: against mean and covariance of the surroundings; subspace-rx: against the scene, "
        "without the leading components; hypersigma: a network trained on what auto is sure of.",
        choices=("auto", "rx", "local-rx", "subspace-rx", "hypersigma"),
        default="auto",
    )
    detections: Optional[str] = parameter(
        "raster_output",
        "Detections",
        "A map of the pixels whose score exceeds the threshold.",
        suffixes=common.MAP_SUFFIXES,
        default=None,
    )
    false_alarm_rate: float = common.false_alarm_rate()
    guard: int = parameter(
        "integer",
        "Guard",
        "Pixels up to this far away may belong to the same object and do not count as surroundings.",
        default=2,
        minimum=0,
        maximum=50,
        unit="pixels",
        advanced=True,
    )
    window: int = parameter(
        "integer",
        "Window",
        "Pixels up to this far away are the surroundings.",
        default=10,
        minimum=2,
        maximum=100,
        unit="pixels",
        advanced=True,
    )
    robust: bool = common.robust(
        "For rx and subspace-rx: leave the most unusual 2 % out of the statistics, in two more passes."
    )
    weights: Optional[str] = scene_network.weights()
    size: str = scene_network.size()
    epochs: int = scene_network.epochs(10)
    variable: Optional[str] = common.variable()
    device: str = common.device()
    seed: int = common.seed()
    cluster: Optional[str] = common.cluster()
    memory_limit: Optional[int] = common.memory_limit()
    overwrite: bool = common.overwrite()
