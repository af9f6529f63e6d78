"""Change between two multispectral tiles, pixel by pixel (OSCD: 13 bands of Sentinel-2)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hsi_toolkit.models.hypersigma.blocks import conv1x1, conv3x3, enhance, gate, unused
from hsi_toolkit.models.hypersigma.encoders import (
    BASE,
    SPECTRAL_DIM,
    SpatialConfig,
    SpatialEncoder,
    SpectralConfig,
    SpectralEncoder,
    TransformerSize,
)


@dataclass(frozen=True)
class MultispectralChangeConfig:
    """A change detector of tiles (bands, img_size, img_size).

    The bands are mapped to ``channels``, as many as the encoders were pretrained with; ``width`` is that of
    the fused maps.
    """

    bands: int = 13
    img_size: int = 128
    patch: int = 8
    channels: int = 100
    tokens: int = 100
    size: TransformerSize = BASE
    points: int = 4
    width: int = SPECTRAL_DIM


class MultispectralChangeNetwork(nn.Module):
    """Unchanged or changed, from both dates' maps at four scales (``MSCDNet``)."""

    def __init__(self, config: MultispectralChangeConfig) -> None:
        super().__init__()
        self.config = config
        size, width = config.size, config.width
        self.dim_red = nn.Conv2d(config.bands, config.channels, 1)
        self.spat_encoder = SpatialEncoder(
            SpatialConfig(
                config.channels,
                config.img_size,
                config.patch,
                size,
                positions=False,
                points=config.points,
                pyramid=("up2", "same", "down2", "down2"),
            )
        )
        self.spec_encoder = SpectralEncoder(
            SpectralConfig(
                config.img_size, config.tokens, size.out_indices, size=size, positions=False, out_dim=width
            )
        )
        self.fc_spec = gate(config.tokens, size.dim, size.dim)
        for level in range(1, 5):
            fuse = nn.Sequential(nn.Conv2d(2 * size.dim, width, 1), nn.BatchNorm2d(width), nn.ReLU())
            setattr(self, f"fuse_layer_{level}", fuse)
        self.main_clf_1 = nn.Conv2d(width, 2, 1)
        # Smoothing that the original's forward pass leaves out.
        unused(self, conv_features=conv1x1(width, width))
        unused(self, **{f"smooth_layer_{level}": conv3x3(width, width) for level in (1, 2, 3)})

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Logits (N, 2, H, W), unchanged and changed, of tiles (N, bands, H, W) of two dates."""
        pairs = zip(self._maps(first), self._maps(second), strict=True)
        fused = [
            self.get_submodule(f"fuse_layer_{level}")(torch.cat(pair, dim=1))
            for level, pair in enumerate(pairs, start=1)
        ]
        top_down = fused.pop()
        while fused:
            finer = fused.pop()
            top_down = finer + _resize(top_down, finer)
        return _resize(self.main_clf_1(top_down), first)

    def _maps(self, x: Tensor) -> list[Tensor]:
        """Maps of one date, fine first, enhanced by its spectra."""
        reduced = self.dim_red(x)
        weights = self.fc_spec(self.spec_encoder(reduced)[0].mean(dim=2))
        return [enhance(each, weights) for each in self.spat_encoder(reduced)]


def _resize(maps: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(maps, size=like.shape[2:], mode="bilinear", align_corners=False)
