"""The pictures of a check: what a person should have looked at before trusting a scene."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from hsi_toolkit.checking.bands import WATER_VAPOUR_NM, BandMeasures
from hsi_toolkit.checking.check import SceneCheck
from hsi_toolkit.checking.sample import SceneSample
from hsi_toolkit.reports.plots import FAINT, INK, styled

ACCENT, WARM, WATER = "#0b6e75", "#c45414", "#dcecf7"
MARKED, MEASURED, GOOD = "#9aa5b1", "#c45414", "#0b6e75"

SPECTRA = 6
"""Pixels whose spectra are drawn, from dark to bright."""

_SMOOTH_COLUMNS = 15


@dataclass(frozen=True, eq=False)
class BandPicture:
    """A band as a picture (rows, columns), NaN without data, and what is written above it."""

    values: NDArray[np.float32]
    caption: str


def snr_svg(check: SceneCheck, wavelength: NDArray[np.float64] | None) -> bytes:
    """Signal-to-noise ratio of every band, the bad ones marked."""
    x = _axis(wavelength, len(check.bad))
    snr = np.clip(check.measures.snr, 0.1, 1e5)
    found = check.bad & ~check.marked
    with styled():
        figure = _figure(9.0, 3.0)
        axes = figure.add_subplot()
        _water(axes, wavelength)
        for flags, colour, label in (
            (~check.bad, GOOD, "good"),
            (check.marked, MARKED, "marked bad"),
            (found, MEASURED, "bad by measurement"),
        ):
            if np.isfinite(snr[flags]).any():
                axes.scatter(x[flags], snr[flags], s=9, color=colour, label=label, linewidths=0, zorder=3)
        axes.set_yscale("log")
        _labels(axes, wavelength, "Mean over noise")
        if axes.collections:
            axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
        return _svg(figure)


def band_strip_svg(check: SceneCheck, wavelength: NDArray[np.float64] | None) -> bytes:
    """Every band as a bar of the colour of its verdict, along the spectrum."""
    x = _axis(wavelength, len(check.bad))
    colours = np.where(check.marked, MARKED, np.where(check.bad, MEASURED, GOOD))
    with styled():
        figure = _figure(9.0, 1.05)
        axes = figure.add_subplot()
        _water(axes, wavelength)
        step = float(np.median(np.abs(np.diff(x)))) if len(x) > 1 else 1.0
        axes.bar(x, 0.8, 0.85 * step, bottom=0.1, color=colours, linewidth=0, zorder=2)
        axes.set(ylim=(0, 1), yticks=[], xlim=(x.min() - 2 * step, x.max() + 2 * step))
        axes.set_xlabel("Band" if wavelength is None else "Wavelength (nm)")
        axes.spines[["top", "right", "left"]].set_visible(False)
        names = {GOOD: "good", MARKED: "marked bad", MEASURED: "bad by measurement"}
        shown = [
            Patch(color=colour, label=name) for colour, name in names.items() if (colours == colour).any()
        ]
        axes.legend(
            handles=shown, frameon=False, fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0, 0.98)
        )
        return _svg(figure)


def spectra_svg(
    sample: SceneSample, bad: NDArray[np.bool_], wavelength: NDArray[np.float64] | None, quantity: str
) -> bytes:
    """A few pixels' spectra from dark to bright, over the range of nine tenths of all; bad bands left out."""
    x = _axis(wavelength, len(bad))
    good = np.flatnonzero(~bad)
    good = good[np.argsort(x[good], kind="stable")]
    with styled():
        figure = _figure(9.0, 3.6)
        axes = figure.add_subplot()
        _water(axes, wavelength)
        pixels = _thin_pixels(sample, good)
        if pixels.size:
            low, high = np.percentile(pixels, (5, 95), axis=0)
            breaks = _breaks(x, good)
            for part in np.split(np.arange(len(good)), breaks):
                axes.fill_between(
                    x[good][part], low[part], high[part], color="#e5eef0", linewidth=0, zorder=1
                )
            order = np.argsort(pixels.mean(axis=1))
            chosen = order[(np.linspace(0.03, 0.97, SPECTRA) * (len(order) - 1)).astype(int)]
            for shade, pixel in zip(np.linspace(0.25, 0.95, SPECTRA), chosen, strict=True):
                colour = (*(shade * np.array([0.95, 0.55, 0.25]) * 0.9 + 0.02),)
                for part in np.split(np.arange(len(good)), breaks):
                    axes.plot(x[good][part], pixels[pixel][part], color=colour, linewidth=1.1, zorder=3)
            room = 0.05 * float(high.max() - low.min() or 1)
            axes.set_ylim(float(low.min() - room), float(max(high.max(), pixels[chosen].max()) + room))
        _labels(axes, wavelength, "Digital number" if quantity == "dn" else quantity.capitalize())
        return _svg(figure)


def columns_png(measures: BandMeasures, wavelength: NDArray[np.float64] | None) -> bytes:
    """What each column's mean deviates from its surroundings, band by band, as shares of the band's mean."""
    mean = measures.column_mean
    filled = np.where(np.isfinite(mean), mean, np.nan_to_num(measures.mean)[:, None])
    wide = min(_SMOOTH_COLUMNS, mean.shape[1])
    deviation = filled - median_filter(filled, size=(1, wide), mode="nearest")
    with np.errstate(divide="ignore", invalid="ignore"):
        share = 100 * deviation / np.abs(measures.mean)[:, None]
    share = np.where(np.isfinite(mean) & np.isfinite(share), share, np.nan)
    known = np.abs(share[np.isfinite(share)])
    reach = float(np.percentile(known, 98)) if known.size else 1.0
    with styled():
        figure = _figure(9.0, 3.6)
        axes = figure.add_subplot()
        axes.set_facecolor("#d5dae0")
        shown = axes.imshow(
            share, aspect="auto", cmap="RdBu_r", vmin=-max(reach, 1e-3), vmax=max(reach, 1e-3),
            interpolation="nearest", extent=(0.5, mean.shape[1] + 0.5, len(mean) + 0.5, 0.5),
        )  # fmt: skip
        axes.set_xlabel("Column")
        axes.set_ylabel("Band")
        if wavelength is not None:
            ticks = np.linspace(1, len(mean), min(7, len(mean))).astype(int)
            axes.set_yticks(ticks, [f"{tick}  ({wavelength[tick - 1]:.0f} nm)" for tick in ticks])
        figure.colorbar(shown, ax=axes, label="% of the band's mean", pad=0.01)
        return _png(figure)


def band_pictures_png(pictures: Sequence[BandPicture]) -> bytes:
    """Single bands in grey, each stretched for itself."""
    columns = min(3, len(pictures))
    rows = -(-len(pictures) // columns)
    height, width = pictures[0].values.shape
    panel = 9.0 / columns
    tall = min(max(panel * height / width, 0.6), 3.4)
    with styled():
        figure = _figure(9.0, rows * (tall + 0.35))
        for number, picture in enumerate(pictures):
            axes = figure.add_subplot(rows, columns, number + 1)
            known = picture.values[np.isfinite(picture.values)]
            low, high = np.percentile(known, (1, 99)) if known.size else (0.0, 1.0)
            axes.set_facecolor("#d5dae0")
            axes.imshow(
                picture.values, cmap="gray", vmin=low, vmax=max(high, low + 1e-12), interpolation="nearest"
            )
            axes.set(xticks=[], yticks=[])
            axes.set_title(picture.caption, loc="left", size=8, color=FAINT)
        return _png(figure)


def smile_svg(check: SceneCheck) -> bytes | None:
    """The shift of the wavelengths across the columns; None where none could be measured."""
    if not check.smile:
        return None
    with styled():
        figure = _figure(9.0, 2.6)
        axes = figure.add_subplot()
        for smile, colour in zip(check.smile, (ACCENT, WARM), strict=False):
            columns = np.arange(1, len(smile.shift) + 1)
            axes.plot(columns, smile.shift, ".", color=colour, markersize=2.5, alpha=0.5)
            axes.plot(columns, smile.fitted, color=colour, linewidth=1.6, label=smile.feature)
        axes.set_xlabel("Column")
        axes.set_ylabel("Shift (nm)")
        _plain(axes)
        axes.legend(frameon=False, fontsize=8)
        return _svg(figure)


def quicklook_png(picture: NDArray[np.uint8], missing: NDArray[np.bool_]) -> bytes:
    """The scene in natural colour, (rows, columns, 3), with what holds no data in light grey."""
    shown = picture.copy()
    shown[missing] = (226, 230, 234)
    height, width = missing.shape
    with styled():
        inches = 9.0 / max(height, width)
        figure = Figure(figsize=(inches * width, inches * height), facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.imshow(shown, interpolation="nearest")
        axes.set_axis_off()
        return _png(figure, dpi=100)


def _thin_pixels(sample: SceneSample, good: NDArray[np.intp]) -> NDArray[np.float64]:
    """Up to a few thousand pixels with data in all good bands that have any, (n, good bands)."""
    rows, columns = sample.data.shape[1:]
    step = max(1, int((rows * columns / 4000) ** 0.5))
    thin = sample.data[:, ::step, ::step].reshape(len(sample.data), -1)[good].astype(np.float64)
    return np.asarray(thin[:, np.isfinite(thin).all(axis=0)].T)


def _breaks(x: NDArray[np.float64], good: NDArray[np.intp]) -> NDArray[np.intp]:
    """Where lines along ``good`` bands are broken, because bands between them are missing."""
    steps = np.diff(x[good])
    usual = float(np.median(steps)) if len(steps) else 1.0
    return np.flatnonzero(steps > 4 * usual) + 1


def _axis(wavelength: NDArray[np.float64] | None, bands: int) -> NDArray[np.float64]:
    return np.arange(1.0, bands + 1) if wavelength is None else np.asarray(wavelength, np.float64)


def _water(axes: Axes, wavelength: NDArray[np.float64] | None) -> None:
    if wavelength is None:
        return
    for low, high in WATER_VAPOUR_NM:
        left, right = max(low, float(wavelength.min())), min(high, float(wavelength.max()))
        if right > left:
            axes.axvspan(left, right, color=WATER, linewidth=0, zorder=0)


def _labels(axes: Axes, wavelength: NDArray[np.float64] | None, what: str) -> None:
    axes.set_xlabel("Band" if wavelength is None else "Wavelength (nm)")
    axes.set_ylabel(what)
    axes.margins(x=0.01)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e8ebee", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=3, labelcolor=INK)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _svg(figure: Figure) -> bytes:
    out = BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def _png(figure: Figure, dpi: int = 130) -> bytes:
    out = BytesIO()
    figure.savefig(out, format="png", dpi=dpi, metadata={"Software": None})
    return out.getvalue()
