"""Telling uneven light from dark materials.

A pixel may be dark because it lies in shade or because its material is. Where all pixels are lit alike, their
light, measured in endmembers, adds up to one; how far it does not is how uneven the light is.
"""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from hsi_toolkit.unmixing.abundances import AbundanceSolver

Float64 = NDArray[np.float64]

Brightness = Literal["even", "free", "scaled"]
"""How light enters the model ``y = psi (a' E)``, ``a`` being fractions:

- ``"even"``: every pixel is lit alike, ``psi`` is one; fractions of area.
- ``"free"``: every pixel has its own ``psi``, and endmembers count by their shape alone (unit length):
  fractions of the light's shape. The only choice where the endmembers' own brightness means nothing.
- ``"scaled"``: every pixel has its own ``psi``, and the endmembers keep their brightness: fractions of area
  if the light of a pixel is the same on all its materials. Dark materials come out large where a little of
  their shape is seen.
"""

UNEVEN = 0.08
"""Relative spread of the light from which on it counts as uneven: noise stays below, slopes do not."""


def unevenness(pixels: Float64, endmembers: Float64) -> float:
    """Root mean square of how far the light of ``pixels`` (n, bands) in endmembers is from one.

    Endmembers (count, bands) in the scene's units; 0 where all pixels are mixtures lit alike.
    """
    return float(np.sqrt(np.mean((_light(pixels, endmembers).sum(axis=1) - 1) ** 2)))


def fit_brightness(pixels: Float64, endmembers: Float64) -> tuple[Float64, float]:
    """Endmembers of the same shapes whose light in ``pixels`` adds up to one as nearly as it can.

    Returns:
        (count, bands) the endmembers, and what ``unevenness`` says of them. Those given come back where
        a brightness would not be positive.
    """
    light = _light(pixels, endmembers)
    factors = np.linalg.lstsq(light, np.ones(len(light)), rcond=None)[0]
    if not (factors > 0).all():
        return endmembers, unevenness(pixels, endmembers)
    spread = float(np.sqrt(np.mean((light @ factors - 1) ** 2)))
    return endmembers / factors[:, None], spread


def _light(pixels: Float64, endmembers: Float64) -> Float64:
    solver = AbundanceSolver(torch.from_numpy(endmembers), "nnls", dependent=True)
    found: Float64 = solver(torch.from_numpy(pixels)).numpy()
    return found
