"""The demo's landscape: what lies where, drawn three times finer than the pixels."""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from enum import IntEnum
from itertools import count

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion, distance_transform_edt, gaussian_filter, zoom

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

PIXEL = 5.0
"""Ground sample distance in metres."""

FINER = 3
_CELL = PIXEL / FINER

# Sun in the south-south-east, late on a May morning.
_SUN_AZIMUTH, _SUN_ELEVATION = np.radians(155.0), np.radians(50.0)


class Cover(IntEnum):
    """Land cover; the values are those of the reference map."""

    WHEAT = 1
    BARLEY = 2
    RAPESEED = 3
    SUGAR_BEET = 4
    MEADOW = 5
    BARE_SOIL = 6
    SPRUCE = 7
    BEECH = 8
    WATER = 9
    ASPHALT = 10
    CLAY_ROOF = 11
    METAL_ROOF = 12


_CROPS = (Cover.WHEAT, Cover.RAPESEED, Cover.BARLEY, Cover.SUGAR_BEET, Cover.BARE_SOIL, Cover.MEADOW)
_CROP_SHARES = (0.27, 0.17, 0.17, 0.15, 0.12, 0.12)


@dataclass(frozen=True)
class Landscape:
    """The ground, on the scene's pixels.

    Attributes:
        fractions: (12, rows, columns) share of each pixel that each cover has, in the order of ``Cover``.
        parcel: (rows, columns) number of the field, stand or building in the pixel's middle.
        rows: (rows, columns) factor of plant cover that drill rows and tramlines leave.
        light: (rows, columns) direct sunlight, 1 on level ground, 0 in full shadow.
    """

    fractions: Floats
    parcel: NDArray[np.int32]
    rows: Floats
    light: Floats

    @property
    def dominant(self) -> NDArray[np.uint8]:
        """The cover with the largest share of each pixel."""
        cover: NDArray[np.uint8] = (self.fractions.argmax(axis=0) + 1).astype(np.uint8)
        return cover


class _Canvas:
    """The landscape while it is drawn, on cells of a third of a pixel."""

    def __init__(self, shape: tuple[int, int], rng: np.random.Generator) -> None:
        self.shape, self.rng = (shape[0] * FINER, shape[1] * FINER), rng
        height, width = self.shape
        row, column = np.mgrid[0:height, 0:width].astype(np.float32)
        self.y, self.x = row * np.float32(_CELL), column * np.float32(_CELL)
        self.extent = height * _CELL, width * _CELL
        self.cover = np.zeros(self.shape, np.uint8)
        self.parcel = np.zeros(self.shape, np.int32)
        self.elevation = np.zeros(self.shape, np.float32)
        self.direction = np.zeros(self.shape, np.float32)
        self._numbers = count(1)

    def part(self, top: float, bottom: float, left: float, right: float) -> "_Canvas":
        """The canvas between these metres; what is painted on it is painted on the whole."""
        here = slice(*_cells(top, bottom)), slice(*_cells(left, right))
        part = copy(self)
        for name in ("y", "x", "cover", "parcel", "elevation", "direction"):
            setattr(part, name, getattr(self, name)[here])
        part.shape = part.cover.shape
        return part

    def noise(self, metres: float) -> Floats:
        """Smooth noise of zero mean and unit variance whose hills are about ``metres`` wide."""
        return noise(self.shape, metres / _CELL, self.rng)

    def paint(self, mask: Mask, cover: Cover, *, height: float = 0.0) -> None:
        """Cover the masked cells with one parcel of ``cover`` that stands ``height`` metres high."""
        self.cover[mask], self.parcel[mask], self.elevation[mask] = cover, next(self._numbers), height


def _cells(start: float, stop: float) -> tuple[int, int]:
    return max(0, int(start / _CELL)), max(0, int(stop / _CELL))


def noise(shape: tuple[int, int], width: float, rng: np.random.Generator) -> Floats:
    """Smooth noise of zero mean and unit variance on a grid; ``width`` is in cells."""
    step = max(1, int(width / 4))
    small = tuple(-(-size // step) + 2 for size in shape)
    values = gaussian_filter(rng.standard_normal(small).astype(np.float32), width / step / 2, mode="wrap")
    if step > 1:
        values = zoom(values, step, order=1, grid_mode=True, mode="nearest")
    values = values[: shape[0], : shape[1]]
    standard: Floats = ((values - values.mean()) / values.std()).astype(np.float32)
    return standard


def draw_landscape(shape: tuple[int, int], rng: np.random.Generator) -> Landscape:
    """A river valley with fields, woods, a lake, roads and a village, (rows, columns) of ``PIXEL`` metres."""
    canvas = _Canvas(shape, rng)
    _fields(canvas)
    _woods(canvas)
    distance = _river(canvas)
    _lake(canvas)
    _roads(canvas)
    _village(canvas, distance)
    return _on_pixels(canvas)


def _fields(canvas: _Canvas) -> None:
    """Parcels between tracks: the plain divided by ever shorter cuts, each with a crop and a direction."""
    bend = 14.0
    y, x = canvas.y + bend * canvas.noise(350), canvas.x + bend * canvas.noise(350)
    angle = np.radians(17.0)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    bounds = (float(along.min()), float(along.max()), float(across.min()), float(across.max()))
    crops = _crop_sequence(canvas.rng)
    for left, right, top, bottom in _divide(bounds, canvas.rng):
        inside = (along >= left) & (along < right) & (across >= top) & (across < bottom)
        canvas.paint(inside, next(crops))
        canvas.direction[inside] = angle + (np.pi / 2 if right - left < bottom - top else 0.0)
    margins = _edges(canvas.parcel)
    canvas.paint(margins, Cover.MEADOW)


def _divide(
    bounds: tuple[float, float, float, float], rng: np.random.Generator
) -> Iterator[tuple[float, float, float, float]]:
    left, right, top, bottom = bounds
    width, height = right - left, bottom - top
    if width * height < rng.uniform(24_000, 75_000) or max(width, height) < 130:
        yield bounds
        return
    share = rng.uniform(0.36, 0.64)
    if width > height * rng.uniform(0.7, 1.3):
        cut = left + share * width
        yield from _divide((left, cut, top, bottom), rng)
        yield from _divide((cut, right, top, bottom), rng)
    else:
        cut = top + share * height
        yield from _divide((left, right, top, cut), rng)
        yield from _divide((left, right, cut, bottom), rng)


def _crop_sequence(rng: np.random.Generator) -> Iterator[Cover]:
    """Crops by their shares, every one of them in each dozen of fields."""
    while True:
        dozen = [*_CROPS, *rng.choice(np.array(_CROPS), size=6, p=_CROP_SHARES)]
        yield from (Cover(int(crop)) for crop in rng.permutation(np.array(dozen)))


def _woods(canvas: _Canvas) -> None:
    height, width = canvas.extent
    hill = np.hypot((canvas.x - 0.20 * width) / (0.26 * width), (canvas.y - 0.16 * height) / (0.23 * height))
    copse = np.hypot((canvas.x - 0.86 * width) / (0.13 * width), (canvas.y - 0.80 * height) / (0.16 * height))
    ragged = 0.16 * canvas.noise(90) + 0.05 * canvas.noise(20)
    wood = (np.minimum(hill, copse) + ragged) < 1
    spruce = (canvas.noise(170) + 0.3 * canvas.noise(25)) > 0.05
    canvas.paint(wood & spruce, Cover.SPRUCE, height=22)
    canvas.paint(wood & ~spruce, Cover.BEECH, height=19)


def _river(canvas: _Canvas) -> Floats:
    """Paint river, flood plain and trees on the banks; returns the distance to the river in metres."""
    height, width = canvas.extent
    t = np.linspace(-0.05, 1.05, 4000)
    phase = canvas.rng.uniform(0, 2 * np.pi, 3)
    course = 0.60 + 0.07 * np.sin(5.0 * t + phase[0]) + 0.035 * np.sin(13 * t + phase[1])
    course += 0.008 * np.sin(37 * t + phase[2]) + 0.10 * (t - 0.5)
    away = np.ones(canvas.shape, bool)
    rows = np.round(course * height / _CELL).astype(int)
    columns = np.round(t * width / _CELL).astype(int)
    inside = (rows >= 0) & (rows < canvas.shape[0]) & (columns >= 0) & (columns < canvas.shape[1])
    away[rows[inside], columns[inside]] = False
    distance: Floats = (distance_transform_edt(away) * _CELL).astype(np.float32)
    open_land = ~np.isin(canvas.cover, (Cover.SPRUCE, Cover.BEECH))
    canvas.paint(open_land & (distance < 58 + 16 * canvas.noise(120)), Cover.MEADOW)
    canvas.paint((distance < 34) & (canvas.noise(22) > 1.25), Cover.BEECH, height=12)
    canvas.paint(distance < 13 + 2.5 * canvas.noise(80), Cover.WATER, height=-1)
    return distance


def _lake(canvas: _Canvas) -> None:
    height, width = canvas.extent
    shore = np.hypot(
        (canvas.x - 0.70 * width) / (0.125 * width), (canvas.y - 0.20 * height) / (0.085 * height)
    )
    shore += 0.13 * canvas.noise(130)
    canvas.paint((shore < 1.16) & (canvas.noise(30) > 0.7), Cover.BEECH, height=12)
    canvas.paint((shore >= 1.0) & (shore < 1.10), Cover.MEADOW)
    canvas.paint(shore < 1.0, Cover.WATER, height=-1)


def _roads(canvas: _Canvas) -> None:
    height, width = canvas.extent
    bend = 16 * canvas.noise(500)
    main = canvas.y - (0.44 * height - 0.12 * canvas.x * height / width) + bend
    crossing = canvas.x - (0.44 * width + 0.10 * canvas.y * width / height) - bend
    for road, verge, wide in ((main, 11.0, 7.6), (crossing, 10.0, 6.4)):
        canvas.paint(np.abs(road) < verge, Cover.MEADOW)
        canvas.paint(np.abs(road) < wide, Cover.ASPHALT)


def _village(whole: _Canvas, distance: Floats) -> None:
    """Houses with gardens along two lanes, farms with long tiled barns, and a yard with metal halls."""
    middle, centre = 0.40 * whole.extent[0], 0.50 * whole.extent[1]
    bounds = (middle - 260, middle + 260, centre - 380, centre + 380)
    canvas = whole.part(*bounds)
    valley = distance[slice(*_cells(*bounds[:2])), slice(*_cells(*bounds[2:]))]
    angle = np.radians(-6.0)
    u = (canvas.x - centre) * np.cos(angle) + (canvas.y - middle) * np.sin(angle)
    v = (canvas.y - middle) * np.cos(angle) - (canvas.x - centre) * np.sin(angle)
    gardens = (np.hypot((u + 45) / 240, v / 128) + 0.07 * canvas.noise(60) < 1) & (valley > 30)
    road = canvas.cover == Cover.ASPHALT
    canvas.paint(gardens & ~road, Cover.MEADOW)
    canvas.paint(gardens & ~road & (canvas.noise(11) > 1.15), Cover.BEECH, height=7)
    for lane in (-68.0, 62.0):
        canvas.paint(gardens & (np.abs(v - lane) < 4), Cover.ASPHALT)
    rng = canvas.rng
    for row in (-98, -44, -22, 22, 40, 86):
        for place in np.arange(-170, 171, 27.0) + rng.uniform(-4, 4, 13):
            if rng.random() < 0.8:
                roof = Cover.CLAY_ROOF if rng.random() < 0.85 else Cover.METAL_ROOF
                _building(
                    canvas, u, v, (place, row), (rng.uniform(11, 16), rng.uniform(9, 12)), gardens, roof
                )
    everywhere = np.ones(canvas.shape, bool)
    yard = (np.abs(u - 262) < 75) & (np.abs(v - 72) < 62) & (valley > 22)
    canvas.paint(yard, Cover.ASPHALT)
    for place, row, long, wide in (
        (232, 52, 70, 30),
        (292, 44, 34, 32),
        (238, 100, 62, 26),
        (300, 98, 36, 34),
    ):
        _building(canvas, u, v, (place, row), (long, wide), everywhere, Cover.METAL_ROOF)
    for place, row, long, wide in (
        (-235, -55, 58, 24), (-262, 8, 26, 62), (-205, 14, 24, 58), (-238, 72, 60, 24), (30, -150, 56, 26),
        (-60, -158, 25, 60),
    ):  # fmt: skip
        farmyard = (np.abs(u - place) < long / 2 + 9) & (np.abs(v - row) < wide / 2 + 9)
        canvas.paint(farmyard & (valley > 25), Cover.ASPHALT)
        _building(canvas, u, v, (place, row), (long, wide), everywhere, Cover.CLAY_ROOF)


def _building(
    canvas: _Canvas,
    u: Floats,
    v: Floats,
    place: tuple[float, float],
    size: tuple[float, float],
    within: Mask,
    roof: Cover,
) -> None:
    walls = (np.abs(u - place[0]) < size[0] / 2) & (np.abs(v - place[1]) < size[1] / 2)
    blocked = ~within | (canvas.cover == Cover.WATER)
    if size[0] < 20:
        blocked |= canvas.cover == Cover.ASPHALT
    if walls.any() and not (walls & blocked).any():
        canvas.paint(walls, roof, height=8)


def _edges(parcel: NDArray[np.int32]) -> Mask:
    edge = np.zeros(parcel.shape, bool)
    edge[:, 1:] |= parcel[:, 1:] != parcel[:, :-1]
    edge[1:] |= parcel[1:] != parcel[:-1]
    grown: Mask = binary_dilation(edge)
    return grown


def _on_pixels(canvas: _Canvas) -> Landscape:
    fractions = np.stack([_mean(canvas.cover == cover) for cover in Cover])
    return Landscape(
        fractions=fractions,
        parcel=canvas.parcel[FINER // 2 :: FINER, FINER // 2 :: FINER].copy(),
        rows=_mean(_drill_rows(canvas)),
        light=_mean(_light(canvas)),
    )


def _mean(cells: NDArray[np.generic]) -> Floats:
    """Mean over the cells of each pixel."""
    height, width = cells.shape
    blocks = cells.reshape(height // FINER, FINER, width // FINER, FINER)
    mean: Floats = blocks.mean(axis=(1, 3), dtype=np.float32)
    return mean


def _drill_rows(canvas: _Canvas) -> Floats:
    """Factor of plant cover: tramlines every 24 m and the uneven stand between drill passes of 3 m."""
    across = canvas.y * np.cos(canvas.direction) - canvas.x * np.sin(canvas.direction)
    passes = 1 + 0.10 * np.sin(2 * np.pi * across / 11.0)
    tramlines = 1 - 0.55 * (np.abs(across % 24.0 - 12.0) < 1.6)
    grown = np.isin(canvas.cover, (Cover.WHEAT, Cover.BARLEY, Cover.RAPESEED, Cover.SUGAR_BEET))
    factor: Floats = np.where(grown, passes * tramlines, 1).astype(np.float32)
    return factor


def _light(canvas: _Canvas) -> Floats:
    """Direct sunlight: slopes of the terrain and of tree crowns, and what stands in the sun's way."""
    terrain = 16 * canvas.noise(600) + 2.5 * canvas.noise(140)
    trees = np.isin(canvas.cover, (Cover.SPRUCE, Cover.BEECH))
    crowns = np.where(canvas.cover == Cover.SPRUCE, canvas.noise(4.5), canvas.noise(8))
    surface = terrain + canvas.elevation + np.where(trees, 1.6 * crowns, 0)
    slope_y, slope_x = np.gradient(gaussian_filter(terrain + np.where(trees, 0.8 * crowns, 0), 0.7), _CELL)
    east, north = np.sin(_SUN_AZIMUTH), np.cos(_SUN_AZIMUTH)
    facing = np.sin(_SUN_ELEVATION) - np.cos(_SUN_ELEVATION) * (slope_x * east - slope_y * north)
    light = facing / np.sin(_SUN_ELEVATION) / np.sqrt(1 + slope_x**2 + slope_y**2)
    shadow = _shadow(surface, east, north)
    lit: Floats = np.where(shadow, 0, np.clip(light, 0.15, 1.6)).astype(np.float32)
    return lit


def _shadow(surface: Floats, east: float, north: float) -> Mask:
    """Cells whose way to the sun is blocked within 40 m."""
    shadow = np.zeros(surface.shape, bool)
    for step in range(1, int(40 / _CELL)):
        down, right = round(-north * step), round(east * step)
        height, width = surface.shape
        rows = np.clip(np.arange(height) + down, 0, height - 1)
        columns = np.clip(np.arange(width) + right, 0, width - 1)
        shadow |= surface[np.ix_(rows, columns)] > surface + step * _CELL * np.tan(_SUN_ELEVATION) + 0.3
    return shadow


def pure(landscape: Landscape, cover: Cover, margin: int) -> Mask:
    """Pixels that are wholly of ``cover``, at least ``margin`` pixels from anything else."""
    whole = landscape.fractions[cover - 1] > 0.98
    inner: Mask = binary_erosion(whole, iterations=margin) if margin else whole
    return inner
