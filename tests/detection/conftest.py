"""A small scene with a few odd pixels."""

from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr

ROWS, COLS, BANDS = 48, 44, 12
ODD = ((8, 9), (20, 31), (40, 5))


@dataclass(frozen=True)
class OddScene:
    """Correlated background whose level changes, three odd pixels, and what makes them odd."""

    cube: np.ndarray
    odd: np.ndarray
    signature: np.ndarray

    def scene(self) -> xr.DataArray:
        return as_scene(self.cube)


def as_scene(cube: np.ndarray) -> xr.DataArray:
    return xr.DataArray(cube, dims=("band", "y", "x"))


@pytest.fixture(scope="session")
def odd_scene() -> OddScene:
    rng = np.random.default_rng(3)
    mixing = rng.normal(size=(BANDS, 4))
    sources = rng.normal(size=(4, ROWS * COLS))
    cube = (mixing @ sources + 0.1 * rng.normal(size=(BANDS, ROWS * COLS))).reshape(BANDS, ROWS, COLS)
    cube += 20 + 10 * np.sin(np.arange(COLS) / 15)
    odd = np.zeros((ROWS, COLS), bool)
    signature = 20 + 2.0 * rng.normal(size=BANDS)
    for row, col in ODD:
        odd[row, col] = True
        cube[:, row, col] = signature + 0.1 * rng.normal(size=BANDS)
    return OddScene(cube.astype(np.float32), odd, signature)
