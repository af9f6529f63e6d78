"""Spectra and mixtures, small enough to see."""

import numpy as np
import pytest


def smooth_spectra(count: int, bands: int = 60, seed: int = 0) -> np.ndarray:
    """Distinct smooth spectra (count, bands) between 0.05 and 0.8."""
    rng = np.random.default_rng(seed)
    position = np.linspace(0, 1, bands)
    centres = (np.arange(count)[:, None] + rng.uniform(0.2, 0.8, (count, 1))) / count
    bumps = np.exp(-(((position - centres) / min(0.12, 1 / count)) ** 2))
    return 0.1 + 0.5 * bumps + 0.15 * rng.uniform(-1, 1, (count, 1)) * (position - 0.5)


def mixtures(
    spectra: np.ndarray, pixels: int, *, noise: float = 0.0, light: float = 0.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Mixed pixels (pixels, bands) and their fractions; ``light`` is the spread of log brightness."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(len(spectra), 0.4), pixels)
    values = shares @ spectra * np.exp(light * rng.standard_normal((pixels, 1)))
    return values + noise * rng.standard_normal(values.shape), shares


@pytest.fixture
def four() -> np.ndarray:
    """Four spectra, the last one dark."""
    spectra = smooth_spectra(4)
    spectra[3] *= 0.15
    return spectra
