"""Reflectance of the demo's materials from a few physical parameters each, 400 to 2450 nm.

Shapes, not measurements: absorption features are Gaussians at their known places, and pigments and water act
by the Beer-Lambert law, so that parameters change the spectra the way they do in nature.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BANDS = 120
WAVELENGTHS: Floats = np.linspace(400.0, 2450.0, BANDS).round(1)
FWHM: Floats = np.linspace(17.5, 20.5, BANDS).round(1)

# Water vapour leaves no sunlight here; sensors deliver noise.
_OPAQUE = ((1340.0, 1450.0), (1790.0, 1970.0))
GOOD: NDArray[np.bool_] = ~np.any(
    [(low < WAVELENGTHS) & (high > WAVELENGTHS) for low, high in _OPAQUE], axis=0
)

# Skylight's share of the light on level ground at 450 nm; it falls off with the wavelength as haze scatters.
SKYLIGHT: Floats = 0.30 * (WAVELENGTHS / 450.0) ** -1.6


def _feature(centre: float, width: float, depth: float = 1.0) -> Floats:
    """A Gaussian absorption feature over the bands; ``width`` is its standard deviation in nanometres."""
    return depth * np.exp(-0.5 * ((WAVELENGTHS - centre) / width) ** 2)


# Specific absorption of what leaves hold, in arbitrary units of content.
_CHLOROPHYLL = _feature(430, 45, 0.055) + _feature(670, 22, 0.060) + _feature(625, 45, 0.030)
_CHLOROPHYLL += _feature(690, 14, 0.022) + _feature(555, 65, 0.031)
_CAROTENOIDS = _feature(466, 36, 0.14)
_BROWN = np.exp(-(WAVELENGTHS - 400) / 260)
_DRY_MATTER = (
    _feature(1730, 50, 0.5) + _feature(2100, 70, 1.0) + _feature(2300, 60, 1.1) + _feature(2450, 90, 0.9)
)
_WATER = (
    _feature(970, 28, 0.12) + _feature(1190, 45, 0.32) + _feature(1450, 75, 2.2) + _feature(1940, 95, 4.2)
    + _feature(2500, 240, 3.0) + 0.35 / (1 + np.exp(-(WAVELENGTHS - 1350) / 90))
)  # fmt: skip


@dataclass(frozen=True)
class Canopy:
    """Mean parameters of a plant stand.

    ``chlorophyll`` (µg/cm²), ``carotenoids``, ``brown`` pigment, leaf ``water`` and ``dry`` matter are
    contents; ``cover`` is the share of the ground they hide, ``flowers`` that of a yellow bloom,
    ``brightness`` the reflectance where nothing absorbs.
    """

    chlorophyll: float
    carotenoids: float
    brown: float
    water: float
    dry: float
    cover: float
    brightness: float = 0.52
    flowers: float = 0.0

    def reflectance(self, vary: Mapping[str, Floats], soil: Floats) -> Floats:
        """Spectra (n, bands) above ``soil`` (n, bands); ``vary`` has factors (n,) of parameters by name."""

        def of(name: str) -> Floats:
            content: Floats = getattr(self, name) * vary.get(name, np.ones(len(soil)))
            return content[:, None]

        absorbed = of("chlorophyll") * _CHLOROPHYLL + of("carotenoids") * _CAROTENOIDS + of("brown") * _BROWN
        leaves = of("brightness") * np.exp(-absorbed - of("water") * _WATER - of("dry") * _DRY_MATTER)
        bloom = of("flowers")
        leaves = (1 - bloom) * leaves + bloom * _PETALS
        cover = np.clip(of("cover"), 0.0, 1.0)
        return cover * (leaves + _GLOSS) + (1 - cover) * soil


# Light that the surface of leaves returns without entering them.
_GLOSS = 0.010

# Petals of rapeseed: carotenoids swallow the blue, the rest is bright.
_PETALS: Floats = 0.58 * np.exp(-26 * _CAROTENOIDS - 0.45 * _WATER) / (1 + np.exp(-(WAVELENGTHS - 512) / 9))


_CLAY = _feature(2205, 24, 0.16) + _feature(1415, 22, 0.10)
_HUMUS = np.exp(-(WAVELENGTHS - 400) / 900)
_SOIL: Floats = (
    0.46
    * (1 - np.exp(-(WAVELENGTHS - 330) / 560))
    * np.exp(-_feature(455, 45, 0.30) - _feature(880, 90, 0.06))
)


def soil(moisture: Floats, clay: Floats, humus: Floats) -> Floats:
    """Bare soil (n, bands): rising slope, weak iron, hydroxyl and the clay feature at 2200 nm."""
    absorption = np.stack([_CLAY, _HUMUS, 0.45 + 0.5 * _WATER])
    reflectance: Floats = _SOIL * np.exp(-np.stack([clay, humus, moisture], axis=1) @ absorption)
    return reflectance


def water(depth: Floats, sediment: Floats) -> Floats:
    """Open water (n, bands): sediment scatters green and red, the water itself swallows the infrared."""
    absorption = 0.02 + _steps((780, 32, 9.0), (650, 24, 2.6))
    yellow = 1.0 * np.exp(-0.014 * (WAVELENGTHS - 400))
    particles = (0.028 + 0.11 * sediment[:, None]) * (550 / WAVELENGTHS)
    reflectance: Floats = 0.010 + particles / (1 + (absorption + yellow) * (0.6 + depth[:, None]))
    return reflectance


def _steps(*steps: tuple[float, float, float]) -> Floats:
    """Rising edges over the bands: centre and softness in nanometres, height."""
    edges = [height / (1 + np.exp(-(WAVELENGTHS - at) / soft)) for at, soft, height in steps]
    total: Floats = np.sum(edges, axis=0)
    return total


def asphalt(age: Floats) -> Floats:
    """Asphalt (n, bands), brighter with ``age`` as its bitumen wears off the stones."""
    fresh = 0.075 + 0.040 * (1 - np.exp(-(WAVELENGTHS - 400) / 700))
    stone = 0.11 * (1 - np.exp(-(WAVELENGTHS - 250) / 300)) * np.exp(-_feature(2330, 35, 0.10))
    hydrocarbon = np.exp(-_feature(1720, 25, 0.04) - _feature(2310, 30, 0.08))
    return (fresh + age[:, None] * stone) * hydrocarbon


def clay_tiles(weathering: Floats) -> Floats:
    """Fired clay tiles (n, bands): iron oxide absorbs below 560 nm and at 870 nm."""
    edge = 1 / (1 + np.exp(-(WAVELENGTHS - 578) / 26))
    bright = (0.055 + 0.30 * edge + 0.09 * (1 - np.exp(-(WAVELENGTHS - 400) / 900))) * np.exp(
        -_feature(870, 85, 0.20) - _feature(500, 60, 0.15) - _feature(2200, 35, 0.05)
    )
    lichen = 0.13 + 0.05 * (1 - np.exp(-(WAVELENGTHS - 400) / 700))
    return (1 - 0.45 * weathering[:, None]) * bright + 0.45 * weathering[:, None] * lichen


def metal_sheet(weathering: Floats) -> Floats:
    """Zinc-coated sheet (n, bands): bright and flat with zinc's broad feature near 1020 nm."""
    zinc = 0.40 - 0.03 * (WAVELENGTHS - 400) / 2050 + 0.05 * np.exp(-(WAVELENGTHS - 400) / 150)
    dull = np.exp(-_feature(1020, 120, 0.16)) * (1 - 0.35 * weathering[:, None])
    return zinc * dull


WHEAT = Canopy(52, 9, 0.05, 0.52, 0.06, 0.93, 0.50)
BARLEY = Canopy(39, 9, 0.16, 0.40, 0.12, 0.88, 0.54)
RAPESEED = Canopy(40, 8, 0.05, 0.55, 0.05, 0.95, 0.56, flowers=0.28)
SUGAR_BEET = Canopy(44, 8, 0.02, 0.70, 0.02, 0.46, 0.55)
MEADOW = Canopy(33, 9, 0.30, 0.36, 0.20, 0.90, 0.47)
SPRUCE = Canopy(58, 12, 0.32, 0.62, 0.18, 0.92, 0.30)
BEECH = Canopy(44, 10, 0.06, 0.50, 0.10, 0.97, 0.47)
