"""Classifying patches around a pixel, and whole tiles, from the spatial encoder alone or from both."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.models.hypersigma.blocks import conv1x1, enhance, freeze, gate, linear_stack, unused
from hsi_toolkit.models.hypersigma.encoders import (
    BASE,
    SPECTRAL_DIM,
    Level,
    SpatialConfig,
    SpatialEncoder,
    SpatialTransformer,
    SpectralConfig,
    SpectralEncoder,
    TransformerSize,
    unread_convolutions,
)

_UP: tuple[Level, ...] = ("up2", "same", "down2", "down4")
_DOWN: tuple[Level, ...] = ("same", "same", "down2", "down4")
_SAME: tuple[Level, ...] = ("same",) * 4
_UP_FOUR: tuple[Level, ...] = ("up4", "up2", "same", "down2")


@dataclass(frozen=True)
class ClassifierConfig:
    """A classifier of images (bands, img_size, img_size); one of patches counts the background as class 0.

    ``unused_widths`` are those of two layers of the released files that are never used; they are the same for
    all sizes.
    """

    bands: int
    classes: int
    img_size: int = 33
    patch: int = 2
    tokens: int = 100
    size: TransformerSize = BASE
    unused_widths: tuple[int, int] = (49152, 3072)

    def spatial(self, pyramids: dict[int, tuple[Level, ...]]) -> SpatialConfig:
        """The spatial encoder, with the pyramid that the table has for the patch.

        Raises:
            ParameterError: there is none for such a patch.
        """
        if self.patch not in pyramids:
            raise ParameterError(
                f"Patches of {self.patch} pixels are not provided for.",
                f"Choose one of {', '.join(map(str, pyramids))}.",
            )
        return SpatialConfig(self.bands, self.img_size, self.patch, self.size, pyramid=pyramids[self.patch])

    def spectral(self) -> SpectralConfig:
        """The spectral encoder: the first of the blocks that the spatial one is read from, no later one."""
        return SpectralConfig(self.img_size, self.tokens, self.size.out_indices[:1], size=self.size)


class _Fusion(nn.Module):
    """Both encoders, a spectral gate and a reduction to 128 channels for each of the four maps."""

    def __init__(
        self, config: ClassifierConfig, pyramids: dict[int, tuple[Level, ...]], gated: int, convolutions: int
    ) -> None:
        super().__init__()
        dim = config.size.dim
        self.config = config
        self.spat_encoder = SpatialEncoder(config.spatial(pyramids))
        self.spec_encoder = SpectralEncoder(config.spectral())
        unused(self.spec_encoder, **unread_convolutions(config.tokens, convolutions))
        for level in range(1, 5):
            setattr(self, f"DR{level}", conv1x1(dim, SPECTRAL_DIM))
            setattr(self, f"fc_spec{level}", gate(config.tokens, SPECTRAL_DIM, gated))

    def _reduce(self, level: int, maps: Tensor) -> Tensor:
        reduced: Tensor = self.get_submodule(f"DR{level}")(maps)
        return reduced

    def _weights(self, level: int, spectral: Tensor) -> Tensor:
        weights: Tensor = self.get_submodule(f"fc_spec{level}")(spectral.mean(dim=2))
        return weights


class FusionClassifier(_Fusion):
    """The class of the centre pixel of a window, from both encoders (``SSFusionFramework``)."""

    def __init__(self, config: ClassifierConfig) -> None:
        pyramids = {1: _UP, 2: _UP, 4: _DOWN, 8: _DOWN, 11: _SAME, 16: _UP_FOUR}
        super().__init__(config, pyramids, SPECTRAL_DIM, len(config.size.out_indices))
        dim, classes = config.size.dim, config.classes
        self.classifier = nn.Sequential(
            nn.Linear(4 * SPECTRAL_DIM, 256),
            nn.Dropout(0.4),
            nn.Linear(256, 128),
            nn.Dropout(0.4),
            nn.Linear(128, classes),
        )
        # The heads of the spatial classifier that this one grew out of.
        unused(
            self.spat_encoder,
            classifier=linear_stack(config.unused_widths[0], 128, 64, classes),
            classifier1=linear_stack(config.unused_widths[1], 128, 64, classes),
            cls=nn.Conv2d(4 * dim, classes, 1),
        )
        unused(self, conv_features=conv1x1(dim, 64), conv=nn.Conv2d(4 * SPECTRAL_DIM, SPECTRAL_DIM, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of windows (N, bands, img_size, img_size)."""
        (spectral,) = self.spec_encoder(x)
        # What is done to maps is linear but for the pyramid's norms and maxima, so their averages are taken
        # first: a thousandth of the work, and the same numbers.
        levels = zip(self.spat_encoder.levels(), self.spat_encoder.maps(x), strict=True)
        averages = reversed([_average(level, maps) for level, maps in levels])
        pooled = [
            enhance(self._reduce(number, each), self._weights(number, spectral)).flatten(1)
            for number, each in enumerate(averages, start=1)
        ]
        logits: Tensor = self.classifier(torch.cat(pooled, dim=1))
        return logits


class FusionSegmenter(_Fusion):
    """The class of every pixel of a tile, from both encoders."""

    def __init__(self, config: ClassifierConfig) -> None:
        pyramids = {1: _UP, 2: _UP, 4: _DOWN, 8: _DOWN, 16: _SAME}
        super().__init__(config, pyramids, config.size.dim, convolutions=1)
        classes = config.classes
        self.conv = nn.Conv2d(4 * SPECTRAL_DIM, SPECTRAL_DIM, 1)
        self.cls = nn.Conv2d(SPECTRAL_DIM, classes, 1)
        # The head of the spatial segmenter that this one grew out of.
        unused(self.spat_encoder, classifier=linear_stack(config.unused_widths[0], 128, 64, classes))
        unused(self, conv_features=conv1x1(config.size.dim, SPECTRAL_DIM))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, H * W, classes) of tiles (N, bands, img_size, img_size)."""
        (spectral,) = self.spec_encoder(x)
        reduced = [
            _enlarge(self._reduce(level, enhance(each, self._weights(level, spectral))), x)
            for level, each in enumerate(reversed(self.spat_encoder(x)), start=1)
        ]
        logits: Tensor = self.cls(self.conv(torch.cat(reduced, dim=1)))
        return logits.flatten(2).transpose(1, 2)


class SpatialClassifier(SpatialTransformer):
    """The class of the centre pixel of a window, from the spatial encoder alone."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__(config.spatial({1: _UP, 2: _UP, 3: _DOWN, 8: _DOWN, 11: _SAME, 16: _UP_FOUR}))
        dim, classes = config.size.dim, config.classes
        self.classifier = linear_stack(4 * dim, 128, 64, classes)
        unused(self, DR=nn.Conv1d(4 * dim, 128, 1, bias=False), cls=nn.Conv2d(128, classes, 1))
        for level in self.levels():  # the averages are of the maps as they are
            freeze(level)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of windows (N, bands, img_size, img_size)."""
        pooled = [each.mean(dim=(2, 3)) for each in reversed(self.maps(x))]
        logits: Tensor = self.classifier(torch.cat(pooled, dim=1))
        return logits


class SpatialSegmenter(SpatialTransformer):
    """The class of every pixel of a tile, from the spatial encoder alone."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__(config.spatial({1: _UP, 2: _UP, 4: _DOWN, 8: _DOWN, 16: _UP_FOUR}))
        dim, classes = config.size.dim, config.classes
        self.classifier = linear_stack(4 * dim, 128, 64, classes)
        unused(self, DR=conv1x1(4 * dim, 256), cls=nn.Conv2d(4 * dim, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, H * W, classes) of tiles (N, bands, img_size, img_size)."""
        enlarged = torch.cat([_enlarge(each, x) for each in reversed(self.pyramid(self.maps(x)))], dim=1)
        logits: Tensor = self.classifier(enlarged.flatten(2).transpose(1, 2))
        return logits


def _average(level: nn.Module, maps: Tensor) -> Tensor:
    """The average (N, dim, 1, 1) of maps (N, dim, rows, columns) as a level of the pyramid leaves them."""
    steps = list(level) if isinstance(level, nn.Sequential) else [level]
    if all(isinstance(step, nn.ConvTranspose2d | nn.Identity) for step in steps):
        maps = maps.mean(dim=(2, 3), keepdim=True)
    left: Tensor = level(maps).mean(dim=(2, 3), keepdim=True)
    return left


def _enlarge(maps: Tensor, image: Tensor) -> Tensor:
    """Maps of the image's size, corners on corners."""
    return F.interpolate(maps, size=image.shape[2:], mode="bilinear", align_corners=True)
