"""HSIMAE, the current generation (v2): group-wise PCA features, dual spatial and spectral branches, SwiGLU.

Wang et al. 2024, "HSIMAE: A Unified Masked Autoencoder With Large-Scale Pretraining for Hyperspectral
Image Classification", IEEE JSTARS. Parameter names are the original's, so that a released checkpoint loads
unchanged.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.models.layers import (
    Block,
    PatchEmbed,
    TokenLayout,
    drop_path_rates,
    init_transformer,
    reconstruction_loss,
    sincos_3d,
)
from hsi_toolkit.models.masking import JointMask, gather_tokens, joint_mask, joint_mask_lengths


@dataclass(frozen=True)
class HSIMAEConfig(TokenLayout):
    """Sizes of a v2 network; the names are those of the published constructors.

    ``s_depth`` blocks stand in each of the two branches and ``depth - s_depth`` behind their sum.
    """

    img_size: int = 9
    patch_size: int = 3
    bands: int = 32
    b_patch_size: int = 8
    embed_dim: int = 128
    depth: int = 12
    num_heads: int = 8
    s_depth: int = 9
    decoder_embed_dim: int = 64
    decoder_depth: int = 8
    decoder_num_heads: int = 8
    norm_pix_loss: bool = True
    trunc_init: bool = True

    @staticmethod
    def of_size(name: str) -> "HSIMAEConfig":
        """The configuration called ``name``: small, base, large or huge.

        Raises:
            ParameterError: there is no such size.
        """
        if name not in SIZES:
            raise ParameterError(f"There is no HSIMAE size {name!r}.", f"Choose one of {', '.join(SIZES)}.")
        return SIZES[name]


# Base and Large are those of the published scripts and Huge the paper's third size in the same layout.
# Small is this project's own, for laptops: 0.34 M parameters.
SIZES: Mapping[str, HSIMAEConfig] = MappingProxyType(
    {
        "small": HSIMAEConfig(
            embed_dim=64,
            depth=4,
            num_heads=4,
            s_depth=2,
            decoder_embed_dim=32,
            decoder_depth=2,
            decoder_num_heads=4,
        ),
        "base": HSIMAEConfig(embed_dim=128, num_heads=8),
        "large": HSIMAEConfig(embed_dim=256, num_heads=16),
        "huge": HSIMAEConfig(embed_dim=512, num_heads=32),
    }
)


class Reconstruction(NamedTuple):
    """What the masked autoencoder returns: the scalar loss, and windows (N, 1, bands, H, W) of the rest.

    ``pred`` is in the units of the input; ``mask`` is 1 where a pixel was removed.
    """

    loss: Tensor
    pred: Tensor
    mask: Tensor


class DualOutput(NamedTuple):
    """What dual-branch fine-tuning returns; the reconstruction covers labelled, then unlabelled windows."""

    loss_rec: Tensor
    pred: Tensor
    mask: Tensor
    logits: Tensor


class Encoder(nn.Module):
    """Patch embedding, spatial and spectral branches, joint blocks and final norm."""

    pos_embed: Tensor

    def __init__(self, config: HSIMAEConfig, drop_path: float = 0.0) -> None:
        super().__init__()
        self.config = config
        dim, heads = config.embed_dim, config.num_heads
        rates = drop_path_rates(drop_path, config.depth)
        branch, joint = rates[: config.s_depth], rates[config.s_depth :]
        self.patch_embed = PatchEmbed(config.b_patch_size, config.patch_size, dim)
        self.register_buffer("pos_embed", sincos_3d(dim, config.groups, config.side))
        self.blocks_1 = nn.ModuleList(Block(dim, heads, "swiglu", rate) for rate in branch)
        self.blocks_2 = nn.ModuleList(Block(dim, heads, "swiglu", rate) for rate in branch)
        self.blocks = nn.ModuleList(Block(dim, heads, "swiglu", rate) for rate in joint)
        self.norm = nn.LayerNorm(dim)
        init_transformer(self, trunc_init=config.trunc_init)

    def encode(self, imgs: Tensor) -> Tensor:
        """Encoder tokens (N, T*L, D) of windows (N, 1, bands, H, W), nothing masked."""
        x = self.patch_embed(self.config.cut(imgs)) + self.pos_embed
        return self._encode_grid(x, self.config.groups, self.config.cells)

    def encode_visible(self, patches: Tensor, mask: JointMask) -> Tensor:
        """Encoder tokens (N, len_t*len_l, D) of the visible ones among ``patches`` (N, T*L, values)."""
        positions = gather_tokens(self.pos_embed.expand(patches.shape[0], -1, -1), mask.ids_keep)
        x = self.patch_embed(gather_tokens(patches, mask.ids_keep)) + positions
        return self._encode_grid(x, mask.len_t, mask.len_l)

    def _encode_grid(self, x: Tensor, len_t: int, len_l: int) -> Tensor:
        """Run the blocks on tokens (N, len_t*len_l, D) that form a grid, t-major."""
        if len(self.blocks_1):
            x = self._branches(x, len_t, len_l)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out

    def _branches(self, x: Tensor, len_t: int, len_l: int) -> Tensor:
        """Sum of the spatial branch (sequences: band groups) and the spectral branch (sequences: cells)."""
        n, _, dim = x.shape
        spatial = x.reshape(n * len_t, len_l, dim)
        for block in self.blocks_1:
            spatial = block(spatial)
        spectral = x.reshape(n, len_t, len_l, dim).transpose(1, 2).reshape(n * len_l, len_t, dim)
        for block in self.blocks_2:
            spectral = block(spectral)
        spectral = spectral.reshape(n, len_l, len_t, dim).transpose(1, 2).reshape(n, len_t * len_l, dim)
        return spatial.reshape(n, len_t * len_l, dim) + spectral


class MaskedAutoencoder(Encoder):
    """Encoder and decoder with joint spatial-spectral masking."""

    decoder_pos_embed: Tensor

    def __init__(self, config: HSIMAEConfig, drop_path: float = 0.0) -> None:
        super().__init__(config, drop_path)
        dim, heads = config.decoder_embed_dim, config.decoder_num_heads
        # In the published weights but never used: removed tokens start from the mean of the visible ones.
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim), requires_grad=False)
        self.decoder_embed = nn.Linear(config.embed_dim, dim)
        self.register_buffer("decoder_pos_embed", sincos_3d(dim, config.groups, config.side))
        self.decoder_blocks = nn.ModuleList(Block(dim, heads, "swiglu") for _ in range(config.decoder_depth))
        self.decoder_norm = nn.LayerNorm(dim)
        self.decoder_pred = nn.Linear(dim, config.values)
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        for module in (self.decoder_embed, self.decoder_blocks, self.decoder_norm, self.decoder_pred):
            init_transformer(module, trunc_init=config.trunc_init)

    def draw_mask(self, samples: int, mask_ratio: float) -> JointMask:
        """A random mask for ``samples`` windows; see ``masking.joint_mask``."""
        groups, cells = self.config.groups, self.config.cells
        lengths = joint_mask_lengths(groups, cells, mask_ratio)
        return joint_mask(lengths, samples=samples, groups=groups, cells=cells)

    def decode(self, latent: Tensor, mask: JointMask) -> Tensor:
        """Predicted tokens (N, T*L, values) from encoded visible tokens (N, len_t*len_l, D)."""
        x = self.decoder_embed(latent)
        hidden = self.config.groups * self.config.cells - x.shape[1]
        x = torch.cat([x, x.mean(dim=1, keepdim=True).expand(-1, hidden, -1)], dim=1)
        x = gather_tokens(x, mask.ids_restore) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            x = block(x)
        pred: Tensor = self.decoder_pred(self.decoder_norm(x))
        return pred

    def reconstruct(self, imgs: Tensor, mask: JointMask) -> Reconstruction:
        """Encode the visible tokens of ``imgs`` (N, 1, bands, H, W), predict the others and compare."""
        patches = self.config.cut(imgs)
        pred = self.decode(self.encode_visible(patches, mask), mask)
        removed = mask.removed
        loss, pred = reconstruction_loss(pred, patches, removed, normalise=self.config.norm_pix_loss)
        removed_pixels = removed.unsqueeze(-1).expand_as(patches)
        return Reconstruction(loss, self.config.join(pred), self.config.join(removed_pixels))


class HSIMAE(MaskedAutoencoder):
    """Masked autoencoder for pretraining."""

    def forward(
        self, imgs: Tensor, mask_ratio: float = 0.75, mask: JointMask | None = None
    ) -> Reconstruction:
        """Reconstruct windows (N, 1, bands, H, W); ``mask`` repeats a known mask instead of drawing one."""
        if mask is None:
            mask = self.draw_mask(imgs.shape[0], mask_ratio)
        return self.reconstruct(imgs, _on_device(mask, imgs.device))


class HSIViT(Encoder):
    """Classifier of the middle pixel of a window."""

    def __init__(self, config: HSIMAEConfig, num_classes: int, drop_path: float = 0.0) -> None:
        super().__init__(config, drop_path)
        self.cls_head = _classification_head(config, num_classes)

    def forward(self, imgs: Tensor) -> Tensor:
        """Logits (N, num_classes) of windows (N, 1, bands, H, W)."""
        logits: Tensor = self.cls_head(aggregate(self.encode(imgs), self.config.groups))
        return logits


class DualViT(MaskedAutoencoder):
    """Dual-branch fine-tuning: a classifier and the masked autoencoder on one encoder."""

    def __init__(self, config: HSIMAEConfig, num_classes: int, drop_path: float = 0.0) -> None:
        super().__init__(config, drop_path)
        self.cls_head = _classification_head(config, num_classes)

    def classify(self, imgs: Tensor) -> Tensor:
        """Logits (N, num_classes) of windows (N, 1, bands, H, W)."""
        logits: Tensor = self.cls_head(aggregate(self.encode(imgs), self.config.groups))
        return logits

    def forward(
        self, imgs: Tensor, imgs_u: Tensor, mask_ratio: float = 0.8, mask: JointMask | None = None
    ) -> DualOutput:
        """Classify labelled windows ``imgs`` and reconstruct them together with unlabelled ``imgs_u``."""
        logits = self.classify(imgs)
        every = torch.cat([imgs, imgs_u])
        if mask is None:
            mask = self.draw_mask(every.shape[0], mask_ratio)
        reconstruction = self.reconstruct(every, _on_device(mask, every.device))
        return DualOutput(*reconstruction, logits)


def aggregate(tokens: Tensor, groups: int) -> Tensor:
    """Head feature (N, T*D) of encoder tokens (N, T*L, D): per band group the mean over the cells."""
    n, length, dim = tokens.shape
    return tokens.reshape(n, groups, length // groups, dim).mean(dim=2).reshape(n, groups * dim)


def _classification_head(config: HSIMAEConfig, num_classes: int) -> nn.Linear:
    head = nn.Linear(config.groups * config.embed_dim, num_classes)
    init_transformer(head, trunc_init=config.trunc_init)
    return head


def _on_device(mask: JointMask, device: torch.device) -> JointMask:
    return JointMask(mask.ids_keep.to(device), mask.ids_restore.to(device), mask.len_t, mask.len_l)
