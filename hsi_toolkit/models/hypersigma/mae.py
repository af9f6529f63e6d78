"""The masked autoencoders that pretrain HyperSIGMA's encoders: spatial patches and groups of bands.

Wang et al. 2025, "HyperSIGMA: Hyperspectral Intelligence Comprehension Foundation Model", IEEE TPAMI. Two
oddities of the published code are part of the released weights and kept: no position is added in the
encoder, and the spectral decoder's position table is all zeros.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hsi_toolkit.errors import ModelError
from hsi_toolkit.models.hypersigma.attention import Grid
from hsi_toolkit.models.hypersigma.blocks import (
    INIT_STD,
    NORM_EPS,
    Block,
    BlockStack,
    PatchEmbed,
    freeze,
    init_blocks,
    position_table,
)
from hsi_toolkit.models.hypersigma.encoders import BASE, SIZES, SMALL, TransformerSize, pool_bands
from hsi_toolkit.models.layers import drop_path_rates, reconstruction_loss, sincos_1d
from hsi_toolkit.models.masking import TokenMask, gather_tokens, random_mask


@dataclass(frozen=True)
class MAEConfig:
    """Sizes of a masked autoencoder of images (bands, img_size, img_size).

    ``patch`` is of the spatial, ``tokens`` of the spectral one. ``scale`` starts learnt multipliers of the
    residual branches, which the released networks do not have.
    """

    bands: int = 100
    img_size: int = 64
    patch: int = 8
    tokens: int = 100
    size: TransformerSize = BASE
    decoder_dim: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 16
    norm_pix_loss: bool = False
    scale: float | None = None


MAE_SIZES: Mapping[str, MAEConfig] = MappingProxyType(
    {name: MAEConfig(size=size) for name, size in SIZES.items()}
    | {"small": MAEConfig(img_size=32, patch=4, size=SMALL, decoder_dim=64, decoder_depth=2, decoder_heads=4)}
)
"""The released sizes base, large and huge, and a small one for processors, of smaller images."""


class Prediction(NamedTuple):
    """What a masked autoencoder returns: the scalar loss, predicted tokens (N, length, values), and the mask.

    With ``norm_pix_loss`` the prediction is of standardised tokens. ``latent`` (N, visible, dim) is the
    encoder's output.
    """

    loss: Tensor
    pred: Tensor
    mask: TokenMask
    latent: Tensor


class MaskedAutoencoder(nn.Module, ABC):
    """Encoder of visible tokens and decoder of all; what a token is, subclasses say."""

    def __init__(self, config: MAEConfig, length: int, values: int, decoder_positions: Tensor) -> None:
        super().__init__()
        self.config = config
        size, dim = config.size, config.decoder_dim
        # Never added to anything; the released files hold its start values.
        self.pos_embed = position_table(length, size.dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        nn.init.normal_(self.mask_token, std=INIT_STD)
        self.decoder_pos_embed = nn.Parameter(decoder_positions, requires_grad=False)
        freeze(self.pos_embed)
        rates = drop_path_rates(size.drop_path, size.depth)
        self.blocks = BlockStack(Block(size.dim, size.heads, None, rate, config.scale) for rate in rates)
        init_blocks(self.blocks)
        self.norm = nn.LayerNorm(size.dim, eps=NORM_EPS)
        self.decoder_embed = nn.Linear(size.dim, dim)
        self.decoder_blocks = BlockStack(
            Block(dim, config.decoder_heads, None, rate, config.scale)
            for rate in rates[: config.decoder_depth]
        )
        self.decoder_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.decoder_pred = nn.Linear(dim, values)

    @abstractmethod
    def tokens_of(self, imgs: Tensor) -> tuple[Tensor, Grid]:
        """Embedded tokens (N, length, dim) and their grid."""

    @abstractmethod
    def target(self, imgs: Tensor) -> Tensor:
        """What is to be predicted, (N, length, values)."""

    def forward(self, imgs: Tensor, mask_ratio: float = 0.75, noise: Tensor | None = None) -> Prediction:
        """Hide ``mask_ratio`` of the tokens of images (N, bands, img_size, img_size) and predict all.

        Tokens with the smallest ``noise`` (N, length), uniform by default, stay visible.

        Raises:
            ModelError: the images have another shape.
        """
        config = self.config
        if tuple(imgs.shape[1:]) != (config.bands, config.img_size, config.img_size):
            raise ModelError(
                f"The network takes images of {config.bands} bands and {config.img_size}×{config.img_size} "
                f"pixels, but was given shape {tuple(imgs.shape)}.",
                "Cut the scenes accordingly.",
            )
        x, grid = self.tokens_of(imgs)
        if noise is None:
            noise = torch.rand(x.shape[:2], device=x.device)
        mask = random_mask(noise, mask_ratio)
        x = gather_tokens(x, mask.ids_keep)
        latent = self.norm(self.blocks.outputs(x, grid, (len(self.blocks) - 1,))[0])
        pred = self._decode(latent, mask, grid)
        loss, _ = reconstruction_loss(
            pred, self.target(imgs), mask.removed.to(pred.device), normalise=config.norm_pix_loss
        )
        return Prediction(loss, pred, mask, latent)

    def _decode(self, latent: Tensor, mask: TokenMask, grid: Grid) -> Tensor:
        x = self.decoder_embed(latent)
        hidden = self.mask_token.expand(x.shape[0], mask.ids_restore.shape[1] - x.shape[1], -1)
        x = (
            gather_tokens(torch.cat([x, hidden.to(x.dtype)], dim=1), mask.ids_restore)
            + self.decoder_pos_embed
        )
        (x,) = self.decoder_blocks.outputs(x, grid, (len(self.decoder_blocks) - 1,))
        pred: Tensor = self.decoder_pred(self.decoder_norm(x))
        return pred


class SpatMAE(MaskedAutoencoder):
    """The spatial masked autoencoder; the values of a token run row, column, band."""

    def __init__(self, config: MAEConfig) -> None:
        side = config.img_size // config.patch
        positions = _sincos_2d(config.decoder_dim, side)
        super().__init__(config, side**2, config.patch**2 * config.bands, positions)
        self.patch_embed = PatchEmbed(config.bands, config.size.dim, config.patch)

    def tokens_of(self, imgs: Tensor) -> tuple[Tensor, Grid]:
        """One token for each patch."""
        tokens: tuple[Tensor, Grid] = self.patch_embed(imgs)
        return tokens

    def target(self, imgs: Tensor) -> Tensor:
        """The patches' own values."""
        patch, side = self.config.patch, self.config.img_size // self.config.patch
        split = imgs.reshape(imgs.shape[0], imgs.shape[1], side, patch, side, patch)
        return split.permute(0, 2, 4, 3, 5, 1).reshape(imgs.shape[0], side**2, -1)


class SpecMAE(MaskedAutoencoder):
    """The spectral masked autoencoder; the values of a token run band of the group, row, column."""

    def __init__(self, config: MAEConfig) -> None:
        pixels = config.img_size**2
        positions = torch.zeros(1, config.tokens, config.decoder_dim)
        super().__init__(config, config.tokens, config.bands // config.tokens * pixels, positions)
        self.spat_map = nn.Linear(pixels, config.size.dim)
        nn.init.trunc_normal_(self.spat_map.weight, std=INIT_STD)

    def tokens_of(self, imgs: Tensor) -> tuple[Tensor, Grid]:
        """One token for each group of bands; they form a line."""
        return self.spat_map(pool_bands(imgs, self.config.tokens)), (1, self.config.tokens)

    def target(self, imgs: Tensor) -> Tensor:
        """The groups' own values."""
        return imgs.reshape(imgs.shape[0], self.config.tokens, -1)


def _sincos_2d(dim: int, side: int) -> Tensor:
    """Fixed position table (1, side**2, dim): the first half of the channels encodes the column."""
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.cat([sincos_1d(dim // 2, column), sincos_1d(dim // 2, row)], dim=1).unsqueeze(0)
