"""Smoothing or sharpening of spectra over a pixel's neighbourhood, blind to nodata."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SpatialFilter(nn.Module):
    """``amount * x + (1 - amount) * G(x)`` with G a Gaussian of ``sigma`` pixels, cut off at ``radius``.

    ``amount`` 0 smooths, 1 changes nothing, and more than 1 sharpens: each spectrum is moved away from its
    neighbourhood's mean, which undoes part of what the sensor's point spread mixed into the pixel. Pixels
    without data (not finite in any band) take no part in G and stay without data.
    """

    kernel: Tensor

    def __init__(self, sigma: float, amount: float, radius: int = 4) -> None:
        super().__init__()
        self.sigma, self.amount, self.radius = sigma, amount, radius
        offset = torch.arange(-radius, radius + 1, dtype=torch.float32)
        self.register_buffer("kernel", torch.exp(-0.5 * (offset / sigma) ** 2), persistent=False)

    def forward(self, block: Tensor) -> Tensor:
        """Filter a block (bands, H, W); near its edges, neighbours outside take no part."""
        valid = block.isfinite().all(dim=0)
        filled = torch.where(valid, block, 0.0).unsqueeze(1)
        smooth = self._convolve(filled) / self._convolve(valid.to(block.dtype)[None, None])
        return torch.where(valid, torch.lerp(smooth.squeeze(1), block, self.amount), torch.nan)

    def centres(self, windows: Tensor) -> Tensor:
        """Filtered middle pixels (N, bands) of windows (N, bands, side, side), side = 2 * radius + 1."""
        valid = windows.isfinite().all(dim=1)
        weights = torch.outer(self.kernel, self.kernel) * valid
        weights = weights / weights.sum(dim=(1, 2), keepdim=True)
        smooth = torch.einsum("nbyx,nyx->nb", torch.where(valid.unsqueeze(1), windows, 0.0), weights)
        return torch.lerp(smooth, windows[:, :, self.radius, self.radius], self.amount)

    def _convolve(self, planes: Tensor) -> Tensor:
        """Separable convolution of (N, 1, H, W), zero outside."""
        columns = F.conv2d(planes, self.kernel.view(1, 1, -1, 1), padding=(self.radius, 0))
        return F.conv2d(columns, self.kernel.view(1, 1, 1, -1), padding=(0, self.radius))
