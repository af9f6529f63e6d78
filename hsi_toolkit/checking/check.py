"""The check of a scene: everything that is measured on its sample, and what follows from it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.checking.bands import BandMeasures, Verdict, in_water_vapour, judge_bands, measure_bands
from hsi_toolkit.checking.findings import Finding, Status, band_ranges, counted
from hsi_toolkit.checking.geolocation import check_geolocation
from hsi_toolkit.checking.sample import SceneSample
from hsi_toolkit.checking.spectral import STEP, Join, Smile, find_joins, measure_smile
from hsi_toolkit.checking.values import Fill, check_values
from hsi_toolkit.progress import Progress

Float64 = NDArray[np.float64]

MUCH_SATURATION = 0.001
MUCH_STRIPING, VISIBLE_STRIPES = 0.02, 0.7
"""Share of columns with an offset, and the root mean square of the offsets in units of the noise, from which
on stripes are told."""
FWHM_SPACINGS = (0.01, 50.0)
"""Band widths outside these multiples of the bands' spacing are in another unit, most likely."""


@dataclass(frozen=True, eq=False)
class SceneCheck:
    """What was found out about a scene.

    Attributes:
        numbers: (bands,) the bands' numbers in the file.
        measures: what was measured on them.
        verdict: which bands are bad by measurement.
        marked: (bands,) those the file calls bad already.
        joins, smile: what shows along the spectrum and across the columns.
        fill: a fill value that nobody declared.
        findings: sentences, by topic.
    """

    numbers: NDArray[np.integer]
    measures: BandMeasures
    verdict: Verdict
    marked: NDArray[np.bool_]
    joins: list[Join]
    smile: list[Smile]
    fill: Fill | None
    findings: list[Finding]

    @property
    def bad(self) -> NDArray[np.bool_]:
        """(bands,) bad by the file or by measurement."""
        return np.asarray(self.marked | self.verdict.bad(len(self.marked)))

    def numbered(self, bands: NDArray[np.bool_] | NDArray[np.intp]) -> list[int]:
        """The numbers of bands given by flags or indices, ascending."""
        return sorted(int(number) for number in self.numbers[bands])

    def named(self, bands: NDArray[np.bool_] | NDArray[np.intp]) -> str:
        """The same in words, such as "1-3, 7"."""
        return band_ranges(self.numbered(bands))


def check_scene(
    scene: xr.DataArray, sample: SceneSample, fill: Fill | None, progress: Progress
) -> SceneCheck:
    """Check a scene by a sample of it, both with all known corrections applied.

    Args:
        scene: (band, y, x), for its metadata; no value is read.
        sample: of its values.
        fill: a fill value that was found and taken out already.
    """
    quantity = str(scene.attrs.get("quantity", "dn"))
    wavelength = scene["wavelength"].to_numpy() if "wavelength" in scene.coords else None
    measures = measure_bands(sample, quantity, progress)
    verdict = judge_bands(measures, wavelength, quantity)
    marked = ~np.asarray(scene["good"].to_numpy(), bool)
    good = ~(marked | verdict.bad(len(marked)))
    joins: list[Join] = []
    smile: list[Smile] = []
    if wavelength is not None:
        joins = find_joins(wavelength, measures.mean, good)
        if in_sensor_geometry(scene) and quantity != "reflectance":
            smile = measure_smile(measures.column_mean, wavelength, good)
    numbers = np.asarray(scene["band"].to_numpy())
    check = SceneCheck(numbers, measures, verdict, marked, joins, smile, fill, [])
    check.findings.extend(
        [
            *_metadata(scene, wavelength),
            *check_values(sample, quantity, good if good.any() else np.ones(len(good), bool)),
            *_no_data(check, sample),
            *_bands(check, wavelength),
            *_lines(check, sample),
            *_detectors(check, scene, wavelength, quantity),
            *check_geolocation(scene),
        ]
    )
    return check


def in_sensor_geometry(scene: xr.DataArray) -> bool:
    """Whether the scene's columns are the sensor's: a map grid mixes them."""
    return bool(scene.rio.transform().is_identity)


def _metadata(scene: xr.DataArray, wavelength: Float64 | None) -> Iterator[Finding]:
    if wavelength is None:
        remedy = "Give them with --bands, a header or table that has them, and --fix."
        yield Finding("Wavelengths", "problem", "The scene has no wavelengths.", remedy)
        return
    span = f"{wavelength.min():.1f} to {wavelength.max():.1f} nm"
    if len(np.unique(wavelength)) < len(wavelength):
        yield Finding(
            "Wavelengths", "problem", f"Some of the wavelengths ({span}) are equal.", "Check their list."
        )
    elif (np.diff(wavelength) < 0).any():
        back = int((np.diff(wavelength) < 0).sum())
        text = f"{span}, stepping back {back} times, as detectors do that overlap."
        yield Finding("Wavelengths", "note", text)
    else:
        yield Finding("Wavelengths", "good", f"{span}, ascending.")
    if "fwhm" not in scene.coords:
        yield Finding("Band widths", "note", "The scene does not say how wide its bands are.")
    elif len(wavelength) > 2:
        widths = scene["fwhm"].to_numpy()
        spacing = float(np.median(np.diff(np.sort(wavelength))))
        ratio = float(np.median(widths)) / max(spacing, 1e-9)
        if not FWHM_SPACINGS[0] <= ratio <= FWHM_SPACINGS[1]:
            text = f"Bands of {np.median(widths):.3g} nm every {spacing:.3g} nm: another unit, most likely."
            yield Finding("Band widths", "problem", text, "Correct them, in nanometres.")
        else:
            yield Finding("Band widths", "good", f"{widths.min():.1f} to {widths.max():.1f} nm.")


def _no_data(check: SceneCheck, sample: SceneSample) -> Iterator[Finding]:
    part = "the scene" if sample.whole else "the sample"
    if check.fill is not None:
        text = (
            f"{check.fill.share:.1%} of the pixels hold {check.fill.value:g} in every band, and the file "
            "does not call that no data."
        )
        yield Finding("No data", "problem", text, "Write it down with --fix.")
    missing = 1 - check.measures.coverage
    status: Status = "problem" if missing > 0.95 else "good"
    yield Finding("No data", status, f"{missing:.1%} of {part} holds no data.")


def _bands(check: SceneCheck, wavelength: Float64 | None) -> Iterator[Finding]:
    measured = check.verdict.bad(len(check.marked))
    new = np.flatnonzero(measured & ~check.marked)
    if len(new):
        where = ""
        if wavelength is not None:
            water = int(in_water_vapour(wavelength[new]).sum())
            where = f", {water} of them within water vapour" if water else ""
        text = (
            f"{counted(len(new), 'band', 'is')} bad by measurement and not marked so: "
            f"{check.named(new)}{where}."
        )
        yield Finding("Bands", "problem", text, "Mark them with --fix.")
    marked = int(check.marked.sum())
    if marked:
        yield Finding(
            "Bands",
            "good",
            f"{counted(marked, 'band', 'is')} marked bad: {check.named(check.marked)}.",
        )
    if not len(new):
        yield Finding("Bands", "good", "No further band is bad by measurement.")
    good = ~check.bad
    snr = check.measures.snr[good]
    if np.isfinite(snr).any():
        yield Finding(
            "Noise", "good", f"The median signal-to-noise ratio of the good bands is {np.nanmedian(snr):.0f}."
        )
    saturated = np.flatnonzero(good & (check.measures.saturated > MUCH_SATURATION))
    if len(saturated):
        share = check.measures.saturated[saturated].max()
        text = (
            f"{counted(len(saturated), 'band', 'is')} saturated in up to {share:.2%} of the pixels: "
            f"{check.named(saturated)}."
        )
        yield Finding("Saturation", "note", text, "Bright targets cannot be trusted there.")


def _lines(check: SceneCheck, sample: SceneSample) -> Iterator[Finding]:
    measures = check.measures
    if measures.faults is None:
        text = "Stripes and dead columns cannot be told: too few pixels have data in all bands."
        yield Finding("Columns", "note", text)
        return
    dead = measures.faults.columns.dead
    everywhere = np.flatnonzero(dead.mean(axis=0) > 0.5) + 1 + sample.columns.start
    if len(everywhere):
        where = band_ranges(everywhere.tolist())
        text = f"{counted(len(everywhere), 'column', 'is')} dead in most bands: {where}."
        yield Finding("Columns", "problem", text, "Repair them with 'hsi denoise'.")
    single = dead[:, dead.mean(axis=0) <= 0.5]
    if single.any():
        text = (
            f"{counted(int(single.sum()), 'column', 'is')} dead in single bands, "
            f"{counted(int(single.any(axis=1).sum()), 'band')} in all."
        )
        yield Finding("Columns", "problem", text, "Repair them with 'hsi denoise'.")
    visible = measures.stripes > VISIBLE_STRIPES * measures.noise
    striped = np.flatnonzero((measures.striped > MUCH_STRIPING) & visible & ~check.bad)
    if len(striped):
        worst = int(striped[measures.stripes[striped].argmax()])
        size = measures.stripes[worst] / max(abs(measures.mean[worst]), 1e-12)
        band = check.numbers[worst]
        text = (
            f"{counted(len(striped), 'good band', 'is')} striped, band {band} most ({size:.1%} of its mean)."
        )
        yield Finding("Columns", "note", text, "'hsi denoise' takes stripes out.")
    if not dead.any() and not len(striped):
        yield Finding("Columns", "good", "No dead columns and no stripes.")


def _detectors(
    check: SceneCheck, scene: xr.DataArray, wavelength: Float64 | None, quantity: str
) -> Iterator[Finding]:
    if wavelength is None:
        return
    for join in check.joins:
        text = f"Two detectors meet or overlap between {join.start:.0f} and {join.stop:.0f} nm"
        if np.isnan(join.step):
            yield Finding("Detectors", "note", f"{text}.")
        elif abs(join.step) > STEP:
            yield Finding(
                "Detectors", "note", f"{text} with a step of {abs(join.step):.1%}.", "Spectra show it there."
            )
        else:
            yield Finding("Detectors", "good", f"{text}; the step is {abs(join.step):.1%}.")
    if quantity == "reflectance":
        return
    if not in_sensor_geometry(scene):
        yield Finding(
            "Smile", "note", "The scene lies on a map grid, which hides smile: look at it before mapping."
        )
        return
    for smile in check.smile:
        size = f"{smile.size:.2f} nm across the columns, seen in {smile.feature}"
        if smile.seen:
            yield Finding(
                "Smile", "note", f"The wavelengths shift by {size}.", "Retrievals should allow for it."
            )
        else:
            yield Finding("Smile", "good", f"No shift beyond chance ({size}).")
    if not check.smile:
        yield Finding("Smile", "note", "Smile cannot be seen: no sharp absorption at 760 or 1130 nm.")
