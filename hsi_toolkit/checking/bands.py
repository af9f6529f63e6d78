"""What the bands of a scene are worth, by measurement: noise, stripes, saturation, gaps, missing light."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.checking.sample import SceneSample, piece_rows
from hsi_toolkit.denoising.noise import noise_levels
from hsi_toolkit.denoising.statistics import SceneStatistics
from hsi_toolkit.denoising.stripes import LineFaults, find_line_faults
from hsi_toolkit.errors import SceneError
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene.lazy import Float32

Float64 = NDArray[np.float64]
Flags = NDArray[np.bool_]

WATER_VAPOUR_NM = ((1340.0, 1445.0), (1790.0, 1955.0))
"""Where water vapour lets hardly any light through, as NEON bounds it in its products."""

SATURATED_SHARE = 0.001
"""Share of pixels at a band's largest value from which on it counts as saturated, if they pile up there."""
PILE, FEWEST_AT_TOP = 3.0, 10
NEAR_TOP = 0.02

MISSING_SHARE = 0.5
"""A band that lacks more of the pixels that have data elsewhere is bad."""

LOWEST_SNR = 3.0
"""Mean over noise, below which a band is bad."""

NOISE_SHARE, DOUBTFUL_SNR = 0.5, 10.0
"""A band whose variance over the scene is noise for this share is bad if its SNR is doubtful, too."""

DARK_SHARE = 0.03
"""A band of radiance within a water-vapour window is dark below this share of what lies around the window."""
SHOULDER_NM = 100.0

STRIPED_BAD = 1.0
"""Stripes make a band bad when their root mean square exceeds this share of the band's own variation."""

IMPOSSIBLE_SHARE = 0.5
"""Share of pixels whose reflectance is below -0.1 or above 1.5 from which on a band is bad."""

# The noise of exactly dependent bands is no less than this share of their variation.
_LEAST_NOISE = 1e-6


@dataclass(frozen=True, eq=False)
class BandMeasures:
    """Measured on a sample, one number for each band; NaN where it cannot be said.

    Attributes:
        coverage: share of the sample's pixels with data in any band.
        missing: share of these that the band lacks.
        mean, deviation, low, high: of its values; ``low`` and ``high`` are the 1st and 99th percentile.
        constant: whether all values are equal.
        saturated: share of its values that pile up at the largest one.
        impossible: share of values that no reflectance has; 0 for other quantities.
        noise: standard deviation of the noise, in the band's units.
        striped: share of columns with an offset; ``stripes`` the root mean square of the offsets.
        faults: stripes and dead lines by line, over ``used`` bands; None where they cannot be told.
        used: indices of the bands that noise and stripes were measured on.
        column_mean: (bands, columns) mean of each column, NaN where it has no data.
    """

    coverage: float
    missing: Float64
    mean: Float64
    deviation: Float64
    low: Float64
    high: Float64
    constant: Flags
    saturated: Float64
    impossible: Float64
    noise: Float64
    striped: Float64
    stripes: Float64
    faults: LineFaults | None
    used: NDArray[np.intp]
    column_mean: Float64

    @property
    def snr(self) -> Float64:
        """Mean over noise."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.abs(self.mean) / self.noise)

    @property
    def noise_share(self) -> Float64:
        """Share of each band's variance that is noise."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.minimum((self.noise / self.deviation) ** 2, 1.0))


@dataclass
class Verdict:
    """Why bands are bad, by measurement: sentences' ends such as "noise: SNR 1.4" by band index."""

    reasons: dict[int, list[str]] = field(default_factory=dict)

    def add(self, band: int, reason: str) -> None:
        """Call a band bad."""
        self.reasons.setdefault(int(band), []).append(reason)

    def bad(self, bands: int) -> Flags:
        """(bands,) which are bad."""
        flags = np.zeros(bands, bool)
        flags[list(self.reasons)] = True
        return flags


def measure_bands(sample: SceneSample, quantity: str, progress: Progress) -> BandMeasures:
    """Look at every band of a sample."""
    data = sample.data
    bands, _, columns = data.shape
    seen = np.zeros(data.shape[1:], bool)
    for band in data:
        seen |= np.isfinite(band)
    coverage = float(seen.mean())
    names = ("missing", "mean", "deviation", "low", "high", "saturated", "impossible")
    numbers = {name: np.full(bands, np.nan) for name in names}
    constant = np.zeros(bands, bool)
    column_mean = np.full((bands, columns), np.nan)
    total = max(1, int(seen.sum()))
    for index, band in enumerate(data):
        progress.check()
        known = np.isfinite(band)
        values = band[known].astype(np.float64)
        numbers["missing"][index] = 1 - len(values) / total
        if not len(values):
            continue
        low, high = np.percentile(values, (1, 99))
        numbers["mean"][index], numbers["deviation"][index] = values.mean(), values.std()
        numbers["low"][index], numbers["high"][index] = low, high
        constant[index] = values.min() == values.max()
        numbers["saturated"][index] = _saturated(values)
        if quantity == "reflectance":
            numbers["impossible"][index] = float(((values < -0.1) | (values > 1.5)).mean())
        count = known.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            column_mean[index] = np.where(known, band, 0).sum(axis=0, dtype=np.float64) / count
        progress.report(0.5 * (index + 1) / bands, "Looking at every band")
    numbers["impossible"] = np.nan_to_num(numbers["impossible"])
    used = np.flatnonzero(~constant & (numbers["missing"] <= MISSING_SHARE) & (numbers["deviation"] > 0))
    noise, faults = _noise_and_lines(sample, used, numbers["deviation"], progress.part(0.5, 1.0))
    striped, stripes = np.zeros(bands), np.zeros(bands)
    if faults is not None:
        striped[used] = faults.columns.striped.mean(axis=1)
        stripes[used] = np.sqrt((faults.columns.offset**2).mean(axis=1))
    return BandMeasures(
        coverage=coverage,
        **numbers,
        constant=constant,
        noise=noise,
        striped=striped,
        stripes=stripes,
        faults=faults,
        used=used,
        column_mean=column_mean,
    )


def judge_bands(measures: BandMeasures, wavelength: Float64 | None, quantity: str) -> Verdict:
    """Which bands are bad, and why."""
    verdict = Verdict()
    snr, share = measures.snr, measures.noise_share
    dark = _dark_in_water(measures.mean, wavelength, quantity)
    for band in range(len(measures.mean)):
        missing = measures.missing[band]
        if np.isnan(measures.mean[band]):
            verdict.add(band, "empty: no data in any pixel")
            continue
        if measures.constant[band]:
            verdict.add(band, f"constant: {measures.mean[band]:g} in every pixel")
            continue
        if missing > MISSING_SHARE:
            verdict.add(band, f"no data in {missing:.0%} of the pixels that other bands have")
        where = _window_name(wavelength, band)
        if dark[band]:
            verdict.add(band, f"hardly any light{where}")
        if snr[band] < LOWEST_SNR:
            verdict.add(band, f"noise: SNR {snr[band]:.1f}{where}")
        elif share[band] > NOISE_SHARE and snr[band] < DOUBTFUL_SNR:
            verdict.add(band, f"noise: {share[band]:.0%} of what varies, SNR {snr[band]:.1f}{where}")
        if measures.impossible[band] > IMPOSSIBLE_SHARE:
            verdict.add(
                band, f"impossible reflectance in {measures.impossible[band]:.0%} of the pixels{where}"
            )
        if measures.stripes[band] > STRIPED_BAD * measures.deviation[band]:
            verdict.add(band, "stripes stronger than the picture")
    return verdict


def in_water_vapour(wavelength: Float64) -> Flags:
    """(bands,) whether each band lies in a water-vapour window."""
    inside = [(wavelength >= low) & (wavelength <= high) for low, high in WATER_VAPOUR_NM]
    return np.asarray(np.any(inside, axis=0))


def _window_name(wavelength: Float64 | None, band: int) -> str:
    for low, high in WATER_VAPOUR_NM:
        if wavelength is not None and low <= wavelength[band] <= high:
            return f" (water vapour, {low:.0f}-{high:.0f} nm)"
    return ""


def _saturated(values: Float64) -> float:
    """Share of values that are exactly the largest, where they pile up there; else 0."""
    top = values.max()
    count = int((values == top).sum())
    at_top = count / len(values)
    reach = NEAR_TOP * (top - np.median(values))
    below = float(((values < top) & (values > top - reach)).mean())
    piled = count >= FEWEST_AT_TOP and at_top > SATURATED_SHARE and at_top > PILE * below
    return at_top if reach > 0 and piled else 0.0


def _dark_in_water(mean: Float64, wavelength: Float64 | None, quantity: str) -> Flags:
    """Bands of radiance with next to no light in a water-vapour window."""
    dark = np.zeros(len(mean), bool)
    if wavelength is None or quantity == "reflectance":
        return dark
    for low, high in WATER_VAPOUR_NM:
        inside = (wavelength >= low) & (wavelength <= high)
        around = (wavelength >= low - SHOULDER_NM) & (wavelength <= high + SHOULDER_NM) & ~inside
        if inside.any() and np.isfinite(mean[around]).any():
            dark |= inside & (mean < DARK_SHARE * np.nanmedian(mean[around]))
    return dark


def _noise_and_lines(
    sample: SceneSample, used: NDArray[np.intp], deviation: Float64, progress: Progress
) -> tuple[Float64, LineFaults | None]:
    """(bands,) noise, NaN where unknown, and the line faults of the used bands."""
    bands, rows, columns = sample.data.shape
    noise = np.full(bands, np.nan)
    if len(used) < 2:
        return noise, None
    statistics = SceneStatistics(len(used), rows, columns)
    step = max(2, piece_rows(len(used), columns))
    for stretch in sample.stretches:
        statistics.leap()
        for first in range(stretch.start, stretch.stop, step):
            progress.check()
            part: Float32 = sample.data[used, first : min(first + step, stretch.stop)]
            statistics.update(part)
        progress.report(stretch.stop / rows, "Measuring noise and stripes")
    try:
        sigma = np.maximum(noise_levels(statistics.differences), _LEAST_NOISE * deviation[used])
        noise[used] = sigma
        return noise, find_line_faults(statistics, sigma)
    except SceneError:
        # Too few pixels with all bands: other measures still hold.
        return noise, None
