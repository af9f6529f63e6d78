"""The part of a scene that is looked at: stretches of whole lines spread over it, in bounded memory."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.progress import Progress
from hsi_toolkit.scene.blocks import stored_rows, values_of
from hsi_toolkit.scene.lazy import Float32
from hsi_toolkit.scene.sidecar import Corrections

SAMPLE_BYTES = 96 << 20
"""Float32 bytes of a sample; scenes up to this size are looked at as a whole."""

MOST_STRETCHES, FEWEST_STRETCHES = 12, 3
FEWEST_ROWS = 8
"""Rows of a stretch at least: noise shows between neighbouring rows."""

PIECE_BYTES = 16 << 20
"""Float32 bytes that are read and worked on at a time."""


@dataclass(frozen=True, eq=False)
class SceneSample:
    """Stretches of neighbouring rows.

    Attributes:
        data: (bands, rows, columns) float32, NaN where there is no data; the stretches below each other.
        stretches: the rows of ``data`` that each stretch takes.
        rows: (rows,) their numbers in the scene, from 0.
        columns: the scene's columns that were read.
        height: rows of the scene.
    """

    data: Float32
    stretches: tuple[slice, ...]
    rows: NDArray[np.intp]
    columns: slice
    height: int

    @property
    def whole(self) -> bool:
        """Whether every row of the scene is in it."""
        return len(self.rows) == self.height

    def correct(self, corrections: Corrections, scene: xr.DataArray) -> None:
        """Apply the corrections of values, in place; ``scene`` is the one that was sampled."""
        if corrections.nodata is not None:
            self.data[self.data == np.float32(corrections.nodata)] = np.nan
        for operation, factors in zip((np.multiply, np.add), corrections.factors(scene), strict=True):
            if factors is not None:
                operation(self.data, factors[:, None, None], out=self.data)


def read_sample(scene: xr.DataArray, progress: Progress, limit: int = SAMPLE_BYTES) -> SceneSample:
    """Read up to ``limit`` bytes of a scene (band, y, x): up to 12 stretches of rows, evenly spread.

    Scenes so wide that three stretches of eight rows exceed the limit are cut to their middle columns.

    Raises:
        SceneError: it cannot be read.
    """
    bands, height, width = (scene.sizes[name] for name in ("band", "y", "x"))
    shown = max(1, min(width, limit // (4 * bands * FEWEST_STRETCHES * FEWEST_ROWS)))
    columns = slice((width - shown) // 2, (width - shown) // 2 + shown)
    starts, rows = _stretches(height, limit // (4 * bands * shown), stored_rows(scene))
    data = np.empty((bands, len(starts) * rows, shown), np.float32)
    stretches = tuple(slice(number * rows, (number + 1) * rows) for number in range(len(starts)))
    step = piece_rows(bands, shown)
    for start, stretch in zip(starts, stretches, strict=True):
        for first in range(0, rows, step):
            progress.check()
            last = min(first + step, rows)
            window = slice(start + first, start + last)
            data[:, stretch.start + first : stretch.start + last] = values_of(scene.isel(y=window, x=columns))
            progress.report((stretch.start + last) / data.shape[1], "Reading a sample of the scene")
    numbers = np.concatenate([np.arange(start, start + rows) for start in starts])
    return SceneSample(data, stretches, numbers, columns, height)


def piece_rows(bands: int, columns: int) -> int:
    """Rows that are worked on at a time."""
    return max(1, PIECE_BYTES // (4 * bands * columns))


def _stretches(height: int, affordable: int, native: int) -> tuple[list[int], int]:
    """Where the stretches begin and how many rows each has, given how many rows are affordable."""
    if affordable >= height:
        return [0], height
    # Rows that are compressed together are read together at no further cost.
    wanted = max(2 * FEWEST_ROWS, min(native, affordable // FEWEST_STRETCHES))
    count = max(FEWEST_STRETCHES, min(MOST_STRETCHES, affordable // wanted))
    rows = max(1, min(affordable // count, height // count))
    starts = np.linspace(0, height - rows, count).astype(int)
    aligned = starts // native * native if native <= height // count else starts
    return np.minimum(aligned, height - rows).tolist(), rows
