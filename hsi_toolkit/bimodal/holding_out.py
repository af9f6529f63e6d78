"""Holding objects out for judging, so that no image that is judged shows ground that was trained on."""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import sparse

from hsi_toolkit.bimodal.pairs import Pairs
from hsi_toolkit.errors import LabelError

#: Random divisions tried, the best of which is taken.
_DRAWS = 64
#: Share of the objects from which on a chain of overlapping images is cut into blocks of ground.
_LONG_CHAIN = 0.2
#: Side of a block in median images.
_BLOCK_IMAGES = 4.0


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Numbers of the objects to train on, to judge with, and of those too close to be either."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    apart: NDArray[np.int64]
    blocks: bool

    def describe(self) -> str:
        """How the objects were chosen, as a sentence."""
        total = len(self.train) + len(self.test) + len(self.apart)
        how = "as whole blocks of ground, since images overlap" if self.blocks else "at random"
        rest = (
            f"; {len(self.apart)} whose images overlap theirs were used for neither"
            if len(self.apart)
            else ", and no image of theirs overlaps one that was trained on"
            if self.blocks
            else ""
        )
        return f"{len(self.test)} of {total} objects were held out {how}{rest}."


def hold_out_objects(pairs: Pairs, fraction: float, seed: int) -> HeldOut:
    """One division into objects to train on and to judge with, each class on both sides where it can be.

    Objects whose images overlap, a pixel of the hyperspectral raster in between counted in, stay together.
    Where they form long chains, blocks of ground are held out instead, and what overlaps them is left out.

    Args:
        fraction: the share of each class's objects to judge with, above 0 and below 1.

    Raises:
        LabelError: nothing can be held out.
    """
    labels = pairs.known_labels()
    neighbours = _neighbours(pairs.windows, len(pairs))
    units = _chains(neighbours, len(pairs))
    blocks = bool(np.bincount(units).max() > max(1.0, _LONG_CHAIN * len(pairs)))
    if blocks and pairs.windows is not None:
        units = _blocks(pairs.windows)
    best: tuple[tuple[int, float], NDArray[np.bool_], NDArray[np.bool_]] | None = None
    generator = np.random.default_rng(seed)
    for _ in range(_DRAWS):
        test = _draw(units, labels, fraction, generator)
        beside = np.zeros(len(pairs), bool)
        beside[neighbours[:, 0][test[neighbours[:, 1]]]] = True
        beside &= ~test
        score = _score(labels, test, ~test & ~beside, fraction)
        if best is None or score > best[0]:
            best = score, test, beside
    assert best is not None
    (both, _), test, beside = best
    if not both:
        raise LabelError(
            "No object can be held out: no class has two objects whose images do not overlap.",
            "Draw more objects of each class, farther apart.",
        )
    return HeldOut(np.flatnonzero(~test & ~beside), np.flatnonzero(test), np.flatnonzero(beside), blocks)


def _neighbours(windows: NDArray[np.float64] | None, count: int) -> NDArray[np.int64]:
    """Pairs of different objects whose images overlap, both ways, (m, 2)."""
    if windows is None:
        return np.empty((0, 2), np.int64)
    reach = windows + np.array([-0.5, -0.5, 0.5, 0.5])
    boxes = shapely.box(*reach.T)
    found = shapely.STRtree(boxes).query(boxes, predicate="intersects").T
    return np.asarray(found[found[:, 0] != found[:, 1]], np.int64)


def _chains(neighbours: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The chain of overlapping images that each object is in."""
    links = sparse.coo_matrix((np.ones(len(neighbours), bool), neighbours.T), shape=(count, count))
    return np.asarray(sparse.csgraph.connected_components(links, directed=False)[1], np.int64)


def _blocks(windows: NDArray[np.float64]) -> NDArray[np.int64]:
    """The square block of ground that each object's middle is in."""
    middle = (windows[:, :2] + windows[:, 2:]) / 2
    side = _BLOCK_IMAGES * float(np.median((windows[:, 2:] - windows[:, :2]).max(axis=1)) + 1.0)
    cells = np.floor((middle - middle.min(axis=0)) / side).astype(np.int64)
    return np.asarray(np.unique(cells, axis=0, return_inverse=True)[1].ravel(), np.int64)


def _draw(
    units: NDArray[np.int64], labels: NDArray[np.int64], fraction: float, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Units in random order go to the test side as long as their classes have not reached their share."""
    wanted = np.maximum(np.rint(fraction * np.bincount(labels)), 1.0)
    wanted[np.bincount(labels) < 2] = 0.0
    taken = np.zeros_like(wanted)
    counts = sparse.coo_matrix(
        (np.ones(len(labels)), (units, labels)), (units.max() + 1, len(wanted))
    ).toarray()
    chosen = np.zeros(len(counts), bool)
    for unit in generator.permutation(len(counts)):
        missing = np.minimum(counts[unit], np.maximum(wanted - taken, 0.0)).sum()
        if missing > counts[unit].sum() / 2:
            chosen[unit] = True
            taken += counts[unit]
    return np.asarray(chosen[units], bool)


def _score(
    labels: NDArray[np.int64], test: NDArray[np.bool_], train: NDArray[np.bool_], fraction: float
) -> tuple[int, float]:
    """Classes on both sides, and how near their shares are to the one asked for; the more the better."""
    every, tested, trained = (
        np.bincount(labels[chosen], minlength=labels.max() + 1).astype(float)
        for chosen in (np.ones(len(labels), bool), test, train)
    )
    both = int(((tested > 0) & (trained > 0)).sum())
    off = np.abs(tested / np.maximum(every, 1) - fraction).mean() + (
        1 - fraction - trained.sum() / len(labels)
    )
    return both, -float(off)
