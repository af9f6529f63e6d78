"""An HSIMAE classifier rewritten so that the same numbers take fewer and larger steps.

The residual stream of a pre-norm transformer is only ever read through LayerNorm, which ignores a
constant added to all channels. So everything that is added to the stream is centred over the channels once
and for all, in the weights: LayerNorm then needs no mean. Its scale and shift go into the layers that read
it, the attention scale into the queries, key biases fall out of the softmax, and value biases pass through
it unchanged. All of it is exact and done in float64.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from hsi_toolkit.models.hsimae import HSIViT
from hsi_toolkit.models.layers import Attention, Block, SwiGLU

NORM_EPS = 1e-5
"""The epsilon of all LayerNorms of HSIMAE."""


@dataclass(frozen=True, eq=False)
class FoldedBlock:
    """One transformer block on a centred stream of D channels, with h hidden channels in its MLP.

    ``qkv`` (3D, D) with ``query_bias`` (D), ``proj`` (D, D), ``gate_up`` (2h, D) and ``down`` (D, h) are the
    weights; the inputs of ``qkv`` and ``gate_up`` are the stream divided by its root mean square.
    """

    qkv: Tensor
    query_bias: Tensor
    proj: Tensor
    proj_bias: Tensor
    gate_up: Tensor
    gate_up_bias: Tensor
    down: Tensor
    down_bias: Tensor

    @classmethod
    def of(cls, block: Block) -> Self:
        """The block's weights, folded, float64."""
        if not isinstance(block.mlp, SwiGLU):
            raise TypeError("only blocks with SwiGLU, those of the current generation, are folded")
        attention, mlp = block.attn, block.mlp
        centre = _centring(block.norm1.weight.numel(), block.norm1.weight.device)
        qkv, query_bias, value_bias = _fold_queries(attention, block.norm1)
        proj = attention.proj.weight.detach().double()
        gate_up = torch.cat([mlp.w1.weight, mlp.w3.weight]).detach().double()
        gate_up_bias = torch.cat([mlp.w1.bias, mlp.w3.bias]).detach().double()
        return cls(
            qkv=qkv,
            query_bias=query_bias,
            proj=centre @ proj,
            proj_bias=centre @ (attention.proj.bias.detach().double() + proj @ value_bias),
            gate_up=gate_up * block.norm2.weight.detach().double(),
            gate_up_bias=gate_up_bias + gate_up @ block.norm2.bias.detach().double(),
            down=centre @ mlp.w2.weight.detach().double(),
            down_bias=centre @ mlp.w2.bias.detach().double(),
        )


@dataclass(frozen=True, eq=False)
class FoldedNetwork:
    """All weights of an ``HSIViT`` for T band groups and L cells a window, K classes.

    ``embed`` (D, values) and ``positions`` (D, T, L), biases included, make tokens; ``head`` (K, T*D)
    applies to the mean over the cells of the stream divided by its root mean square.
    """

    groups: int
    side: int
    patch: int
    heads: int
    embed: Tensor
    positions: Tensor
    spatial: tuple[FoldedBlock, ...]
    spectral: tuple[FoldedBlock, ...]
    joint: tuple[FoldedBlock, ...]
    head: Tensor
    head_bias: Tensor

    @property
    def dim(self) -> int:
        """Channels D."""
        return self.embed.shape[0]

    @property
    def cells(self) -> int:
        """Cells L of a window."""
        return self.side**2

    @property
    def n_classes(self) -> int:
        """Number of classes K."""
        return self.head.shape[0]

    @classmethod
    def of(cls, network: HSIViT) -> Self:
        """The folded form of a classifier of the current generation, float64."""
        config = network.config
        centre = _centring(config.embed_dim, network.pos_embed.device)
        projection = network.patch_embed.proj
        bias = torch.zeros(config.embed_dim) if projection.bias is None else projection.bias
        positions = network.pos_embed[0].double() + bias.detach().to(centre)
        head = network.cls_head.weight.detach().double().view(-1, config.groups, config.embed_dim)
        scale, shift = network.norm.weight.detach().double(), network.norm.bias.detach().double()
        return cls(
            groups=config.groups,
            side=config.side,
            patch=config.patch_size,
            heads=config.num_heads,
            embed=centre @ projection.weight.detach().double().flatten(1),
            positions=(centre @ positions.T).view(-1, config.groups, config.cells),
            spatial=_fold_all(network.blocks_1),
            spectral=_fold_all(network.blocks_2),
            joint=_fold_all(network.blocks),
            head=(head * scale).flatten(1),
            head_bias=network.cls_head.bias.detach().double() + (head @ shift).sum(dim=1),
        )

    def of_pixels(self) -> Self:
        """The network for windows of one pixel: the middle cell alone, all of it equal to the pixel.

        The same numbers as ``models.classifier.pixel_logits``.
        """
        kernel = self.embed.view(self.dim, -1, self.patch**2).sum(dim=2)
        middle = self.positions[:, :, self.cells // 2, None]
        return replace(self, side=1, patch=1, embed=kernel, positions=middle)

    def gflop(self) -> float:
        """Arithmetic of one window in its matrix products, 1e9 operations."""
        blocks = (*self.spatial, *self.spectral, *self.joint)
        weights = sum(b.qkv.numel() + b.proj.numel() + b.gate_up.numel() + b.down.numel() for b in blocks)
        return 2e-9 * self.groups * self.cells * (weights + self.embed.numel())


def _fold_all(blocks: nn.ModuleList) -> tuple[FoldedBlock, ...]:
    return tuple(FoldedBlock.of(block) for block in blocks if isinstance(block, Block))


def _fold_queries(attention: Attention, norm: nn.LayerNorm) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value weights (3D, D) behind ``norm``, and the biases of queries and values."""
    scale, shift = norm.weight.detach().double(), norm.bias.detach().double()
    query, key, value = (layer.weight.detach().double() for layer in (attention.q, attention.k, attention.v))
    query = query * (query.shape[0] // attention.num_heads) ** -0.5
    query_bias = attention.q.bias.detach().double() * (query.shape[0] // attention.num_heads) ** -0.5
    qkv = torch.cat([query, key, value]) * scale
    return qkv, query_bias + query @ shift, attention.v.bias.detach().double() + value @ shift


def _centring(dim: int, device: torch.device) -> Tensor:
    """The matrix that takes the mean over the channels away."""
    return torch.eye(dim, dtype=torch.float64, device=device) - 1 / dim
