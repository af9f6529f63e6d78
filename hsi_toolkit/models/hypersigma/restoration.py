"""What denoising and super-resolution share: encoders that give maps back at the resolution of the image."""

from dataclasses import dataclass

from torch import Tensor, nn

from hsi_toolkit.models.hypersigma.blocks import (
    BlockStack,
    PatchEmbed,
    as_maps,
    conv3x3,
    enhance,
    gate,
    position_table,
    sampling_blocks,
    unused,
)
from hsi_toolkit.models.hypersigma.encoders import (
    BASE,
    SPECTRAL_DIM,
    SpatialConfig,
    SpatialTransformer,
    SpectralConfig,
    SpectralEncoder,
    TransformerSize,
    unread_convolutions,
)

REFINING_DEPTH = 4
REFINING_INTERVAL = 3


@dataclass(frozen=True)
class RestorationConfig:
    """A network that returns tiles as it was given them, (bands, img_size, img_size).

    ``refined`` are the channels of the blocks at full resolution of the spatial network, ``spectral_dim``
    those of the spectral features.
    """

    bands: int
    img_size: int
    patch: int
    tokens: int
    positions: bool
    size: TransformerSize = BASE
    refined: int = 180
    spectral_dim: int = SPECTRAL_DIM

    @property
    def spatial(self) -> SpatialConfig:
        """The spatial encoder."""
        return SpatialConfig(self.bands, self.img_size, self.patch, self.size, self.positions)

    @property
    def spectral(self) -> SpectralConfig:
        """The spectral encoder, read from its last block."""
        return SpectralConfig(
            self.img_size,
            self.tokens,
            self.size.out_indices[-1:],
            size=self.size,
            positions=self.positions,
            out_dim=self.spectral_dim,
        )

    @property
    def spectral_adapter(self) -> SpectralConfig:
        """The blocks behind the spectral encoder, on its features; the rest of that network is unused."""
        size = TransformerSize(
            self.spectral_dim,
            REFINING_DEPTH,
            self.size.heads,
            (REFINING_DEPTH - 1,),
            REFINING_INTERVAL,
            self.size.drop_path,
        )
        return SpectralConfig(
            self.img_size,
            self.tokens,
            (REFINING_DEPTH - 1,),
            size=size,
            positions=self.positions,
            out_dim=self.spectral_dim,
        )


class Refining(nn.Module):
    """Four blocks on the pixels of a map: their parameters stand beside those of what they belong to."""

    patch_embed_add: PatchEmbed
    pos_embed_add: nn.Parameter | None
    blocks_add: BlockStack

    def add_refinement(self, config: RestorationConfig, channels: int) -> None:
        """Own the blocks, with that many channels."""
        size = config.size
        self.patch_embed_add = PatchEmbed(size.dim, channels, patch=1)
        self.pos_embed_add = position_table(config.img_size**2, channels) if config.positions else None
        self.blocks_add = sampling_blocks(
            REFINING_DEPTH, channels, size.heads, interval=REFINING_INTERVAL, drop_path=size.drop_path
        )

    def refine(self, maps: Tensor) -> Tensor:
        """Maps (N, channels, H, W) of maps (N, dim, H, W)."""
        tokens, grid = self.patch_embed_add(maps)
        if self.pos_embed_add is not None:
            tokens = tokens + self.pos_embed_add
        (refined,) = self.blocks_add.outputs(tokens, grid, (REFINING_DEPTH - 1,))
        return as_maps(refined, grid)


class RestorationEncoder(SpatialTransformer, Refining):
    """The spatial encoder of restoration: the last map, at the resolution of the image."""

    def __init__(self, config: RestorationConfig) -> None:
        super().__init__(config.spatial)
        self.restoration = config
        dim = config.size.dim
        up = nn.ConvTranspose2d(dim, dim, kernel_size=2, stride=2)
        self.up1: nn.ConvTranspose2d
        if config.patch == 1:
            unused(self, up1=up)
        else:
            self.up1 = up

    def last_map(self, x: Tensor) -> Tensor:
        """The map (N, dim, H, W) of the last block for images (N, bands, H, W)."""
        (deepest,) = self.maps(x, last_only=True)
        if self.config.patch == 1:
            return deepest
        enlarged: Tensor = self.up1(deepest)
        return enlarged


class SpatialRestoration(RestorationEncoder):
    """Refined maps beside the image: what the spatial denoiser and super-resolution have in common."""

    def __init__(self, config: RestorationConfig) -> None:
        super().__init__(config)
        bands, channels = config.bands, config.refined
        self.add_refinement(config, channels)
        self.conv1_reconstruct = conv3x3(channels, channels)
        self.conv2_reconstruct = conv3x3(channels, bands)
        self.conv3_reconstruct = conv3x3(2 * bands, bands)
        self.conv_tail = conv3x3(bands, bands)
        unused(self, conv_head=conv3x3(bands, bands))

    def restored(self, x: Tensor) -> Tensor:
        """Features (N, bands, H, W) to be joined with images (N, bands, H, W)."""
        features: Tensor = self.conv2_reconstruct(self.conv1_reconstruct(self.refine(self.last_map(x))))
        return features


class FusedSpatialEncoder(RestorationEncoder):
    """The spatial encoder of the fused networks: the map is refined outside, its own refinement unused."""

    def __init__(self, config: RestorationConfig) -> None:
        super().__init__(config)
        bands, channels = config.bands, config.refined
        self.add_refinement(config, channels)
        for member in (self.patch_embed_add, self.pos_embed_add, self.blocks_add):
            if member is not None:
                member.requires_grad_(False)
        unused(
            self,
            conv1_reconstruct=conv3x3(config.size.dim, channels),
            conv2_reconstruct=conv3x3(channels, bands),
            conv3_reconstruct=conv3x3(2 * bands, bands),
            conv_head=conv3x3(bands, bands),
            conv_tail=conv3x3(bands, bands),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The map (N, dim, H, W) of the last block for images (N, bands, H, W)."""
        return self.last_map(x)


class Adapter(Refining):
    """Refines a spatial map to as many channels as there are bands (``Adpater`` in the original)."""

    def __init__(self, config: RestorationConfig) -> None:
        super().__init__()
        bands, dim = config.bands, config.size.dim
        self.add_refinement(config, bands)
        # The class was copied from the encoder; all of these are of its first half or of its end.
        unused(
            self,
            patch_embed=PatchEmbed(bands, dim, patch=1),
            norm=nn.LayerNorm(dim),
            up1=nn.ConvTranspose2d(dim, dim, kernel_size=2, stride=2),
            conv1_reconstruct=conv3x3(bands, bands),
            conv2_reconstruct=conv3x3(bands, bands),
            conv_head=conv3x3(bands, bands),
        )
        if config.positions:
            unused(self, pos_embed=position_table(config.img_size**2, dim))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, bands, H, W) of maps (N, dim, H, W)."""
        return self.refine(maps)


class SpectralAdapter(SpectralEncoder):
    """Four blocks on the features of the spectral encoder; what else an encoder has is unused."""

    def __init__(self, config: RestorationConfig) -> None:
        super().__init__(config.spectral_adapter)
        _own_unread(self, config)
        for name, parameter in self.named_parameters():
            if not name.startswith("blocks."):
                parameter.requires_grad_(False)

    def forward(self, features: Tensor) -> Tensor:  # type: ignore[override]
        """Map features (N, tokens, dim) to the same shape."""
        (refined,) = self.blocks.outputs(features, self.config.grid, self.wanted)
        return refined


class FusedRestoration(nn.Module):
    """Both encoders and adapters: refined spatial maps, enhanced by the spectra."""

    def __init__(self, config: RestorationConfig) -> None:
        super().__init__()
        self.config = config
        self.spat_encoder = FusedSpatialEncoder(config)
        self.spec_encoder = SpectralEncoder(config.spectral)
        _own_unread(self.spec_encoder, config)
        self.adapter = Adapter(config)
        self.adapter_spec = SpectralAdapter(config)
        self.fc_spec = gate(config.tokens, config.spectral_dim, config.bands)
        self.conv3_reconstruct = conv3x3(2 * config.bands, config.bands)

    def restored(self, x: Tensor) -> Tensor:
        """Features (N, bands, H, W) to be joined with images (N, bands, H, W)."""
        maps = self.adapter(self.spat_encoder(x))
        spectral = self.adapter_spec(self.spec_encoder(x)[0])
        return enhance(maps, self.fc_spec(spectral.mean(dim=2)))


def _own_unread(encoder: SpectralEncoder, config: RestorationConfig) -> None:
    """Give a spectral encoder what those of restoration own and never use."""
    bands = config.bands
    unused(encoder, **unread_convolutions(config.tokens, 1))
    unused(encoder, conv_head=conv3x3(bands, bands), conv1_reconstruct=conv3x3(bands, bands))
