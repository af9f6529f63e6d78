"""Training polygons as an analyst would draw them: irregular, inside the objects, spread over the scene."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize, shapes
from scipy.ndimage import label

from hsi_toolkit.synthetic.landscape import Cover, Landscape, pure

# Roads and roofs are too narrow for more than a pixel to their edge, and stand close together.
_NARROW = (Cover.ASPHALT, Cover.CLAY_ROOF, Cover.METAL_ROOF)
_MARGIN, _NARROW_MARGIN = 3, 1
_APART, _NARROW_APART = 18, 6
_POLYGONS = {Cover.WATER: 3, Cover.ASPHALT: 3, Cover.CLAY_ROOF: 3, Cover.METAL_ROOF: 3}
_USUAL_POLYGONS = 4
# One polygon in each field or building; woods, waters and roads are large and get several.
_PARCELLED = (
    Cover.WHEAT, Cover.BARLEY, Cover.RAPESEED, Cover.SUGAR_BEET, Cover.BARE_SOIL, Cover.CLAY_ROOF,
    Cover.METAL_ROOF,
)  # fmt: skip
_FEWEST_PIXELS = 5
_CANDIDATES = 60


class Drawn(NamedTuple):
    """A polygon in map coordinates and what it shows."""

    cover: Cover
    polygon: shapely.Polygon


def draw_polygons(landscape: Landscape, transform: Affine, rng: np.random.Generator) -> list[Drawn]:
    """About forty polygons, three or four of each cover, well apart; a field or building has at most one."""
    return [
        Drawn(cover, shapely.transform(polygon, lambda points: _to_map(points, transform)))
        for cover in Cover
        for polygon in _of_cover(landscape, cover, rng)
    ]


def _of_cover(landscape: Landscape, cover: Cover, rng: np.random.Generator) -> Iterator[shapely.Polygon]:
    """Polygons in pixel coordinates, each as far from those before as the candidates allow."""
    narrow = cover in _NARROW
    free = pure(landscape, cover, _NARROW_MARGIN if narrow else _MARGIN)
    centres: list[NDArray[np.float64]] = []
    for _ in range(_POLYGONS.get(cover, _USUAL_POLYGONS)):
        for seed in _seeds(free, centres, rng):
            blob = _blob(free, seed, rng)
            polygon = _outline(blob, rng)
            if polygon is not None:
                yield polygon
                centres.append(seed)
                free &= ~_near(free.shape, seed, _NARROW_APART if narrow else _APART)
                if cover in _PARCELLED:
                    free &= landscape.parcel != landscape.parcel[tuple(seed.astype(int))]
                break


def _seeds(
    free: NDArray[np.bool_], centres: list[NDArray[np.float64]], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Some free pixels (n, 2), the farthest from all ``centres`` first."""
    pixels = np.argwhere(free).astype(np.float64)
    if len(pixels) == 0:
        return pixels
    chosen = pixels[rng.choice(len(pixels), size=min(_CANDIDATES, len(pixels)), replace=False)]
    if not centres:
        return chosen
    distance = np.linalg.norm(chosen[:, None] - np.array(centres), axis=2).min(axis=1)
    return chosen[np.argsort(-distance)]


def _near(shape: tuple[int, ...], seed: NDArray[np.float64], radius: float) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    near: NDArray[np.bool_] = np.hypot(rows - seed[0], columns - seed[1]) <= radius
    return near


def _blob(free: NDArray[np.bool_], seed: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """The free pixels around ``seed`` within an ellipse of random size and direction, in one piece."""
    long, wide, turn = rng.uniform(6, 10), rng.uniform(4, 6.5), rng.uniform(0, np.pi)
    rows, columns = np.ogrid[: free.shape[0], : free.shape[1]]
    down, right = rows - seed[0], columns - seed[1]
    along = (right * np.cos(turn) + down * np.sin(turn)) / long
    across = (down * np.cos(turn) - right * np.sin(turn)) / wide
    pieces, _ = label(free & (np.hypot(along, across) <= 1))
    blob: NDArray[np.bool_] = pieces == pieces[tuple(seed.astype(int))]
    return blob


def _outline(blob: NDArray[np.bool_], rng: np.random.Generator) -> shapely.Polygon | None:
    """A hand-drawn outline inside ``blob`` in pixel coordinates, or None if it would hold too few pixels."""
    exact = max(
        (shapely.geometry.shape(shape) for shape, value in shapes(blob.astype(np.uint8), mask=blob) if value),
        key=lambda polygon: polygon.area,
    )
    drawn = exact.buffer(-0.15).simplify(0.9)
    if drawn.geom_type != "Polygon" or drawn.is_empty:
        return None
    corners = np.array(drawn.exterior.coords[:-1])
    shaken = shapely.Polygon(corners + rng.uniform(-0.5, 0.5, corners.shape))
    if not shaken.is_valid:
        shaken = drawn
    kept = shaken.intersection(exact.buffer(-0.05))
    if kept.geom_type != "Polygon" or kept.is_empty:
        return None
    covered = int(rasterize([kept], out_shape=blob.shape, dtype="uint8").sum())
    return shapely.Polygon(kept.exterior) if covered >= _FEWEST_PIXELS else None


def _to_map(points: NDArray[np.float64], transform: Affine) -> NDArray[np.float64]:
    matrix = np.array([[transform.a, transform.b], [transform.d, transform.e]])
    moved: NDArray[np.float64] = points @ matrix.T + np.array([transform.c, transform.f])
    return moved
