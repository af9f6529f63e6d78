"""A pushbroom scene whose faults are known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

WriteScene = Callable[..., Path]

BANDS, ROWS, COLUMNS = 120, 96, 100
WAVELENGTH = np.linspace(420.0, 1000.0, BANDS)
SMILE_NM = 1.2


def clean_scene(*, smile: float = 0.0, noise: float = 0.05, seed: int = 0) -> np.ndarray:
    """Radiance (bands, rows, columns) of three materials with an oxygen absorption at 761 nm."""
    generator = np.random.default_rng(seed)
    shares = np.stack([gaussian_filter(part, 4) for part in generator.random((3, ROWS, COLUMNS))])
    shares = np.clip((shares - shares.mean()) * 6 + 1 / 3, 0, None)
    shares /= shares.sum(axis=0)
    materials = np.stack(
        [
            0.05 + 0.4 / (1 + np.exp(-(WAVELENGTH - 720) / 15)),
            0.15 + 3e-4 * (WAVELENGTH - 400),
            0.35 - 2e-4 * (WAVELENGTH - 400),
        ]
    )
    cube = np.einsum("kb,kyx->byx", materials, shares)
    cube *= (20 + 80 * np.exp(-(((WAVELENGTH - 550) / 350) ** 2)))[:, None, None]
    place = np.linspace(-1, 1, COLUMNS)
    centre = 761 + smile * place**2
    cube *= (1 - 0.5 * np.exp(-0.5 * ((WAVELENGTH[:, None] - centre) / 5) ** 2))[:, None]
    return np.asarray(cube + generator.normal(0, noise, cube.shape))


@pytest.fixture
def write_scene(tmp_path: Path) -> WriteScene:
    """Write a cube as an ENVI scene of radiance; returns the header."""

    def write(cube: np.ndarray, *, name: str = "scene", extra: str = "", wavelengths: bool = True) -> Path:
        cube.astype("<f4").tofile(tmp_path / f"{name}.img")
        listed = ", ".join(f"{value:.4f}" for value in WAVELENGTH[: len(cube)])
        text = (
            f"ENVI\nsamples = {cube.shape[2]}\nlines = {cube.shape[1]}\nbands = {cube.shape[0]}\n"
            "data type = 4\ninterleave = bsq\nbyte order = 0\ndescription = {radiance}\n"
        )
        if wavelengths:
            text += f"wavelength units = nm\nwavelength = {{{listed}}}\n"
        (tmp_path / f"{name}.hdr").write_text(text + extra)
        return tmp_path / f"{name}.hdr"

    return write
