"""Fractions, reconstruction error and uncertainty of a scene's pixels, block by block."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.unmixing.abundances import AbundanceSolver, Method
from hsi_toolkit.unmixing.brightness import Brightness

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Unmixed:
    """What unmixing says about pixels.

    Attributes:
        abundances: (n, endmembers) float64.
        residual: (n, bands) float64, pixel minus reconstruction, scene units.
        light: (n,) float64, what the coefficients added up to before they became fractions; 1 where the
            model has no brightness of its own.
    """

    abundances: torch.Tensor
    residual: torch.Tensor
    light: torch.Tensor

    @property
    def error(self) -> torch.Tensor:
        """(n,) root mean square of the residual over the bands."""
        return self.residual.square().mean(dim=1).sqrt()


class PixelUnmixer(Protocol):
    """Anything that unmixes pixels one by one."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the fractions, in order."""
        ...

    def __call__(self, pixels: torch.Tensor) -> Unmixed:
        """Unmix ``pixels`` (n, bands)."""
        ...


class Unmixer:
    """Least squares on one set of endmembers.

    With a brightness of each pixel (see ``brightness``) the non-negative coefficients are divided by their
    sum, which is the exact minimum of ``|y - psi a'E|`` over ``psi >= 0`` and fractions ``a``. It goes with
    ``"fcls"`` alone; the other methods take pixels as they are.

    Args:
        endmembers: (endmembers, bands) in the scene's units.
        names: one for each endmember.
    """

    def __init__(
        self,
        endmembers: Float64,
        names: tuple[str, ...],
        *,
        method: Method = "fcls",
        brightness: Brightness = "even",
        device: torch.device | None = None,
    ) -> None:
        self.names = names
        self._relative = method == "fcls" and brightness != "even"
        spectra = torch.from_numpy(np.ascontiguousarray(endmembers, dtype=np.float64)).to(device)
        if self._relative and brightness == "free":
            spectra = spectra / torch.linalg.vector_norm(spectra, dim=1, keepdim=True)
        if not torch.isfinite(spectra).all() or (torch.linalg.vector_norm(spectra, dim=1) == 0).any():
            raise ParameterError(
                "An endmember is empty or lacks values in some of the scene's bands.",
                "Leave it out, or mark these bands as bad.",
            )
        self.spectra = spectra
        self._solver = AbundanceSolver(spectra, "nnls" if self._relative else method)
        self._covariance = self._solver.unit_covariance(
            torch.eye(spectra.shape[1], device=device) / spectra.shape[1]
        )

    def fit_uncertainty(self, pixels: torch.Tensor) -> None:
        """Learn from a sample (n, bands) how errors go together from band to band.

        Neighbouring bands err alike. Taken as independent, a few hundred of them would make every fraction
        look exact. Residuals show nothing of the errors that look like endmembers, so their correlation is
        taken as a function of the distance between bands alone (the biased estimate, which is a covariance).
        """
        residual = self(pixels).residual
        spread = residual.square().mean(dim=0).sqrt().clamp(min=1e-300)
        correlation = (residual / spread).T @ (residual / spread) / len(residual)
        bands = len(spread)
        lags = torch.stack([correlation.diagonal(lag).sum() for lag in range(bands)]) / bands
        index = torch.arange(bands, device=lags.device)
        covariance = lags[(index[:, None] - index).abs()] * spread[:, None] * spread
        self._covariance = self._solver.unit_covariance(covariance / covariance.trace())

    def __call__(self, pixels: torch.Tensor) -> Unmixed:
        values = pixels.to(torch.float64)
        coefficients = self._solver(values)
        residual = values - coefficients @ self.spectra
        if not self._relative:
            return Unmixed(coefficients, residual, torch.ones_like(coefficients[:, 0]))
        light = coefficients.sum(dim=1)
        return Unmixed(coefficients / light.clamp(min=1e-300)[:, None], residual, light)

    def uncertainty(self, unmixed: Unmixed) -> torch.Tensor:
        """(n, endmembers) standard deviation of the fractions, as if no bound held.

        The residual's energy in a pixel, spread over the bands as it is in the whole scene, is carried
        through the least-squares estimate and, to first order, through the division by the light.
        """
        energy = unmixed.residual.square().sum(dim=1, keepdim=True)
        own = self._covariance.diagonal()
        if not self._relative:
            return (energy * own.clamp(min=0)).sqrt()
        shares, row_sums = unmixed.abundances, self._covariance.sum(dim=1)
        variance = own - 2 * shares * row_sums + shares.square() * row_sums.sum()
        return (energy * variance.clamp(min=0)).sqrt() / unmixed.light.clamp(min=1e-300)[:, None]
