"""Denoising of tiles scaled to values from 0 to 1."""

import torch
from torch import Tensor

from hsi_toolkit.models.hypersigma.blocks import conv3x3
from hsi_toolkit.models.hypersigma.encoders import BASE, TransformerSize
from hsi_toolkit.models.hypersigma.restoration import (
    FusedRestoration,
    RestorationConfig,
    SpatialRestoration,
)


def denoising_config(
    bands: int, img_size: int = 64, tokens: int = 100, size: TransformerSize = BASE
) -> RestorationConfig:
    """The released denoisers' configuration, for other bands and tiles (theirs: 191 and 64)."""
    return RestorationConfig(bands, img_size, patch=2, tokens=tokens, positions=True, size=size)


class SpatialDenoiser(SpatialRestoration):
    """Denoising from the spatial encoder alone (SpatSIGMA)."""

    def forward(self, x: Tensor) -> Tensor:
        """Denoised tiles (N, bands, H, W)."""
        denoised: Tensor = self.conv_tail(self.conv3_reconstruct(torch.cat([x, self.restored(x)], dim=1)))
        return denoised


class FusionDenoiser(FusedRestoration):
    """Denoising from both encoders (HyperSIGMA)."""

    def __init__(self, config: RestorationConfig) -> None:
        super().__init__(config)
        self.conv_tail = conv3x3(config.bands, config.bands)

    def forward(self, x: Tensor) -> Tensor:
        """Denoised tiles (N, bands, H, W)."""
        denoised: Tensor = self.conv_tail(self.conv3_reconstruct(torch.cat([x, self.restored(x)], dim=1)))
        return denoised
