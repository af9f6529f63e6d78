"""Cubes to compress."""

from pathlib import Path

import numpy as np
import rioxarray  # noqa: F401
import xarray as xr
from affine import Affine
from numpy.typing import NDArray

from hsi_toolkit.scene import RasterWriter

Cube = NDArray[np.number]


def natural(bands: int = 24, rows: int = 40, columns: int = 37, noise: float = 8.0, seed: int = 0) -> Cube:
    """Mixtures of smooth spectra with noise, int16."""
    rng = np.random.default_rng(seed)
    position = np.linspace(0, 1, bands)
    spectra = np.stack([1500 + 1200 * np.sin((k + 2) * position + k) for k in range(4)])
    y, x = np.mgrid[:rows, :columns] / 12
    shares = np.stack([1.5 + np.sin(y + k) * np.cos(x - 2 * k) for k in range(4)])
    cube = np.einsum("kb,kyx->byx", spectra, shares / shares.sum(axis=0))
    return np.rint(cube + noise * rng.standard_normal(cube.shape)).astype(np.int16)


def write_tif(path: Path, cube: Cube, *, nodata: float | None = None, scale: float | None = None) -> Path:
    """A GeoTIFF with wavelengths, a bad band and a georeference."""
    grid = xr.DataArray(np.zeros(cube.shape[1:]), dims=("y", "x")).rio.write_crs("EPSG:32633")
    grid = grid.rio.write_transform(Affine(30, 0, 4e5, 0, -30, 5.8e6))
    good = np.ones(len(cube), bool)
    good[3] = False
    with RasterWriter(
        path,
        like=grid,
        count=len(cube),
        dtype=cube.dtype,
        nodata=nodata,
        scale=scale,
        wavelengths=np.linspace(420, 2400, len(cube)),
        fwhm=np.full(len(cube), 9.5),
        good=good,
        acquired="2022-07-24T10:45:26Z",
        sensor="EnMAP",
        quantity="reflectance" if scale else None,
    ) as writer:
        writer.write(cube, 0)
    return path
