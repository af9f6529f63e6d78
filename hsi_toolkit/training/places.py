"""Where further training polygons help most: uncertain places of a map, spread over classes and ground.

What is sought are places to draw a polygon at, so the measure is the mean uncertainty over a window of a
polygon's size. A single uncertain pixel is mostly a mixed one on an edge: nobody can tell its class or draw
in it, and a line of such pixels does not make a window uncertain.

Taking the most uncertain places of all fails with batches: they are much alike (Demir et al. 2011; Tuia et
al. 2011), and often those that no label can help. In trials with known truth it gained less than places at
random did; what follows gained more. So the places are a sample:

* *Uncertainty.* A place is drawn with a probability that grows with the square of its uncertainty, by the
  keys of Efraimidis and Spirakis (2006), which make the first places of the list such a sample as well.
* *Diversity among classes.* Each class gets places in proportion to the uncertainty that lies in it, an
  estimate of its share of the errors, by the method of Sainte-Laguë.
* *Diversity on the ground.* Neighbours teach the same. Places keep apart from each other, as far as their
  number and the ground that is uncertain at all allow, and from what is labelled already.

The rasters are read in blocks. What is kept of them is the first few candidates of each class in each of
32 × 32 parts of the ground, so that memory does not grow with the scene.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from scipy.ndimage import maximum_filter, uniform_filter

# Parts of the ground along each side, and candidates of each class kept in each part.
_PARTS, _KEPT = 32, 4
# Of a window this share must have data.
_LEAST_DATA = 0.75
# Digits of the uncertainty that count: the rest is rounding, which must not decide between places.
_DIGITS = 6
# More than any class number, so that square and class make one number.
_CLASSES = 2**17
# The power of the uncertainty that the probability of a place grows with.
_POWER = 2


@dataclass(frozen=True)
class PlaceRule:
    """What is sought.

    ``window`` pixels are the side of a place, ``distance`` pixels lie between two places at least (None: as
    far as ``count`` places allow, at least ``window``), and ``seed`` is that of the sample.
    """

    count: int = 20
    window: int = 9
    distance: int | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Places:
    """The places, in the order in which to draw.

    Attributes:
        rows, cols: (n,) their middle pixels.
        uncertainty: (n,) mean over each place.
        classes: (n,) class of the middle pixel, -1 where there is none.
        distance: pixels that lie between any two of them at least.
    """

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    uncertainty: NDArray[np.float64]
    classes: NDArray[np.int64]
    distance: float

    def __len__(self) -> int:
        return len(self.rows)


@dataclass
class _Candidates:
    """Candidates as columns; those with the lowest key come first."""

    rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    cols: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    classes: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    uncertainty: NDArray[np.float64] = field(default_factory=lambda: np.empty(0, np.float64))
    keys: NDArray[np.float64] = field(default_factory=lambda: np.empty(0, np.float64))

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: NDArray[np.int64]) -> "_Candidates":
        return _Candidates(*(column[index] for column in vars(self).values()))

    def joined(self, other: "_Candidates") -> "_Candidates":
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return _Candidates(*(np.concatenate(pair) for pair in pairs))


class PlaceFinder:
    """Finds places in rasters of ``shape`` (rows, columns) that are handed over block by block.

    Args:
        outlines: what is labelled already, as polygons and points in fractional columns and rows.
    """

    def __init__(
        self, rule: PlaceRule, shape: tuple[int, int], outlines: NDArray[np.object_] | None = None
    ) -> None:
        self._rule, self._shape = rule, shape
        self._labelled = _Labelled(outlines, rule.window, shape[1])
        self._found = _Candidates()
        # Of no class and of each class the sum of its uncertainty; of all places the sum of their weights,
        # and of these weights' squares.
        self._mass, self._weight, self._square = np.zeros(1), 0.0, 0.0

    @property
    def halo(self) -> int:
        """Rows of the margin that a block's uncertainty comes with."""
        return self._rule.window // 2

    def block_rows(self, values_a_pixel: int = 1) -> int:
        """Rows of a block so that it and what is made of it take some tens of megabytes."""
        rows = 1_000_000 // (self._shape[1] * values_a_pixel) // self._rule.window * self._rule.window
        return min(self._shape[0], max(rows, self._rule.window))

    def add(self, uncertainty: NDArray[np.floating], classes: NDArray[np.int64], y0: int) -> None:
        """Look at a block.

        Args:
            uncertainty: (rows + 2 * halo, columns), NaN being no data; what it holds beyond the raster's
                edge does not count.
            classes: (rows, columns), -1 being none.
            y0: its first row without the halo, a multiple of ``block_rows``.
        """
        own = slice(self.halo, self.halo + len(classes))
        values = uncertainty.astype(np.float64)
        beyond = np.arange(len(values)) + y0 - self.halo
        values[(beyond < 0) | (beyond >= self._shape[0])] = np.nan
        known = np.isfinite(values)
        window = {"size": self._rule.window, "mode": "constant"}
        filled = np.where(known, values, 0.0)
        share = uniform_filter(known.astype(np.float64), **window)
        mean = uniform_filter(filled, **window) / np.maximum(share, 1e-12)
        here = known[own]
        weights = np.where(here, np.maximum(filled[own], 0.0), 0.0)
        self._count_mass(np.bincount((classes + 1).ravel(), weights.ravel()).astype(np.float64))
        mean = np.round(mean[own], _DIGITS)
        fit = here & (share[own] >= _LEAST_DATA - 1e-9) & (mean > 0) & ~self._labelled.near(y0, len(classes))
        weights = np.where(fit, mean, 0.0) ** _POWER
        self._weight += float(weights.sum())
        self._square += float((weights**2).sum())
        self._keep(mean, classes, fit, y0)

    def places(self) -> Places:
        """The places found, fewer than asked for where there are no more."""
        chosen: list[int] = []
        apart = float(self._rule.distance or self._distance())
        while True:
            self._choose(chosen, apart)
            if len(chosen) == self._rule.count or self._rule.distance or apart <= self._rule.window:
                break
            apart = max(float(self._rule.window), apart / 2)
        found = self._found.take(np.array(chosen, np.int64))
        return Places(found.rows, found.cols, found.uncertainty, found.classes, apart)

    def _distance(self) -> float:
        """Half the side of the square that is a place's share of the ground that counts.

        That ground is the pixels' number if all are as uncertain as each other, less otherwise: the effective
        size of a sample with unequal weights (Kish 1965).
        """
        ground = self._weight**2 / self._square if self._square else 0.0
        # Sums differ in their last digits with the order of summation, which must not decide about places.
        return max(float(self._rule.window), round(0.5 * math.sqrt(ground / self._rule.count), 3))

    def _count_mass(self, mass: NDArray[np.float64]) -> None:
        if len(mass) > len(self._mass):
            self._mass = np.pad(self._mass, (0, len(mass) - len(self._mass)))
        self._mass[: len(mass)] += mass

    def _keep(
        self, mean: NDArray[np.float64], classes: NDArray[np.int64], fit: NDArray[np.bool_], y0: int
    ) -> None:
        """Take in the block's candidates, the most uncertain place of each cell of a window's size."""
        rows, cols = _best_of_cells(np.where(fit, mean, 0.0), self._rule.window, self._rule.seed, y0)
        if not len(rows):
            return
        best, numbers = mean[rows, cols], (rows + y0) * self._shape[1] + cols
        found = self._found.joined(
            _Candidates(
                rows + y0,
                cols,
                classes[rows, cols],
                best,
                -np.log(_random(numbers, self._rule.seed)) / best**_POWER,
            )
        )
        side = max(self._rule.window, -(-max(self._shape) // _PARTS))
        groups = self._squares(found.rows, found.cols, side) * _CLASSES + found.classes + 1
        self._found = found.take(_first_of_each(groups, _KEPT, found.keys))

    def _squares(self, rows: NDArray[np.int64], cols: NDArray[np.int64], side: int) -> NDArray[np.int64]:
        """The number of the square of ``side`` pixels that each pixel lies in."""
        return rows // side * -(-self._shape[1] // side) + cols // side

    def _choose(self, chosen: list[int], apart: float) -> None:
        """Add places that are ``apart`` from those chosen, the classes in turn by Sainte-Laguë's method."""
        found = self._found
        free = np.ones(len(found), bool)
        for index in chosen:
            free &= self._apart_from(index, apart)
        order = np.argsort(found.keys, kind="stable")
        queues = {int(number): order[found.classes[order] == number] for number in np.unique(found.classes)}
        had = np.bincount(found.classes[chosen] + 1, minlength=len(self._mass)) if chosen else (
            np.zeros(len(self._mass), np.int64)
        )  # fmt: skip
        while queues and len(chosen) < self._rule.count:
            number = max(queues, key=lambda each: (self._mass[each + 1] / (2 * had[each + 1] + 1), -each))
            queue = queues[number] = queues[number][free[queues[number]]]
            if not len(queue):
                del queues[number]
                continue
            chosen.append(int(queue[0]))
            had[number + 1] += 1
            free &= self._apart_from(chosen[-1], apart)

    def _apart_from(self, index: int, apart: float) -> NDArray[np.bool_]:
        found = self._found
        away = np.hypot(found.rows - found.rows[index], found.cols - found.cols[index])
        # Windows that overlap show the same ground, however they lie.
        steps = np.maximum(np.abs(found.rows - found.rows[index]), np.abs(found.cols - found.cols[index]))
        free: NDArray[np.bool_] = (away >= apart) & (steps >= min(apart, self._rule.window))
        return free


class _Labelled:
    """Where places must not be because something is labelled there or within a window's side of it."""

    def __init__(self, outlines: NDArray[np.object_] | None, margin: int, columns: int) -> None:
        self._shapes = outlines if outlines is not None else np.empty(0, dtype=object)
        self._tree = shapely.STRtree(self._shapes)
        self._margin, self._columns = margin, columns

    def near(self, y0: int, rows: int) -> NDArray[np.bool_]:
        """(rows, columns) of a block that begins at row ``y0``."""
        margin = self._margin
        top, height = y0 - margin, rows + 2 * margin
        box = shapely.box(-margin, top, self._columns + margin, top + height)
        touching = self._tree.query(box)
        if not len(touching):
            return np.zeros((rows, self._columns), bool)
        covered = rasterize(
            list(self._shapes[touching]),
            out_shape=(height, self._columns + 2 * margin),
            transform=Affine.translation(-margin, top),
            all_touched=True,
            dtype="uint8",
        )
        grown = maximum_filter(covered, size=2 * margin + 1, mode="constant")
        return np.asarray(grown[margin : margin + rows, margin : margin + self._columns], bool)


def _best_of_cells(
    mean: NDArray[np.float64], side: int, seed: int, y0: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of the largest value above 0 of each square of ``side`` pixels; by lot among equals."""
    height, width = mean.shape
    rows, cols = -(-height // side), -(-width // side)
    cells = np.zeros((rows * side, cols * side))
    numbers = (np.arange(height)[:, None] + y0) * width + np.arange(width)
    lot = _random(numbers, seed + 1) * 10.0 ** -(_DIGITS + 1)
    cells[:height, :width] = np.where(mean > 0, mean + lot, 0.0)
    cells = cells.reshape(rows, side, cols, side).swapaxes(1, 2).reshape(rows, cols, side * side)
    place, some = cells.argmax(axis=2), cells.max(axis=2) > 0
    row, col = np.nonzero(some)
    return row * side + place[some] // side, col * side + place[some] % side


def _first_of_each(group: NDArray[np.int64], most: int, keys: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which have the ``most`` lowest keys of each group."""
    order = np.lexsort((keys, group))
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    place = np.arange(len(group)) - np.repeat(starts, np.diff(starts, append=len(group)))
    return order[place < most]


def _random(numbers: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """A random value between 0 and 1 for each number, by SplitMix64 (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        mixed = numbers.astype(np.uint64) + np.uint64(seed + 1) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / 2**53 + 2**-54
