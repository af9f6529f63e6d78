"""Whether what is evaluated has been trained on: remembered training pixels and the check against them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyproj
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError

from hsi_toolkit.errors import LabelError
from hsi_toolkit.training.grid import Grid
from hsi_toolkit.training.splits import near


@dataclass(frozen=True, eq=False)
class Leakage:
    """Which evaluation pixels were trained on (``same``) or are within ``radius`` of one (``beside``)."""

    same: NDArray[np.bool_]
    beside: NDArray[np.bool_]
    radius: int

    @property
    def independent(self) -> NDArray[np.bool_]:
        """Which evaluation pixels training has not seen; (n,)."""
        return ~(self.same | self.beside)

    def describe(self) -> tuple[str, ...]:
        """What was found, as sentences; none where nothing leaks."""
        total = len(self.same)
        sentences = []
        if self.same.any():
            sentences.append(f"{np.count_nonzero(self.same)} of {total} reference pixels were trained on.")
        if self.beside.any():
            sentences.append(
                f"{np.count_nonzero(self.beside)} of {total} reference pixels lie within {self.radius} "
                "pixels of training pixels, so that training has seen their neighbourhood."
            )
        return tuple(sentences)


@dataclass(frozen=True, eq=False)
class TrainingPixels:
    """The pixels a model was trained on, in a form that fits into its bundle and its maps.

    ``rows`` and ``cols`` (n,) count in ``grid``; ``radius`` is how far around them the model looked.
    """

    grid: Grid
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    radius: int

    def leakage(self, rows: NDArray[np.int64], cols: NDArray[np.int64], grid: Grid) -> Leakage:
        """Check evaluation pixels of any grid against these; another scene elsewhere shares none.

        A grid without a coordinate system is taken to be the training grid if it has its size, and
        to be another scene if not.
        """
        if not self._comparable(grid):
            return Leakage(np.zeros(len(rows), bool), np.zeros(len(rows), bool), self.radius)
        x, y = grid.coordinates(cols + 0.5, rows + 0.5)
        if grid.crs is not None and self.grid.crs is not None and grid.crs != self.grid.crs:
            here, there = (pyproj.CRS.from_wkt(each.to_wkt()) for each in (grid.crs, self.grid.crs))
            x, y = pyproj.Transformer.from_crs(here, there, always_xy=True).transform(x, y)
        placed = self.grid.locate(x, y)
        known = np.isfinite(placed.sum(axis=1))
        at = np.floor(np.where(known[:, None], placed, -1e9)).astype(np.int64)
        same = near(at[:, 1], at[:, 0], self.rows, self.cols, 0)
        beside = near(at[:, 1], at[:, 0], self.rows, self.cols, self.radius) & ~same
        return Leakage(same, beside, self.radius)

    def to_dict(self) -> dict[str, object]:
        """JSON-able: the grid, and the pixels as runs along rows ``[row, first column, length, …]``."""
        order = np.lexsort((self.cols, self.rows))
        rows, cols = self.rows[order], self.cols[order]
        starts = np.flatnonzero((np.diff(rows, prepend=-1) != 0) | (np.diff(cols, prepend=-2) != 1))
        lengths = np.diff(starts, append=len(rows))
        return {
            "shape": [self.grid.height, self.grid.width],
            "transform": list(self.grid.transform[:6]),
            "crs": self.grid.crs.to_wkt() if self.grid.crs else None,
            "radius": self.radius,
            "runs": np.column_stack([rows[starts], cols[starts], lengths]).ravel().tolist(),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, object]) -> "TrainingPixels":
        """The inverse of ``to_dict``.

        Raises:
            LabelError: this is no such record.
        """
        try:
            shape, transform = np.asarray(stored["shape"], int), np.asarray(stored["transform"], float)
            runs = np.asarray(stored["runs"], np.int64).reshape(-1, 3)
            crs, radius = stored["crs"], int(np.asarray(stored["radius"]))
            grid = Grid(int(shape[0]), int(shape[1]), Affine(*transform), CRS.from_wkt(crs) if crs else None)
        except (KeyError, ValueError, TypeError, IndexError, CRSError) as error:
            raise LabelError(
                "The record of the training pixels is damaged.",
                "Train the model again, or take another file.",
            ) from error
        start, length = runs[:, 1], runs[:, 2]
        in_grid = (
            (runs >= 0).all() and (start + length <= grid.width).all() and (runs[:, 0] < grid.height).all()
        )
        if not in_grid:
            raise LabelError(
                "The record of the training pixels is damaged.",
                "Train the model again, or take another file.",
            )
        offset = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        return cls(grid, np.repeat(runs[:, 0], length), np.repeat(start, length) + offset, radius)

    def _comparable(self, grid: Grid) -> bool:
        if (grid.crs is None) != (self.grid.crs is None):
            return False
        same_size = (grid.height, grid.width) == (self.grid.height, self.grid.width)
        return grid.georeferenced or same_size
