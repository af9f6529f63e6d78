"""The charts of a report, as SVG: mean spectra and training curve.

Drawn with Matplotlib's objects and no ``pyplot``, so that threads and notebooks do not meet in global state.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray

from hsi_toolkit.scene.class_map import ClassEntry

INK, FAINT, RULE = "#1f2933", "#66727f", "#d5dae0"
#: A step between neighbouring bands this many times the usual one is a gap, not a line.
_GAP = 4.0
LEGEND_COLUMN = 24


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the report's style, and leave the style of the program around it as it was."""
    with matplotlib.rc_context():
        matplotlib.rc("font", family="sans-serif", size=9)
        matplotlib.rc("text", color=INK)
        matplotlib.rc("axes", edgecolor=RULE, labelcolor=FAINT, linewidth=0.8)
        matplotlib.rc("xtick", color=FAINT)
        matplotlib.rc("ytick", color=FAINT)
        matplotlib.rc("svg", hashsalt="hsi_toolkit")
        yield


@dataclass(frozen=True, eq=False)
class ClassSpectra:
    """Mean spectrum and standard deviation of each class, (K, bands), NaN where there is none.

    ``wavelength`` (bands,) in nanometres is None where unknown, ``good`` (bands,) says which bands are used.
    ``counts`` (K,) are the pixels behind each mean. ``quantity`` is the scene's, "reflectance", "radiance" or
    "dn".
    """

    names: tuple[str, ...]
    colours: tuple[str, ...]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    counts: NDArray[np.int64]
    wavelength: NDArray[np.float64] | None
    good: NDArray[np.bool_]
    quantity: str

    @classmethod
    def of(
        cls,
        spectra: NDArray[np.floating],
        classes: NDArray[np.int64],
        legend: Sequence[ClassEntry],
        *,
        wavelength: NDArray[np.float64] | None = None,
        good: NDArray[np.bool_] | None = None,
        quantity: str = "reflectance",
    ) -> "ClassSpectra":
        """From labelled spectra (n, bands), NaN being no data, and their classes 0 to K-1, (n,)."""
        shape = (len(legend), spectra.shape[1])
        mean, deviation = np.full(shape, np.nan), np.full(shape, np.nan)
        for index in range(len(legend)):
            own = spectra[classes == index].astype(np.float64)
            known = np.isfinite(own)
            count = known.sum(axis=0)
            filled = np.where(known, own, 0.0)
            with np.errstate(invalid="ignore", divide="ignore"):
                mean[index] = filled.sum(axis=0) / count
                squares = np.where(known, own - mean[index], 0.0) ** 2
                deviation[index] = np.where(count > 1, np.sqrt(squares.sum(axis=0) / (count - 1)), np.nan)
        return cls(
            names=tuple(entry.name for entry in legend),
            colours=tuple(entry.hex_colour for entry in legend),
            mean=mean,
            deviation=deviation,
            counts=np.bincount(classes, minlength=len(legend)),
            wavelength=wavelength,
            good=np.ones(shape[1], bool) if good is None else np.asarray(good, bool),
            quantity=quantity,
        )


@dataclass(frozen=True)
class TrainingCurve:
    """What happened during training: one value an epoch in each series, and the epoch that was kept.

    ``scores`` are held-out figures between 0 and 1 by their name. ``best`` counts from 1 like the epochs.
    """

    losses: dict[str, Sequence[float]]
    scores: dict[str, Sequence[float]]
    best: int | None = None


def spectra_svg(spectra: ClassSpectra) -> bytes:
    """Mean spectra with one standard deviation either way, bad bands grey and left blank, as SVG."""
    with styled():
        figure = Figure(figsize=(9.0, 4.1), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        x = _axis(spectra.wavelength, spectra.mean.shape[1])
        faint = 0.14 if len(spectra.names) <= 8 else 0.07
        for name, colour, mean, deviation, count in zip(
            spectra.names, spectra.colours, spectra.mean, spectra.deviation, spectra.counts, strict=True
        ):
            if not count:
                continue
            drawn = False
            for piece in _pieces(x, spectra.good & np.isfinite(mean)):
                spread = np.nan_to_num(deviation[piece])
                low, high = mean[piece] - spread, mean[piece] + spread
                axes.fill_between(x[piece], low, high, color=colour, alpha=faint, linewidth=0)
                axes.plot(
                    x[piece], mean[piece], color=colour, linewidth=1.6, solid_capstyle="round",
                    label=None if drawn else f"{name} ({count:,})",
                    path_effects=[Stroke(linewidth=2.4, foreground="#00000040"), Normal()],
                )  # fmt: skip
                drawn = True
        for start, stop in _bad_spans(x, spectra.good):
            axes.axvspan(start, stop, color="#eceff2", linewidth=0, zorder=0)
        _plain(axes)
        axes.set_xlabel("Band" if spectra.wavelength is None else "Wavelength (nm)")
        axes.set_ylabel("Digital number" if spectra.quantity == "dn" else spectra.quantity.capitalize())
        axes.margins(x=0.01)
        limits = _limits(spectra)
        if limits is not None:
            axes.set_ylim(limits)
        if axes.lines:
            legend = axes.legend(
                loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8,
                title="Class (pixels)", ncols=-(-len(spectra.names) // LEGEND_COLUMN),
            )  # fmt: skip
            legend.get_title().set_fontsize(8)
        return _svg(figure)


def curve_svg(curve: TrainingCurve) -> bytes:
    """Losses, and beside them the held-out figures, epoch by epoch, as SVG."""
    panels = [
        (name, series) for name, series in (("Loss", curve.losses), ("Held out", curve.scores)) if series
    ]
    with styled():
        figure = Figure(figsize=(4.5 * len(panels), 2.9), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, (title, series) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
            for (name, values), colour in zip(
                series.items(), ("#0b6e75", "#d1701f", "#6b4fa0", "#7f7f7f"), strict=False
            ):
                epochs = np.arange(1, len(values) + 1)
                marker = "o" if len(values) < 25 else None
                axes.plot(
                    epochs, values, color=colour, linewidth=1.6, label=name, marker=marker, markersize=3
                )
            if curve.best is not None:
                axes.axvline(curve.best, color=FAINT, linewidth=0.9, linestyle=(0, (3, 3)))
                axes.annotate(
                    "kept", (curve.best, 1.0), xycoords=("data", "axes fraction"), ha="center", va="bottom",
                    size=8, color=FAINT,
                )  # fmt: skip
            _plain(axes)
            axes.set_xlabel("Epoch")
            axes.set_title(title, loc="left", size=9, color=INK)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend(frameon=False, fontsize=8)
        return _svg(figure)


def bands_svg(wavelength: Sequence[float] | None, fwhm: Sequence[float] | None) -> bytes | None:
    """Where bands lie along the spectrum, each as wide as it is, as SVG; None without wavelengths."""
    if not wavelength:
        return None
    centres = np.sort(np.asarray(wavelength, float))
    order = np.argsort(np.asarray(wavelength, float))
    step = float(np.median(np.diff(centres))) if len(centres) > 1 else 10.0
    widths = np.full(len(centres), step) if fwhm is None else np.asarray(fwhm, float)[order]
    with styled():
        figure = Figure(figsize=(9.0, 1.25), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        low, high = min(350.0, centres[0] - step), max(1050.0, centres[-1] + step)
        for start, stop, name in _REGIONS:
            left, right = max(start, low), min(stop, high)
            if right > left:
                axes.axvspan(left, right, 0.0, 0.76, color="#f3f5f7", linewidth=0, zorder=0)
                axes.text((left + right) / 2, 0.86, name, ha="center", va="center", size=8, color=FAINT)
                axes.axvline(left, 0.0, 0.76, color="white", linewidth=1.5, zorder=1)
        for colour, start, stop in _VISIBLE:
            axes.axvspan(start, stop, 0.0, 0.07, color=colour, linewidth=0, zorder=3)
        axes.bar(centres, 0.56, widths, bottom=0.14, color="#0b6e75", alpha=0.55, linewidth=0, zorder=2)
        axes.vlines(centres, 0.14, 0.70, color="#074c51", linewidth=0.5, zorder=3)
        axes.set(xlim=(low, high), ylim=(0, 1), yticks=[], xlabel="Wavelength (nm)")
        axes.spines[["top", "right", "left"]].set_visible(False)
        return _svg(figure)


#: Regions of the spectrum as imaging spectroscopy names them, in nanometres.
_REGIONS = (
    (0.0, 700.0, "visible"), (700.0, 1000.0, "near infrared"), (1000.0, 2600.0, "shortwave infrared"),
    (2600.0, 7000.0, "mid infrared"), (7000.0, 20000.0, "thermal infrared"),
)  # fmt: skip
#: Colours of the visible spectrum, roughly, and where they begin and end.
_VISIBLE = (
    ("#6a3fa0", 380, 435), ("#2b5fc0", 435, 490), ("#1f9e72", 490, 560), ("#d7c520", 560, 590),
    ("#e08a1e", 590, 625), ("#c8352b", 625, 740),
)  # fmt: skip


def _limits(spectra: ClassSpectra) -> tuple[float, float] | None:
    """The range of nearly all of what is drawn: a single noisy band must not flatten the rest."""
    deviation = np.nan_to_num(spectra.deviation[:, spectra.good])
    mean = spectra.mean[:, spectra.good]
    if not np.isfinite(mean).any():
        return None
    low, high = np.nanpercentile(mean - deviation, 0.5), np.nanpercentile(mean + deviation, 99.5)
    room = 0.05 * (high - low) or 1.0
    return float(low - room), float(high + room)


def _axis(wavelength: NDArray[np.float64] | None, bands: int) -> NDArray[np.float64]:
    return np.arange(1, bands + 1, dtype=np.float64) if wavelength is None else np.asarray(wavelength, float)


def _pieces(x: NDArray[np.float64], shown: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Runs of neighbouring bands: broken where a band is left out, steps back or follows after a gap."""
    bands = np.flatnonzero(shown)
    if not len(bands):
        return []
    step = np.diff(x[bands])
    usual = np.median(np.abs(np.diff(x))) if len(x) > 1 else 1.0
    breaks = (np.diff(bands) > 1) | (step <= 0) | (step > _GAP * usual)
    return np.split(bands, np.flatnonzero(breaks) + 1)


def _bad_spans(x: NDArray[np.float64], good: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """The stretches of the axis that bad bands take, each half a band wider on both sides."""
    spans = []
    for run in np.split(np.flatnonzero(~good), np.flatnonzero(np.diff(np.flatnonzero(~good)) > 1) + 1):
        if len(run):
            half = np.median(np.abs(np.diff(x))) / 2 if len(x) > 1 else 0.5
            spans.append((float(x[run].min() - half), float(x[run].max() + half)))
    return spans


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e8ebee", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=3)


def _svg(figure: Figure) -> bytes:
    out = BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()
