"""Sparse unmixing: few of a library's many spectra explain a pixel.

SUnSAL (Bioucas-Dias and Figueiredo 2010, WHISPERS, doi:10.1109/WHISPERS.2010.5594963) minimises
``|Y - X D|^2 / 2 + lambda |X|_1`` over ``X >= 0``; SUnSAL-TV (Iordache, Bioucas-Dias and Plaza 2012, IEEE
Transactions on Geoscience and Remote Sensing 50, doi:10.1109/TGRS.2012.2191590) adds the differences between
neighbouring pixels. Both by the alternating direction method of multipliers.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from hsi_toolkit.progress import Progress
from hsi_toolkit.unmixing.unmixer import Unmixed

Float64 = NDArray[np.float64]

_ITERATIONS = 300
_TOLERANCE = 1e-5

_NOTICEABLE = 0.01
"""Mean share of a pixel's light from which a library spectrum counts as present in the scene."""


def sunsal(
    pixels: torch.Tensor, library: torch.Tensor, sparsity: float, *, progress: Progress | None = None
) -> torch.Tensor:
    """Non-negative sparse coefficients of ``pixels`` (n, bands) in ``library`` (spectra, bands).

    ``sparsity`` is relative: 1 would just drive every coefficient of the mean pixel to zero.

    Returns:
        (n, spectra) float64.
    """
    return _admm(pixels, library, sparsity, 0.0, None, progress or Progress())


def sunsal_tv(
    image: torch.Tensor,
    library: torch.Tensor,
    sparsity: float,
    smoothness: float,
    *,
    progress: Progress | None = None,
) -> torch.Tensor:
    """The same for an ``image`` (rows, columns, bands) whose neighbouring pixels hold similar mixtures.

    ``smoothness`` is relative like ``sparsity``; it weighs the absolute differences of coefficients to the
    right and lower neighbour.

    Returns:
        (rows, columns, spectra) float64.
    """
    rows, columns, bands = image.shape
    pixels = image.reshape(-1, bands)
    found = _admm(pixels, library, sparsity, smoothness, (rows, columns), progress or Progress())
    return found.reshape(rows, columns, -1)


def select_spectra(
    pixels: torch.Tensor, library: torch.Tensor, sparsity: float, most: int
) -> NDArray[np.intp]:
    """Which spectra of ``library`` occur in ``pixels`` (n, bands): indices, the most abundant first."""
    coefficients = sunsal(pixels, library, sparsity)
    light = coefficients * torch.linalg.vector_norm(library.to(torch.float64), dim=1)
    shares = (light / light.sum(dim=1, keepdim=True).clamp(min=1e-300)).mean(dim=0).cpu().numpy()
    order: NDArray[np.intp] = np.argsort(-shares, kind="stable")
    present: NDArray[np.intp] = order[shares[order] >= _NOTICEABLE][:most]
    return present


def _admm(
    pixels: torch.Tensor,
    library: torch.Tensor,
    sparsity: float,
    smoothness: float,
    shape: tuple[int, int] | None,
    progress: Progress,
) -> torch.Tensor:
    """Scaled ADMM; one auxiliary for sign and sparsity, and one that is smooth, if a shape is given."""
    spectra = library.to(torch.float64)
    gram = spectra @ spectra.T
    products = pixels.to(torch.float64) @ spectra.T
    unit = float(products.mean(dim=0).abs().max())
    coupling = float(gram.diagonal().mean()) * 0.1 + 1e-300
    splits = 1 if shape is None or smoothness == 0 else 2
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    inverse = torch.linalg.inv(gram + splits * coupling * identity)
    sparse = (products @ inverse).clamp(min=0)
    dual = torch.zeros_like(sparse)
    smooth, smooth_dual = sparse.clone(), torch.zeros_like(sparse)
    for _ in range(_ITERATIONS):
        progress.check()
        pull = sparse - dual
        if splits == 2:
            pull = pull + smooth - smooth_dual
        solved = (products + coupling * pull) @ inverse
        before = sparse
        sparse = (solved + dual - sparsity * unit / coupling).clamp(min=0)
        dual = dual + solved - sparse
        if splits == 2 and shape is not None:
            smooth = _total_variation(solved + smooth_dual, shape, smoothness * unit / coupling)
            smooth_dual = smooth_dual + solved - smooth
        change = (sparse - before).norm() + (solved - sparse).norm()
        if change <= _TOLERANCE * (1e-300 + sparse.norm()):
            break
    found: torch.Tensor = sparse
    return found


def _total_variation(values: torch.Tensor, shape: tuple[int, int], weight: float) -> torch.Tensor:
    """The proximal map of ``weight`` times anisotropic total variation, by dual projected gradient.

    Chambolle 2004, Journal of Mathematical Imaging and Vision 20, with the step of Beck and Teboulle 2009.
    """
    image = values.reshape(*shape, -1)
    down = torch.zeros_like(image[1:])
    right = torch.zeros_like(image[:, 1:])
    for _ in range(10):
        smooth = image - _divergence(image, down, right)
        down = (down + smooth.diff(dim=0) / 8).clamp(-weight, weight)
        right = (right + smooth.diff(dim=1) / 8).clamp(-weight, weight)
    return (image - _divergence(image, down, right)).reshape(values.shape)


def _divergence(image: torch.Tensor, down: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The adjoint of the differences to the lower and right neighbour."""
    found = torch.zeros_like(image)
    found[1:] += down
    found[:-1] -= down
    found[:, 1:] += right
    found[:, :-1] -= right
    return found


class SparseUnmixer:
    """Fractions by sparse unmixing: each spectrum's part in the light of a pixel.

    Args:
        spectra: (spectra, bands); they count by their shape.
        names: one for each spectrum.
        smoothness: above zero, neighbouring pixels are drawn together; give the shape of the image then.
    """

    def __init__(
        self,
        spectra: Float64,
        names: tuple[str, ...],
        *,
        sparsity: float,
        smoothness: float = 0.0,
        device: torch.device | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.names = names
        self.smoothness = smoothness
        self._sparsity, self._progress = sparsity, progress
        given = torch.from_numpy(np.ascontiguousarray(spectra, dtype=np.float64)).to(device)
        self.spectra = given / torch.linalg.vector_norm(given, dim=1, keepdim=True)

    def __call__(self, pixels: torch.Tensor, shape: tuple[int, int] | None = None) -> Unmixed:
        """Unmix ``pixels`` (n, bands), those of an image of (rows, columns) if a shape is given."""
        values = pixels.to(torch.float64)
        known = torch.isfinite(values).all(dim=1, keepdim=True)
        filled = torch.where(known, values, 0.0)
        if shape is None or self.smoothness == 0:
            coefficients = sunsal(filled, self.spectra, self._sparsity, progress=self._progress)
        else:
            image = filled.reshape(*shape, -1)
            coefficients = sunsal_tv(
                image, self.spectra, self._sparsity, self.smoothness, progress=self._progress
            ).reshape(len(filled), -1)
        coefficients = torch.where(known, coefficients, torch.nan)
        light = coefficients.sum(dim=1)
        residual = values - coefficients @ self.spectra
        return Unmixed(coefficients / light.clamp(min=1e-300)[:, None], residual, light)
