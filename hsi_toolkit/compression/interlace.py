"""The order in which the pixels of a tile are coded: ever finer grids, so that neighbours come first.

A coarse grid covers the whole tile, each later pass halves its spacing in one diagonal step (pixels between
four diagonal neighbours) and one straight step (pixels between four direct ones). All neighbours of a pass
were coded before it, hence a pass is coded by whole arrays, and a predictor that learns from what was coded
has seen all of the tile early on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

COARSEST = 8
"""Spacing of the first grid, pixels. Part of the format, as are the two sizes below."""

FIRST_CHUNK = 64
"""Pixels that are coded before anything is learnt."""

LARGEST_CHUNK = 4096
"""Pixels coded with one set of predictors; so many that a few bands of them stay in cache."""

_Lattice = tuple[int, int, int, int]
_DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
_STRAIGHT = ((-1, 0), (0, -1), (0, 1), (1, 0))


@dataclass(frozen=True, eq=False)
class Interlacing:
    """How the ``n`` valid pixels of a tile are coded.

    Attributes:
        order: (n,) positions in the tile, row by row, in the order of coding.
        neighbours: (4, n) places in ``order`` of the nearest pixels that came earlier; -1 for none.
        chunks: first and last (exclusive) place of what is coded at a time, without its own neighbours.
    """

    order: Index
    neighbours: Index
    chunks: tuple[tuple[int, int], ...]


def interlace(valid: Mask) -> Interlacing:
    """The order of coding for the pixels of a tile that are ``valid``, (rows, columns) bool."""
    rows, columns = valid.shape
    place = np.full(valid.shape, -1, np.intp)
    order, neighbours, chunks = [], [], []
    coded = 0
    for lattices, offsets in _passes():
        wanted = np.zeros_like(valid)
        for top, row_step, left, column_step in lattices:
            wanted[top::row_step, left::column_step] = True
        y, x = np.nonzero(wanted & valid)
        if not len(y):
            continue
        near = np.full((4, len(y)), -1, np.intp)
        for found, (down, right) in zip(near, offsets, strict=False):
            inside = (y + down >= 0) & (y + down < rows) & (x + right >= 0) & (x + right < columns)
            found[inside] = place[y[inside] + down, x[inside] + right]
        order.append(y * columns + x)
        # A missing neighbour is replaced by another one, so that there are always four or none.
        neighbours.append(np.where(near < 0, near.max(axis=0), near))
        place[y, x] = coded + np.arange(len(y))
        chunks += list(_chunks(coded, coded + len(y)))
        coded += len(y)
    if not coded:
        return Interlacing(np.empty(0, np.intp), np.empty((4, 0), np.intp), ())
    return Interlacing(np.concatenate(order), np.concatenate(neighbours, axis=1), tuple(chunks))


def _passes() -> Iterator[tuple[tuple[_Lattice, ...], tuple[tuple[int, int], ...]]]:
    """Grids as (top, row step, left, column step), and where the neighbours of their pixels lie."""
    yield ((0, COARSEST, 0, COARSEST),), ()
    step = COARSEST // 2
    while step:
        yield ((step, 2 * step, step, 2 * step),), tuple((y * step, x * step) for y, x in _DIAGONAL)
        lattices = (0, 2 * step, step, 2 * step), (step, 2 * step, 0, 2 * step)
        yield lattices, tuple((y * step, x * step) for y, x in _STRAIGHT)
        step //= 2


def _chunks(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """A pass cut into chunks: none larger than the limit, and the very first ones doubling."""
    if start == 0:
        size = FIRST_CHUNK
        while start < stop:
            end = min(stop, start + size)
            yield start, end
            start, size = end, min(end, LARGEST_CHUNK)
        return
    parts = -(-(stop - start) // LARGEST_CHUNK)
    edges = [start + (stop - start) * part // parts for part in range(parts + 1)]
    yield from pairwise(edges)
