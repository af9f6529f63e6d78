"""What surrounds each pixel: rows with their neighbours, ring means, smoothing, all of valid pixels alone."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, uniform_filter1d

from hsi_toolkit.spectral.parallel import map_blocks

Cube = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows ``y0`` and on of a raster, ``data`` (bands, rows, columns) float32, NaN where there is none."""

    data: Cube
    y0: int


def with_neighbours(stream: Iterable[Rows], reach: int, height: int) -> Iterator[tuple[Rows, Cube]]:
    """The rows of a stream again, each with ``reach`` rows above and below, NaN beyond the raster.

    Rows come in order and are read once: what the next ones need is kept.

    Yields:
        Rows, and the same with their neighbours, (bands, rows + 2 * reach, columns).
    """
    kept: Cube | None = None  # from row `done - reach` on
    done = 0
    for rows in stream:
        if kept is None:
            kept = np.full((len(rows.data), reach, rows.data.shape[2]), np.nan, np.float32)
        kept = np.concatenate([kept, rows.data], axis=1)
        last = rows.y0 + rows.data.shape[1] >= height
        if last:
            kept = np.concatenate([kept, np.full_like(kept[:, :1], np.nan).repeat(reach, axis=1)], axis=1)
        ready = kept.shape[1] - 2 * reach
        if ready < 1:
            continue
        yield Rows(kept[:, reach : reach + ready], done), kept
        done += ready
        kept = kept[:, ready:]


def ring_mean(data: Cube, guard: int, window: int) -> Cube:
    """Mean over a square window without its middle, of the valid pixels.

    Args:
        data: (bands, rows + 2 * window, columns) with the neighbouring rows; NaN in all bands of a pixel
            without data.
        guard, window: the pixels up to ``window`` away in row and column count, those up to ``guard`` do not.

    Returns:
        (bands, rows, columns), 0 where no neighbour is valid.
    """
    valid = np.isfinite(data[0])
    count = _ring_sum(valid.astype(np.float32), guard, window)
    filled = data if valid.all() else np.where(valid, data, np.float32(0))
    result = np.empty((len(data), *count.shape), np.float32)
    divisor = np.maximum(count, 1)

    def one(band: int) -> None:
        np.divide(_ring_sum(filled[band], guard, window), divisor, out=result[band])

    for _ in map_blocks(one, range(len(data))):
        pass
    return result


def smoothed(data: Cube, sigma: float, reach: int) -> Cube:
    """Gaussian mean of the valid pixels, (bands, rows, columns) from rows with ``reach`` neighbours.

    Pixels without data stay so.
    """
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    valid = np.isfinite(data)

    def blurred(values: Cube) -> Cube:
        down = convolve1d(values, kernel, axis=1, mode="constant")
        result: Cube = convolve1d(down, kernel, axis=2, mode="constant")[:, reach : -reach or None]
        return result

    core = valid[:, reach : -reach or None]
    total = blurred(np.where(valid, data, np.float32(0)))
    weight = blurred(valid.astype(np.float32))
    return np.where(core, total / np.where(core, weight, 1), np.float32(np.nan))


def _ring_sum(plane: NDArray[np.float32], guard: int, window: int) -> NDArray[np.float32]:
    """Sums of a plane (rows + 2 * window, columns) over the ring around each pixel of its core."""
    inner = plane[window - guard : len(plane) - (window - guard)]
    return _box_sum(plane, window) - _box_sum(inner, guard)


def _box_sum(plane: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """Sums over squares of ``2 * reach + 1`` pixels; the first and last ``reach`` rows are dropped."""
    side = 2 * reach + 1
    down = uniform_filter1d(plane, side, axis=0, mode="constant")[reach : len(plane) - reach]
    total: NDArray[np.float32] = uniform_filter1d(down, side, axis=1, mode="constant")
    total *= np.float32(side * side)
    return total
