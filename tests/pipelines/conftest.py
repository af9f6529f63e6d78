"""A small scene of three covers with polygons, made once."""

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr
from affine import Affine
from shapely.geometry import box

from hsi_toolkit.scene import RasterWriter

SIDE, BANDS, CELL = 60, 40, 10
ORIGIN = (400_000.0, 5_800_000.0)
COVERS = {"meadow": "#1b9e77", "water": "#2166ac", "soil": "#d95f02"}


@dataclass(frozen=True)
class SmallScene:
    """Paths of the scene and its polygons, and the true cover of each pixel (1 to 3)."""

    scene: Path
    labels: Path
    truth: np.ndarray
    field: str = "cover"


def spectra(wavelength: np.ndarray) -> np.ndarray:
    """A reflectance spectrum for each cover, (3, bands)."""
    meadow = 0.05 + 0.4 / (1 + np.exp(-(wavelength - 715) / 18))
    water = 0.08 * np.exp(-(wavelength - 450) / 300)
    soil = 0.1 + 0.25 * (wavelength - 400) / 1200
    return np.stack([meadow, water, soil])


def write_scene(path: Path, wavelength: np.ndarray, truth: np.ndarray, seed: int = 0) -> None:
    """A GeoTIFF of noisy spectra of the covers."""
    rng = np.random.default_rng(seed)
    pure = spectra(wavelength)[truth - 1].transpose(2, 0, 1)
    light = 1 + 0.05 * rng.standard_normal(truth.shape)
    cube = (pure * light + 0.004 * rng.standard_normal(pure.shape)).astype(np.float32)
    grid = xr.DataArray(np.zeros(truth.shape), dims=("y", "x"))
    grid = grid.rio.write_crs("EPSG:32633").rio.write_transform(
        Affine(5.0, 0.0, ORIGIN[0], 0.0, -5.0, ORIGIN[1])
    )
    with RasterWriter(path, like=grid, count=len(wavelength), wavelengths=wavelength) as writer:
        writer.write(cube, 0)


@pytest.fixture(scope="session")
def small_scene(tmp_path_factory: pytest.TempPathFactory) -> SmallScene:
    """60 x 60 pixels in cells of 10, each of one cover, with a polygon inside every other cell."""
    folder = tmp_path_factory.mktemp("small scene")
    rng = np.random.default_rng(1)
    cells = rng.permutation(np.arange((SIDE // CELL) ** 2) % len(COVERS)).reshape(SIDE // CELL, -1) + 1
    truth = np.kron(cells, np.ones((CELL, CELL), int))
    scene = folder / "scene.tif"
    write_scene(scene, np.linspace(420, 1600, BANDS), truth)
    polygons, names = [], []
    for (row, col), cover in np.ndenumerate(cells):
        if (row + col) % 2:
            continue
        left, top = ORIGIN[0] + 50.0 * col, ORIGIN[1] - 50.0 * row
        polygons.append(box(left + 12, top - 38, left + 38, top - 12))
        names.append(list(COVERS)[cover - 1])
    labels = folder / "polygons.gpkg"
    frame = gpd.GeoDataFrame(
        {"cover": names, "colour": [COVERS[name] for name in names]}, geometry=polygons, crs="EPSG:32633"
    )
    frame.to_file(labels, driver="GPKG")
    return SmallScene(scene, labels, truth)
