"""An invented tray of seeds, photographed in colour and with an imaging spectrometer.

Some kinds differ in shape alone, which the spectrometer's pixels hardly show, four times four around a seed;
others in what they hold, which shows beyond the visible light alone. No camera tells them all apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
import xarray as xr
from affine import Affine
from numpy.typing import NDArray

from hsi_toolkit.scene.writer import RasterWriter

Floats = NDArray[np.float64]

#: Pixels of the colour image a seed's place is wide, and how many of them a pixel of the spectrometer spans.
PLACE, COARSER = 96, 24
#: Millimetres a colour pixel covers, as metres on the ground of some coordinate system.
_PIXEL = 0.2
_CRS, _CORNER = "EPSG:32633", (400_000.0, 5_800_000.0)

BANDS = 40
WAVELENGTHS: Floats = np.linspace(450.0, 1750.0, BANDS).round(1)

#: What seeds hold, as absorption: centre and width in nanometres. None of it shows below 800 nm.
_OIL = ((1210.0, 28.0, 0.55), (1395.0, 22.0, 0.25), (1725.0, 26.0, 0.80))
_STARCH = ((990.0, 45.0, 0.25), (1450.0, 60.0, 0.70), (1580.0, 45.0, 0.45))
_PROTEIN = ((910.0, 30.0, 0.20), (1187.0, 30.0, 0.25), (1510.0, 28.0, 0.60), (1690.0, 25.0, 0.45))
_WATER = ((970.0, 30.0, 0.15), (1190.0, 45.0, 0.20), (1450.0, 55.0, 0.60))


@dataclass(frozen=True)
class Kind:
    """A kind of seed: how much longer than wide, how deep its notch (of its radius), and what it holds."""

    elongation: float = 1.0
    notch: float = 0.0
    oil: float = 0.3
    starch: float = 0.3
    protein: float = 0.3


#: Three shapes of one substance, and three substances of one shape; "round" belongs to both.
KINDS: Mapping[str, Kind] = {
    "round": Kind(),
    "long": Kind(elongation=1.7),
    "notched": Kind(notch=0.75),
    "oily": Kind(oil=0.55, starch=0.15),
    "starchy": Kind(oil=0.15, starch=0.55),
    "rich in protein": Kind(starch=0.15, protein=0.55),
}


@dataclass(frozen=True)
class Tray:
    """Paths of the colour image, the hyperspectral scene and the polygons, whose field is ``kind``."""

    colour: Path
    scene: Path
    objects: Path
    field: str = "kind"


def write_tray(folder: Path, each: int, seed: int = 0, kinds: Mapping[str, Kind] = KINDS) -> Tray:
    """A tray with ``each`` seeds of each kind, in random places of a square grid, with noise.

    The polygons are circles drawn around the seeds by eye: they show no shapes.
    """
    generator = np.random.default_rng(seed)
    names = [name for name in kinds for _ in range(each)]
    side = int(np.ceil(np.sqrt(len(names))))
    places = generator.permutation(side**2)[: len(names)]
    cover = np.zeros((side * PLACE, side * PLACE), np.float32)
    owner = np.full(cover.shape, -1)
    for index, (name, place) in enumerate(zip(names, places, strict=True)):
        top, left = (int(at) * PLACE for at in np.unravel_index(place, (side, side)))
        window = np.s_[top : top + PLACE, left : left + PLACE]
        cover[window] = _shape(kinds[name], generator)
        owner[window] = index
    spectra = np.stack([_spectrum(kinds[name], generator) for name in names])
    tray = Tray(folder / "colour.tif", folder / "scene.tif", folder / "seeds.gpkg")
    _write_colour(tray.colour, cover, owner, spectra, generator)
    _write_scene(tray.scene, cover, owner, spectra, generator)
    _write_objects(tray.objects, names, places, side, generator)
    return tray


def _shape(kind: Kind, generator: np.random.Generator) -> NDArray[np.float32]:
    """A seed's share of the pixels of its place, at random size, angle and offset."""
    y, x = (np.mgrid[:PLACE, :PLACE] + 0.5) / PLACE - 0.5
    y, x = y - generator.uniform(-0.03, 0.03), x - generator.uniform(-0.03, 0.03)
    angle, radius = generator.uniform(0.0, 2 * np.pi), generator.uniform(0.16, 0.19)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    # Of the same area, however long or notched: how much of a pixel a seed covers tells no kinds apart.
    radius /= np.sqrt(_left_by_notch(kind.notch))
    stretch = np.sqrt(kind.elongation * generator.uniform(0.93, 1.07))
    distance = np.hypot(along / stretch, across * stretch) / radius
    # Rough edges, alike for all kinds.
    turn = np.arctan2(across, along)
    distance += 0.02 * np.sin(5 * turn + generator.uniform(0, 6)) + 0.02 * np.sin(
        9 * turn + generator.uniform(0, 6)
    )
    inside = 1 / (1 + np.exp((distance - 1) * 40))
    if kind.notch:
        from_notch = np.hypot(along / stretch - radius, across * stretch) / (kind.notch * radius)
        inside = inside / (1 + np.exp((1 - from_notch) * 30))
    return np.asarray(inside, np.float32)


def _left_by_notch(notch: float) -> float:
    """The share of a disc of radius 1 outside another one, whose middle lies on its rim."""
    lens = notch**2 * np.arccos(notch / 2) + np.arccos(1 - notch**2 / 2) - notch * np.sqrt(4 - notch**2) / 2
    return float(1 - lens / np.pi)


def _spectrum(kind: Kind, generator: np.random.Generator) -> Floats:
    """Reflectance over the bands: a brown coat of varying darkness, and what the seed holds."""
    coat = (
        0.55 / (1 + np.exp(-(WAVELENGTHS - generator.uniform(600, 660)) / generator.uniform(60, 90))) + 0.08
    )
    held = {"oil": _OIL, "starch": _STARCH, "protein": _PROTEIN}
    absorbed = generator.uniform(0.2, 0.6) * _absorption(_WATER)
    for name, features in held.items():
        absorbed = absorbed + getattr(kind, name) * generator.uniform(0.8, 1.2) * _absorption(features)
    return np.asarray(generator.uniform(0.75, 1.1) * coat * np.exp(-absorbed))


def _absorption(features: Sequence[tuple[float, float, float]]) -> Floats:
    curves = [depth * np.exp(-0.5 * ((WAVELENGTHS - at) / width) ** 2) for at, width, depth in features]
    return np.asarray(np.sum(curves, axis=0))


def _tray_spectrum() -> Floats:
    """Dark plastic."""
    return (
        0.05
        + 0.02 * (WAVELENGTHS - 450) / 1300
        - 0.015 * _absorption(((1190.0, 20.0, 1.0), (1390.0, 25.0, 1.0)))
    )


def _mixed(cover: NDArray[np.float32], owner: NDArray[np.int64], values: Floats, ground: Floats) -> Floats:
    """(rows, columns, values): the seed's and the tray's by their shares."""
    own = values[np.maximum(owner, 0)]
    return cover[..., None] * own + (1 - cover[..., None]) * ground


def _write_colour(
    path: Path,
    cover: NDArray[np.float32],
    owner: NDArray[np.int64],
    spectra: Floats,
    generator: np.random.Generator,
) -> None:
    bands = [int(np.abs(WAVELENGTHS - nm).argmin()) for nm in (640, 550, 470)]
    image = _mixed(cover, owner, spectra[:, bands], _tray_spectrum()[bands])
    image += generator.normal(0.0, 0.02, image.shape)
    height, width = cover.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile, crs=_CRS, transform=_transform(1), compress="deflate") as target:
        target.write(np.clip(255 * 1.3 * image, 0, 255).astype(np.uint8).transpose(2, 0, 1))


def _write_scene(
    path: Path,
    cover: NDArray[np.float32],
    owner: NDArray[np.int64],
    spectra: Floats,
    generator: np.random.Generator,
) -> None:
    rows, columns = (length // COARSER for length in cover.shape)
    cells = cover.reshape(rows, COARSER, columns, COARSER).mean(axis=(1, 3))
    cube = _mixed(cells, owner[::COARSER, ::COARSER], spectra, _tray_spectrum())
    cube += generator.normal(0.0, 0.004, cube.shape)
    like = xr.DataArray(np.zeros((rows, columns)), dims=("y", "x"))
    like = like.rio.write_crs(_CRS).rio.write_transform(_transform(COARSER))
    with RasterWriter(path, like=like, count=BANDS, wavelengths=WAVELENGTHS) as writer:
        writer.write(np.clip(cube, 0.0, 1.0).astype(np.float32).transpose(2, 0, 1), 0)


def _write_objects(
    path: Path, names: Sequence[str], places: NDArray[np.int64], side: int, generator: np.random.Generator
) -> None:
    rows, columns = np.unravel_index(places, (side, side))
    middle = (np.column_stack([columns, rows]) + 0.5) * PLACE + generator.uniform(-3, 3, (len(places), 2))
    x, y = _CORNER[0] + _PIXEL * middle[:, 0], _CORNER[1] - _PIXEL * middle[:, 1]
    circles = shapely.buffer(shapely.points(x, y), generator.uniform(0.27, 0.30, len(x)) * PLACE * _PIXEL)
    frame = gpd.GeoDataFrame(
        {"number": range(1, len(names) + 1), "kind": list(names)}, geometry=circles, crs=_CRS
    )
    frame.to_file(path, driver="GPKG")


def _transform(coarser: int) -> Affine:
    return Affine(_PIXEL * coarser, 0.0, _CORNER[0], 0.0, -_PIXEL * coarser, _CORNER[1])
