"""Evaluate a map against reference labels."""

from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from . import common
from .base import Task, parameter


@dataclass(frozen=True)
class Evaluate(Task):
    """Compare a class map with reference labels it was not trained on."""

    name: ClassVar[str] = "evaluate"
    title: ClassVar[str] = "Evaluate a map"
    summary: ClassVar[str] = "Accuracy of a class map on reference labels, with confidence intervals."
    description: ClassVar[str] = (
        "Overall and average accuracy, kappa, F1, producer's and user's accuracy, each with a confidence "
        "interval that counts polygons and not pixels. When the labels are a stratified random sample of "
        "the map's classes, the areas of the classes are estimated as well (Olofsson et al. 2014). Where "
        "the labels include pixels the model was trained on, those are left out; if none remain, the "
        "result is called agreement with the training data and never accuracy."
    )
    group: ClassVar[str] = "Classification"
    tags: ClassVar[Tuple[str, ...]] = (
        "accuracy",
        "confusion matrix",
        "kappa",
        "validation",
        "area estimation",
    )
    references: ClassVar[Tuple[str, ...]] = (
        "Olofsson et al. 2014, Good practices for estimating area and assessing accuracy of land change, "
        "Remote Sensing of Environment 148, doi:10.1016/j.rse.2014.02.015",
        "Stehman 2014, Estimating area and map accuracy for stratified random sampling when the strata are "
        "different from the map classes, International Journal of Remote Sensing 35, "
        "doi:10.1080/01431161.2014.930207",
    )
    examples: ClassVar[Tuple[str, ...]] = (
        "hsi evaluate map.tif --labels reference.gpkg --field class --report accuracy.html",
    )

    map: str = parameter("raster", "Class map", "The class map to judge.", positional=True)
    labels: str = common.labels("Reference polygons or points with a class each, in any vector format.")
    field: str = common.label_field()
    report: Optional[str] = parameter(
        "file_output",
        "Report",
        "An HTML report; its figures go beside it as JSON.",
        suffixes=(".html",),
        default=None,
        option="-r",
    )
    sampling: str = parameter(
        "choice",
        "Sampling",
        "How the reference was chosen: by hand, or a random sample stratified by the map's classes.",
        choices=("by hand", "stratified random"),
        default="by hand",
    )
    layer: Optional[str] = common.layer()
    overwrite: bool = common.overwrite()
