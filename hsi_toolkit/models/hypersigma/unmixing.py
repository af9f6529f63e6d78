"""Unmixing: abundances from the encoders, endmembers as the weights of a linear decoder."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hsi_toolkit.models.hypersigma.blocks import conv1x1, conv3x3, enhance, gate, unused
from hsi_toolkit.models.hypersigma.encoders import (
    BASE,
    PairedEncoders,
    SpatialConfig,
    SpectralConfig,
    TransformerSize,
)

_SLOPE = 0.02


@dataclass(frozen=True)
class UnmixingConfig:
    """An unmixing network of tiles (bands, img_size, img_size); ``fused`` with the spectral encoder too."""

    bands: int
    endmembers: int
    img_size: int = 64
    patch: int = 2
    tokens: int = 64
    size: TransformerSize = BASE
    fused: bool = True


class UnmixingNetwork(PairedEncoders):
    """Abundances and the mixed spectra they reconstruct (``SpatSIGMA_Unmix``, ``HyperSIGMA_Unmix``)."""

    def __init__(self, config: UnmixingConfig) -> None:
        size, width = config.size, config.tokens
        spatial = SpatialConfig(config.bands, config.img_size, config.patch, size, positions=False)
        spectral = SpectralConfig(
            config.img_size, config.tokens, size.out_indices, levels=(3,), size=size, positions=False
        )
        super().__init__(spatial, spectral if config.fused else None)
        self.config = config
        for level in range(1, 5):
            setattr(self, f"conv_features{level}", conv1x1(size.dim, width))
            if config.fused:
                setattr(self, f"fc_spec{level}", gate(config.tokens, 32, width))
        self.conv1, self.conv2 = (_unit(nn.Conv2d(width, width, 1), dropout=0.2) for _ in range(2))
        self.conv3, self.conv4 = (_unit(conv3x3(width, width), dropout=0.2) for _ in range(2))
        self.smooth: nn.Module
        if config.fused:
            self.smooth = nn.Sequential(
                *_unit(conv3x3(4 * width, 2 * width), dropout=0.2), nn.Conv2d(2 * width, width, 1)
            )
            # Of a top-down path that the forward pass of the original leaves out.
            unused(self, **{f"conv{level}_": _unit(conv3x3(2 * width, width), 0.2) for level in (2, 3, 4)})
        else:
            self.smooth = conv3x3(4 * width, width)
        self.conv5 = _unit(nn.Conv2d(width, config.endmembers, 1), dropout=0.2)
        self.decoder = _Decoder(config.endmembers, config.bands)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Abundances (N, endmembers, H, W) that sum to one, and reconstructed tiles (N, bands, H, W)."""
        maps = [
            self.get_submodule(f"conv_features{level}")(each) for level, each in enumerate(self.spatial(x), 1)
        ]
        if self.spec_encoder is not None:
            spectral = self.spec_encoder(x)[0].mean(dim=2)
            maps = [
                enhance(each, self.get_submodule(f"fc_spec{level}")(spectral))
                for level, each in enumerate(maps, 1)
            ]
        units = (self.conv4, self.conv3, self.conv2, self.conv1)
        joined = torch.cat([unit(each) for unit, each in zip(units, maps, strict=True)], dim=1)
        joined = F.interpolate(joined, size=x.shape[2:], mode="bilinear", align_corners=True)
        abundances = self.conv5(self.smooth(joined)).softmax(dim=1)
        return abundances, self.decoder(abundances)

    @torch.no_grad()
    def clamp_endmembers(self) -> None:
        """Set negative values of the endmembers to zero, as training does after each step."""
        self.decoder.decoder.weight.clamp_(min=0)

    def endmembers(self) -> Tensor:
        """The endmembers' spectra (bands, endmembers), as they stand in the decoder."""
        return self.decoder.decoder.weight[:, :, 0, 0]


class _Decoder(nn.Module):
    """Linear mixing of endmembers."""

    def __init__(self, endmembers: int, bands: int) -> None:
        super().__init__()
        self.decoder = conv1x1(endmembers, bands)

    def forward(self, abundances: Tensor) -> Tensor:
        """Spectra, at least zero, of abundances."""
        return F.relu(self.decoder(abundances))


def angle_loss(reconstruction: Tensor, x: Tensor) -> Tensor:
    """Mean spectral angle in radians between tiles (N, bands, H, W)."""
    return torch.acos(F.cosine_similarity(reconstruction, x, dim=1)).mean()


def sparsity_loss(abundances: Tensor) -> Tensor:
    """Mean square root of abundances, small where few endmembers share a pixel."""
    return abundances.sqrt().mean()


def variation_loss(endmembers: Tensor) -> Tensor:
    """Sum of differences between neighbouring columns of ``endmembers`` (bands, endmembers).

    The published code means the variation along a spectrum but takes it from endmember to endmember.
    """
    return endmembers.diff(dim=1).abs().sum()


def _unit(convolution: nn.Conv2d, dropout: float) -> nn.Sequential:
    """Convolution, leaky ReLU, batch norm and dropout."""
    return nn.Sequential(
        convolution, nn.LeakyReLU(_SLOPE), nn.BatchNorm2d(convolution.out_channels), nn.Dropout(dropout)
    )
