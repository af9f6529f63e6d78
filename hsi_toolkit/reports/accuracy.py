"""How good a map is, as far as the reference can tell: error matrix, accuracies, intervals, areas.

Rows of the error matrix are the map's classes, columns the reference's, as in Olofsson et al. (2014). User's
accuracy is correct pixels over a row's total, producer's accuracy over a column's. For a classifier of whole
objects these are what is counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.errors import LabelError
from hsi_toolkit.reports.area import AreaEstimates, stratified
from hsi_toolkit.reports.estimates import (
    LEVEL,
    Estimate,
    Sample,
    average_accuracy,
    f1_score,
    kappa,
    proportion,
)
from hsi_toolkit.training.labelled_pixels import ClassValue
from hsi_toolkit.training.leakage import Leakage
from hsi_toolkit.training.splits import Split

ACCURACY = "Accuracy"
AGREEMENT = "Agreement with the training data"

#: What the figures count, and all of which they are a sample.
Counted = Literal["pixels", "objects"]
_ALL: dict[Counted, str] = {"pixels": "the map", "objects": "others"}

#: A class whose figures rest on fewer polygons than this is named in the warnings.
_FEW_POLYGONS = 5


@dataclass(frozen=True, eq=False)
class Basis:
    """What the figures rest on: whether the reference is independent of training, and why, as sentences.

    ``usable`` (n,) are the reference pixels to count, where some must not be; None means all.
    """

    independent: bool
    sentences: tuple[str, ...]
    usable: NDArray[np.bool_] | None = None

    @classmethod
    def held_out(cls, split: Split) -> "Basis":
        """Test pixels of a split, which training has not seen."""
        return cls(True, (split.describe(), *split.notes))

    @classmethod
    def trained_on(cls) -> "Basis":
        """The training pixels themselves."""
        return cls(False, ("The figures were measured on pixels that the model was trained on.",))

    @classmethod
    def checked(cls, leakage: Leakage) -> "Basis":
        """Reference pixels compared with the training pixels: those that training has seen are left out.

        Where none is left, all are counted, but as agreement with the training data.
        """
        found, usable = leakage.describe(), leakage.independent
        if not usable.any():
            return cls(False, (*found, "No reference pixel is independent of the training data."))
        if usable.all():
            return cls(True, ("No reference pixel was trained on or lies beside one that was.",))
        return cls(True, (*found, "They were left out."), usable)

    @classmethod
    def unchecked(cls) -> "Basis":
        """A map that does not say what it was trained on."""
        return cls(
            True,
            (
                "The map does not say which pixels it was trained on, so whether the reference is "
                "independent of them could not be checked: if it is not, these figures are too good.",
            ),
        )


@dataclass(frozen=True)
class ClassAccuracy:
    """One class: its pixels or objects in map and reference, and its figures."""

    name: str
    mapped: int
    reference: int
    correct: int
    polygons: int | None
    users: Estimate
    producers: Estimate
    f1: Estimate

    def to_dict(self) -> dict[str, object]:
        """JSON-able."""
        return {
            "name": self.name,
            "mapped": self.mapped,
            "reference": self.reference,
            "correct": self.correct,
            "polygons": self.polygons,
            "users": self.users.to_dict(),
            "producers": self.producers.to_dict(),
            "f1": self.f1.to_dict(),
        }


@dataclass(frozen=True, eq=False)
class AccuracyReport:
    """The figures of a map against a reference, and what they rest on.

    ``matrix`` (K, K) counts what ``counted`` says, rows being the map's classes, or those that a classifier
    gives objects, and columns the reference's. Where ``independent`` is false, ``measure`` is agreement with
    the training data, there are no intervals and no areas, and nothing here may be called accuracy.
    """

    names: tuple[str, ...]
    matrix: NDArray[np.int64]
    overall: Estimate
    average: Estimate
    kappa: Estimate
    classes: tuple[ClassAccuracy, ...]
    polygons: int | None
    areas: AreaEstimates | None
    independent: bool
    basis: tuple[str, ...]
    warnings: tuple[str, ...]
    level: float
    counted: Counted = "pixels"

    @property
    def measure(self) -> str:
        """What the figures may be called."""
        return ACCURACY if self.independent else AGREEMENT

    @property
    def judged(self) -> str:
        """What the figures are of."""
        return "map" if self.counted == "pixels" else "classifier"

    @property
    def total(self) -> int:
        """How many reference pixels or objects count."""
        return int(self.matrix.sum())

    def headline(self) -> str:
        """The overall figure in a sentence."""
        what = "Overall accuracy" if self.independent else AGREEMENT
        value = "unknown" if self.overall.value is None else f"{100 * self.overall.value:.1f} %"
        low, high, interval = self.overall.low, self.overall.high, ""
        if low is not None and high is not None:
            interval = f" ({100 * self.level:g} % interval {100 * low:.1f} to {100 * high:.1f} %)"
        source = f"{self.total:,} {self.counted}" + (
            "" if self.polygons is None else f" in {self.polygons} polygons"
        )
        return f"{what} {value}{interval}, from {source}."

    def to_dict(self) -> dict[str, object]:
        """JSON-able; the total has the name of what is counted, and the matrix says what its rows and columns
        are.
        """
        return {
            "measure": self.measure,
            "independent": self.independent,
            "basis": list(self.basis),
            "warnings": list(self.warnings),
            "level": self.level,
            "counted": self.counted,
            self.counted: self.total,
            "polygons": self.polygons,
            "overall": self.overall.to_dict(),
            "average": self.average.to_dict(),
            "kappa": self.kappa.to_dict(),
            "classes": [each.to_dict() for each in self.classes],
            "matrix": {"rows": self.judged, "columns": "reference", "counts": self.matrix.tolist()},
            "areas": None if self.areas is None else self.areas.to_dict(),
        }


def confusion_matrix(
    mapped: NDArray[np.int64], reference: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Pixels counted by map class (rows) and reference class (columns), shape (classes, classes)."""
    return np.bincount(mapped * classes + reference, minlength=classes**2).reshape(classes, classes)


def match_classes(
    map_names: Sequence[str],
    reference_names: Sequence[str],
    map_values: Sequence[ClassValue] = (),
    reference_values: Sequence[ClassValue] = (),
) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64]]:
    """Bring the classes of a map and of a reference together.

    They are matched by name, whatever the case; where no name is the same, by the numbers in the map and
    in the class field, if these are given.

    Returns:
        The map's names, then those the reference alone has; and the place among them of each class of
        the map and of each class of the reference.

    Raises:
        LabelError: they have no class in common.
    """
    by_name = {name.strip().casefold(): index for index, name in enumerate(map_names)}
    found = [by_name.get(name.strip().casefold()) for name in reference_names]
    if all(index is None for index in found) and reference_values:
        by_value = {value: index for index, value in enumerate(map_values)}
        found = [by_value.get(value) for value in reference_values]
    if all(index is None for index in found):
        raise LabelError(
            f"Map and reference have no class in common: the map has {_listed(map_names)}, "
            f"the reference {_listed(reference_names)}.",
            "Choose the field with the map's class names.",
        )
    names, places = list(map_names), []
    for name, index in zip(reference_names, found, strict=True):
        if index is None:
            names.append(name)
        places.append(len(names) - 1 if index is None else index)
    return tuple(names), np.arange(len(map_names)), np.array(places, np.int64)


def assess(
    mapped: NDArray[np.int64],
    reference: NDArray[np.int64],
    names: Sequence[str],
    basis: Basis,
    *,
    groups: NDArray[np.int64] | None = None,
    mapped_pixels: Sequence[int] | None = None,
    pixel_area: float = 1.0,
    unit: str = "pixels",
    level: float = LEVEL,
    counted: Counted = "pixels",
) -> AccuracyReport:
    """Compare a map with a reference, pixel by pixel, or a classifier's objects with theirs.

    Args:
        mapped: (n,) map class of each reference pixel, 0 to K-1; negative where the map has none.
        reference: (n,) its reference class.
        groups: (n,) the polygon it is in, where the reference comes as polygons; intervals then take
            polygons for observations.
        mapped_pixels: how many pixels the whole map gives each of its classes (the first of ``names``),
            for estimates of area and of accuracy weighted by area (Olofsson et al. 2014);
            ``pixel_area`` is that of one, in ``unit``.
        counted: whether the n are pixels, or objects that a classifier gave a class each.

    Raises:
        LabelError: no reference pixel lies on the map, or no object has a class.
    """
    warnings = []
    usable = mapped >= 0
    if not usable.all():
        warnings.append(_without_class(int(np.count_nonzero(~usable)), len(mapped), counted))
    if basis.usable is not None:
        usable = usable & basis.usable
    if not usable.any():
        if counted == "objects":
            raise LabelError("No reference object has a class.", "Check that the objects have data.")
        raise LabelError("No reference pixel lies where the map has a class.", "Check that they overlap.")
    mapped, reference = mapped[usable], reference[usable]
    groups = groups[usable] if groups is not None else None
    sample = Sample.count(mapped, reference, groups)
    areas = None
    if mapped_pixels is not None and basis.independent:
        sizes = [*mapped_pixels, *[0] * (len(names) - len(mapped_pixels))]
        try:
            areas = stratified(
                mapped, reference, None, sizes, names,
                groups=groups, pixel_area=pixel_area, unit=unit, level=level,
            )  # fmt: skip
        except LabelError as error:
            warnings.append(str(error))
    classes = tuple(_class_accuracy(sample, index, name, counted, level) for index, name in enumerate(names))
    everything, right = np.ones(len(sample.number), bool), sample.mapped == sample.reference
    report = AccuracyReport(
        names=tuple(names),
        matrix=confusion_matrix(mapped, reference, len(names)),
        overall=proportion(sample, right, everything, f"reference {counted}", level),
        average=average_accuracy(sample, len(names), level),
        kappa=kappa(sample, len(names), level),
        classes=classes,
        polygons=None if groups is None else len(np.unique(groups)),
        areas=areas,
        independent=basis.independent,
        basis=basis.sentences,
        warnings=(*warnings, *_warnings(classes, counted)),
        level=level,
        counted=counted,
    )
    return report if basis.independent else _without_intervals(report)


def _without_class(number: int, total: int, counted: Counted) -> str:
    where = "have no class" if counted == "objects" else "lie where the map has no class"
    return f"{number} of {total} reference {counted} {where}; they do not count."


def _class_accuracy(sample: Sample, index: int, name: str, counted: Counted, level: float) -> ClassAccuracy:
    in_map, in_reference = sample.mapped == index, sample.reference == index
    correct = in_map & in_reference
    polygons = None if sample.cluster is None else len(np.unique(sample.cluster[in_reference]))
    given = "that were given" if counted == "objects" else "where the map has"
    return ClassAccuracy(
        name=name,
        mapped=int(sample.number[in_map].sum()),
        reference=int(sample.number[in_reference].sum()),
        correct=int(sample.number[correct].sum()),
        polygons=polygons,
        users=proportion(sample, correct, in_map, f"reference {counted} {given} this class", level),
        producers=proportion(sample, correct, in_reference, f"reference {counted} of this class", level),
        f1=f1_score(sample, index, level, counted),
    )


def _without_intervals(report: AccuracyReport) -> AccuracyReport:
    reason = f"No interval: {report.counted} that were trained on are no sample of {_ALL[report.counted]}."

    def bare(estimate: Estimate) -> Estimate:
        return estimate if estimate.value is None else estimate.without_interval(reason)

    classes = tuple(
        replace(each, users=bare(each.users), producers=bare(each.producers), f1=bare(each.f1))
        for each in report.classes
    )
    return replace(
        report,
        overall=bare(report.overall),
        average=bare(report.average),
        kappa=bare(report.kappa),
        classes=classes,
    )


def _warnings(classes: Sequence[ClassAccuracy], counted: Counted) -> list[str]:
    found = []
    missing = [each.name for each in classes if not each.reference]
    if missing:
        one = counted.removesuffix("s")
        found.append(f"The reference has no {one} of {_listed(missing)}: whether they are found is unknown.")
    few = [
        f"{each.name} ({each.polygons})"
        for each in classes
        if each.reference and each.polygons is not None and each.polygons < _FEW_POLYGONS
    ]
    if few:
        found.append("The figures of these classes rest on few polygons: " + ", ".join(few) + ".")
    return found


def _listed(names: Sequence[str], most: int = 10) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
