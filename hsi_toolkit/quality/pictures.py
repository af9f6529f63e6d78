"""The picture of a comparison: both scenes, where they differ, and the figures band by band."""

from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hsi_toolkit.quality.metrics import CubeQuality
from hsi_toolkit.reports.plots import FAINT, styled

_FIRST, _SECOND = "#0b6e75", "#c45414"


def comparison_png(
    quality: CubeQuality,
    compared: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    angles: NDArray[np.float32],
    *,
    wavelength: NDArray[np.float64] | None = None,
) -> bytes:
    """The comparison as PNG.

    Args:
        compared, reference: (rows, cols, 3) pictures of the scenes in common colours.
        angles: (rows, cols) spectral angle in radians on the same pixels.
        wavelength: (bands,) nm for the axis; None numbers the bands.
    """
    height, width = angles.shape
    panel = 3.2
    tall = min(max(panel * height / width, 1.2), 5.0)
    with styled():
        figure = Figure(figsize=(3 * panel + 1.1, tall + 2.9), facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2, 3, height_ratios=[tall, 2.3])
        for column, (picture, caption) in enumerate(((reference, "Reference"), (compared, "Compared"))):
            axes = figure.add_subplot(grid[0, column])
            axes.imshow(picture, interpolation="nearest")
            _bare(axes, caption)
        axes = figure.add_subplot(grid[0, 2])
        degrees = np.degrees(angles)
        known = degrees[np.isfinite(degrees)]
        top = float(np.percentile(known, 99)) if known.size else 1.0
        shown = axes.imshow(degrees, vmin=0, vmax=max(top, 1e-6), cmap="magma", interpolation="nearest")
        _bare(axes, "Spectral angle")
        figure.colorbar(shown, ax=axes, shrink=0.9, label="degrees")
        _curves(figure.add_subplot(grid[1, :]), quality, wavelength)
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    return buffer.getvalue()


def _bare(axes: Axes, caption: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(caption, loc="left", size=9, color=FAINT)


def _curves(axes: Axes, quality: CubeQuality, wavelength: NDArray[np.float64] | None) -> None:
    position = np.arange(1, len(quality.psnr) + 1) if wavelength is None else wavelength
    marker = "o" if len(position) < 12 else ""
    psnr = np.where(np.isfinite(quality.psnr), quality.psnr, np.nan)
    axes.plot(position, psnr, color=_FIRST, linewidth=1.4, marker=marker, markersize=4)
    axes.set_xlabel("Band" if wavelength is None else "Wavelength (nm)")
    axes.set_ylabel("PSNR (dB)", color=_FIRST)
    twin = axes.twinx()
    twin.plot(position, quality.ssim, color=_SECOND, linewidth=1.4, marker=marker, markersize=4)
    twin.set_ylabel("SSIM", color=_SECOND)
    twin.set_ylim(min(0.0, float(np.nanmin(quality.ssim, initial=0.0))), 1.02)
    for each in (axes, twin):
        each.spines[["top"]].set_visible(False)
