"""Coupled non-negative matrix factorisation (Yokoya, Yairi and Iwasaki 2012, doi:10.1109/TGRS.2011.2161320).

The scene is endmembers times coarse fractions, the guide the same endmembers, as the guide sees them, times
sharp fractions, and the coarse fractions are the sharp ones blurred. Endmembers are fitted once, on a sample
of the scene, so that all tiles share them; the sharp fractions of a tile follow from both images together by
multiplicative updates.
"""

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from hsi_toolkit.errors import SceneError
from hsi_toolkit.fusion.grids import Axis
from hsi_toolkit.fusion.model import FusionModel
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import sample_pixels
from hsi_toolkit.unmixing.abundances import AbundanceSolver
from hsi_toolkit.unmixing.extraction import vca

Float64 = NDArray[np.float64]

_SAMPLE = 5000
_FITTING_STEPS, _SHARPENING_STEPS = 60, 60
#: Keeps divisions finite, relative to values near one.
_TINY = 1e-6


@dataclass(frozen=True, eq=False)
class CoupledEndmembers:
    """Endmembers (bands, p) of the scene, and (m, p) as the guide sees them, none negative."""

    scene: Float64
    guide: Float64

    @classmethod
    def fit(cls, scene: xr.DataArray, model: FusionModel, seed: int = 0) -> "CoupledEndmembers":
        """As many as the scene has components, from the purest pixels on.

        Raises:
            SceneError: fewer pixels have data than there are endmembers.
        """
        sample = sample_pixels(scene, _SAMPLE, seed).astype(np.float64)
        pixels = np.maximum(sample[np.isfinite(sample).all(axis=1)], 0.0)
        count = max(2, model.components)
        if len(pixels) < 2 * count:
            raise SceneError(
                f"Only {len(pixels)} pixels of the scene have data.",
                "Choose the method gsa or another scene.",
            )
        spectra = np.maximum(pixels[vca(pixels, count, seed=seed)].T, _TINY * pixels.max())
        fractions = np.maximum(_fractions(spectra, pixels), _TINY).T
        for _ in range(_FITTING_STEPS):
            spectra *= (pixels.T @ fractions.T) / (spectra @ (fractions @ fractions.T) + _TINY)
            fractions *= (spectra.T @ pixels.T) / (spectra.T @ spectra @ fractions + _TINY)
        # What the guide sees of a spectrum, by the tie between both images.
        seen = model.forward @ (model.projection.T @ (spectra - model.mean[:, None]))
        return cls(spectra, np.maximum(seen + model.forward_offset[:, None], 0.0))


def sharpen_coupled(
    model: FusionModel,
    endmembers: CoupledEndmembers,
    scene: Tensor,
    guide: Tensor,
    rows: Axis,
    cols: Axis,
    progress: Progress,
) -> Tensor:
    """The sharp fractions of a tile, (p, H, W).

    Args:
        scene: (bands, h, w); guide: (m, H, W), NaN where there is no data, which then has no say.
        progress: asked for cancellation.
    """
    known, lit = torch.isfinite(scene).all(dim=0), torch.isfinite(guide).all(dim=0)
    scene, guide = torch.where(known, scene, 0.0), torch.where(lit, guide, 0.0)

    def tensor(values: NDArray[np.generic]) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=torch.float32, device=scene.device)

    down, across = tensor(rows.blur(model.width)), tensor(cols.blur(model.width))
    up, over = tensor(rows.interpolate()), tensor(cols.interpolate())
    pixels = np.maximum(scene.flatten(1).T.cpu().numpy().astype(np.float64), 0.0)
    parts = []
    for start in range(0, len(pixels), _SAMPLE):
        progress.check()
        parts.append(_fractions(endmembers.scene, pixels[start : start + _SAMPLE]))
    coarse = np.concatenate(parts).T.reshape(-1, *scene.shape[1:])
    sharp = (up @ tensor(coarse) @ over.T).clamp(min=1e-3)
    # Both misfits in units of their noise, so that neither image drowns the other.
    scene_weight = tensor(1 / model.noise)
    guide_weight = tensor(1 / np.sqrt(model.guide_variance))
    spectra = tensor(endmembers.scene) * scene_weight[:, None]
    seen = tensor(endmembers.guide) * guide_weight[:, None]
    wanted = down.T @ torch.einsum("bp,bij->pij", spectra, (scene * scene_weight[:, None, None])) @ across
    wanted = wanted + torch.einsum("mp,mij->pij", seen, guide * guide_weight[:, None, None])
    wanted, spectra, seen = wanted.clamp(min=0), spectra.T @ spectra, seen.T @ seen
    for _ in range(_SHARPENING_STEPS):
        progress.check()
        low = torch.einsum("pq,qij->pij", spectra, known * (down @ sharp @ across.T))
        have = down.T @ low @ across + torch.einsum("pq,qij->pij", seen, lit * sharp)
        sharp = sharp * (wanted / (have + _TINY)).clamp(max=10.0)
    return sharp


def _fractions(spectra: Float64, pixels: Float64) -> Float64:
    """(n, p) fully constrained fractions of pixels (n, bands)."""
    solver = AbundanceSolver(torch.from_numpy(np.ascontiguousarray(spectra.T)), dependent=True)
    fractions: Float64 = solver(torch.from_numpy(pixels)).cpu().numpy()
    return fractions
