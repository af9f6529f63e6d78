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

GAP_ROWS, GAP_COLUMNS = 8, 128
"""Rows and columns without a wanted pixel that are read rather than skipped."""

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
    per_line = -(-n // min(SAMPLED_LINES, scene.sizes["y"]))
    while True:
        generator = np.random.default_rng(seed)
        sample = _sample_lines(scene, n, per_line, generator)
        if len(sample) >= n or per_line >= scene.sizes["x"]:
            return sample[generator.permutation(len(sample))[:n]]
        # Much of the scene is empty: take more from the lines that are not.
        per_line *= 4


def _sample_lines(scene: xr.DataArray, n: int, per_line: int, generator: np.random.Generator) -> Float32:
    """Valid pixels, up to ``per_line`` from each of as many lines as it takes for ``n`` of them."""
    height, bands = scene.sizes["y"], scene.sizes["band"]
    good = scene["good"].to_numpy() if "good" in scene.coords else np.ones(bands, bool)
    lines = _spread_lines(height, generator)
    sample = np.empty((0, bands), np.float32)
    filled = np.zeros(bands, bool)
    taken = 0
    while len(sample) < n and taken < height:
        count = max(SAMPLED_LINES, -(-(n - len(sample)) // per_line))
        drawn = [sample]
        for data in _read_lines(scene, np.sort(lines[taken : taken + count])):
            filled |= good & np.isfinite(data).any(axis=(1, 2))
            valid = np.asarray(np.isfinite(data[filled]).all(axis=0)) & filled.any()
            for line, pixels in zip(data.transpose(1, 2, 0), valid, strict=True):
                drawn.append(line[generator.permutation(np.flatnonzero(pixels))[:per_line]])
        taken += count
        sample = np.concatenate(drawn)
        sample = sample[np.isfinite(sample[:, filled]).all(axis=1)]
    return sample


def _read_lines(scene: xr.DataArray, lines: Index) -> Iterator[Float32]:
    """Whole lines, a batch at a time, (bands, lines, columns) each."""
    size = max(1, GROUP_BYTES // (4 * scene.sizes["band"] * scene.sizes["x"]))
    batches = [lines[start : start + size] for start in range(0, len(lines), size)]

    def read(rows: Index) -> Float32:
        return values_of(scene.isel(y=rows))

    return ahead(read, batches)


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
    for near in np.split(order, np.flatnonzero(jumps) + 1):
        across = near[np.argsort(col[near], kind="stable")]
        gaps = np.diff(col[across]) > GAP_COLUMNS + 2 * radius
        for members in np.split(across, np.flatnonzero(gaps) + 1):
            rows, columns = _stretch(row[members], radius, height), _stretch(col[members], radius, width)
            yield _Group(members, rows, columns)


def _stretch(index: Index, radius: int, length: int) -> slice:
    """The positions that windows around ``index`` need, mirrored ones included."""
    first, last = int(index.min()) - radius, int(index.max()) + radius
    if first >= 0 and last < length:
        return slice(first, last + 1)
    needed = mirrored(np.arange(first, last + 1), length)
    return slice(int(needed.min()), int(needed.max()) + 1)
