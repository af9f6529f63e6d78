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
from hsi_toolkit.progress import Progress

Float32 = NDArray[np.float32]

_STEPS = 25
_TOLERANCE = 1e-4


class Sharpener:
    """Sharpens tiles of a scene, all in the same way.

    What comes out are coefficients, few images that hold all bands.

    Args:
        model: what ties scene and guide.
        method: "gsa" for the interpolated scene plus the guide's detail, "bayes" for the most probable cube.
        endmembers: take coupled factorisation with these instead.
        device: where to compute.
    """

    def __init__(
        self,
        model: FusionModel,
        *,
        method: str = "gsa",
        endmembers: CoupledEndmembers | None = None,
        device: torch.device | None = None,
    ) -> None:
        self._model, self._method, self._endmembers = model, method, endmembers
        self._device = device or torch.device("cpu")
        basis, mean = (model.basis, model.mean)
        if endmembers is not None:
            basis, mean = endmembers.scene, np.zeros(len(endmembers.scene))
        self._basis, self._mean = (
            torch.as_tensor(each, dtype=torch.float32, device=self._device) for each in (basis, mean)
        )

    @property
    def components(self) -> int:
        """How many coefficients a pixel has."""
        return int(self._basis.shape[1])

    def coefficients(
        self, scene: Float32, guide: Float32, rows: Axis, cols: Axis, progress: Progress | None = None
    ) -> Tensor:
        """The sharp coefficients of a tile, (components, H, W), NaN where either has no data.

        Args:
            scene: (bands, h, w); guide: (m, H, W) on the same place; NaN where there is no data.
            rows, cols: how they lie on each other, ``h`` × ``H`` and ``w`` × ``W``.
            progress: asked for cancellation.
        """
        progress = progress or Progress()
        tile = _Tile(self._model, scene, guide, rows, cols, self._device)
        if self._endmembers is not None:
            sharp = sharpen_coupled(
                self._model, self._endmembers, tile.pixels, tile.image, rows, cols, progress
            )
        else:
            sharp = tile.prior if self._method == "gsa" else tile.solve(progress)
        sharp[:, ~tile.covered] = torch.nan
        return sharp

    def cube(self, coefficients: Tensor) -> Float32:
        """All bands (bands, H, W) of coefficients (components, H, W)."""
        flat = coefficients.reshape(len(coefficients), -1)
        bands = torch.addmm(self._mean[:, None], self._basis, flat)
        sharp: Float32 = bands.reshape(-1, *coefficients.shape[1:]).cpu().numpy()
        return sharp


class _Tile:
    """One tile's data and operators on a device."""

    def __init__(
        self, model: FusionModel, scene: Float32, guide: Float32, rows: Axis, cols: Axis, device: torch.device
    ) -> None:
        def tensor(values: NDArray[np.generic]) -> Tensor:
            return torch.as_tensor(np.asarray(values), dtype=torch.float32, device=device)

        self._down, self._across = tensor(rows.blur(model.width)), tensor(cols.blur(model.width))
        up, over = tensor(rows.interpolate()), tensor(cols.interpolate())
        pixels = self.pixels = tensor(scene)
        self._seen = torch.isfinite(pixels).all(dim=0)
        centred = torch.where(self._seen, pixels - tensor(model.mean)[:, None, None], 0.0)
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

    def _low(self, image: Tensor) -> Tensor:
        return self._down @ image @ self._across.T

    def _normal(self, x: Tensor) -> Tensor:
        """The misfits' second derivative, applied to ``x``."""
        low = self._down.T @ (self._scene_weight * self._low(x)) @ self._across
        seen = torch.einsum("mk,kij->mij", self._forward, x)
        sharp = torch.einsum("mk,mij->kij", self._forward, self._guide_weight * seen)
        return low + sharp + self._prior_weight * x

    def solve(self, progress: Progress) -> Tensor:
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
            progress.check()
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
