"""The few dimensions a scene's spectra lie in, after the noise was made equal in all bands."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hsi_toolkit.denoising.robust import fit_incomplete, outliers
from hsi_toolkit.denoising.statistics import Float64

# Sigma is known to a percent or two: an eigenvalue that little above the noise's may be noise.
_MARGIN = 1.02
# A pixel is taken for foreign to the subspace when its residual is so many deviations too long.
_FOREIGN = 6.0


@dataclass(frozen=True, eq=False)
class SignalSubspace:
    """Signal and noise of whitened spectra, (value - mean) / sigma.

    Attributes:
        mean: (bands,) mean spectrum.
        sigma: (bands,) standard deviation of the noise.
        basis: (bands, n) orthonormal directions of the signal, strongest first.
        power: (n,) variance along them in units of the noise's, noise included.
    """

    mean: Float64
    sigma: Float64
    basis: Float64
    power: Float64

    @classmethod
    def fit(cls, covariance: Float64, mean: Float64, sigma: Float64, pixels: int) -> "SignalSubspace":
        """The directions whose variance exceeds what noise alone shows in so many pixels.

        The threshold is the upper edge of the Marchenko-Pastur distribution, (1 + sqrt(bands / pixels))².

        Args:
            covariance: (bands, bands) of the spectra.
            mean, sigma: (bands,) mean and standard deviation of the noise.
            pixels: how many spectra the covariance is of.
        """
        whitened = covariance / np.outer(sigma, sigma)
        power, vectors = np.linalg.eigh(whitened)
        edge = _MARGIN * (1 + np.sqrt(len(sigma) / max(1, pixels))) ** 2
        count = max(1, int((power > edge).sum()))
        largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(len(sigma))]
        signed = vectors * np.where(largest < 0, -1, 1)
        return cls(mean, sigma, signed[:, ::-1][:, :count].copy(), power[::-1][:count].copy())

    @property
    def dimension(self) -> int:
        """Number of directions."""
        return int(self.basis.shape[1])

    def tensors(self, device: torch.device) -> "SubspaceTensors":
        """The same on a device, in single precision."""
        return SubspaceTensors(
            *(
                torch.as_tensor(each, dtype=torch.float32, device=device)
                for each in (self.mean, self.sigma, self.basis, self.power - 1)
            )
        )


@dataclass(frozen=True, eq=False)
class SubspaceTensors:
    """``SignalSubspace`` for computing with pixels (bands, pixels) float32 on one device."""

    mean: Tensor
    sigma: Tensor
    basis: Tensor
    power: Tensor
    """(n,) variance of the signal alone along the directions."""

    def complete(self, whitened: Tensor, missing: Tensor) -> Tensor:
        """Whitened spectra (bands, pixels) with what is missing (bool) filled in: see ``fit_incomplete``."""
        return fit_incomplete(whitened, self.basis, missing, self.power)

    def outliers(self, whitened: Tensor, missing: Tensor, threshold: Tensor) -> Tensor:
        """(bands, pixels) bool, values that do not belong to their spectrum: see ``robust.outliers``."""
        return outliers(whitened, self.basis, missing, threshold, self.power)

    def whiten(self, spectra: Tensor) -> Tensor:
        """Spectra (bands, pixels) centred, with noise of unit variance."""
        return (spectra - self.mean[:, None]) / self.sigma[:, None]

    def restore(self, components: Tensor) -> Tensor:
        """Spectra (bands, pixels) in the scene's units of components (n, pixels)."""
        return torch.addmm(self.mean[:, None], self.sigma[:, None] * self.basis, components)

    def foreign(self, whitened: Tensor, components: Tensor) -> tuple[Tensor, Tensor]:
        """What pixels hold beyond the subspace, shrunk by the noise it contains (James and Stein 1961).

        Rare materials have directions of their own that the covariance of a whole scene does not show; cut
        to the subspace they would be gone.

        Returns:
            Indices of the pixels concerned, and (bands, those pixels) in the scene's units.
        """
        bands, dimension = self.basis.shape
        freedom = bands - dimension
        if freedom < 1:
            none = torch.zeros(0, dtype=torch.long, device=whitened.device)
            return none, whitened[:, :0]
        energy = (whitened.square().sum(0) - components.square().sum(0)) / freedom
        usual = 1 + _FOREIGN * (2 / freedom) ** 0.5
        pixels = torch.nonzero(energy > usual)[:, 0]
        residual = whitened[:, pixels] - self.basis @ components[:, pixels]
        kept = 1 - usual / energy[pixels]
        return pixels, residual * (kept * self.sigma[:, None])
