"""How the pixels of a scene and of a sharper guide lie on each other.

Both grids are parallel, so blurring and sampling act along each axis alone: a coarse image is
``S_y X S_xᵀ`` of the fine one, with a small matrix an axis that holds the point spread function.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse

from hsi_toolkit.errors import SceneError

Float64 = NDArray[np.float64]

#: A point spread function is cut off where it has fallen below a thousandth.
_CUT = 3.7
#: Keys 1981: the cubic that reproduces quadratics.
_KEYS = -0.5


@dataclass(frozen=True)
class Axis:
    """One axis: fine pixel ``i`` has its centre at ``(i + 0.5) * step + shift`` in coarse pixels."""

    fine: int
    coarse: int
    step: float
    shift: float

    @property
    def centres(self) -> Float64:
        """(fine,) centres in coarse pixels, where coarse pixel ``j`` covers ``j`` to ``j + 1``."""
        return (np.arange(self.fine, dtype=np.float64) + 0.5) * self.step + self.shift

    def part(self, coarse: slice, fine: slice) -> "Axis":
        """The axis between coarse pixels and fine pixels of a tile."""
        shift = self.shift + fine.start * self.step - coarse.start
        return Axis(fine.stop - fine.start, coarse.stop - coarse.start, self.step, shift)

    def fine_slice(self, coarse: slice) -> slice:
        """The fine pixels whose centres lie in a range of coarse pixels."""
        low = np.searchsorted(self.centres, coarse.start - 1e-9)
        high = np.searchsorted(self.centres, coarse.stop - 1e-9)
        return slice(int(low), int(high))

    def blur(self, sigma: float) -> Float64:
        """(coarse, fine) what a coarse pixel sees: a Gaussian of ``sigma`` coarse pixels around its centre.

        Rows sum to one; at the edge the part that lies inside counts.
        """
        matrix: Float64 = self.sparse_blur(sigma).toarray()
        return matrix

    def sparse_blur(self, sigma: float) -> sparse.csr_array:
        """``blur`` for axes of any length."""
        reach = max(_CUT * sigma, 0.5 * self.step)
        middle = np.arange(self.coarse) + 0.5
        first = np.ceil((middle - reach - self.shift) / self.step - 0.5).astype(np.intp)
        fine = first[:, None] + np.arange(int(2 * reach / self.step) + 2)
        distance = (fine + 0.5) * self.step + self.shift - middle[:, None]
        seen = (np.abs(distance) <= reach) & (fine >= 0) & (fine < self.fine)
        weight = np.where(seen, np.exp(-0.5 * (distance / sigma) ** 2), 0.0)
        total = weight.sum(axis=1, keepdims=True)
        weight /= np.where(total > 0, total, 1.0)
        coarse = np.broadcast_to(np.arange(self.coarse)[:, None], fine.shape)
        shape = (self.coarse, self.fine)
        return sparse.csr_array((weight[seen], (coarse[seen], fine[seen])), shape=shape)

    def interpolate(self) -> Float64:
        """(fine, coarse) cubic convolution (Keys 1981) with the edge repeated; rows sum to one."""
        position = self.centres - 0.5
        base = np.floor(position).astype(int)
        matrix = np.zeros((self.fine, self.coarse))
        for offset in (-1, 0, 1, 2):
            distance = np.abs(position - (base + offset))
            columns = np.clip(base + offset, 0, self.coarse - 1)
            np.add.at(matrix, (np.arange(self.fine), columns), _cubic(distance))
        return matrix

    def nearest(self) -> NDArray[np.intp]:
        """(fine,) the coarse pixel each fine one lies in."""
        return np.clip(np.floor(self.centres), 0, self.coarse - 1).astype(np.intp)


def _cubic(distance: Float64) -> Float64:
    near = (_KEYS + 2) * distance**3 - (_KEYS + 3) * distance**2 + 1
    far = _KEYS * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


@dataclass(frozen=True)
class GridPair:
    """Both axes, ``rows`` and ``cols``, and the part of the guide that lies over the scene."""

    rows: Axis
    cols: Axis
    guide_rows: slice
    guide_cols: slice

    @property
    def ratio(self) -> float:
        """How many times smaller the guide's pixels are, the mean of both axes."""
        return 0.5 * (1 / self.rows.step + 1 / self.cols.step)


def match_grids(scene: xr.DataArray, guide: xr.DataArray) -> GridPair:
    """How the guide lies on the scene: by their coordinates, or corner to corner where one has none.

    Raises:
        SceneError: other coordinate systems, rotated grids, no overlap, or a guide that is not sharper.
    """
    if scene.rio.crs is None or guide.rio.crs is None:
        pairs = [(guide.sizes[axis], scene.sizes[axis]) for axis in ("y", "x")]
        axes = [_axis(fine, coarse, coarse / fine, 0.0) for fine, coarse in pairs]
    else:
        if scene.rio.crs != guide.rio.crs:
            raise SceneError(
                f"The scene is in {scene.rio.crs.to_string()[:40]}, the guide in "
                f"{guide.rio.crs.to_string()[:40]}.",
                "Reproject the guide to the scene's coordinate system.",
            )
        a, b, left, d, e, top = scene.rio.transform()[:6]
        ga, gb, guide_left, gd, ge, guide_top = guide.rio.transform()[:6]
        if max(abs(b / e), abs(d / a), abs(gb / ge), abs(gd / ga)) > 1e-6:
            raise SceneError("The scene or the guide lies on a rotated grid.", "Resample both to a map grid.")
        axes = [
            _axis(guide.sizes["y"], scene.sizes["y"], ge / e, (guide_top - top) / e),
            _axis(guide.sizes["x"], scene.sizes["x"], ga / a, (guide_left - left) / a),
        ]
    cut = [axis.fine_slice(slice(0, axis.coarse)) for axis in axes]
    if any(part.start >= part.stop for part in cut):
        raise SceneError("The guide does not lie over the scene.", "Give an image of the same place.")
    rows, cols = (axis.part(slice(0, axis.coarse), part) for axis, part in zip(axes, cut, strict=True))
    return GridPair(rows, cols, cut[0], cut[1])


def _axis(fine: int, coarse: int, step: float, shift: float) -> Axis:
    if not 0 < step < 0.95:
        raise SceneError(
            f"The guide's pixels are {step:.2f} times as large as the scene's.",
            "Give a guide with smaller pixels.",
        )
    return Axis(fine, coarse, step, shift)
