"""1D-CAE-Adv and 1D-CAE-Ext of the HySpecNet-11k benchmark, as far as they are published.

Known are that both compress spectrum by spectrum to 51 values of 202 (8.08 bits per pixel and channel), and
their sources: Kuester et al. 2022, "Transferability of Convolutional Autoencoder Model for Lossy Compression
to Unknown Hyperspectral PRISMA Data", WHISPERS, doi:10.1109/WHISPERS56178.2022.9955109 (advanced), and
Kuester et al. 2022, "Investigating the Influence of Hyperspectral Data Compression on Spectral Unmixing",
SPIE 12267, doi:10.1117/12.2636129 (extended). Neither code nor parameter names are public: the layers below
are this project's, released files of the two do not load, and their published accuracy is not claimed.
"""

import itertools
from abc import abstractmethod
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from hsi_toolkit.models.codecs.base import Codec
from hsi_toolkit.models.codecs.cae1d import as_image, as_spectra, convolution

_NARROWEST = 32


class _Variant(Codec):
    """What both have in common: ``halvings`` of the spectrum, padded with zeros before the first band."""

    def __init__(self, bands: int, halvings: int = 2) -> None:
        super().__init__(bands)
        self.halvings = halvings
        self.padding = -bands % 2**halvings
        widths = [_NARROWEST << (halvings - 1 - number) for number in range(halvings)]
        ends = [1, *widths]
        self.encoder = nn.Sequential(
            *(self._down(*pair) for pair in itertools.pairwise(ends)),
            convolution(_NARROWEST, 16, 9),
            nn.LeakyReLU(),
            convolution(16, 1, 7),
            nn.LeakyReLU(),
        )
        self.decoder = nn.Sequential(
            convolution(1, 16, 7),
            nn.LeakyReLU(),
            convolution(16, _NARROWEST, 9),
            nn.LeakyReLU(),
            *(self._up(*pair) for pair in zip([_NARROWEST, *widths[:0:-1]], widths[::-1], strict=True)),
            convolution(widths[0], 1, 11),
            nn.Sigmoid(),
        )

    @staticmethod
    @abstractmethod
    def _down(inputs: int, outputs: int) -> nn.Module: ...

    @staticmethod
    @abstractmethod
    def _up(inputs: int, outputs: int) -> nn.Module: ...

    @property
    def config(self) -> dict[str, int | bool]:
        """See ``Codec``."""
        return {"bands": self.bands, "halvings": self.halvings}

    def latent_shape(self, rows: int, columns: int) -> tuple[int, ...]:
        """(latent samples, rows, columns)."""
        return ((self.bands + self.padding) // 2**self.halvings, rows, columns)

    def compress(self, x: Tensor) -> Tensor:
        """(N, bands, H, W) to (N, latent, H, W)."""
        spectra = F.pad(as_spectra(x)[:, None], (self.padding, 0))
        return as_image(self.encoder(spectra)[:, 0], x)

    def decompress(self, latent: Tensor) -> Tensor:
        """(N, latent, H, W) to (N, bands, H, W)."""
        return as_image(self.decoder(as_spectra(latent)[:, None])[:, 0, self.padding :], latent)


class CAE1DAdvanced(_Variant):
    """1D-CAE whose poolings and upsamplings are learned: strided and transposed convolutions, normalised."""

    name: ClassVar[str] = "cae1da"

    @staticmethod
    def _down(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv1d(inputs, outputs, 11, stride=2, padding=5), nn.BatchNorm1d(outputs), nn.LeakyReLU()
        )

    @staticmethod
    def _up(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(
            nn.ConvTranspose1d(inputs, outputs, 12, stride=2, padding=5),
            nn.BatchNorm1d(outputs),
            nn.LeakyReLU(),
        )


class CAE1DExtended(_Variant):
    """1D-CAE with a second convolution in every stage."""

    name: ClassVar[str] = "cae1de"

    @staticmethod
    def _down(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(*_two(inputs, outputs), nn.MaxPool1d(2))

    @staticmethod
    def _up(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Upsample(scale_factor=2), *_two(inputs, outputs))


def _two(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return (
        convolution(inputs, outputs, 11),
        nn.LeakyReLU(),
        convolution(outputs, outputs, 11),
        nn.LeakyReLU(),
    )
