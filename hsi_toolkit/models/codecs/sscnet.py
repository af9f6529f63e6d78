"""SSCNet of the HySpecNet-11k benchmark (Fuchs and Demir 2023, arXiv:2306.00385): 2D convolutions."""

from typing import ClassVar

from torch import Tensor, nn

from hsi_toolkit.models.codecs.base import Codec

WIDTH = 256


class SSCNet(Codec):
    """2D convolutional autoencoder that halves height and width three times.

    Args:
        bands: of the patches, whose height and width are multiples of 8.
        latent: channels of the latent.
        width: of the hidden layers, 256 in all released files.
    """

    name: ClassVar[str] = "sscnet"
    spatial_step = 8

    def __init__(self, bands: int, latent: int, width: int = WIDTH) -> None:
        super().__init__(bands)
        self.latent, self.width = latent, width
        self.encoder = nn.Sequential(
            *_conv(bands, width),
            *_conv(width, width),
            nn.MaxPool2d(2),
            *_conv(width, width),
            nn.MaxPool2d(2),
            *_conv(width, 2 * width),
            nn.MaxPool2d(2),
            *_conv(2 * width, latent),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(latent, 2 * width, 3, padding=1),
            nn.PReLU(2 * width),
            *_doubling(2 * width, width),
            *_doubling(width, width),
            *_doubling(width, width),
            nn.ConvTranspose2d(width, bands, 3, padding=1),
            nn.Sigmoid(),
        )

    @property
    def config(self) -> dict[str, int | bool]:
        """See ``Codec``."""
        return {"bands": self.bands, "latent": self.latent, "width": self.width}

    def latent_shape(self, rows: int, columns: int) -> tuple[int, ...]:
        """(latent, rows / 8, columns / 8)."""
        return (self.latent, rows // 8, columns // 8)

    def compress(self, x: Tensor) -> Tensor:
        """(N, bands, H, W) to (N, latent, H / 8, W / 8)."""
        latent: Tensor = self.encoder(x)
        return latent

    def decompress(self, latent: Tensor) -> Tensor:
        """(N, latent, H / 8, W / 8) to (N, bands, H, W)."""
        x: Tensor = self.decoder(latent)
        return x


def _conv(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, 3, padding=1), nn.PReLU(outputs)


def _doubling(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    return nn.ConvTranspose2d(inputs, outputs, 2, stride=2), nn.PReLU(outputs)
