"""Estimates with standard errors and intervals: proportions and ratios, from pixels or from whole polygons.

Pixels of one polygon resemble each other, so a thousand of them do not tell a thousand things. Where the
reference comes as polygons, the polygon is the observation: variances are those of ratio estimators over
polygons (Cochran 1977, eq. 6.13; Stehman 1997), with a t quantile of one degree of freedom less than
there are polygons. Intervals are Wilson's (1927), which stay inside 0 to 1 and mean something when no
error was found; for polygons with the effective number of pixels in place of their number
(Korn and Graubard 1998; Dean and Pagano 2015).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error and confidence interval.

    What cannot be had is None, and ``note`` says why. Proportions are between 0 and 1.
    """

    value: float | None
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""

    def to_dict(self) -> dict[str, float | str | None]:
        """JSON-able, without NaN."""
        stored: dict[str, float | str | None] = {
            "value": self.value,
            "standard_error": self.standard_error,
            "low": self.low,
            "high": self.high,
        }
        return stored | {"note": self.note} if self.note else stored

    @classmethod
    def from_dict(cls, stored: object) -> "Estimate":
        """What ``to_dict`` gave; what is missing or no number is None."""
        values = stored if isinstance(stored, Mapping) else {}

        def number(name: str) -> float | None:
            found = values.get(name)
            return float(found) if isinstance(found, int | float) else None

        return cls(
            number("value"),
            number("standard_error"),
            number("low"),
            number("high"),
            note=str(values.get("note", "")),
        )

    def without_interval(self, note: str) -> "Estimate":
        """The value alone, and why."""
        return Estimate(self.value, note=note)


def wilson(value: float, number: float, quantile: float) -> tuple[float, float]:
    """Wilson's interval of a proportion seen in ``number`` independent observations."""
    square = quantile**2
    centre = (value + square / (2 * number)) / (1 + square / number)
    half = (
        quantile / (1 + square / number) * math.sqrt(value * (1 - value) / number + square / (4 * number**2))
    )
    low = 0.0 if value <= 0 else max(0.0, centre - half)
    return low, 1.0 if value >= 1 else min(1.0, centre + half)


def normal_quantile(level: float) -> float:
    """The two-sided quantile, 1.96 for 0.95."""
    return float(stats.norm.ppf(0.5 + level / 2))


def t_quantile(level: float, degrees: int) -> float:
    """The two-sided quantile of Student's t."""
    return float(stats.t.ppf(0.5 + level / 2, degrees))


@dataclass(frozen=True, eq=False)
class Sample:
    """Reference pixels, counted: ``number`` of them have that map class and reference class in that polygon.

    All arrays have one entry a combination, shape (m,). ``cluster`` is None where pixels were drawn one by
    one.
    """

    mapped: NDArray[np.int64]
    reference: NDArray[np.int64]
    number: NDArray[np.float64]
    cluster: NDArray[np.int64] | None

    @classmethod
    def count(
        cls, mapped: NDArray[np.int64], reference: NDArray[np.int64], groups: NDArray[np.int64] | None
    ) -> "Sample":
        """Count pixels with the map class, reference class and polygon given, each of shape (n,)."""
        columns = [mapped, reference] if groups is None else [mapped, reference, groups]
        cells, number = np.unique(np.column_stack(columns), axis=0, return_counts=True)
        cluster = None if groups is None else np.unique(cells[:, 2], return_inverse=True)[1]
        return cls(cells[:, 0], cells[:, 1], number.astype(np.float64), cluster)

    def by_cluster(self, value: NDArray[np.float64] | NDArray[np.bool_]) -> NDArray[np.float64]:
        """The sum of a quantity over the pixels of each polygon."""
        assert self.cluster is not None
        return np.bincount(self.cluster, self.number * value).astype(np.float64)


def proportion(
    sample: Sample, hits: NDArray[np.bool_], among: NDArray[np.bool_], what: str, level: float = LEVEL
) -> Estimate:
    """The share of ``hits`` among the pixels ``among``, both masks over the sample's entries."""
    total = float(sample.number[among].sum())
    if not total:
        return Estimate(None, note=f"There are no {what}.")
    value = float(sample.number[hits].sum()) / total
    if sample.cluster is None:
        low, high = wilson(value, total, normal_quantile(level))
        return Estimate(value, math.sqrt(value * (1 - value) / total), low, high)
    size = sample.by_cluster(among)
    concerned = int(np.count_nonzero(size))
    if concerned < 2:
        return Estimate(value, note="All these pixels are in one polygon, which tells nothing of the spread.")
    deviation = sample.by_cluster(hits) - value * size
    variance = cluster_variance(deviation, concerned) / total**2
    low, high = wilson(
        value, effective_number(value, variance, concerned, total), t_quantile(level, concerned - 1)
    )
    return Estimate(value, math.sqrt(variance), low, high)


def f1_score(sample: Sample, index: int, level: float = LEVEL, counted: str = "pixels") -> Estimate:
    """The F1 of a class, the harmonic mean of its user's and producer's accuracy.

    F1 = 2J / (1 + J) with J the share of correct pixels, or whatever is ``counted``, among those that map or
    reference give the class (Jaccard), so that J's interval is carried over.
    """
    mapped, reference = sample.mapped == index, sample.reference == index
    shared = proportion(sample, mapped & reference, mapped | reference, f"{counted} of this class", level)
    if shared.value is None:
        return shared

    def carried(value: float | None) -> float | None:
        return None if value is None else 2 * value / (1 + value)

    slope = 2 / (1 + shared.value) ** 2
    error = None if shared.standard_error is None else slope * shared.standard_error
    return Estimate(carried(shared.value), error, carried(shared.low), carried(shared.high), shared.note)


def kappa(sample: Sample, classes: int, level: float = LEVEL) -> Estimate:
    """Cohen's kappa; standard error by linearisation (Fleiss, Cohen and Everitt 1969), -1 to 1."""
    total = sample.number.sum()
    rows = np.bincount(sample.mapped, sample.number, classes) / total
    columns = np.bincount(sample.reference, sample.number, classes) / total
    agree = sample.mapped == sample.reference
    observed, chance = float(sample.number[agree].sum() / total), float(rows @ columns)
    if chance == 1:
        return Estimate(None, note="Only one class occurs, both as found and in the reference.")
    value = (observed - chance) / (1 - chance)
    influence = (agree - observed) / (1 - chance)
    influence -= (1 - value) / (1 - chance) * (columns[sample.mapped] + rows[sample.reference] - 2 * chance)
    return _linearised(sample, value, influence / total, -1.0, level)


def average_accuracy(sample: Sample, classes: int, level: float = LEVEL) -> Estimate:
    """The mean of the producer's accuracies of the classes that the reference holds."""
    totals = np.bincount(sample.reference, sample.number, classes)
    present = totals > 0
    agree = sample.mapped == sample.reference
    correct = np.bincount(sample.reference[agree], sample.number[agree], classes)
    producers = correct[present] / totals[present]
    value = float(producers.mean())
    by_class = np.zeros(classes)
    by_class[present] = producers
    influence = (agree - by_class[sample.reference]) / totals[sample.reference] / present.sum()
    if sample.cluster is None:
        units = totals[present]
    else:
        pairs = np.unique(np.column_stack([sample.reference, sample.cluster]), axis=0)
        units = np.bincount(pairs[:, 0], minlength=classes)[present].astype(np.float64)
    spread = _linearised(sample, value, influence, 0.0, level)
    if spread.standard_error is None:
        return spread
    # With equal accuracies, the mean over classes is worth this many observations.
    worth = float(present.sum() ** 2 / (1 / units).sum())
    number = effective_number(value, spread.standard_error**2, worth, float(totals.sum()))
    clusters = 0 if sample.cluster is None else len(np.unique(sample.cluster))
    low, high = wilson(value, number, t_quantile(level, clusters - 1) if clusters else normal_quantile(level))
    return Estimate(value, spread.standard_error, low, high)


def cluster_variance(deviations: NDArray[np.float64], clusters: int) -> float:
    """The variance of a sum over polygons from each polygon's deviation."""
    return float(clusters / (clusters - 1) * (deviations**2).sum())


def effective_number(value: float, variance: float, clusters: float, total: float) -> float:
    """How many independent pixels would be as precise; never more than there are.

    Where there is no spread to learn from (all right, all wrong), each polygon counts as one.
    """
    if value * (1 - value) == 0:
        return min(clusters, total)
    return total if variance <= 0 else min(max(value * (1 - value) / variance, 1.0), total)


def _linearised(
    sample: Sample, value: float, influence: NDArray[np.float64], lowest: float, level: float
) -> Estimate:
    """A statistic from the influence each pixel has on it, with a symmetric interval cut at its bounds."""
    if sample.cluster is None:
        variance, quantile = float((sample.number * influence**2).sum()), normal_quantile(level)
    else:
        deviation = sample.by_cluster(influence)
        if len(deviation) < 2:
            return Estimate(value, note="All pixels are in one polygon, which tells nothing of the spread.")
        variance, quantile = (
            cluster_variance(deviation, len(deviation)),
            t_quantile(level, len(deviation) - 1),
        )
    error = math.sqrt(variance)
    return Estimate(value, error, max(lowest, value - quantile * error), min(1.0, value + quantile * error))
