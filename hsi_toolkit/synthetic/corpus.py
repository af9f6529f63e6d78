"""Synthetic scenes mixed from spectral libraries, to pretrain on: thousands of materials, any sensor, seeded.

Every scene is drawn anew: what lies where (fields, city, natural mosaic), on a grid three times finer than
the pixels; which of the library's materials each class of the scene is made of; sun, shadow and terrain;
linear and bilinear mixing and the sensor's blur; the bands of a sensor; errors of the atmospheric correction,
or none of it; noise and stripes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from hsi_toolkit.spectral.resample import resampling_matrix
from hsi_toolkit.synthetic.landscape import noise

Floats = NDArray[np.float32]
Index = NDArray[np.int64]

FINER = 3
"""Cells of the drawn ground along the side of a pixel."""

# Detectors of each sensor: first and last centre, spacing and width of the bands in nanometres.
SENSORS: Mapping[str, tuple[tuple[float, float, float, float], ...]] = MappingProxyType(
    {
        "EnMAP": ((418.0, 993.0, 6.4, 7.5), (1003.0, 2445.0, 10.5, 10.0)),
        "PRISMA": ((406.0, 977.0, 9.2, 12.0), (986.0, 2440.0, 8.9, 11.0)),
        "AVIRIS": ((405.0, 2445.0, 9.7, 10.0),),
        "AVIRIS-NG": ((402.0, 2447.0, 5.0, 5.5),),
        "HyMap": ((450.0, 2440.0, 16.0, 16.0),),
        "Hyperion": ((427.0, 925.0, 10.2, 11.0), (932.0, 2395.0, 10.1, 11.0)),
        "CASI": ((402.0, 1043.0, 9.6, 9.6),),
        "VNIR": ((403.0, 890.0, 4.0, 4.0),),
    }
)
_SENSOR_SHARES = (0.25, 0.1, 0.2, 0.1, 0.1, 0.1, 0.07, 0.08)
_LAYOUTS = ("fields", "city", "mosaic", "both")
_LAYOUT_SHARES = (0.3, 0.35, 0.15, 0.2)

# Water vapour leaves no sunlight here: the bands are called bad.
_OPAQUE = ((1340.0, 1450.0), (1790.0, 1970.0))
# Where a correction of the atmosphere leaves residuals: centre and width of absorptions in nanometres.
_ABSORPTIONS = ((687, 5), (760, 6), (820, 12), (940, 25), (1130, 28), (1268, 10), (2010, 20), (2060, 18))
# Least share of a pixel that its class covers; below, the pixel has no class.
_MAJORITY = 0.5


@dataclass(frozen=True, eq=False)
class Materials:
    """Spectra of a library and what they are.

    Attributes:
        wavelength: (points,) nanometres, ascending, 400 to 2450.
        spectra: (n, points) reflectance.
        classes: (levels, n) class of each spectrum, from coarse to fine; one number never means two classes.
        source: (n,) what a spectrum was taken from: spectra of one plot or sample are much alike.
        named: (n,) whether people named the classes, or a clustering made them.
    """

    wavelength: NDArray[np.float64]
    spectra: Floats
    classes: Index
    source: Index
    named: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SyntheticScene:
    """A drawn scene, dims ``("band", "y", "x")``; the class of each pixel, 0 where none has the majority."""

    scene: xr.DataArray
    classes: Index


@dataclass(frozen=True, eq=False)
class _Ground:
    """Parcels on fine cells (H, W), and of each parcel its class and the district it lies in."""

    parcels: Index
    classes: Index
    districts: Index


def draw_scene(materials: Materials, rng: np.random.Generator, size: int = 96) -> SyntheticScene:
    """A scene of ``size``² pixels; the same for the same materials and state of ``rng``."""
    chosen = _chosen_classes(materials, rng)
    ground = _ground(size * FINER, len(chosen), rng)
    sensor = str(rng.choice(list(SENSORS), p=_SENSOR_SHARES))
    wavelength, fwhm = sensor_bands(sensor, rng)
    matrix = resampling_matrix(materials.wavelength, wavelength, fwhm).astype(np.float32)
    first, second = (spectra @ matrix for spectra in _parcel_spectra(materials, chosen, ground, rng))
    cube = _lit(first, second, ground.parcels, wavelength, rng)
    cube = _mixed(cube, rng)
    cube = _sensed(cube, wavelength, rng)
    good = ~np.any([(low < wavelength) & (wavelength < high) for low, high in _OPAQUE], axis=0)
    scene = xr.DataArray(
        cube,
        dims=("band", "y", "x"),
        coords={"wavelength": ("band", wavelength), "fwhm": ("band", fwhm), "good": ("band", good)},
        attrs={"sensor": sensor},
    )
    return SyntheticScene(scene, _dominant(ground, len(chosen)))


def sensor_bands(name: str, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres and widths of the bands of a sensor, shifted as those of one instrument to the next."""
    parts = SENSORS[name]
    centres = np.concatenate([np.arange(low, high, step) for low, high, step, _ in parts])
    widths = np.concatenate(
        [np.full(len(np.arange(low, high, step)), fwhm) for low, high, step, fwhm in parts]
    )
    shifted = np.clip(centres + rng.uniform(-2.5, 2.5), 400.0, 2450.0)
    return shifted, widths * rng.uniform(0.9, 1.1)


def _chosen_classes(materials: Materials, rng: np.random.Generator) -> list[Index]:
    """The spectra of each class of a scene: land cover as people name it, or any groups of the library."""
    count = int(rng.integers(3, 10))
    kind = rng.random()
    named = materials.named
    if kind < 0.45:
        levels = [0]
        pool = named
    elif kind < 0.75:
        levels, pool = list(range(len(materials.classes))), named
    else:
        levels, pool = list(range(len(materials.classes))), np.ones(len(named), bool)
    level = int(rng.choice(levels))
    labels = materials.classes[level]
    members = [np.flatnonzero((labels == label) & pool) for label in np.unique(labels[pool])]
    members = [member for member in members if len(np.unique(materials.source[member])) >= 4]
    order = rng.permutation(len(members))[:count]
    return [_some_sources(members[number], materials.source, rng) for number in order]


def _some_sources(members: Index, source: Index, rng: np.random.Generator) -> Index:
    """The spectra of up to twelve random sources."""
    sources = rng.permutation(np.unique(source[members]))[: int(rng.integers(2, 13))]
    return members[np.isin(source[members], sources)]


def _ground(side: int, n_classes: int, rng: np.random.Generator) -> _Ground:
    layout = str(rng.choice(_LAYOUTS, p=_LAYOUT_SHARES))
    if layout == "both":
        fields, city = (_drawn(name, side, n_classes, rng) for name in ("fields", "city"))
        here = noise((side, side), side / 3, rng) > rng.normal(0, 0.4)
        parcels = np.where(here, fields.parcels, city.parcels + len(fields.classes))
        ground = _Ground(
            parcels,
            np.concatenate([fields.classes, city.classes]),
            np.concatenate([fields.districts, city.districts + fields.districts.max() + 1]),
        )
    else:
        ground = _drawn(layout, side, n_classes, rng)
    return _numbered(ground)


def _drawn(layout: str, side: int, n_classes: int, rng: np.random.Generator) -> _Ground:
    """Parcels within districts; the classes of a city's are drawn from the mix of their district."""
    districts = _cells(side, FINER * rng.uniform(18, 45), rng)
    n_districts = int(districts.max()) + 1
    if layout == "mosaic":
        scales = FINER * np.exp(rng.uniform(np.log(2.0), np.log(14.0), n_classes))
        fields = [noise((side, side), scale, rng) + rng.normal(0, 0.4) for scale in scales]
        classes_map = np.argmax(fields, axis=0)
        cells = _cells(side, FINER * rng.uniform(2, 7), rng)
        parcels = cells * n_classes + classes_map
        count = (int(cells.max()) + 1) * n_classes
        classes = np.arange(count) % n_classes
    else:
        width = rng.uniform(7, 26) if layout == "fields" else np.exp(rng.uniform(np.log(0.7), np.log(4.0)))
        parcels = _cells(side, FINER * width, rng)
        count = int(parcels.max()) + 1
        even = 3.0 if layout == "fields" else 0.6
        mixes = rng.dirichlet(np.full(n_classes, even), n_districts)
        own = np.zeros(count, np.int64)
        own[parcels.ravel()] = districts.ravel()
        classes = (rng.random(count)[:, None] > mixes[own].cumsum(axis=1)[:, :-1]).sum(axis=1)
    if rng.random() < 0.5:
        lines = _lines(side, rng)
        number = int(rng.integers(n_classes))
        parcels = np.where(lines, count + districts, parcels)
        classes = np.concatenate([classes, np.full(n_districts, number)])
        count += n_districts
    of = np.zeros(count, np.int64)
    of[parcels.ravel()] = districts.ravel()
    return _Ground(parcels, classes, of)


def _cells(side: int, width: float, rng: np.random.Generator) -> Index:
    """Cells around random middles, about ``width`` wide; stretched, turned, rounded or angular (H, W)."""
    angle, stretch = rng.uniform(0, np.pi), np.exp(rng.uniform(-0.7, 0.7))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    axes = turn * np.array([stretch, 1 / stretch]) ** 0.5
    count = max(4, int((side / width) ** 2))
    middles = rng.uniform(-0.05 * side, 1.05 * side, (count, 2)) @ axes
    y, x = np.mgrid[0:side, 0:side]
    tree = cKDTree(middles)
    norm = float(rng.choice([1.0, 2.0, np.inf]))
    _, nearest = tree.query(np.stack([y.ravel(), x.ravel()], axis=1) @ axes, p=norm)
    return np.asarray(nearest, np.int64).reshape(side, side)


def _lines(side: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Roads, tracks or ditches: parallel lines in two directions, bent (H, W)."""
    y, x = np.mgrid[0:side, 0:side] + side * 0.02 * np.stack([noise((side, side), side / 2, rng)] * 2)
    angle, found = rng.uniform(0, np.pi), np.zeros((side, side), bool)
    for turn in (angle, angle + np.pi / 2):
        apart, wide = FINER * rng.uniform(8, 30), FINER * rng.uniform(0.3, 1.3)
        found |= (x * np.cos(turn) + y * np.sin(turn)) % apart < wide
    return found


def _numbered(ground: _Ground) -> _Ground:
    """Parcels numbered without gaps."""
    present, parcels = np.unique(ground.parcels, return_inverse=True)
    return _Ground(parcels.reshape(ground.parcels.shape), ground.classes[present], ground.districts[present])


def _parcel_spectra(
    materials: Materials, chosen: list[Index], ground: _Ground, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Two spectra (parcels, points) of each parcel, between which its cells vary."""
    count, points = len(ground.classes), len(materials.wavelength)
    first, second = np.empty(count, np.int64), np.empty(count, np.int64)
    # In a district a class is made of few of its materials.
    favoured = rng.integers(0, 1 << 30, (int(ground.districts.max()) + 1, len(chosen), 2))
    loyal = rng.uniform(0.3, 0.95)
    for number, members in enumerate(chosen):
        here = np.flatnonzero(ground.classes == number)
        sources, of = np.unique(materials.source[members], return_inverse=True)
        preferred = favoured[ground.districts[here], number, rng.integers(0, 2, len(here))] % len(sources)
        any_source = rng.integers(0, len(sources), len(here))
        wanted = np.where(rng.random(len(here)) < loyal, preferred, any_source)
        order = np.argsort(of, kind="stable")
        start, size = np.searchsorted(of[order], wanted), np.bincount(of)[wanted]
        for picked in (first, second):
            picked[here] = members[order[start + (rng.random(len(here)) * size).astype(np.int64)]]
    curves = smooth_curves(2 * count, points, 25, rng) * rng.uniform(0.01, 0.07)
    brightness = rng.normal(0, rng.uniform(0.03, 0.2), (count, 1))
    spectra = materials.spectra
    return (
        (spectra[first] * np.exp(brightness + curves[:count])).astype(np.float32),
        (spectra[second] * np.exp(brightness + curves[count:])).astype(np.float32),
    )


def smooth_curves(count: int, points: int, width: float, rng: np.random.Generator) -> Floats:
    """Random smooth curves (count, points) of zero mean and unit variance; ``width`` is in points."""
    knots = max(4, int(2 * points / width))
    at = np.linspace(0, knots - 1, points)
    left = np.minimum(at.astype(int), knots - 2)
    share = ((1 - np.cos(np.pi * (at - left))) / 2).astype(np.float32)
    values = rng.standard_normal((count, knots), dtype=np.float32)
    curves: Floats = values[:, left] * np.sqrt(1 - share) + values[:, left + 1] * np.sqrt(share)
    return curves


def _lit(
    first: Floats, second: Floats, parcels: Index, wavelength: NDArray[np.float64], rng: np.random.Generator
) -> Floats:
    """What leaves the ground (bands, H, W): sun by slope and shadow, skylight, texture within parcels."""
    side = parcels.shape[0]
    blend = 0.5 + 0.35 * noise(parcels.shape, FINER * rng.uniform(0.5, 6), rng)
    blend = np.clip(blend + rng.normal(0, 0.2, parcels.shape), 0, 1)
    texture = np.exp(rng.normal(0, rng.uniform(0.02, 0.2), parcels.shape))
    terrain = np.exp(rng.uniform(0, 0.2) * noise(parcels.shape, FINER * rng.uniform(5, 40), rng))
    shadow = noise(parcels.shape, FINER * rng.uniform(0.4, 1.5), rng) > rng.uniform(1.0, 3.5)
    direct = (terrain * texture * np.where(shadow, rng.uniform(0.0, 0.4), 1.0)).ravel()
    pixel = np.arange(side) // FINER
    rows = (pixel[:, None] * (side // FINER) + pixel[None]).ravel()
    count, n_pixels = len(first), (side // FINER) ** 2
    rows, columns = np.tile(rows, 2), np.concatenate([parcels.ravel(), parcels.ravel() + count])
    shares = np.concatenate([1 - blend.ravel(), blend.ravel()]) / FINER**2
    spectra = np.concatenate([first, second])
    sky = (rng.uniform(0.05, 0.3) * (wavelength / 450.0) ** -rng.uniform(1.2, 2.5)).astype(np.float32)
    sun, around = (
        csr_matrix((weight.astype(np.float32), (rows, columns)), shape=(n_pixels, 2 * count)) @ spectra
        for weight in (shares * np.tile(direct, 2), shares * np.tile(texture.ravel(), 2))
    )
    lit: Floats = sun * (1 - sky) + around * sky
    return np.ascontiguousarray(lit.T).reshape(-1, side // FINER, side // FINER)


def _mixed(cube: Floats, rng: np.random.Generator) -> Floats:
    """Light scattered twice, between neighbours, and the sensor's blur."""
    if rng.random() < 0.6:
        around = gaussian_filter(cube, (0, 1.0, 1.0), truncate=2.0)
        cube = cube + rng.uniform(0, 0.5) * cube * around
    sigma = rng.uniform(0.2, 0.8)
    blurred: Floats = gaussian_filter(cube, (0, sigma, sigma), truncate=3.0)
    return blurred


def _sensed(cube: Floats, wavelength: NDArray[np.float64], rng: np.random.Generator) -> Floats:
    """Values of the product: reflectance with residuals of its correction or radiance, noisy and striped."""
    bands, _, width = cube.shape
    absorption = np.zeros(bands)
    for centre, broad in _ABSORPTIONS:
        absorption += rng.exponential(1.0) * np.exp(-0.5 * ((wavelength - centre) / broad) ** 2)
    path = (wavelength / 450.0) ** -rng.uniform(1.0, 4.0)
    if rng.random() < 0.25:  # radiance
        gain = _sunlight(wavelength) * np.exp(-rng.uniform(0.3, 1.0) * absorption)
        offset = rng.uniform(0, 0.06) * path
    else:
        gain = np.exp(rng.normal(0, 0.04) * absorption + 0.05 * smooth_curves(1, bands, 30, rng)[0])
        offset = rng.normal(0, 0.01) * path
    level = rng.uniform(0.0005, 0.003) + rng.uniform(0, 0.01) ** 1.5
    noisier = np.exp(0.4 * rng.standard_normal(bands)) * (1 + np.clip((wavelength - 900) / 1500, 0, 1))
    cube = cube + (level * noisier)[:, None, None].astype(np.float32) * rng.standard_normal(
        cube.shape, dtype=np.float32
    )
    if rng.random() < 0.4:
        stripes = rng.uniform(0, 0.6) * level * rng.standard_normal((bands, 1, width), dtype=np.float32)
        cube = cube + stripes.astype(np.float32)
    scale = 10.0 ** rng.uniform(-0.3, 4)
    sensed: Floats = (cube * gain[:, None, None] + offset[:, None, None]) * scale
    return sensed.astype(np.float32)


def _sunlight(wavelength: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sunlight over the bands: a black body of 5778 K, 1 at its brightest."""
    metres = wavelength * 1e-9
    light = metres**-5 / np.expm1(0.014388 / (metres * 5778.0))
    relative: NDArray[np.float64] = light / light.max()
    return relative


def _dominant(ground: _Ground, n_classes: int) -> Index:
    """The class, from 1, that covers the larger part of each pixel; 0 where none does."""
    side = ground.parcels.shape[0] // FINER
    cells = ground.classes[ground.parcels].reshape(side, FINER, side, FINER)
    shares = np.stack([(cells == number).mean(axis=(1, 3)) for number in range(n_classes)])
    return np.where(shares.max(axis=0) > _MAJORITY, shares.argmax(axis=0) + 1, 0)
