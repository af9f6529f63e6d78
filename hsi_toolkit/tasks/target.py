"""Find a known material in a scene."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common, scene_network
from .base import Task, parameter
from .train import HYPERSIGMA_PAPER


@dataclass(frozen=True)
class Target(Task):
    """Score how much each pixel looks like a target."""

    name: ClassVar[str] = "target"
    title: ClassVar[str] = "Detect a target"
    summary: ClassVar[str] = "Where a material occurs that one spectrum, point or polygon shows."
    description: ClassVar[str] = (
        "Looks for the spectrum under points, in polygons or from a library, also where it fills only part "
        "of a pixel. Each drawn object gives a spectrum; the most similar one counts. The default compares "
        "spectra in spreads of the background, with a reserve for targets not quite like the example. The "
        "map cuts the scores where the wanted share of the background would be flagged by mistake. The "
        "method hypersigma trains transformers on the scene, with the default's surest pixels for labels; it "
        "takes minutes where the others take seconds, and from random weights it does not reach the default."
    )
    group: ClassVar[str] = "Analysis"
    tags: ClassVar[Tuple[str, ...]] = (
        "target",
        "matched filter",
        "ACE",
        "CEM",
        "SAM",
        "OSP",
        "detection",
        "HyperSIGMA",
    )
    references: ClassVar[Tuple[str, ...]] = (
        "Kelly 1986, An Adaptive Detection Algorithm, IEEE Transactions on Aerospace and Electronic Systems "
        "22, doi:10.1109/TAES.1986.310745",
        "Manolakis, Marden and Shaw 2003, Hyperspectral Image Processing for Automatic Target Detection "
        "Applications, Lincoln Laboratory Journal 14",
        "Harsanyi and Chang 1994, Hyperspectral Image Classification and Dimensionality Reduction: An "
        "Orthogonal Subspace Projection Approach, IEEE Transactions on Geoscience and Remote Sensing 32, "
        "doi:10.1109/36.298007",
        HYPERSIGMA_PAPER,
    )
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi target scene.hdr --target polygons.gpkg -o scores.tif --detections targets.tif",
        "hsi target scene.hdr --target polygons.gpkg --field material --value asbestos -o scores.tif",
        "hsi target scene.hdr --target library.sli --value asbestos -o scores.tif",
    )

    scene: str = common.scene()
    target: str = parameter(
        "vector",
        "Target",
        "Points or polygons on the target, each an example; or a spectral library (.sli, .csv).",
        suffixes=(*common.VECTOR_SUFFIXES, *common.LIBRARY_SUFFIXES),
        geometries=("polygon", "point"),
        option="-t",
    )
    output: str = parameter(
        "raster_output",
        "Scores",
        "How much each pixel looks like the target.",
        suffixes=common.MAP_SUFFIXES,
        option="-o",
    )
    method: str = parameter(
        "choice",
        "Method",
        "auto: Kelly's statistic over a loaded covariance; ace: adaptive cosine estimator; mf: matched "
        "filter; cem: constrained energy minimisation; sam: cosine of the spectral angle; osp: orthogonal "
        "subspace projection; hypersigma: a network trained on what auto is sure of.",
        choices=("auto", "ace", "mf", "cem", "sam", "osp", "hypersigma"),
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
    field: Optional[str] = parameter(
        "field",
        "Field",
        "A field that tells targets from other features; by default all features are targets.",
        parent="target",
        default=None,
    )
    value: Optional[str] = parameter(
        "text",
        "Value",
        "The field's value of the targets, or a spectrum's name or class in a library; by default any.",
        default=None,
    )
    layer: Optional[str] = common.layer()
    robust: bool = common.robust(
        "Leave the most unusual 2 % out of the background statistics; reads the scene twice more."
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
