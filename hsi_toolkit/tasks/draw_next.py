"""Where to draw next."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common
from .base import Task, parameter


@dataclass(frozen=True)
class DrawNext(Task):
    """Find the places where further training polygons help the model most."""

    name: ClassVar[str] = "draw_next"
    title: ClassVar[str] = "Where to draw next"
    summary: ClassVar[str] = (
        "The places where further training polygons would help the model most, as points."
    )
    description: ClassVar[str] = (
        "Looks for places, not pixels: windows in which a model is undecided on average, large enough to "
        "draw a polygon in. They are spread over the mapped classes in proportion to the uncertainty that "
        "lies in each, kept apart from each other and from what is labelled already, and ranked. Draw "
        "polygons at the points, best first, add them to the training layer and train again. What is most "
        "uncertain is often wrong, so these points show a map at its worst: they are no sample for its "
        "accuracy."
    )
    group: ClassVar[str] = "Classification"
    tags: ClassVar[Tuple[str, ...]] = (
        "active learning",
        "uncertainty",
        "sampling",
        "training data",
        "polygons",
        "digitising",
    )
    references: ClassVar[Tuple[str, ...]] = (
        "Tuia et al. 2011, A Survey of Active Learning Algorithms for Supervised Remote Sensing Image "
        "Classification, IEEE J. of Selected Topics in Signal Processing 5, doi:10.1109/JSTSP.2011.2139193",
        "Demir, Persello and Bruzzone 2011, Batch-Mode Active-Learning Methods for the Interactive "
        "Classification of Remote Sensing Images, IEEE Transactions on Geoscience and Remote Sensing 49, "
        "doi:10.1109/TGRS.2010.2072929",
    )
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi draw-next uncertainty.tif --map map.tif --labels polygons.gpkg -o places.gpkg",
    )

    uncertainty: str = parameter(
        "raster",
        "Uncertainty",
        "The uncertainty that Classify wrote, or any raster whose first band is high where a model wavers.",
        positional=True,
    )
    output: str = parameter(
        "vector_output",
        "Places",
        "The points, ranked and styled, with the reason for each.",
        suffixes=(".gpkg",),
        option="-o",
    )
    map: Optional[str] = parameter(
        "raster",
        "Class map",
        "The class map of the same run; places are spread over its classes.",
        default=None,
    )
    probabilities: Optional[str] = parameter(
        "raster",
        "Probabilities",
        "The probabilities of the same run; each place then says between which classes the model wavers.",
        default=None,
    )
    labels: Optional[str] = parameter(
        "vector",
        "Labels",
        "Polygons or points that exist already; places keep away from them.",
        suffixes=common.VECTOR_SUFFIXES,
        geometries=("polygon", "point"),
        default=None,
        option="-l",
    )
    count: int = parameter(
        "integer", "Number", "How many places to find.", default=20, minimum=1, maximum=1000, option="-n"
    )
    window: int = parameter(
        "integer",
        "Window",
        "Side of a place: the uncertainty is averaged over so many pixels.",
        default=9,
        minimum=1,
        maximum=255,
        unit="pixels",
    )
    distance: Optional[int] = parameter(
        "integer",
        "Distance",
        "How far places keep from each other; by default as far as their number allows.",
        default=None,
        minimum=1,
        unit="pixels",
        advanced=True,
    )
    layer: Optional[str] = common.layer()
    seed: int = common.seed()
    overwrite: bool = common.overwrite()
