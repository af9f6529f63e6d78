"""How far two scenes are shifted against each other."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import fft, ndimage

from hsi_toolkit.change.pair import ScenePair
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene.blocks import values_of

Plane = NDArray[np.float64]

WINDOW = 256
"""Side of the windows that are compared, in pixels."""

WINDOWS_A_SIDE = 3
SMALLEST_SIDE = 16
BANDS_USED = 12

TOLERANCE = 0.2
"""Shift in pixels from which edges show up as change (Dai and Khorram 1998 ask for less than a fifth)."""


@dataclass(frozen=True)
class Registration:
    """Shift of the later scene against the earlier one in pixels: downwards, to the right.

    ``spread`` is the median deviation of the windows from it, in pixels.
    """

    rows: float
    columns: float
    spread: float
    windows: int

    @property
    def distance(self) -> float:
        """Length of the shift in pixels."""
        return float(np.hypot(self.rows, self.columns))


def check_registration(pair: ScenePair, progress: Progress | None = None) -> Registration | None:
    """The shift between two scenes: the median over windows spread across them.

    Returns:
        None where the scenes are too small or too empty to tell.
    """
    progress = progress or Progress()
    height, width = pair.shape
    if min(height, width) < SMALLEST_SIDE:
        return None
    bands = np.unique(np.linspace(0, pair.before.sizes["band"] - 1, BANDS_USED).round().astype(int))
    shifts: list[tuple[float, float]] = []
    corners = [(top, left) for top in _starts(height) for left in _starts(width)]
    for number, (top, left) in enumerate(corners):
        progress.check()
        progress.report(number / len(corners), "Checking the co-registration")
        window = {"y": slice(top, top + WINDOW), "x": slice(left, left + WINDOW), "band": bands}
        before, after = (_edges(each.isel(window)) for each in (pair.before, pair.after))
        if before is not None and after is not None:
            shifts.append(phase_shift(before, after))
    if not shifts:
        return None
    rows, columns = np.median(shifts, axis=0)
    spread = np.median(np.hypot(*(np.array(shifts) - (rows, columns)).T))
    return Registration(float(rows), float(columns), float(spread), len(shifts))


def phase_shift(before: Plane, after: Plane) -> tuple[float, float]:
    """Rows and columns by which ``after`` lies lower and further right than ``before``.

    Phase correlation (Kuglin and Hines 1975), refined to fractions of a pixel by the slope of the phase over
    the low frequencies where both images agree (Stone et al. 2001).
    """
    taper = np.hanning(before.shape[0])[:, None] * np.hanning(before.shape[1])
    first, second = (fft.fft2((each - each.mean()) * taper) for each in (before, after))
    cross = second * np.conj(first)
    phase = cross / np.maximum(np.abs(cross), np.finfo(float).tiny)
    peak = np.unravel_index(np.argmax(fft.ifft2(phase).real), before.shape)
    whole = np.array(
        [at if at <= size // 2 else at - size for at, size in zip(peak, before.shape, strict=True)]
    )
    frequency = np.stack(np.meshgrid(*(fft.fftfreq(size) for size in before.shape), indexing="ij"))
    rest = phase * np.exp(2j * np.pi * np.tensordot(whole, frequency, 1))
    low = np.hypot(*frequency) < 0.25
    weights = np.sqrt(np.abs(cross[low]))
    design = -2 * np.pi * frequency[:, low].T
    angles = np.angle(rest[low])
    fraction = np.zeros(2)
    for _ in range(5):
        residual = np.angle(np.exp(1j * (angles - design @ fraction)))
        # Frequencies that noise or change governs have any phase: they count little.
        trust = weights / (0.5 + np.abs(residual)) ** 2
        fraction = (
            fraction + np.linalg.lstsq(design * trust[:, None] ** 0.5, residual * trust**0.5, rcond=None)[0]
        )
    if np.abs(fraction).max() > 1:
        fraction = np.zeros(2)
    return float(whole[0] + fraction[0]), float(whole[1] + fraction[1])


def _starts(length: int) -> list[int]:
    """Where windows start so that they spread over ``length``."""
    last = max(0, length - WINDOW)
    return sorted({round(share * last) for share in np.linspace(0, 1, WINDOWS_A_SIDE)})


def _edges(window: xr.DataArray) -> Plane | None:
    """Edge strength of a window (rows, columns), all bands alike; None where a tenth has no data.

    Edges stay where they are when crops ripen and shadows move; brightness does not.
    """
    cube = values_of(window).astype(np.float64)
    known = np.isfinite(cube).all(axis=0)
    if known.mean() < 0.9 or min(known.shape) < SMALLEST_SIDE:
        return None
    total = np.zeros(known.shape)
    for band in cube:
        filled = np.where(known, band, band[known].mean())
        spread = filled.std()
        if spread > 0:
            total += np.hypot(ndimage.sobel(filled, 0), ndimage.sobel(filled, 1)) / spread
    return total if total.any() else None
