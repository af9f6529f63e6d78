"""Streaming a scene: blocks of whole lines, the next one read while the current one is worked on."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.errors import OutOfMemoryError, ParameterError, SceneError
from hsi_toolkit.scene.lazy import Float32

DEFAULT_MEMORY = 72 << 20
"""Bytes that ``iter_blocks`` holds by default: three blocks (in use, ready, being read) that fit the C
library's heap, where memory is reused without the kernel clearing it again."""

BLOCKS_HELD = 3

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class Block:
    """Whole lines of a scene.

    ``data`` is (bands, y1 - y0 + 2 * halo, columns) float32, NaN where there is no data; treat it as
    read-only. The rows ``y0`` to ``y1`` (exclusive) of the scene lie at ``data[:, halo : halo + y1 - y0]``;
    halo rows beyond the scene's edge are mirrored, the edge row repeated (NumPy's "symmetric").
    """

    data: Float32
    y0: int
    y1: int
    halo: int = 0

    @property
    def core(self) -> Float32:
        """The block without its halo, (bands, y1 - y0, columns)."""
        return self.data[:, self.halo : self.halo + self.y1 - self.y0]


def iter_blocks(
    scene: xr.DataArray, *, rows: int | None = None, memory_limit: int | None = None, halo: int = 0
) -> Iterator[Block]:
    """Read a scene from top to bottom in blocks of whole lines; memory does not depend on its size.

    Args:
        scene: (band, y, x); sliced or with bands selected as you like, before or after opening.
        rows: lines a block, without the halo. None: as many as the memory limit allows.
        memory_limit: bytes for the blocks held at a time (three). None: 72 MB, or what a few lines take if
            that is more. ``rows`` goes first.
        halo: lines added above and below.

    Yields:
        Blocks in order; together their ``y0:y1`` cover the scene once.

    Raises:
        SceneError: a block cannot be read.
        OutOfMemoryError: not even one line with its halo fits into ``memory_limit``.
    """
    if halo < 0 or (rows is not None and rows < 1):
        raise ParameterError(
            f"Blocks of {rows} rows with a halo of {halo} make no sense.", "Give 1 or more, 0 or more."
        )
    height = scene.sizes["y"]
    step = rows or rows_within(scene, memory_limit, halo)
    edges = [(start, min(start + step, height)) for start in range(0, height, step)]

    def read(edge: tuple[int, int]) -> Block:
        return Block(read_rows(scene, edge[0], edge[1], halo), edge[0], edge[1], halo)

    return ahead(read, edges)


def rows_within(scene: xr.DataArray, memory_limit: int | None, halo: int = 0) -> int:
    """Lines a block so that three fit into ``memory_limit`` bytes, in whole blocks of the file if possible.

    Without a limit a block has at least as many lines as its halo, so that no line is read too often.

    Raises:
        OutOfMemoryError: not even one line with its halo fits.
    """
    line = 4 * scene.sizes["band"] * scene.sizes["x"]
    native = stored_rows(scene)
    limit = DEFAULT_MEMORY if memory_limit is None else memory_limit
    lines = limit // (BLOCKS_HELD * line) - 2 * halo
    if memory_limit is None and lines < native:
        # The reader holds a row of tiles besides.
        lines //= 2
    if memory_limit is None:
        lines = max(lines, 2 * halo, 1)
    elif lines < 1:
        need = BLOCKS_HELD * line * (1 + 2 * halo)
        raise OutOfMemoryError(
            f"One line of the scene with its halo needs {need / 2**20:.0f} MB of memory, "
            f"{memory_limit / 2**20:.0f} MB are allowed.",
            "Raise the memory limit or crop the scene.",
        )
    if lines >= native:
        lines = lines // native * native
    return min(lines, scene.sizes["y"])


def stored_rows(scene: xr.DataArray) -> int:
    """Lines that are compressed or stored together in the file; 1 where lines stand for themselves."""
    native = scene.encoding.get("stored_rows", 1)
    return native if isinstance(native, int) and native > 0 else 1


def read_rows(scene: xr.DataArray, y0: int, y1: int, halo: int = 0) -> Float32:
    """Rows ``y0 - halo`` to ``y1 + halo`` of all bands, mirrored at the edges, (band, rows, x) float32."""
    height = scene.sizes["y"]
    top, bottom = max(0, y0 - halo), min(height, y1 + halo)
    data = values_of(scene.isel(y=slice(top, bottom)))
    if (top, bottom) == (y0 - halo, y1 + halo):
        return data
    wanted = mirrored(np.arange(y0 - halo, y1 + halo), height)
    if wanted.min() < top or wanted.max() >= bottom:
        return values_of(scene.isel(y=wanted))
    return data[:, wanted - top]


def mirrored(index: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Positions inside ``length`` for any ``index``, reflected with the edge repeated."""
    folded = index % (2 * length)
    return np.where(folded < length, folded, 2 * length - 1 - folded)


def values_of(scene: xr.DataArray) -> Float32:
    """The values of a scene or part of it, (band, y, x) float32. Raises SceneError."""
    try:
        values = scene.transpose("band", "y", "x").to_numpy()
    except MemoryError as error:
        raise OutOfMemoryError(
            f"A window of {scene.nbytes / 2**20:.0f} MB does not fit into memory.", "Lower the memory limit."
        ) from error
    except OSError as error:
        if isinstance(error, SceneError):
            raise
        raise SceneError(
            f"Reading {scene.attrs.get('source', 'the scene')} failed: {error}.", "Check the file."
        ) from error
    return np.asarray(values, dtype=np.float32)


def ahead(read: Callable[[Key], Value], keys: list[Key]) -> Iterator[Value]:
    """``read(key)`` for every key in order, the next one running in a thread while the caller works."""
    with ThreadPoolExecutor(1, thread_name_prefix="hsi-read") as pool:
        pending: Future[Value] | None = None
        try:
            for position, key in enumerate(keys):
                value = pool.submit(read, key).result() if pending is None else pending.result()
                pending = pool.submit(read, keys[position + 1]) if position + 1 < len(keys) else None
                yield value
                del value
        finally:
            if pending is not None:
                pending.cancel()
