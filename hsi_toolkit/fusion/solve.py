"""The sharp cube of a tile: component substitution, or the most probable cube given scene and guide.

Component substitution adds the guide's detail, weighted by regression, to the interpolated coefficients
(GSA, Aiazzi et al. 2007, on the scene's noise-whitened components). For the most probable
coefficients X (k, H, W) of the tile the sum of three misfits is minimised, each over its variance:
what the scene's pixels would see of X against what they saw, what the guide would see against the guide,
and X against the interpolated scene plus the guide's detail. It is the quadratic form of HySure (Simões et
al. 2015) with that prior in the place of total variation, and is solved by conjugate gradients;
blurring and sampling are small matrices, so any ratio of pixel sizes will do.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hsi_toolkit.fusion.cnmf import CoupledEndmembers, sharpen_coupled
from hsi_toolkit.fusion.grids import Axis
from hsi_toolkit.fusion.model import FusionModel

Float32 = NDArray[np.float32]

_STEPS = 25
_TOLERANCE = 1e-4


def sharpen(
    model: FusionModel,
    scene: Float32,
    guide: Float32,
    rows: Axis,
    cols: Axis,
    *,
    method: str = "gsa",
    endmembers: CoupledEndmembers | None = None,
    device: torch.device | None = None,
) -> Float32:
    """The sharp cube of a tile.

    Args:
        scene: (bands, h, w); guide: (m, H, W) on the same place; NaN where there is no data.
        rows, cols: how they lie on each other, ``h`` × ``H`` and ``w`` × ``W``.
        method: "gsa" for the interpolated scene plus the guide's detail, "bayes" for the most probable cube.
        endmembers: take coupled factorisation with these instead.

    Returns:
        (bands, H, W) float32, NaN where either has no data.
    """
    tile = _Tile(model, scene, guide, rows, cols, device or torch.device("cpu"))
    if endmembers is None:
        cube = tile.cube(tile.prior if method == "gsa" else tile.solve())
    else:
        cube = sharpen_coupled(model, endmembers, tile.pixels, tile.image, rows, cols)
    cube[:, ~tile.covered] = torch.nan
    sharp: Float32 = cube.cpu().numpy()
    return sharp


class _Tile:
    """One tile's data and operators on a device."""

    def __init__(
        self, model: FusionModel, scene: Float32, guide: Float32, rows: Axis, cols: Axis, device: torch.device
    ) -> None:
        def tensor(values: NDArray[np.generic]) -> Tensor:
            return torch.as_tensor(np.asarray(values), dtype=torch.float32, device=device)

        self._mean, self._basis = tensor(model.mean), tensor(model.basis)
        self._down, self._across = tensor(rows.blur(model.width)), tensor(cols.blur(model.width))
        up, over = tensor(rows.interpolate()), tensor(cols.interpolate())
        pixels = self.pixels = tensor(scene)
        self._seen = torch.isfinite(pixels).all(dim=0)
        centred = torch.where(self._seen, pixels - self._mean[:, None, None], 0.0)
        self._coarse = torch.einsum("bk,bij->kij", tensor(model.projection), centred)
        image = self.image = tensor(guide)
        lit = torch.isfinite(image).all(dim=0)
        self._forward = tensor(model.forward)
        offset = tensor(model.forward_offset)[:, None, None]
        self._guide = torch.where(lit, image - offset, 0.0)
        nearest = self._seen[torch.as_tensor(rows.nearest())][:, torch.as_tensor(cols.nearest())]
        self.covered = lit & nearest
        # Where a picture has no data it has no say.
        self._scene_weight = self._seen.float()
        self._guide_weight = lit / tensor(model.guide_variance)[:, None, None]
        self._prior_weight = 1 / tensor(model.prior_variance)[:, None, None]
        fine = self._guide - up @ self._low(self._guide) @ over.T
        self.prior = up @ self._coarse @ over.T + torch.einsum("km,mij->kij", tensor(model.detail), fine)

    def cube(self, coefficients: Tensor) -> Tensor:
        """Spectra (bands, H, W) of coefficients (k, H, W)."""
        return torch.einsum("bk,kij->bij", self._basis, coefficients) + self._mean[:, None, None]

    def _low(self, image: Tensor) -> Tensor:
        return self._down @ image @ self._across.T

    def _normal(self, x: Tensor) -> Tensor:
        """The misfits' second derivative, applied to ``x``."""
        low = self._down.T @ (self._scene_weight * self._low(x)) @ self._across
        seen = torch.einsum("mk,kij->mij", self._forward, x)
        sharp = torch.einsum("mk,mij->kij", self._forward, self._guide_weight * seen)
        return low + sharp + self._prior_weight * x

    def solve(self) -> Tensor:
        """Preconditioned conjugate gradients from the prior."""
        target = (
            self._down.T @ (self._scene_weight * self._coarse) @ self._across
            + torch.einsum("mk,mij->kij", self._forward, self._guide_weight * self._guide)
            + self._prior_weight * self.prior
        )
        # The guide's and the prior's part couples the components of one pixel alone: invert it exactly.
        mean_weight = self._guide_weight.amax(dim=(1, 2))
        block = torch.diag(self._prior_weight[:, 0, 0])
        block = block + torch.einsum("mk,m,ml->kl", self._forward, mean_weight, self._forward)
        inverse = torch.linalg.inv(block.double()).float()
        x = self.prior.clone()
        residual = target - self._normal(x)
        start = residual.norm()
        step = torch.einsum("kl,lij->kij", inverse, residual)
        direction, slope = step, (residual * step).sum()
        for _ in range(_STEPS):
            if residual.norm() <= _TOLERANCE * start or slope <= 0:
                break
            applied = self._normal(direction)
            length = slope / (direction * applied).sum()
            x = x + length * direction
            residual = residual - length * applied
            step = torch.einsum("kl,lij->kij", inverse, residual)
            before, slope = slope, (residual * step).sum()
            direction = step + slope / before * direction
        return x
