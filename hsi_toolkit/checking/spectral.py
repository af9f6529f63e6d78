"""What shows along the spectrum: overlapping detectors, steps at their joins, smile across the columns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

Float64 = NDArray[np.float64]
Flags = NDArray[np.bool_]

SMILE_FEATURES = (("oxygen at 760 nm", 742.0, 782.0), ("water vapour at 1130 nm", 1095.0, 1170.0))
"""Absorptions that are sharp enough to see a shift of the wavelengths in."""

FEWEST_BANDS, SHALLOWEST = 5, 0.03
"""Bands a feature must have, and how deep it must be, to measure a shift in it."""

CERTAIN, SMALLEST_SMILE_NM = 3.0, 0.05
"""Times its uncertainty, and nanometres, that a smile must exceed to be told."""

STEP = 0.02
"""A step at a join is worth telling from this share of the signal on."""

CLOSE_BANDS = 0.6
"""Bands closer than this share of the usual spacing belong to two detectors."""


@dataclass(frozen=True)
class Join:
    """Where two detectors meet or overlap: wavelengths in nanometres, and the step there.

    ``step`` is the difference between both detectors' mean signals where they meet, as a share of it;
    positive when the one of longer wavelengths is brighter. NaN where it cannot be told.
    """

    start: float
    stop: float
    step: float


@dataclass(frozen=True, eq=False)
class Smile:
    """How the wavelengths shift across the columns, seen in one absorption.

    Attributes:
        feature: its name.
        shift: (columns,) nanometres against the mean of all columns, NaN where it cannot be told.
        fitted: (columns,) a parabola through them.
        size: what the parabola spans, in nanometres; ``error`` its standard error.
    """

    feature: str
    shift: Float64
    fitted: Float64
    size: float
    error: float

    @property
    def seen(self) -> bool:
        """Whether it is more than chance."""
        return self.size > max(CERTAIN * self.error, SMALLEST_SMILE_NM)


def find_joins(wavelength: Float64, mean: Float64, good: Flags) -> list[Join]:
    """Detector joins of a mean spectrum (bands,): where wavelengths step back, or interleave.

    ``good`` bands alone are used for the steps. Products that are sorted by wavelength interleave the
    detectors in their overlap; others keep one detector after the other.
    """
    order = np.argsort(wavelength, kind="stable")
    back = np.flatnonzero(np.diff(wavelength) < 0)
    joins = []
    edges = [0, *(back + 1).tolist(), len(wavelength)]
    for left, middle, right in zip(edges, edges[1:], edges[2:], strict=False):
        first, second = np.arange(left, middle), np.arange(middle, right)
        start, stop = float(wavelength[second].min()), float(wavelength[first].max())
        step = _overlap_step(wavelength, mean, first[good[first]], second[good[second]])
        joins.append(Join(min(start, stop), max(start, stop), step))
    if not len(back):
        joins += _interleaved(wavelength[order], mean[order], good[order])
    return joins


def _overlap_step(
    wavelength: Float64, mean: Float64, first: NDArray[np.intp], second: NDArray[np.intp]
) -> float:
    """Median relative difference of two detectors' spectra where they overlap."""
    known = [part[np.isfinite(mean[part])] for part in (first, second)]
    if min(map(len, known)) < 2:
        return float("nan")
    (a, b) = known
    low, high = wavelength[b].min(), wavelength[a].max()
    inside = b[(wavelength[b] >= low) & (wavelength[b] <= high)]
    if not len(inside):
        return float("nan")
    ascending = a[np.argsort(wavelength[a])]
    expected = np.interp(wavelength[inside], wavelength[ascending], mean[ascending])
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.median((mean[inside] - expected) / np.abs(expected)))


def _interleaved(wavelength: Float64, mean: Float64, good: Flags) -> list[Join]:
    """Stretches of sorted bands that lie much closer together than those around them."""
    steps = np.diff(wavelength)
    if len(steps) < 8:
        return []
    usual = np.array([np.median(steps[max(0, i - 15) : i + 16]) for i in range(len(steps))])
    close = np.flatnonzero(steps < CLOSE_BANDS * usual)
    joins = []
    for run in np.split(close, np.flatnonzero(np.diff(close) > 4) + 1):
        if len(run) < 2:
            continue
        inside = np.arange(run[0], run[-1] + 2)
        joins.append(
            Join(float(wavelength[inside[0]]), float(wavelength[inside[-1]]), _zigzag(mean, inside, good))
        )
    return joins


def _zigzag(mean: Float64, inside: NDArray[np.intp], good: Flags) -> float:
    """How far every other band of an overlap lies off the line between its neighbours, as a share."""
    between = [
        band
        for band in inside
        if 0 < band < len(mean) - 1
        and good[band - 1 : band + 2].all()
        and np.isfinite(mean[band - 1 : band + 2]).all()
    ]
    if len(between) < 2:
        return float("nan")
    index = np.array(between)
    straight = (mean[index - 1] + mean[index + 1]) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.median(np.abs(mean[index] - straight) / np.abs(straight)))


def measure_smile(column_mean: Float64, wavelength: Float64, good: Flags) -> list[Smile]:
    """The shift of absorptions across the columns of a scene in the sensor's geometry.

    Each column's mean spectrum, divided by the line between the feature's ends, is taken for the mean of all
    columns, made deeper or shallower, tilted and shifted; the shift is that of the derivative in a
    least-squares fit.

    Args:
        column_mean: (bands, columns) mean radiance of each column.
        wavelength: (bands,) nanometres.
        good: (bands,) bands that are used.
    """
    found = (_smile_in(column_mean, wavelength, good, *feature) for feature in SMILE_FEATURES)
    return [smile for smile in found if smile is not None]


def _smile_in(
    column_mean: Float64, wavelength: Float64, good: Flags, name: str, low: float, high: float
) -> Smile | None:
    inside = np.flatnonzero(good & (wavelength >= low) & (wavelength <= high))
    inside = inside[np.argsort(wavelength[inside])]
    if len(inside) < FEWEST_BANDS:
        return None
    centres, spectra = wavelength[inside], column_mean[inside]
    known = np.isfinite(spectra).all(axis=0) & (spectra > 0).all(axis=0)
    if known.sum() < 16 or (np.diff(centres) <= 0).any():
        return None
    fraction = ((centres - centres[0]) / (centres[-1] - centres[0]))[:, None]
    continuum = spectra[:1, known] * (1 - fraction) + spectra[-1:, known] * fraction
    shape = spectra[:, known] / continuum
    mean = shape.mean(axis=1)
    if 1 - mean.min() < SHALLOWEST:
        return None
    design = np.stack(
        [np.ones(len(mean)), fraction[:, 0], mean - 1, CubicSpline(centres, mean)(centres, 1)], axis=1
    )
    shift = np.full(column_mean.shape[1], np.nan)
    shift[known] = -np.linalg.lstsq(design, shape - mean[:, None], rcond=None)[0][3]
    columns = np.flatnonzero(known)
    place = 2 * columns / max(1, column_mean.shape[1] - 1) - 1
    basis = np.stack([np.ones_like(place), place, place**2], axis=1)
    weights = np.linalg.lstsq(basis, shift[known], rcond=None)[0]
    residual = shift[known] - basis @ weights
    scatter = residual.std() * np.sqrt(len(place) / max(1, len(place) - 3))
    error = scatter * np.sqrt(np.linalg.inv(basis.T @ basis)[1:, 1:].diagonal().sum())
    every = 2 * np.arange(column_mean.shape[1]) / max(1, column_mean.shape[1] - 1) - 1
    fitted = np.stack([np.ones_like(every), every, every**2], axis=1) @ weights
    return Smile(name, shift, fitted, float(np.ptp(fitted)), float(error))
