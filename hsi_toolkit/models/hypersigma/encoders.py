"""The spatial and the spectral transformer of HyperSIGMA, once for all tasks.

Tasks differ in patch, position table, sampled points and in what they read from which block, all of which
the configurations state. Parameter names are those of the released files.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from hsi_toolkit.errors import ModelError, ParameterError
from hsi_toolkit.models.hypersigma.attention import Grid
from hsi_toolkit.models.hypersigma.blocks import (
    INIT_STD,
    NORM_EPS,
    POINTS,
    BlockStack,
    PatchEmbed,
    as_maps,
    conv1x1,
    position_table,
    sampling_blocks,
    unused,
)

SPECTRAL_DIM = 128
"""Channels of a spectral feature behind ``l1`` to ``l4``."""


@dataclass(frozen=True)
class TransformerSize:
    """Channels, blocks and heads; ``out_indices`` are the blocks, from 0, whose outputs heads read.

    Every ``interval``-th block has full attention.
    """

    dim: int = 768
    depth: int = 12
    heads: int = 12
    out_indices: tuple[int, ...] = (3, 5, 7, 11)
    interval: int = 3
    drop_path: float = 0.1

    @staticmethod
    def of(name: str) -> "TransformerSize":
        """The size called ``name``: small, base, large or huge.

        Raises:
            ParameterError: there is no such size.
        """
        if name not in SIZES:
            raise ParameterError(
                f"There is no HyperSIGMA size {name!r}.", f"Choose one of {', '.join(SIZES)}."
            )
        return SIZES[name]

    def stack(self, points: int, last: int | None = None) -> BlockStack:
        """The blocks of this size, of which nobody reads those behind ``last``."""
        return sampling_blocks(
            self.depth,
            self.dim,
            self.heads,
            interval=self.interval,
            points=points,
            drop_path=self.drop_path,
            last=last,
        )


BASE = TransformerSize()
SMALL = TransformerSize(dim=128, depth=6, heads=4, out_indices=(1, 2, 3, 5))
"""Half the blocks of Base and a sixth of its channels, which a processor can train; never released."""
SIZES: Mapping[str, TransformerSize] = MappingProxyType(
    {
        "small": SMALL,
        "base": BASE,
        "large": TransformerSize(dim=1024, depth=24, heads=16, out_indices=(7, 11, 15, 23), interval=6),
        "huge": TransformerSize(dim=1280, depth=32, heads=16, out_indices=(10, 15, 20, 31), interval=8),
    }
)

Level = Literal["up4", "up2", "same", "down2", "down4", "reduce"]
"""What is done to the map of one block: its size changed, or (``reduce``) its channels."""


@dataclass(frozen=True)
class SpatialConfig:
    """A spatial encoder of images (bands, img_size, img_size) in square patches.

    ``pyramid`` says what becomes of each map, shallow first; empty for nothing. ``norm`` is False for the one
    class (detection) whose files have no final norm; where it exists it is not used.
    """

    bands: int
    img_size: int
    patch: int
    size: TransformerSize = BASE
    positions: bool = True
    points: int = POINTS
    pyramid: tuple[Level, ...] = ()
    norm: bool = True

    @property
    def cells(self) -> int:
        """Patches along one side."""
        return self.img_size // self.patch


@dataclass(frozen=True)
class SpectralConfig:
    """A spectral encoder of images with any number of bands and (img_size, img_size) pixels.

    The bands are averaged to ``tokens``, a square number. The blocks ``projected`` have a projection
    (``l1``, ``l2``, …) to ``out_dim`` channels, of which ``levels`` are computed and returned.
    """

    img_size: int
    tokens: int
    projected: tuple[int, ...]
    levels: tuple[int, ...] = (0,)
    size: TransformerSize = BASE
    positions: bool = True
    points: int = POINTS
    out_dim: int = SPECTRAL_DIM

    @property
    def grid(self) -> Grid:
        """The square on which the tokens lie for sparse sampling attention."""
        side = math.isqrt(self.tokens)
        return side, side


class SpatialTransformer(nn.Module):
    """The spatial transformer: tokens are patches of the image with all its bands.

    Heads that the released files store without a prefix inherit from it.
    """

    def __init__(self, config: SpatialConfig) -> None:
        super().__init__()
        self.config = config
        size = config.size
        self.patch_embed = PatchEmbed(config.bands, size.dim, config.patch)
        self.pos_embed = position_table(config.cells**2, size.dim) if config.positions else None
        self.blocks = size.stack(config.points, last=max(size.out_indices))
        for index, level in enumerate(config.pyramid, start=1):
            setattr(self, f"fpn{index}", _pyramid_level(level, size.dim))
        if config.norm:
            unused(self, norm=nn.LayerNorm(size.dim, eps=NORM_EPS))

    def maps(self, x: Tensor, last_only: bool = False) -> list[Tensor]:
        """Maps (N, dim, rows, columns) of images (N, bands, H, W), shallow first.

        Raises:
            ModelError: the images have other bands, or another size than the position table is for.
        """
        self._check(x)
        tokens, grid = self.patch_embed(x)
        if self.pos_embed is not None:
            tokens = tokens + self.pos_embed
        wanted = self.config.size.out_indices[-1:] if last_only else self.config.size.out_indices
        return [as_maps(each, grid) for each in self.blocks.outputs(tokens, grid, wanted)]

    def levels(self) -> list[nn.Module]:
        """What the pyramid does to each map, shallow first."""
        return [self.get_submodule(f"fpn{index}") for index in range(1, len(self.config.pyramid) + 1)]

    def pyramid(self, maps: list[Tensor]) -> list[Tensor]:
        """The maps of ``maps`` as the pyramid leaves them, shallow first; all as they are without one."""
        if not self.config.pyramid:
            return maps
        return [level(each) for level, each in zip(self.levels(), maps, strict=True)]

    def _check(self, x: Tensor) -> None:
        config = self.config
        cells = x.shape[2] // config.patch, x.shape[3] // config.patch
        if x.shape[1] != config.bands or 0 in cells:
            raise ModelError(
                f"The network takes images of {config.bands} bands and at least "
                f"{config.patch}×{config.patch} pixels, but was given shape {tuple(x.shape)}.",
                "Prepare the scene as for training.",
            )
        if self.pos_embed is not None and cells != (config.cells, config.cells):
            raise ModelError(
                f"The network knows positions of {config.cells}×{config.cells} patches, but images of shape "
                f"{tuple(x.shape)} have {cells[0]}×{cells[1]}.",
                f"Cut the scene into tiles of {config.img_size}×{config.img_size} pixels.",
            )


class SpatialEncoder(SpatialTransformer):
    """The spatial transformer as a part of a network."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """Four maps of images (N, bands, H, W), as the pyramid leaves them, shallow first."""
        return self.pyramid(self.maps(x))


class SpectralEncoder(nn.Module):
    """The spectral transformer: tokens are the pixels of runs of neighbouring bands."""

    def __init__(self, config: SpectralConfig) -> None:
        super().__init__()
        if math.isqrt(config.tokens) ** 2 != config.tokens:
            raise ParameterError(
                f"{config.tokens} spectral tokens do not form a square.",
                "Choose a square number such as 100.",
            )
        self.config = config
        dim = config.size.dim
        self.spat_map = nn.Linear(config.img_size**2, dim)
        nn.init.trunc_normal_(self.spat_map.weight, std=INIT_STD)
        self.pos_embed = position_table(config.tokens, dim) if config.positions else None
        self.wanted = tuple(config.projected[level] for level in config.levels)
        self.blocks = config.size.stack(config.points, last=max(self.wanted))
        for level in range(len(config.projected)):
            layer = nn.Linear(dim, config.out_dim, bias=False)
            if level in config.levels:
                setattr(self, f"l{level + 1}", layer)
            else:
                unused(self, **{f"l{level + 1}": layer})
        unused(self, norm=nn.LayerNorm(dim, eps=NORM_EPS))

    def embed(self, x: Tensor) -> Tensor:
        """Tokens (N, tokens, dim) of images (N, bands, img_size, img_size), positions added.

        Raises:
            ModelError: the images have another size.
        """
        side = self.config.img_size
        if tuple(x.shape[2:]) != (side, side):
            raise ModelError(
                f"The network takes images of {side}×{side} pixels, but was given shape {tuple(x.shape)}.",
                f"Cut the scene into tiles of {side}×{side} pixels.",
            )
        tokens: Tensor = self.spat_map(pool_bands(x, self.config.tokens))
        return tokens if self.pos_embed is None else tokens + self.pos_embed

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features (N, tokens, out_dim) of images (N, bands, img_size, img_size), one a level."""
        outputs = self.blocks.outputs(self.embed(x), self.config.grid, self.wanted)
        return [
            self.get_submodule(f"l{level + 1}")(each)
            for level, each in zip(self.config.levels, outputs, strict=True)
        ]


class PairedEncoders(nn.Module):
    """The spatial encoder alone (``encoder``), or ``spat_encoder`` and ``spec_encoder``."""

    def __init__(self, spatial: SpatialConfig, spectral: SpectralConfig | None) -> None:
        super().__init__()
        self.fused = spectral is not None
        self.add_module("spat_encoder" if self.fused else "encoder", SpatialEncoder(spatial))
        self.spec_encoder = None if spectral is None else SpectralEncoder(spectral)

    @property
    def spatial(self) -> SpatialEncoder:
        """The spatial encoder, whatever its name."""
        return cast(SpatialEncoder, self.get_submodule("spat_encoder" if self.fused else "encoder"))


def pool_bands(x: Tensor, tokens: int) -> Tensor:
    """Mean of ``tokens`` runs of neighbouring bands, (N, tokens, pixels), of images (N, bands, H, W).

    Runs overlap where the bands cannot be divided evenly, and repeat where there are fewer than tokens.
    """
    pixels = x.flatten(2)
    return F.adaptive_avg_pool2d(pixels, (tokens, pixels.shape[2]))


def unread_convolutions(tokens: int, count: int) -> dict[str, nn.ModuleList]:
    """``conv_q``, ``conv_k`` and ``conv_v``, which most tasks' spectral encoders own and never use."""
    return {
        "conv_q": nn.ModuleList(nn.Conv2d(tokens, tokens, 1) for _ in range(count)),
        "conv_k": nn.ModuleList(nn.Conv1d(tokens, tokens, 1) for _ in range(count)),
        "conv_v": nn.ModuleList(nn.Conv1d(tokens, tokens, 1) for _ in range(count)),
    }


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel of a map."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(dim, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, dim, H, W) to (N, dim, H, W)."""
        normed: Tensor = self.ln(x.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)


def _pyramid_level(level: Level, dim: int) -> nn.Module:
    def double() -> nn.ConvTranspose2d:
        return nn.ConvTranspose2d(dim, dim, kernel_size=2, stride=2)

    if level == "up4":
        return nn.Sequential(double(), ChannelNorm(dim), nn.GELU(), double())
    if level == "up2":
        return nn.Sequential(double())
    if level == "reduce":
        return conv1x1(dim, SPECTRAL_DIM)
    if level == "same":
        return nn.Identity()
    return nn.MaxPool2d(2 if level == "down2" else 4)
