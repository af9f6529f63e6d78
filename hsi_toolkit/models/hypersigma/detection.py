"""Finding anomalies and targets: one feature of 128 channels for every pixel of a tile."""

from dataclasses import dataclass

from torch import Tensor, nn

from hsi_toolkit.models.hypersigma.blocks import conv1x1, enhance, gate, unused
from hsi_toolkit.models.hypersigma.encoders import (
    BASE,
    SPECTRAL_DIM,
    PairedEncoders,
    SpatialConfig,
    SpectralConfig,
    TransformerSize,
    unread_convolutions,
)


@dataclass(frozen=True)
class DetectionConfig:
    """A detector in tiles (bands, img_size, img_size); ``fused`` with the spectral encoder as well."""

    bands: int
    img_size: int = 32
    tokens: int = 100
    size: TransformerSize = BASE
    fused: bool = True


class _PixelFeatures(PairedEncoders):
    """The sum of the four maps, enhanced by the spectral encoder's last block."""

    def __init__(self, config: DetectionConfig) -> None:
        size = config.size
        spatial = SpatialConfig(
            config.bands, config.img_size, patch=1, size=size, pyramid=("reduce",) * 4, norm=False
        )
        spectral = SpectralConfig(config.img_size, config.tokens, size.out_indices[-1:], size=size)
        super().__init__(spatial, spectral if config.fused else None)
        self.config = config
        self.conv_features = conv1x1(SPECTRAL_DIM, SPECTRAL_DIM)
        if self.spec_encoder is not None:
            unused(self.spec_encoder, **unread_convolutions(config.tokens, 1))
            self.fc_spec = gate(config.tokens, 32, SPECTRAL_DIM)

    def features(self, x: Tensor) -> Tensor:
        """Features (N, 128, H, W) of tiles (N, bands, H, W)."""
        maps: Tensor = self.conv_features(sum(self.spatial(x)))
        if self.spec_encoder is None:
            return maps
        (spectral,) = self.spec_encoder(x)
        return enhance(maps, self.fc_spec(spectral.mean(dim=2)))


class AnomalyNetwork(_PixelFeatures):
    """Anomaly or background (``SpatialHADFramework``, ``SSHADFramework``)."""

    def __init__(self, config: DetectionConfig) -> None:
        super().__init__(config)
        self.conv_fc = nn.Sequential(conv1x1(SPECTRAL_DIM, 2))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 2, H, W) of tiles (N, bands, H, W): background, anomaly."""
        logits: Tensor = self.conv_fc(self.features(x))
        return logits


class TargetNetwork(_PixelFeatures):
    """Likeness to a target's spectrum (``SpatialHTDFramework``, ``SSHTDFramework``)."""

    def __init__(self, config: DetectionConfig) -> None:
        super().__init__(config)
        self.conv_ts = nn.Sequential(
            nn.Linear(config.bands, SPECTRAL_DIM, bias=False),
            nn.LayerNorm(SPECTRAL_DIM),
            nn.GELU(),
            nn.Linear(SPECTRAL_DIM, SPECTRAL_DIM, bias=False),
        )

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """Scores (N, H, W), unbounded, of tiles (N, bands, H, W) for ``target`` spectra (N, bands)."""
        wanted: Tensor = self.conv_ts(target)
        return (self.features(x) * wanted[:, :, None, None]).sum(dim=1)
