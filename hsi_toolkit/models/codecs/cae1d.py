"""1D-CAE of the HySpecNet-11k benchmark (Fuchs and Demir 2023, arXiv:2306.00385): spectrum by spectrum."""

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from hsi_toolkit.models.codecs.base import Codec


class CAE1D(Codec):
    """1D convolutional autoencoder with ``halvings`` poolings along the spectrum.

    A number of bands that is no multiple of ``2 ** halvings`` is padded with zeros before the first band.

    Args:
        bands: of the spectra.
        halvings: 2, 3, 4 or 5 for about 8, 4, 2 and 1 bits per pixel and channel.
        flat: the parameter names of the first release, ``encoder.{0,3,6,8}``, in the place of the nested
            ones of the later code, ``encoder.0.{i}.0``.
    """

    name: ClassVar[str] = "cae1d"

    def __init__(self, bands: int, halvings: int = 2, *, flat: bool = False) -> None:
        super().__init__(bands)
        self.halvings, self.flat = halvings, flat
        self.padding = -bands % 2**halvings
        widths = [2 ** (halvings + 4 - i) for i in range(halvings)]
        down = [_block(*pair, nn.MaxPool1d(2)) for pair in zip([1, *widths], widths, strict=False)]
        up = [
            _block(*pair, nn.Upsample(scale_factor=2))
            for pair in zip(widths[:0:-1], widths[-2::-1], strict=True)
        ]
        last = nn.Sequential(convolution(widths[0], 1, 11), nn.Sigmoid())
        encoder = nn.Sequential(
            nn.Sequential(*down),
            convolution(32, 16, 9),
            nn.LeakyReLU(),
            convolution(16, 1, 7),
            nn.LeakyReLU(),
        )
        decoder = nn.Sequential(
            convolution(1, 16, 7),
            nn.LeakyReLU(),
            convolution(16, 32, 9),
            nn.LeakyReLU(),
            nn.Upsample(scale_factor=2),
            nn.Sequential(*up, last),
        )
        self.encoder = nn.Sequential(*_leaves(encoder)) if flat else encoder
        self.decoder = nn.Sequential(*_leaves(decoder)) if flat else decoder

    @property
    def config(self) -> dict[str, int | bool]:
        """See ``Codec``."""
        return {"bands": self.bands, "halvings": self.halvings, "flat": self.flat}

    def latent_shape(self, rows: int, columns: int) -> tuple[int, ...]:
        """(latent samples, rows, columns)."""
        return ((self.bands + self.padding) // 2**self.halvings, rows, columns)

    def compress(self, x: Tensor) -> Tensor:
        """(N, bands, H, W) to (N, latent, H, W)."""
        return as_image(self.compress_spectra(as_spectra(x)), x)

    def decompress(self, latent: Tensor) -> Tensor:
        """(N, latent, H, W) to (N, bands, H, W)."""
        return as_image(self.decompress_spectra(as_spectra(latent)), latent)

    def compress_spectra(self, spectra: Tensor) -> Tensor:
        """(n, bands) to (n, latent)."""
        padded = F.pad(spectra[:, None], (self.padding, 0))
        latent: Tensor = self.encoder(padded)[:, 0]
        return latent

    def decompress_spectra(self, latent: Tensor) -> Tensor:
        """(n, latent) to (n, bands)."""
        spectra: Tensor = self.decoder(latent[:, None])[:, 0, self.padding :]
        return spectra


def convolution(inputs: int, outputs: int, kernel: int) -> nn.Conv1d:
    """A convolution along the spectrum that keeps its length."""
    return nn.Conv1d(inputs, outputs, kernel, padding="same")


def _block(inputs: int, outputs: int, resample: nn.Module) -> nn.Sequential:
    return nn.Sequential(convolution(inputs, outputs, 11), nn.LeakyReLU(), resample)


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    """The layers in the order they are applied, without the containers."""
    for child in module.children():
        if isinstance(child, nn.Sequential):
            yield from _leaves(child)
        else:
            yield child


def as_spectra(image: Tensor) -> Tensor:
    """(N, C, H, W) to (N · H · W, C)."""
    return image.movedim(1, -1).reshape(-1, image.shape[1])


def as_image(spectra: Tensor, like: Tensor) -> Tensor:
    """(N · H · W, C) to (N, C, H, W), of the size of ``like``."""
    batch, _, rows, columns = like.shape
    return spectra.reshape(batch, rows, columns, -1).movedim(-1, 1)
