"""Single pixels and small windows of a scene, every part of the file read once."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.scene.blocks import ahead, mirrored, stored_rows, values_of
from hsi_toolkit.scene.lazy import Float32

GROUP_BYTES = 16 << 20
"""Float32 bytes that are read at once for neighbouring pixels."""

GAP_ROWS = 8
"""Rows without a wanted pixel that are read rather than skipped."""

SAMPLED_LINES = 64
"""Lines that a sample is drawn from at least, so that it is spread over the scene."""

Index = NDArray[np.intp]


@dataclass(frozen=True)
class _Group:
    """Pixels that are read together, and the window that holds them."""

    members: Index
    rows: slice
    columns: slice


def read_pixels(scene: xr.DataArray, rows: ArrayLike, cols: ArrayLike) -> Float32:
    """The spectra at row and column numbers, (n, bands) float32 in the order given, NaN without data.

    Raises:
        ParameterError: a pixel lies outside the scene.
        SceneError: the scene cannot be read.
    """
    return read_windows(scene, rows, cols, 0)[:, :, 0, 0]


def read_windows(scene: xr.DataArray, rows: ArrayLike, cols: ArrayLike, radius: int) -> Float32:
    """Square windows around pixels, (n, bands, 2 * radius + 1, 2 * radius + 1) float32.

    Windows that reach over the scene's edge are filled by mirroring it, the edge pixel repeated (NumPy's
    "symmetric"). Pixels near each other in the file are read together, whatever their order.

    Raises:
        ParameterError: a centre lies outside the scene, or ``radius`` is negative.
        SceneError: the scene cannot be read.
    """
    row, col = _indices(scene, rows, cols)
    if radius < 0:
        raise ParameterError(f"A window radius of {radius} makes no sense.", "Give zero or more.")
    side = 2 * radius + 1
    bands, height, width = (scene.sizes[name] for name in ("band", "y", "x"))
    out = np.empty((len(row), bands, side, side), np.float32)
    reach = np.arange(-radius, radius + 1)
    groups = list(_groups(scene, row, col, radius))

    def read(group: _Group) -> Float32:
        return values_of(scene.isel(y=group.rows, x=group.columns))

    for group, data in zip(groups, ahead(read, groups), strict=True):
        y = mirrored(row[group.members, None] + reach, height) - group.rows.start
        x = mirrored(col[group.members, None] + reach, width) - group.columns.start
        out[group.members] = data[:, y[:, :, None], x[:, None, :]].transpose(1, 0, 2, 3)
    return out


def sample_pixels(scene: xr.DataArray, n: int, seed: int = 0) -> Float32:
    """Up to ``n`` random spectra with data, (≤ n, bands) float32; the same for the same scene and seed.

    Lines are drawn first, one at random from each of at least 64 even strips of the scene, and pixels from
    these, so that only part of the file is read; more lines follow while pixels are missing. A pixel counts
    as valid when every good band has a value; bands empty in the whole sample do not count and stay NaN.

    Raises:
        SceneError: the scene cannot be read.
    """
    if n < 1:
        raise ParameterError(f"A sample of {n} pixels makes no sense.", "Ask for one or more.")
    generator = np.random.default_rng(seed)
    height, width = scene.sizes["y"], scene.sizes["x"]
    good = scene["good"].to_numpy() if "good" in scene.coords else np.ones(scene.sizes["band"], bool)
    lines = _spread_lines(height, generator)
    per_line = max(1, min(width, -(-n // min(SAMPLED_LINES, height))))
    kept: list[Float32] = []
    count = 0
    taken = 0
    while count < n and taken < height:
        more = lines[taken : taken + max(min(SAMPLED_LINES, height), -(-(n - count) // per_line))]
        taken += len(more)
        kept.extend(_draw(scene, np.sort(more), per_line, generator, good))
        count = sum(map(len, kept))
    sample = np.concatenate(kept) if kept else np.empty((0, scene.sizes["band"]), np.float32)
    filled = good & np.isfinite(sample).any(axis=0)
    sample = sample[np.isfinite(sample[:, filled]).all(axis=1)]
    if len(sample) > n:
        sample = sample[generator.permutation(len(sample))[:n]]
    return sample


def _draw(
    scene: xr.DataArray, lines: Index, per_line: int, generator: np.random.Generator, good: NDArray[np.bool_]
) -> Iterator[Float32]:
    """From every line up to ``per_line`` random pixels with data, (≤ per_line, bands) each."""
    batch = max(1, GROUP_BYTES // (4 * scene.sizes["band"] * scene.sizes["x"]))
    batches = [lines[start : start + batch] for start in range(0, len(lines), batch)]

    def read(rows: Index) -> Float32:
        return values_of(scene.isel(y=rows))

    for data in ahead(read, batches):
        some = np.asarray(np.isfinite(data[good]).any(axis=0))
        for line, valid in zip(data.transpose(1, 2, 0), some, strict=True):
            columns = np.flatnonzero(valid)
            yield line[generator.permutation(columns)[:per_line]]


def _spread_lines(height: int, generator: np.random.Generator) -> Index:
    """All row numbers in an order whose every start is spread over the scene."""
    strips = min(SAMPLED_LINES, height)
    edges = np.arange(strips + 1) * height // strips
    shuffled = [generator.permutation(np.arange(start, stop)) for start, stop in pairwise(edges)]
    longest = max(map(len, shuffled))
    rounds = [[strip[turn] for strip in shuffled if turn < len(strip)] for turn in range(longest)]
    return np.array([row for turn in rounds for row in turn], dtype=np.intp)


def _indices(scene: xr.DataArray, rows: ArrayLike, cols: ArrayLike) -> tuple[Index, Index]:
    row = np.asarray(rows, dtype=np.intp).reshape(-1)
    col = np.asarray(cols, dtype=np.intp).reshape(-1)
    if row.shape != col.shape:
        raise ParameterError(
            f"There are {row.size} rows for {col.size} columns.", "Give one of each per pixel."
        )
    for name, index in (("row", row), ("column", col)):
        length = scene.sizes["y" if name == "row" else "x"]
        outside = (index < 0) | (index >= length)
        if outside.any():
            raise ParameterError(
                f"The {name} {index[outside][0]} lies outside the scene, which has {length}.",
                "Drop such pixels.",
            )
    return row, col


def _groups(scene: xr.DataArray, row: Index, col: Index, radius: int) -> Iterator[_Group]:
    """Pixels in groups whose windows lie close together in the file and fit into ``GROUP_BYTES``."""
    if row.size == 0:
        return
    bands, height, width = (scene.sizes[name] for name in ("band", "y", "x"))
    native = stored_rows(scene)
    pixel = 4 * bands
    cell_width = max(1, min(width, GROUP_BYTES // (pixel * max(native, 2 * radius + 1))))
    cell_height = max(native, GROUP_BYTES // (pixel * cell_width) // native * native)
    cell = (row // cell_height) * (width // cell_width + 1) + col // cell_width
    order = np.lexsort((row, cell))
    jumps = (np.diff(cell[order]) != 0) | (np.diff(row[order]) > max(GAP_ROWS, 2 * radius, native))
    for members in np.split(order, np.flatnonzero(jumps) + 1):
        yield _Group(members, _stretch(row[members], radius, height), _stretch(col[members], radius, width))


def _stretch(index: Index, radius: int, length: int) -> slice:
    """The positions that windows around ``index`` need, mirrored ones included."""
    first, last = int(index.min()) - radius, int(index.max()) + radius
    if first >= 0 and last < length:
        return slice(first, last + 1)
    needed = mirrored(np.arange(first, last + 1), length)
    return slice(int(needed.min()), int(needed.max()) + 1)
