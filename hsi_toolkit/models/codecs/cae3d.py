"""3D-CAE of the HySpecNet-11k benchmark (Fuchs and Demir 2023, arXiv:2306.00385): 3D convolutions."""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from hsi_toolkit.models.codecs.base import Codec


class CAE3D(Codec):
    """3D convolutional autoencoder that quarters the bands and halves height and width three times.

    A number of bands that is no multiple of 4 is padded with zeros before the first band. The output is
    not bounded.

    Args:
        bands: of the patches, whose height and width are multiples of 8.
        latent: channels of the latent.
    """

    name: ClassVar[str] = "cae3d"
    spatial_step = 8

    def __init__(self, bands: int, latent: int) -> None:
        super().__init__(bands)
        self.latent = latent
        self.padding = -bands % 4
        self.encoder = nn.Sequential(
            *_conv(1, 16, (2, 5, 5), (1, 2, 2), (0, 2, 2)),
            *_conv(16, 32, (5, 5, 5), (2, 2, 2), (2, 2, 2)),
            *(_Residual(32) for _ in range(3)),
            *_conv(32, latent, (5, 5, 5), (2, 2, 2), (2, 2, 2)),
        )
        self.decoder = nn.Sequential(
            nn.Upsample(scale_factor=(2, 4, 4)),
            *_conv(latent, 32, (5, 5, 5), (2, 2, 2), (2, 2, 2)),
            *(_Residual(32) for _ in range(3)),
            nn.Upsample(scale_factor=(4, 2, 2)),
            *_conv(32, 16, (5, 3, 3), (2, 1, 1), (2, 1, 1)),
            nn.Upsample(scale_factor=(4, 2, 2)),
            *_conv(16, 1, (2, 3, 3), (2, 1, 1), (0, 1, 1)),
        )

    @property
    def config(self) -> dict[str, int | bool]:
        """See ``Codec``."""
        return {"bands": self.bands, "latent": self.latent}

    def latent_shape(self, rows: int, columns: int) -> tuple[int, ...]:
        """(latent, bands / 4, rows / 8, columns / 8)."""
        return (self.latent, (self.bands + self.padding) // 4, rows // 8, columns // 8)

    def compress(self, x: Tensor) -> Tensor:
        """(N, bands, H, W) to (N, latent, bands / 4, H / 8, W / 8)."""
        padded = F.pad(x, (0, 0, 0, 0, self.padding, 0))
        latent: Tensor = self.encoder(padded[:, None])
        return latent

    def decompress(self, latent: Tensor) -> Tensor:
        """(N, latent, bands / 4, H / 8, W / 8) to (N, bands, H, W)."""
        x: Tensor = self.decoder(latent)[:, 0, self.padding :]
        return x


class _Residual(nn.Module):
    """Two convolutions and the input, added before the activation, which both share."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.activation = nn.LeakyReLU()
        self.block = nn.Sequential(
            nn.Conv3d(channels, channels, 3, padding=1),
            nn.BatchNorm3d(channels),
            self.activation,
            nn.Conv3d(channels, channels, 3, padding=1),
            nn.BatchNorm3d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.activation(self.block(x) + x)
        return out


_Triple = tuple[int, int, int]


def _conv(
    inputs: int, outputs: int, kernel: _Triple, stride: _Triple, padding: _Triple
) -> tuple[nn.Module, ...]:
    return nn.Conv3d(inputs, outputs, kernel, stride, padding), nn.BatchNorm3d(outputs), nn.LeakyReLU()
