"""The pixel grid that labels are laid on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import rioxarray  # noqa: F401  (registers the .rio accessor)
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS


@dataclass(frozen=True)
class Grid:
    """Size, transform (pixel corner to coordinates, rotation included) and CRS of a raster."""

    height: int
    width: int
    transform: Affine
    crs: CRS | None

    @classmethod
    def of(cls, raster: "xr.DataArray | Grid") -> "Grid":
        """The grid of a scene or of any array with the dims ``y`` and ``x``; a grid is given back."""
        if isinstance(raster, Grid):
            return raster
        return cls(
            raster.sizes["y"],
            raster.sizes["x"],
            _transform(raster),
            raster.rio.crs if raster.rio.crs else None,
        )

    @classmethod
    def of_file(cls, path: str | Path) -> "Grid":
        """The grid of a raster file."""
        with rasterio.open(path) as source:
            return cls(source.height, source.width, source.transform, source.crs or None)

    @property
    def georeferenced(self) -> bool:
        """Whether pixels have coordinates other than their own column and row."""
        return self.crs is not None or not self.transform.almost_equals(Affine.identity(), precision=1e-9)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top of the rectangle around all pixels, in the grid's coordinates."""
        x, y = self.coordinates(
            np.array([0, self.width, 0, self.width]), np.array([0, 0, self.height, self.height])
        )
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def coordinates(
        self, cols: NDArray[np.number], rows: NDArray[np.number]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The coordinates x and y of fractional columns and rows; pixel centres lie at one half."""
        a, b, c, d, e, f = self.transform[:6]
        return a * cols + b * rows + c, d * cols + e * rows + f

    def locate(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fractional columns and rows of coordinates, shape (n, 2); pixel (0, 0) spans 0 to 1."""
        a, b, c, d, e, f = (~self.transform)[:6]
        return np.column_stack([a * x + b * y + c, d * x + e * y + f])


def _transform(raster: xr.DataArray) -> Affine:
    """The transform from the coordinates where there are some, so that a part of a scene lies where it is.

    A rotated raster has no coordinates along x and y; it has the transform that was written.
    """
    written: Affine = raster.rio.transform(recalc=False)
    straight = written.b == 0 and written.d == 0
    if straight and {"x", "y"} <= set(raster.coords) and min(raster.sizes["x"], raster.sizes["y"]) > 1:
        written = raster.rio.transform(recalc=True)
    return written
