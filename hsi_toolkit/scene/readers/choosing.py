"""Finding the cube among the arrays of a file (MATLAB, NumPy), and which of its axes are the bands."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from hsi_toolkit.errors import SceneError

LAYOUTS = ("yxb", "byx", "ybx", "xyb", "bxy", "xby")
"""Orders of the axes: y rows, x columns, b bands."""

CLEARLY_LARGER = 2
"""The largest array is the cube without asking when it has this many times the numbers of the next."""

USUAL_NAMES = ("data", "cube", "img", "image", "hsi", "x", "y", "ori_data")

WAVELENGTH_NAME = re.compile(r"(wave|lambda|^wl|wvl|band_?cent|cent(er|re)s?$)", re.IGNORECASE)

ROW_NAMES = ("nrow", "rows", "lines", "height", "h")
COLUMN_NAMES = ("ncol", "cols", "samples", "width", "w")


@dataclass(frozen=True)
class Array:
    """An array of a file: its name, shape and type as its own software shows them."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def real(self) -> bool:
        """Whether it holds whole or floating-point numbers, at least one."""
        return self.dtype.kind in "iuf" and self.size > 0

    def __str__(self) -> str:
        return f"{self.name} ({' x '.join(map(str, self.shape))} {self.dtype.name})"


def split_request(variable: str | None, path: Path) -> tuple[str | None, str | None]:
    """The name and the axis order of ``name:layout``. Raises SceneError for an order that is none."""
    if variable is None:
        return None, None
    name, colon, layout = variable.rpartition(":")
    if not colon:
        return variable, None
    if layout.lower() not in LAYOUTS:
        raise SceneError(f"'{layout}' is no order of axes for {path}.", f"Use one of {', '.join(LAYOUTS)}.")
    return name or None, layout.lower()


def choose(
    arrays: Sequence[Array], name: str | None, path: Path, grid: tuple[int, int] | None = None
) -> Array:
    """The array that is the cube.

    Without a ``name`` it is the only array with three axes, else the one clearly larger than the others,
    else the only one with a usual name. A table of bands x pixels counts as a cube when the file states a
    ``grid`` (rows, columns) of as many pixels.

    Raises:
        SceneError: there is none, several could be it, or the named one is missing or of another kind.
    """
    if name is not None:
        named = next((array for array in arrays if array.name == name), None)
        if named is None:
            raise SceneError(f"{path} has no array '{name}'.", f"It has {_listed(arrays)}.")
        if not named.real or not _is_cube(named, grid):
            raise SceneError(
                f"{named} in {path} is no cube of real numbers.", "Name an array with three axes."
            )
        return named
    cubes = sorted(
        (array for array in arrays if array.real and _is_cube(array, grid)), key=lambda array: -array.size
    )
    if not cubes:
        raise SceneError(
            f"{path} holds no cube: no array of real numbers with three axes.", f"It has {_listed(arrays)}."
        )
    if len(cubes) == 1 or cubes[0].size >= CLEARLY_LARGER * cubes[1].size:
        return cubes[0]
    usual = [array for array in cubes if array.name.lower() in USUAL_NAMES]
    if len(usual) == 1:
        return usual[0]
    raise SceneError(f"{path} holds several cubes: {_listed(cubes)}.", "Name the one to open.")


def band_axis_by_length(shape: tuple[int, ...], arrays: Sequence[Array]) -> int | None:
    """The only axis as long as a vector of wavelengths in the file, or None."""
    lengths = {array.size for array in arrays if is_wavelength_vector(array)}
    matching = [axis for axis, length in enumerate(shape) if length in lengths]
    return matching[0] if len(matching) == 1 else None


def is_wavelength_vector(array: Array, bands: int | None = None) -> bool:
    """Whether an array, by its name and shape, holds one wavelength per band."""
    vector = array.real and array.size == max(array.shape, default=0) and array.size > 1
    return vector and WAVELENGTH_NAME.search(array.name) is not None and bands in (None, array.size)


def layout_with_bands_at(axis: int) -> str:
    """The axis order with bands at ``axis`` and rows before columns."""
    return {0: "byx", 1: "ybx", 2: "yxb"}[axis]


def stated_grid(scalars: Mapping[str, float]) -> tuple[int, int] | None:
    """Rows and columns from scalars such as ``nRow`` and ``nCol``, or None."""
    lower = {name.lower(): value for name, value in scalars.items()}
    rows = next((lower[name] for name in ROW_NAMES if name in lower), None)
    columns = next((lower[name] for name in COLUMN_NAMES if name in lower), None)
    if rows is None or columns is None or rows < 1 or columns < 1 or rows % 1 or columns % 1:
        return None
    return int(rows), int(columns)


def _is_cube(array: Array, grid: tuple[int, int] | None) -> bool:
    return array.name[:2] != "__" and (
        len(array.shape) == 3 or (len(array.shape) == 2 and grid is not None and array.shape[1] == prod(grid))
    )


def _listed(arrays: Sequence[Array]) -> str:
    shown = ", ".join(str(array) for array in arrays[:8])
    return (shown + (", ..." if len(arrays) > 8 else "")) or "no arrays"
