"""Two dates of a small scene of four covers, with known changes."""

from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

ROWS, COLS, BANDS = 70, 64, 16


@dataclass(frozen=True)
class TwoDates:
    """Cubes (bands, rows, columns) of both dates, the changed pixels, gain and offset between them."""

    before: np.ndarray
    after: np.ndarray
    changed: np.ndarray
    gain: np.ndarray
    offset: np.ndarray


def as_scene(cube: np.ndarray) -> xr.DataArray:
    return xr.DataArray(cube.astype(np.float32), dims=("band", "y", "x"))


@pytest.fixture(scope="session")
def two_dates() -> TwoDates:
    rng = np.random.default_rng(7)
    spectra = ndimage.gaussian_filter1d(rng.uniform(0.05, 0.6, (4, BANDS)), 1.5, axis=1)
    ground = ndimage.gaussian_filter(rng.normal(size=(4, ROWS, COLS)), (0, 4, 4))
    fractions = np.exp(60 * ground)
    fractions /= fractions.sum(axis=0)
    light = 1 + 0.1 * ndimage.gaussian_filter(rng.normal(size=(ROWS, COLS)), 8) * 20
    later = fractions.copy()
    changed = np.zeros((ROWS, COLS), bool)
    for row, col, cover in ((10, 12, 0), (30, 50, 1), (55, 20, 2)):
        blob = np.hypot(*np.ogrid[-row : ROWS - row, -col : COLS - col]) < 4
        blob &= fractions[cover] < 0.3
        later[:, blob] = 0
        later[cover, blob] = 1
        changed |= blob
    gain, offset = rng.uniform(0.8, 1.3, BANDS), rng.uniform(-0.02, 0.02, BANDS)

    def seen(shares: np.ndarray) -> np.ndarray:
        return np.einsum("kb,kij->bij", spectra, shares) * light

    noise = 0.004 * rng.normal(size=(2, BANDS, ROWS, COLS))
    before = seen(fractions) + noise[0]
    after = (seen(later) + noise[1]) * gain[:, None, None] + offset[:, None, None]
    return TwoDates(before.astype(np.float32), after.astype(np.float32), changed, gain, offset)
