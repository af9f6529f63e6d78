"""What the codecs have in common."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn


class Codec(nn.Module, ABC):
    """An autoencoder whose latent is the compressed patch.

    Attributes:
        name: as bundles and commands call it.
        bands: of the patches.
        spatial_step: height and width must be multiples of it.
    """

    name: ClassVar[str]
    spatial_step = 1

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.bands = bands

    @property
    @abstractmethod
    def config(self) -> dict[str, int | bool]:
        """The constructor's arguments, for a bundle."""

    @abstractmethod
    def latent_shape(self, rows: int, columns: int) -> tuple[int, ...]:
        """Shape of the latent of one patch of this size, without the batch."""

    @abstractmethod
    def compress(self, x: Tensor) -> Tensor:
        """(N, bands, H, W) values from 0 to 1 to the latent (N, …) of ``latent_shape``."""

    @abstractmethod
    def decompress(self, latent: Tensor) -> Tensor:
        """The latent back to (N, bands, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Compress and decompress."""
        return self.decompress(self.compress(x))

    @property
    def bpppc(self) -> float:
        """Bits per pixel and channel of the latent in 32-bit floats."""
        side = self.spatial_step
        return 32 * math.prod(self.latent_shape(side, side)) / (self.bands * side * side)

    @property
    def compression_ratio(self) -> float:
        """Against patches of 32-bit floats."""
        return 32 / self.bpppc
