"""Design-based estimates of area and accuracy from a stratified random sample.

Olofsson et al. (2014), "Good practices for estimating area and assessing accuracy of land change", Remote
Sensing of Environment 148, 42-57: strata are the map's classes. Stehman (2014), "Estimating area and map
accuracy for stratified random sampling when the strata are different from the map classes", International
Journal of Remote Sensing 35, 4923-4939: any strata. The former is the latter with the map's classes as
strata, so one ratio estimator serves both. Olofsson leaves out the finite population correction that
Stehman has; it is kept here, and matters only where a good part of a stratum was sampled.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hsi_toolkit.errors import LabelError
from hsi_toolkit.reports.estimates import (
    LEVEL,
    Estimate,
    cluster_variance,
    normal_quantile,
    t_quantile,
)
from hsi_toolkit.training.grid import Grid

ASSUMPTION = (
    "Area estimates hold for reference pixels drawn at random within each stratum; "
    "polygons chosen by hand are no such sample."
)


@dataclass(frozen=True)
class AreaEstimates:
    """Areas and accuracies of the whole map, each class's share weighted as it covers ground.

    ``areas`` are in ``unit``, ``shares`` of the whole; ``mapped`` is the area the map gives each class, None
    where the strata are others. ``matrix`` holds the estimated share of the area for each map class
    (rows) and reference class (columns). ``notes`` are sentences for the report.
    """

    names: tuple[str, ...]
    unit: str
    total: float
    mapped: tuple[float, ...] | None
    areas: tuple[Estimate, ...]
    shares: tuple[Estimate, ...]
    overall: Estimate
    users: tuple[Estimate, ...]
    producers: tuple[Estimate, ...]
    matrix: NDArray[np.float64]
    level: float
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """JSON-able, one entry a class."""
        return {
            "unit": self.unit,
            "total": self.total,
            "level": self.level,
            "overall": self.overall.to_dict(),
            "classes": [
                {
                    "name": name,
                    "mapped": None if self.mapped is None else self.mapped[i],
                    "area": self.areas[i].to_dict(),
                    "share": self.shares[i].to_dict(),
                    "users": self.users[i].to_dict(),
                    "producers": self.producers[i].to_dict(),
                }
                for i, name in enumerate(self.names)
            ],
            "matrix": self.matrix.tolist(),
            "notes": list(self.notes),
        }


def olofsson(
    matrix: ArrayLike,
    mapped_pixels: Sequence[int],
    names: Sequence[str],
    *,
    pixel_area: float = 1.0,
    unit: str = "pixels",
    level: float = LEVEL,
) -> AreaEstimates:
    """Estimates from an error matrix whose strata are the map's classes.

    Args:
        matrix: (K, K) counts of reference pixels, rows the map's classes, columns the reference's.
        mapped_pixels: how many pixels the map gives each class; ``pixel_area`` is that of one, in ``unit``.

    Raises:
        LabelError: a class that the map holds has no reference pixel.
    """
    counts = np.asarray(matrix, np.int64)
    rows, columns = np.nonzero(counts)
    often = counts[rows, columns]
    mapped, reference = np.repeat(rows, often), np.repeat(columns, often)
    return stratified(
        mapped, reference, None, mapped_pixels, names, pixel_area=pixel_area, unit=unit, level=level
    )


def stratified(
    mapped: NDArray[np.int64],
    reference: NDArray[np.int64],
    strata: NDArray[np.int64] | None,
    stratum_pixels: Sequence[int],
    names: Sequence[str],
    *,
    stratum_names: Sequence[str] | None = None,
    groups: NDArray[np.int64] | None = None,
    pixel_area: float = 1.0,
    unit: str = "pixels",
    level: float = LEVEL,
) -> AreaEstimates:
    """Estimates from single reference pixels, ``mapped``, ``reference`` and ``strata`` of shape (n,).

    Args:
        strata: the stratum each pixel was drawn from; None where they are the map's classes.
        stratum_pixels: how many pixels each stratum has; ``pixel_area`` is that of one, in ``unit``.
        groups: the polygon of each pixel, where they were not drawn one by one: the variance is
            then that between polygons (linearisation; Binder 1983).

    Raises:
        LabelError: a stratum that covers pixels has no reference pixel.
    """
    by_map = strata is None
    strata = mapped if strata is None else strata
    sizes = np.asarray(stratum_pixels, np.float64)
    stratum_names = list(names if stratum_names is None else stratum_names)
    numbers = np.bincount(strata, minlength=len(sizes))
    _require_sampled(numbers, sizes, stratum_names)
    design = _Design(strata, groups, numbers, sizes, level)
    always, classes = np.ones(len(mapped), bool), range(len(names))
    shares = [design.ratio(reference == i, always, f"reference pixels of {names[i]!r}") for i in classes]
    # Within a map class, whether a pixel is mapped as another is known; only its own stratum varies.
    users = [
        design.ratio(
            (mapped == i) & (reference == i),
            mapped == i,
            f"pixels mapped as {names[i]!r}",
            only=i if by_map else None,
        )
        for i in classes
    ]
    producers = [
        design.ratio((mapped == i) & (reference == i), reference == i, f"reference pixels of {names[i]!r}")
        for i in classes
    ]
    size = len(names)
    weights = np.bincount(mapped * size + reference, design.weights, size * size) / sizes.sum()
    return AreaEstimates(
        names=tuple(names),
        unit=unit,
        total=float(sizes.sum()) * pixel_area,
        mapped=tuple(float(each) * pixel_area for each in sizes) if by_map else None,
        areas=tuple(_scaled(share, float(sizes.sum()) * pixel_area) for share in shares),
        shares=tuple(shares),
        overall=design.ratio(mapped == reference, always, "reference pixels"),
        users=tuple(users),
        producers=tuple(producers),
        matrix=weights.reshape(size, size),
        level=level,
        notes=(ASSUMPTION, *_notes(numbers, stratum_names, groups)),
    )


def pixel_area(grid: Grid) -> tuple[float, str]:
    """The area of a pixel and its unit: hectares where the coordinate system has lengths, else 1 pixel."""
    if grid.crs is None or not grid.crs.is_projected:
        return 1.0, "pixels"
    _, metres = grid.crs.linear_units_factor
    return abs(grid.transform.determinant) * metres**2 / 10_000, "ha"


@dataclass(frozen=True, eq=False)
class _Design:
    """The sample's strata, polygons, sizes and what each pixel stands for."""

    strata: NDArray[np.int64]
    groups: NDArray[np.int64] | None
    numbers: NDArray[np.int64]
    sizes: NDArray[np.float64]
    level: float

    @property
    def weights(self) -> NDArray[np.float64]:
        weights: NDArray[np.float64] = self.sizes[self.strata] / self.numbers[self.strata]
        return weights

    def ratio(
        self, y: NDArray[np.bool_], x: NDArray[np.bool_], what: str, only: int | None = None
    ) -> Estimate:
        """Estimated total of ``y`` over that of ``x``, with the variance of the residuals within strata."""
        total = float(self.weights[x].sum())
        if total == 0:
            return Estimate(None, note=f"There are no {what}.")
        value = float(self.weights[y].sum()) / total
        residual = y - value * x
        means = np.bincount(self.strata, residual, len(self.sizes)) / np.maximum(self.numbers, 1)
        deviation = self.weights * (residual - means[self.strata])
        if (
            (self.numbers == 1) & (self.sizes > 0) & (only is None or np.arange(len(self.sizes)) == only)
        ).any():
            return Estimate(value, note="A stratum has one reference pixel only, so the spread is unknown.")
        if self.groups is None:
            number, size = self.numbers[self.strata], self.sizes[self.strata]
            correction = (1 - number / size) * number / np.maximum(number - 1, 1)
            variance = float((deviation**2 * correction).sum())
            quantile = normal_quantile(self.level)
        else:
            clusters = np.unique(self.groups, return_inverse=True)[1]
            if clusters.max() == 0:
                return Estimate(value, note="All reference pixels are in one polygon.")
            sums = np.bincount(clusters, deviation).astype(np.float64)
            variance = cluster_variance(sums, len(sums))
            quantile = t_quantile(self.level, len(sums) - 1)
        error = math.sqrt(variance) / total
        return Estimate(value, error, max(0.0, value - quantile * error), min(1.0, value + quantile * error))


def _require_sampled(numbers: NDArray[np.int64], sizes: NDArray[np.float64], names: Sequence[str]) -> None:
    missing = [repr(names[i]) for i in np.flatnonzero((numbers == 0) & (sizes > 0)).tolist()]
    if missing:
        share = sizes[numbers == 0].sum() / sizes.sum()
        raise LabelError(
            f"Areas cannot be estimated: no reference pixel lies in {', '.join(missing)} "
            f"({share:.1%} of the map).",
            "Add reference pixels there.",
        )


def _scaled(share: Estimate, total: float) -> Estimate:
    def times(value: float | None) -> float | None:
        return None if value is None else value * total

    return Estimate(
        times(share.value), times(share.standard_error), times(share.low), times(share.high), share.note
    )


def _notes(
    numbers: NDArray[np.int64], names: Sequence[str], groups: NDArray[np.int64] | None
) -> Sequence[str]:
    single = [repr(names[i]) for i in np.flatnonzero(numbers == 1).tolist()]
    notes = []
    if single:
        notes.append(
            f"Only one reference pixel lies in {', '.join(single)}: what depends on it has no standard error."
        )
    if groups is not None:
        notes.append("Standard errors are those between reference polygons, not between their pixels.")
    return notes
