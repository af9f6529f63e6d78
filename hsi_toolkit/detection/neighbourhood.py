"""What surrounds each pixel: rows with their neighbours, ring means, smoothing, all of valid pixels alone."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from hsi_toolkit.spectral.compute import Compute
from hsi_toolkit.spectral.parallel import map_blocks

Cube = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows ``y0`` and on of a raster, ``data`` (bands, rows, columns) float32, NaN where there is none."""

    data: Cube
    y0: int


def with_neighbours(
    stream: Iterable[Rows], reach: int, height: int, compute: Compute
) -> Iterator[tuple[Rows, Cube]]:
    """The rows of a stream again, each with ``reach`` rows above and below, NaN beyond the raster.

    Rows come in order and are read once: what the next ones need is kept.

    Yields:
        Rows, and the same with their neighbours, (bands, rows + 2 * reach, columns).
    """
    kept: Cube | None = None  # from row `done - reach` on
    done = 0
    for rows in stream:
        bands, _, columns = rows.data.shape
        beyond = compute.full((bands, reach, columns), np.nan)
        last = rows.y0 + rows.data.shape[1] >= height
        parts = [beyond if kept is None else kept, rows.data]
        kept = compute.xp.concatenate([*parts, beyond] if last else parts, axis=1)
        ready = kept.shape[1] - 2 * reach
        if ready < 1:
            continue
        yield Rows(kept[:, reach : reach + ready], done), kept
        done += ready
        kept = kept[:, ready:]


def ring_mean(data: Cube, guard: int, window: int, compute: Compute) -> Cube:
    """Mean over a square window without its middle, of the valid pixels.

    Args:
        data: (bands, rows + 2 * window, columns) with the neighbouring rows; NaN in all bands of a pixel
            without data.
        guard, window: the pixels up to ``window`` away in row and column count, those up to ``guard`` do not.
        compute: where ``data`` is.

    Returns:
        (bands, rows, columns), 0 where no neighbour is valid.
    """
    valid = compute.xp.isfinite(data[:1])
    count = _ring_sum(compute.xp.where(valid, 1.0, 0.0), guard, window, compute)
    count[count < 0.5] = 1
    filled = data if bool(valid.all()) else compute.xp.where(valid, data, 0.0)
    result = _ring_sum(filled, guard, window, compute)
    result /= count
    return result


def smoothed(data: Cube, sigma: float, reach: int, compute: Compute) -> Cube:
    """Gaussian mean of the valid pixels, (bands, rows, columns) from rows with ``reach`` neighbours.

    Pixels without data stay so.
    """
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    bands, rows, columns = data.shape

    def blurred(values: Cube) -> Cube:
        height = rows - 2 * reach
        down = sum(weight * values[:, at : at + height] for at, weight in enumerate(kernel.tolist()))
        wide = compute.full((bands, height, columns + 2 * reach), 0.0)
        wide[:, :, reach : reach + columns] = down
        across: Cube = sum(
            weight * wide[:, :, at : at + columns] for at, weight in enumerate(kernel.tolist())
        )
        return across

    valid = compute.xp.isfinite(data)
    core = valid[:, reach : rows - reach]
    total = blurred(compute.xp.where(valid, data, 0.0))
    weight = blurred(compute.xp.where(valid, 1.0, 0.0))
    weight[~core] = np.nan
    total /= weight
    return total


def _ring_sum(cube: Cube, guard: int, window: int, compute: Compute) -> Cube:
    """Sums of a cube (bands, rows + 2 * window, columns) over the ring around each pixel of its core."""
    inner = cube[:, window - guard : cube.shape[1] - (window - guard)]
    if compute.device is not None:
        return _box_sum(cube, window, compute) - _box_sum(inner, guard, compute)
    result = np.empty((len(cube), cube.shape[1] - 2 * window, cube.shape[2]), np.float32)

    def one(band: int) -> None:
        np.subtract(_running_sum(cube[band], window), _running_sum(inner[band], guard), out=result[band])

    for _ in map_blocks(one, range(len(cube))):
        pass
    return result


def _box_sum(cube: Cube, reach: int, compute: Compute) -> Cube:
    """Sums over squares of ``2 * reach + 1`` pixels; the first and last ``reach`` rows are dropped."""
    xp, side = compute.xp, 2 * reach + 1
    bands, rows, columns = cube.shape
    down = xp.cumsum(cube, 1, dtype=xp.float64)
    down[:, side:] -= xp.cumsum(cube[:, : rows - side], 1, dtype=xp.float64)
    wide = compute.full((bands, rows - 2 * reach, columns + 2 * reach), 0.0)
    wide[:, :, reach : reach + columns] = down[:, 2 * reach :]
    total = xp.cumsum(wide, 2, dtype=xp.float64)
    total[:, :, side:] -= xp.cumsum(wide[:, :, : wide.shape[2] - side], 2, dtype=xp.float64)
    result: Cube = compute.put(total[:, :, 2 * reach :], np.float32)
    return result


def _running_sum(plane: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """The same of a plane on the processor, where SciPy's running sum is twice as fast."""
    side = 2 * reach + 1
    down = uniform_filter1d(plane, side, axis=0, mode="constant")[reach : len(plane) - reach]
    total: NDArray[np.float32] = uniform_filter1d(down, side, axis=1, mode="constant")
    total *= np.float32(side * side)
    return total
