"""Change between two hyperspectral windows around a pixel."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.models.hypersigma.blocks import conv1x1, conv3x3, enhance, gate
from hsi_toolkit.models.hypersigma.encoders import (
    BASE,
    PairedEncoders,
    SpatialConfig,
    SpectralConfig,
    TransformerSize,
)


@dataclass(frozen=True)
class ChangeConfig:
    """A change detector of windows (bands, img_size, img_size): 5 pixels in patches of 1, or 15 in 2.

    ``width`` is the number of channels of each of four maps that are compared; ``fused`` with the spectral
    encoder as well, in which case the maps have ``tokens`` channels before they are.
    """

    bands: int
    img_size: int = 5
    patch: int = 1
    tokens: int = 144
    size: TransformerSize = BASE
    width: int = 64
    fused: bool = True


class ChangeNetwork(PairedEncoders):
    """Changed or unchanged (``SpatSIGMA_CD``, ``HyperSIGMA_CD``); the first class is changed."""

    def __init__(self, config: ChangeConfig) -> None:
        size, width = config.size, config.width
        spatial = SpatialConfig(config.bands, config.img_size, config.patch, size, positions=False)
        spectral = SpectralConfig(
            config.img_size, config.tokens, size.out_indices, levels=(0, 1, 2, 3), size=size, positions=False
        )
        super().__init__(spatial, spectral if config.fused else None)
        self.config = config
        channels = config.tokens if config.fused else width
        for level in range(1, 5):
            setattr(self, f"conv_features{level}", conv1x1(size.dim, channels))
            if config.fused:
                setattr(self, f"fc_spec{level}", gate(config.tokens, 32, channels))
        self.conv1, self.conv2 = (_DoubleConv(nn.Conv2d(channels, channels // 2, 1), width) for _ in range(2))
        self.conv3, self.conv4 = (_DoubleConv(conv3x3(channels, channels // 2), width) for _ in range(2))
        self.BCD_classifier = _classifier(config.img_size // config.patch, width)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Logits (N, 2), changed and unchanged, of windows (N, bands, img_size, img_size) of two dates."""
        pairs = zip(self._maps(first), self._maps(second), strict=True)
        shallow_first = [(a - b).abs() for a, b in pairs]
        units = (self.conv4, self.conv3, self.conv2, self.conv1)
        units_deep_first = list(zip(units, shallow_first, strict=True))[::-1]
        joined = torch.cat([unit(each) for unit, each in units_deep_first], dim=1)
        logits: Tensor = self.BCD_classifier(joined)
        return logits.flatten(1)

    def _maps(self, x: Tensor) -> list[Tensor]:
        """Four maps (N, channels, rows, columns), shallow first, enhanced by all levels of the spectra."""
        maps = [
            self.get_submodule(f"conv_features{level}")(each) for level, each in enumerate(self.spatial(x), 1)
        ]
        if self.spec_encoder is None:
            return maps
        spectral = torch.stack(self.spec_encoder(x)).sum(dim=0).mean(dim=2)
        return [
            enhance(each, self.get_submodule(f"fc_spec{level}")(spectral))
            for level, each in enumerate(maps, 1)
        ]


class _DoubleConv(nn.Module):
    """Two convolutions with batch norm and ReLU."""

    def __init__(self, first: nn.Conv2d, out: int) -> None:
        super().__init__()
        inner = first.out_channels
        self.double_conv = nn.Sequential(
            first, nn.BatchNorm2d(inner), nn.ReLU(), nn.Conv2d(inner, out, 1), nn.BatchNorm2d(out), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to (N, out, H, W)."""
        out: Tensor = self.double_conv(x)
        return out


def _classifier(cells: int, width: int) -> nn.Sequential:
    """From 4 * width maps of ``cells``² cells to two numbers, by convolutions that leave no border."""
    widths: tuple[int, ...]
    if cells == 5:
        widths = (4 * width, 4 * width, 2 * width)
    elif cells == 7:
        widths = (4 * width, 2 * width, width, width)
    else:
        raise ParameterError(
            f"Windows of {cells}×{cells} patches are not provided for.",
            "Choose windows of 5 pixels and patches of 1, or of 15 pixels and patches of 2.",
        )
    layers: list[nn.Module] = []
    for channels, out in pairwise(widths):
        layers += [nn.Conv2d(channels, out, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 2, 1))
