"""HSIMAE, the first generation (v1): multi-scale PCA features, one stack of blocks, learnt positions.

Parameter names are the original's, so that a released checkpoint loads unchanged. Unlike the current
generation the classifier has no norm behind the encoder but one in front of its head.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.models.hsimae import DualOutput, Reconstruction, aggregate
from hsi_toolkit.models.layers import (
    Block,
    PatchEmbed,
    TokenLayout,
    drop_path_rates,
    init_transformer,
    reconstruction_loss,
)
from hsi_toolkit.models.masking import TokenMask, cell_mask, gather_tokens, random_mask


@dataclass(frozen=True)
class HSIMAEv1Config(TokenLayout):
    """Sizes of a v1 network; the names are those of the published constructors."""

    img_size: int = 9
    patch_size: int = 3
    bands: int = 64
    b_patch_size: int = 16
    embed_dim: int = 144
    depth: int = 12
    num_heads: int = 9
    decoder_embed_dim: int = 72
    decoder_depth: int = 1
    decoder_num_heads: int = 9
    norm_pix_loss: bool = True
    trunc_init: bool = True

    @staticmethod
    def of_size(name: str) -> "HSIMAEv1Config":
        """The configuration called ``name``: base, large or huge.

        Raises:
            ParameterError: there is no such size.
        """
        if name not in SIZES:
            raise ParameterError(
                f"There is no first-generation HSIMAE size {name!r}.", f"Choose one of {', '.join(SIZES)}."
            )
        return SIZES[name]


SIZES: Mapping[str, HSIMAEv1Config] = MappingProxyType(
    {
        "base": HSIMAEv1Config(embed_dim=144, num_heads=9),
        "large": HSIMAEv1Config(embed_dim=256, num_heads=16),
        "huge": HSIMAEv1Config(embed_dim=512, num_heads=32),
    }
)


def _positions(spatial: Tensor, spectral: Tensor) -> Tensor:
    """Position table (1, T*L, D) from the cells' (1, L, D) and the band groups' (1, T, D)."""
    return (spectral.unsqueeze(2) + spatial.unsqueeze(1)).flatten(1, 2)


class Encoder(nn.Module):
    """Patch embedding, learnt positions and one stack of blocks, without a final norm."""

    def __init__(self, config: HSIMAEv1Config, drop_path: float = 0.0) -> None:
        super().__init__()
        self.config = config
        dim = config.embed_dim
        self.patch_embed = PatchEmbed(config.b_patch_size, config.patch_size, dim)
        self.pos_embed_spatial = nn.Parameter(torch.zeros(1, config.cells, dim))
        self.pos_embed_temporal = nn.Parameter(torch.zeros(1, config.groups, dim))
        rates = drop_path_rates(drop_path, config.depth)
        self.blocks = nn.ModuleList(Block(dim, config.num_heads, "gelu", rate) for rate in rates)
        nn.init.trunc_normal_(self.pos_embed_spatial, std=0.02)
        nn.init.trunc_normal_(self.pos_embed_temporal, std=0.02)
        init_transformer(self, trunc_init=config.trunc_init)

    def encode_patches(self, patches: Tensor, ids: Tensor | None = None) -> Tensor:
        """Encoder tokens of ``patches`` (N, T*L, values), or of those at ``ids`` (N, K); no norm yet."""
        positions = _positions(self.pos_embed_spatial, self.pos_embed_temporal)
        if ids is not None:
            patches = gather_tokens(patches, ids)
            positions = gather_tokens(positions.expand(ids.shape[0], -1, -1), ids)
        x: Tensor = self.patch_embed(patches) + positions
        for block in self.blocks:
            x = block(x)
        return x


class MaskedAutoencoder(Encoder):
    """Encoder with final norm, and decoder with a learnt mask token."""

    def __init__(self, config: HSIMAEv1Config, drop_path: float = 0.0) -> None:
        super().__init__(config, drop_path)
        dim, heads = config.decoder_embed_dim, config.decoder_num_heads
        self.norm = nn.LayerNorm(config.embed_dim)
        self.decoder_embed = nn.Linear(config.embed_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.decoder_pos_embed_spatial = nn.Parameter(torch.zeros(1, config.cells, dim))
        self.decoder_pos_embed_temporal = nn.Parameter(torch.zeros(1, config.groups, dim))
        self.decoder_blocks = nn.ModuleList(Block(dim, heads, "gelu") for _ in range(config.decoder_depth))
        self.decoder_norm = nn.LayerNorm(dim)
        self.decoder_pred = nn.Linear(dim, config.values)
        for table in (self.mask_token, self.decoder_pos_embed_spatial, self.decoder_pos_embed_temporal):
            nn.init.trunc_normal_(table, std=0.02)
        for module in (self.decoder_embed, self.decoder_blocks, self.decoder_pred):
            init_transformer(module, trunc_init=config.trunc_init)

    def decode(self, latent: Tensor, mask: TokenMask) -> Tensor:
        """Predicted tokens (N, T*L, values) from encoded visible tokens (N, K, D)."""
        x = self.decoder_embed(latent)
        hidden = self.config.groups * self.config.cells - x.shape[1]
        x = torch.cat([x, self.mask_token.to(x.dtype).expand(x.shape[0], hidden, -1)], dim=1)
        x = gather_tokens(x, mask.ids_restore)
        x = x + _positions(self.decoder_pos_embed_spatial, self.decoder_pos_embed_temporal)
        for block in self.decoder_blocks:
            x = block(x)
        pred: Tensor = self.decoder_pred(self.decoder_norm(x))
        return pred

    def reconstruct(self, imgs: Tensor, mask: TokenMask) -> Reconstruction:
        """Encode the visible tokens of ``imgs`` (N, 1, bands, H, W), predict the others and compare."""
        patches = self.config.cut(imgs)
        pred = self.decode(self.norm(self.encode_patches(patches, mask.ids_keep)), mask)
        removed = mask.removed
        loss, pred = reconstruction_loss(pred, patches, removed, normalise=self.config.norm_pix_loss)
        removed_pixels = removed.unsqueeze(-1).expand_as(patches)
        return Reconstruction(loss, self.config.join(pred), self.config.join(removed_pixels))


class HSIMAE(MaskedAutoencoder):
    """Masked autoencoder for pretraining; single tokens are masked."""

    def forward(self, imgs: Tensor, mask_ratio: float = 0.8, mask: TokenMask | None = None) -> Reconstruction:
        """Reconstruct windows (N, 1, bands, H, W); ``mask`` repeats a known mask instead of drawing one."""
        if mask is None:
            noise = torch.rand(imgs.shape[0], self.config.groups * self.config.cells, device=imgs.device)
            mask = random_mask(noise, mask_ratio)
        return self.reconstruct(imgs, mask)


class HSIViT(Encoder):
    """Classifier of the middle pixel of a window."""

    def __init__(self, config: HSIMAEv1Config, num_classes: int, drop_path: float = 0.0) -> None:
        super().__init__(config, drop_path)
        self.fc_norm = nn.LayerNorm(config.groups * config.embed_dim)
        self.cls_head = nn.Linear(config.groups * config.embed_dim, num_classes)
        init_transformer(self.cls_head, trunc_init=config.trunc_init)

    def forward(self, imgs: Tensor) -> Tensor:
        """Logits (N, num_classes) of windows (N, 1, bands, H, W)."""
        feature = aggregate(self.encode_patches(self.config.cut(imgs)), self.config.groups)
        logits: Tensor = self.cls_head(self.fc_norm(feature))
        return logits


class DualHSIMAE(MaskedAutoencoder):
    """Dual-branch fine-tuning; whole spatial cells are masked."""

    def __init__(self, config: HSIMAEv1Config, num_classes: int, drop_path: float = 0.0) -> None:
        super().__init__(config, drop_path)
        self.fc_norm = nn.LayerNorm(config.groups * config.embed_dim)
        self.cls_head = nn.Linear(config.groups * config.embed_dim, num_classes)
        init_transformer(self.cls_head, trunc_init=config.trunc_init)

    def classify(self, imgs: Tensor) -> Tensor:
        """Logits (N, num_classes) of windows (N, 1, bands, H, W)."""
        feature = aggregate(self.norm(self.encode_patches(self.config.cut(imgs))), self.config.groups)
        logits: Tensor = self.cls_head(self.fc_norm(feature))
        return logits

    def forward(
        self, imgs: Tensor, imgs_u: Tensor, mask_ratio: float = 0.8, mask: TokenMask | None = None
    ) -> DualOutput:
        """Classify labelled windows ``imgs`` and reconstruct them together with unlabelled ``imgs_u``."""
        logits = self.classify(imgs)
        every = torch.cat([imgs, imgs_u])
        if mask is None:
            noise = torch.rand(every.shape[0], self.config.cells, device=every.device)
            mask = cell_mask(noise, self.config.groups, mask_ratio)
        return DualOutput(*self.reconstruct(every, mask), logits)
