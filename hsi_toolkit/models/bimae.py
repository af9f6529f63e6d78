"""BiMAE: one masked autoencoder over a colour image and a hyperspectral one.

Every band of the hyperspectral image is a token, and every patch of the colour image. Arrays have their
channels last, as in the original: ``hs`` (B, side, side, bands), ``rgb`` (B, height, width, 3), both from
0 to 1. Names of modules follow the original's object paths; ``bimae_weights`` reads its files.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Modality = Literal["bimodal", "hs", "rgb"]

_EPSILON = 1e-6
#: The fusion's cross-attention has as many heads whatever the size of the network.
_FUSION_HEADS = 8
#: Tokens start near zero.
_TOKEN_SPREAD = 0.05


@dataclass(frozen=True)
class BiMAEConfig:
    """Sizes of a network.

    Attributes:
        patch: side of a colour patch and of the hyperspectral image, in their pixels.
        bands: of the hyperspectral image, a token each.
        rgb_patches: tokens of the colour image.
        dim, heads, depth: of the encoder; every head is as wide as the whole encoder.
        decoder_dim: width of the decoders.
        hs_masked, rgb_masked: share of the tokens that is hidden.
        hs_decoded, rgb_decoded: share of the hidden tokens that is restored.
    """

    patch: int = 24
    bands: int = 300
    rgb_patches: int = 64
    dim: int = 192
    heads: int = 3
    depth: int = 12
    decoder_dim: int = 128
    mlp_ratio: int = 4
    hs_masked: float = 0.95
    rgb_masked: float = 0.75
    hs_decoded: float = 0.2
    rgb_decoded: float = 0.5

    def split(self, modality: Literal["hs", "rgb"]) -> tuple[int, int]:
        """How many tokens of a modality are hidden, and how many of these are restored."""
        hs = modality == "hs"
        tokens = self.bands if hs else self.rgb_patches
        masked = int((self.hs_masked if hs else self.rgb_masked) * tokens)
        return masked, int((self.hs_decoded if hs else self.rgb_decoded) * masked)


SIZES = {
    "tiny": BiMAEConfig(),
    "small": BiMAEConfig(dim=384, heads=6, decoder_dim=192),
    "base": BiMAEConfig(dim=768, heads=12, decoder_dim=384),
    "custom": BiMAEConfig(dim=256, heads=12),
}


class Mask(NamedTuple):
    """Which tokens the encoder sees, (B, visible), and which are restored, (B, restored)."""

    visible: Tensor
    restored: Tensor


class Pretraining(NamedTuple):
    """Result of a pretraining step: what was restored and what should have been, (B, tokens, values)."""

    loss: Tensor
    hs_restored: Tensor
    hs_target: Tensor
    rgb_restored: Tensor
    rgb_target: Tensor


def spectral_minmax(hs: Tensor) -> Tensor:
    """Each pixel's spectrum scaled to 0 to 1 over its bands (the last axis); a constant one becomes 0."""
    low, high = hs.amin(-1, keepdim=True), hs.amax(-1, keepdim=True)
    spread = torch.where(high > low, high - low, 1.0)
    return (hs - low) / spread


def hs_tokens(hs: Tensor) -> Tensor:
    """(B, side, side, bands) to (B, bands, side²), pixels row by row."""
    return hs.flatten(1, 2).transpose(1, 2)


def rgb_tokens(rgb: Tensor, patch: int) -> Tensor:
    """(B, height, width, 3) to (B, patches, patch² · 3), patches row by row."""
    batch, height, width, channels = rgb.shape
    cut = rgb.reshape(batch, height // patch, patch, width // patch, patch, channels)
    return cut.permute(0, 1, 3, 2, 4, 5).reshape(batch, -1, patch * patch * channels)


def random_mask(batch: int, tokens: int, masked: int, restored: int, generator: torch.Generator) -> Mask:
    """The first ``masked`` of a random order are hidden, and the first ``restored`` of these restored."""
    order = torch.rand(batch, tokens, generator=generator).argsort(dim=1)
    return Mask(order[:, masked:], order[:, :restored])


class TokenEncoder(nn.Module):
    """Projects patches and adds what their place is; a hidden patch is a learned one in pixel space."""

    def __init__(self, tokens: int, values: int, dim: int) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.empty(1, values).normal_(std=_TOKEN_SPREAD))
        self.pos_emb = nn.Embedding(tokens, dim)
        self.projection = nn.Linear(values, dim)
        nn.init.uniform_(self.pos_emb.weight, -_TOKEN_SPREAD, _TOKEN_SPREAD)

    def forward(self, patches: Tensor, places: Tensor | None = None) -> Tensor:
        """(B, n, values) to (B, n, dim); ``places`` (n,) or (B, n) when they are not 0 to n - 1."""
        where = self.pos_emb.weight[: patches.shape[1]] if places is None else self.pos_emb(places)
        tokens: Tensor = self.projection(patches) + where
        return tokens

    def hidden(self, places: Tensor) -> Tensor:
        """(B, n) places to (B, n, dim) queries for what is hidden there."""
        queries: Tensor = self.projection(self.mask_token) + self.pos_emb(places)
        return queries


class WideAttention(nn.Module):
    """Multi-head attention whose every head is as wide as the tokens."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(dim, heads * dim) for _ in range(3))
        self.attention_output = nn.Linear(heads * dim, dim)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(B, n, dim) attending to (B, m, dim), to itself by default."""
        context = x if context is None else context
        q, k, v = self._split(self.query(x)), self._split(self.key(context)), self._split(self.value(context))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        out: Tensor = self.attention_output(attended)
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


class MLP(nn.Module):
    """Two layers with GELU between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, _EPSILON), nn.LayerNorm(dim, _EPSILON)
        self.attn, self.mlp = WideAttention(dim, heads), MLP(dim, mlp_ratio * dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Encoder(nn.Module):
    """The blocks that see both modalities' tokens together."""

    def __init__(self, config: BiMAEConfig) -> None:
        super().__init__()
        blocks = (Block(config.dim, config.heads, config.mlp_ratio) for _ in range(config.depth))
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(config.dim, _EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out


class CrossAttention(nn.Module):
    """Queries look at the encoded tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mha, self.norm1 = WideAttention(dim, _FUSION_HEADS), nn.LayerNorm(dim, _EPSILON)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        out: Tensor = self.norm1(self.mha(queries, context) + queries)
        return out


class Fusion(nn.Module):
    """Cross-attention and MLP, without a residual around the latter, as in the original."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, _EPSILON), nn.LayerNorm(dim, _EPSILON)
        self.cross_attention, self.mlp = CrossAttention(dim), MLP(dim, 2 * dim)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        out: Tensor = self.mlp(self.norm2(self.cross_attention(self.norm1(queries), context)))
        return out


class Decoder(nn.Module):
    """Restores all hidden patches of a modality at once, so it is tied to their number."""

    def __init__(self, dim: int, decoder_dim: int, tokens: int, values: int) -> None:
        super().__init__()
        self.embed = nn.Linear(dim, decoder_dim)
        self.norm1, self.norm2 = nn.LayerNorm(decoder_dim, _EPSILON), nn.LayerNorm(decoder_dim, _EPSILON)
        self.mlp = MLP(decoder_dim, 4 * decoder_dim)
        self.head = nn.Linear(tokens * decoder_dim, tokens * values)

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, dim) to (B, tokens, values), from 0 to 1."""
        x = self.norm2(self.mlp(self.norm1(self.embed(x))))
        patches = torch.sigmoid(self.head(x.flatten(1)))
        return patches.reshape(len(x), x.shape[1], -1)


class BiMAE(nn.Module):
    """The masked autoencoder for pretraining."""

    def __init__(self, config: BiMAEConfig) -> None:
        super().__init__()
        self.config = config
        values = config.patch**2
        self.hs_patch_encoder = TokenEncoder(config.bands, values, config.dim)
        self.rgb_patch_encoder = TokenEncoder(config.rgb_patches, 3 * values, config.dim)
        self.encoder = Encoder(config)
        # The original never trains it; its place in the sequence is what counts.
        token = torch.empty(1, 1, config.dim).normal_(std=_TOKEN_SPREAD)
        self.global_token = nn.Parameter(token, requires_grad=False)
        self.fusion_layer = Fusion(config.dim)
        self.hs_decoder = Decoder(config.dim, config.decoder_dim, config.split("hs")[1], values)
        self.rgb_decoder = Decoder(config.dim, config.decoder_dim, config.split("rgb")[1], 3 * values)

    def forward(self, hs: Tensor, rgb: Tensor, hs_mask: Mask, rgb_mask: Mask) -> Pretraining:
        """Restore what both masks hide.

        Args:
            hs: (B, patch, patch, bands); rgb: (B, height, width, 3).
            hs_mask, rgb_mask: see ``random_mask``.
        """
        hs_patches, rgb_patches = hs_tokens(hs), rgb_tokens(rgb, self.config.patch)
        hs_seen = self.hs_patch_encoder(_take(hs_patches, hs_mask.visible), hs_mask.visible)
        rgb_seen = self.rgb_patch_encoder(_take(rgb_patches, rgb_mask.visible), rgb_mask.visible)
        token = self.global_token.expand(len(hs), -1, -1)
        encoded = self.encoder(torch.cat([hs_seen, rgb_seen, token], dim=1))[:, :-1]
        places = [self.hs_patch_encoder.pos_emb(hs_mask.visible)]
        places.append(self.rgb_patch_encoder.pos_emb(rgb_mask.visible))
        # As in the original the places are added a second time, and the global token goes in unencoded.
        context = torch.cat([encoded + torch.cat(places, dim=1), token], dim=1)
        queries = [self.hs_patch_encoder.hidden(hs_mask.restored)]
        queries.append(self.rgb_patch_encoder.hidden(rgb_mask.restored))
        fused = self.fusion_layer(torch.cat(queries, dim=1), context)
        border = hs_mask.restored.shape[1]
        hs_restored, rgb_restored = self.hs_decoder(fused[:, :border]), self.rgb_decoder(fused[:, border:])
        hs_target, rgb_target = _take(hs_patches, hs_mask.restored), _take(rgb_patches, rgb_mask.restored)
        loss = F.mse_loss(hs_restored, hs_target) + F.mse_loss(rgb_restored, rgb_target)
        return Pretraining(loss, hs_restored, hs_target, rgb_restored, rgb_target)


@dataclass(frozen=True)
class ClassifierConfig:
    """A classifier over the encoder.

    Attributes:
        modality: which images it is given.
        mean_pooling: whether the tokens are averaged, or the global token's output is used.
        band_indices: rows of the band positions when the image holds only these bands.
    """

    network: BiMAEConfig
    classes: int
    modality: Modality = "bimodal"
    mean_pooling: bool = True
    band_indices: tuple[int, ...] | None = field(default=None)


class BiMAEClassifier(nn.Module):
    """Classes of whole objects from one or both images."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        network = config.network
        values = network.patch**2
        encoders = {
            "hs": lambda: TokenEncoder(network.bands, values, network.dim),
            "rgb": lambda: TokenEncoder(network.rgb_patches, 3 * values, network.dim),
        }
        if config.modality == "bimodal":
            self.hs_patch_encoder, self.rgb_patch_encoder = encoders["hs"](), encoders["rgb"]()
        else:
            self.patch_encoder = encoders[config.modality]()
        self.encoder = Encoder(network)
        if not config.mean_pooling:
            token = torch.empty(1, 1, network.dim).normal_(std=_TOKEN_SPREAD)
            self.global_token = nn.Parameter(token, requires_grad=False)
        self.norm1 = nn.LayerNorm(network.dim, _EPSILON)
        self.classification_head = nn.Linear(network.dim, config.classes)

    def forward(self, hs: Tensor | None, rgb: Tensor | None) -> Tensor:
        """Logits (B, classes); the image of a modality that is not used may be None."""
        tokens = torch.cat(self._tokens(hs, rgb), dim=1)
        if not self.config.mean_pooling:
            tokens = torch.cat([tokens, self.global_token.expand(len(tokens), -1, -1)], dim=1)
        encoded = self.norm1(self.encoder(tokens))
        pooled = encoded.mean(dim=1) if self.config.mean_pooling else encoded[:, -1]
        logits: Tensor = self.classification_head(pooled)
        return logits

    def _tokens(self, hs: Tensor | None, rgb: Tensor | None) -> list[Tensor]:
        both, found = self.config.modality == "bimodal", []
        if self.config.modality != "rgb":
            if hs is None:
                raise ValueError("the hyperspectral image is missing")
            encoder = self.hs_patch_encoder if both else self.patch_encoder
            found.append(encoder(hs_tokens(hs), self._bands(hs.device)))
        if self.config.modality != "hs":
            if rgb is None:
                raise ValueError("the colour image is missing")
            encoder = self.rgb_patch_encoder if both else self.patch_encoder
            found.append(encoder(rgb_tokens(rgb, self.config.network.patch)))
        return found

    def _bands(self, device: torch.device) -> Tensor | None:
        chosen = self.config.band_indices
        return None if chosen is None else torch.tensor(chosen, device=device)


def _take(tokens: Tensor, places: Tensor) -> Tensor:
    """(B, n, values) at (B, m) places to (B, m, values)."""
    return tokens.gather(1, places.unsqueeze(-1).expand(-1, -1, tokens.shape[2]))
