"""Endmembers as the purest pixels of a scene: vertex component analysis and N-FINDR.

Both take single pixels for endmembers. They are quick and well known, and as good as the purest pixels are;
``archetypes`` and ``simplex`` go beyond single pixels.
"""

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.errors import SceneError

Float64 = NDArray[np.float64]
Index = NDArray[np.intp]

RESTARTS = 10
"""Starts of which the one with the largest simplex is kept."""

_MOST_SWEEPS = 30


def vca(pixels: Float64, count: int, *, seed: int = 0, restarts: int = RESTARTS) -> Index:
    """Which of ``pixels`` (n, bands) are the corners of their cone, (count,) indices.

    Nascimento and Bioucas-Dias 2005, Vertex Component Analysis, IEEE Transactions on Geoscience and Remote
    Sensing 43, doi:10.1109/TGRS.2005.844293, with the projective step for scenes of uneven light. Its random
    directions are drawn ``restarts`` times, and the largest simplex is kept; published is one start.

    Raises:
        SceneError: there are fewer pixels than endmembers.
    """
    _check(pixels, count)
    generator = np.random.default_rng(seed)
    _, vectors = np.linalg.eigh(pixels.T @ pixels)
    reduced = pixels @ vectors[:, ::-1][:, :count]
    along = reduced @ reduced.mean(axis=0)
    # Pixels without light have no direction.
    usable = np.flatnonzero(along > 1e-3 * np.median(along))
    projected = reduced[usable] / along[usable, None] * np.median(along)
    found = [_vca_once(projected, count, generator) for _ in range(restarts)]
    volumes = [abs(np.linalg.det(projected[each])) for each in found]
    chosen: Index = usable[found[int(np.argmax(volumes))]]
    return chosen


def _vca_once(projected: Float64, count: int, generator: np.random.Generator) -> Index:
    corners = np.zeros((count, count))
    corners[-1, 0] = 1.0
    chosen = np.zeros(count, np.intp)
    for index in range(count):
        direction = generator.standard_normal(count)
        direction -= corners @ (np.linalg.pinv(corners) @ direction)
        chosen[index] = np.abs(projected @ direction).argmax()
        corners[:, index] = projected[chosen[index]]
    return chosen


def nfindr(pixels: Float64, count: int, *, seed: int = 0, restarts: int = RESTARTS) -> Index:
    """Which of ``pixels`` (n, bands) span the largest simplex, (count,) indices.

    Winter 1999, N-FINDR, Proc. SPIE 3753, doi:10.1117/12.366289. A corner is replaced by the pixel that
    enlarges the volume most until none does; the volume is linear in each corner, so all pixels are tried at
    once. The largest of ``restarts`` simplices is kept.

    Raises:
        SceneError: there are fewer pixels than endmembers.
    """
    _check(pixels, count)
    generator = np.random.default_rng(seed)
    centred = pixels - pixels.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    lifted = np.column_stack([np.ones(len(pixels)), centred @ vectors[:, ::-1][:, : count - 1]])
    lifted /= np.sqrt((lifted**2).mean(axis=0)) + 1e-300
    found = [_grow_simplex(lifted, generator) for _ in range(restarts)]
    volumes = [abs(np.linalg.det(lifted[each])) for each in found]
    return found[int(np.argmax(volumes))]


def _grow_simplex(lifted: Float64, generator: np.random.Generator) -> Index:
    count = lifted.shape[1]
    chosen: Index = generator.permutation(len(lifted))[:count]
    for _ in range(_MOST_SWEEPS):
        before = chosen.copy()
        for corner in range(count):
            volumes = np.abs(lifted @ _cofactors(lifted[chosen], corner))
            best = int(volumes.argmax())
            if volumes[best] > volumes[chosen[corner]] * (1 + 1e-9):
                chosen[corner] = best
        if np.array_equal(before, chosen):
            break
    return chosen


def _cofactors(square: Float64, row: int) -> Float64:
    """The vector whose product with that row is the determinant, up to its sign."""
    others = np.delete(square, row, axis=0)
    found = [
        (-1.0) ** column * np.linalg.det(np.delete(others, column, axis=1)) for column in range(len(square))
    ]
    return np.array(found)


def _check(pixels: Float64, count: int) -> None:
    if len(pixels) < count:
        raise SceneError(
            f"{len(pixels)} pixels with data are too few for {count} endmembers.", "Ask for fewer endmembers."
        )
