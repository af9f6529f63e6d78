"""Super-resolution of tiles by 2, 3, 4 or 8, helped by their own bicubic enlargement, and its loss."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.models.hypersigma.blocks import conv3x3
from hsi_toolkit.models.hypersigma.encoders import BASE, TransformerSize
from hsi_toolkit.models.hypersigma.restoration import (
    FusedRestoration,
    RestorationConfig,
    SpatialRestoration,
)


def superresolution_config(
    bands: int, img_size: int = 32, tokens: int = 36, size: TransformerSize = BASE
) -> RestorationConfig:
    """The published configuration, for other bands and low-resolution tiles (theirs: 48 and 32)."""
    return RestorationConfig(bands, img_size, patch=1, tokens=tokens, positions=False, size=size)


class SpatialSuperResolution(SpatialRestoration):
    """Super-resolution from the spatial encoder alone (SpatSIGMA)."""

    def __init__(self, config: RestorationConfig, scale: int) -> None:
        super().__init__(config)
        self.upsample = _upsampling(config.bands, scale)
        self.skip_conv = conv3x3(config.bands, config.bands)

    def forward(self, x: Tensor, enlarged: Tensor) -> Tensor:
        """Tiles (N, bands, scale * H, scale * W) of ``x`` (N, bands, H, W) and of ``x`` made larger."""
        detail = self.upsample(self.conv3_reconstruct(torch.cat([x, self.restored(x)], dim=1)))
        out: Tensor = self.conv_tail(detail + self.skip_conv(enlarged))
        return out


class FusionSuperResolution(FusedRestoration):
    """Super-resolution from both encoders (HyperSIGMA)."""

    def __init__(self, config: RestorationConfig, scale: int) -> None:
        super().__init__(config)
        self.upsample = _upsampling(config.bands, scale)
        self.skip_conv = conv3x3(config.bands, config.bands)
        self.conv_tail = conv3x3(2 * config.bands, config.bands)

    def forward(self, x: Tensor, enlarged: Tensor) -> Tensor:
        """Tiles (N, bands, scale * H, scale * W) of ``x`` (N, bands, H, W) and of ``x`` made larger."""
        detail = self.upsample(self.conv3_reconstruct(torch.cat([x, self.restored(x)], dim=1)))
        out: Tensor = self.conv_tail(torch.cat([detail, self.skip_conv(enlarged)], dim=1))
        return out


def hybrid_loss(pred: Tensor, target: Tensor, angle_weight: float = 0.3, edge_weight: float = 0.1) -> Tensor:
    """Mean absolute error, spectral angle and error of the gradient's magnitude, weighted, as published."""
    edges = F.l1_loss(_gradient_magnitude(pred), _gradient_magnitude(target))
    return F.l1_loss(pred, target) + angle_weight * angle_share(pred, target) + edge_weight * edges


def angle_share(pred: Tensor, target: Tensor) -> Tensor:
    """Mean spectral angle between tiles (N, bands, H, W) as a share of 180°."""
    cosine = F.cosine_similarity(pred, target, dim=1)
    return torch.acos(cosine.clamp(-1 + 1e-6, 1 - 1e-6)).mean() / math.pi


def _gradient_magnitude(x: Tensor) -> Tensor:
    """Length of the differences from the previous row, column and band, where all three exist."""
    here = x[:, 1:, 1:, 1:]
    before = x[:, 1:, :-1, 1:], x[:, 1:, 1:, :-1], x[:, :-1, 1:, 1:]
    return (torch.stack([here - each for each in before]).square().sum(dim=0) + 1e-6).sqrt()


def _upsampling(bands: int, scale: int) -> nn.Sequential:
    """Convolutions and pixel shuffles that enlarge ``scale`` times, a power of two or 3."""
    if scale == 3:
        steps = [3]
    elif scale > 1 and scale.bit_count() == 1:
        steps = [2] * (scale.bit_length() - 1)
    else:
        raise ParameterError(f"A scale of {scale} is not provided for.", "Choose 2, 3, 4 or 8.")
    layers: list[nn.Module] = []
    for step in steps:
        layers += [conv3x3(bands, step**2 * bands), nn.PixelShuffle(step)]
    return nn.Sequential(*layers)
