"""The HSIMAE forward pass for CUDA: the network's own token order, few and fused kernels.

All tokens of a window stay one sequence in every block. What makes the spatial and the spectral branch
differ is only which tokens may see each other, a mask of the attention: no token is ever moved, and the
attention kernel gets one sequence a window and head instead of four or nine short ones.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from hsi_toolkit.inference.folding import NORM_EPS, FoldedBlock, FoldedNetwork


class TokenMajorForward:
    """Logits of windows on the weights' device.

    Args:
        network: the folded weights.
        dtype: of matrix products and attention; the residual stream is float32.
    """

    def __init__(self, network: FoldedNetwork, dtype: torch.dtype = torch.float32) -> None:
        self.network, self.dtype = network, dtype
        self._spatial, self._spectral, self._joint = (
            [_Weights(block, dtype) for block in blocks]
            for blocks in (network.spatial, network.spectral, network.joint)
        )
        self._embed = network.embed.float()
        self._positions = network.positions.float().flatten(1).T.contiguous()
        self._head, self._head_bias = network.head.float(), network.head_bias.float()
        index = torch.arange(network.groups * network.cells, device=network.embed.device)
        group, cell = index // network.cells, index % network.cells
        self._same_group = _mask(group, dtype)
        self._same_cell = _mask(cell, dtype)

    def __call__(self, windows: Tensor) -> Tensor:
        """Logits (n, K) float32 of windows (n, F, side, side) float32."""
        net, n = self.network, len(windows)
        cut = windows.reshape(n, net.groups, -1, net.side, net.patch, net.side, net.patch)
        values = cut.permute(0, 1, 3, 5, 2, 4, 6).reshape(n, net.groups * net.cells, -1)
        stream = F.linear(values, self._embed) + self._positions
        if self._spatial:
            spatial, spectral = stream, stream
            for weights in self._spatial:
                spatial = self._block(weights, spatial, self._same_group)
            for weights in self._spectral:
                spectral = self._block(weights, spectral, self._same_cell)
            stream = spatial + spectral
        for weights in self._joint:
            stream = self._block(weights, stream, None)
        pooled = _scaled(stream).view(n, net.groups, net.cells, net.dim).mean(dim=2)
        return F.linear(pooled.flatten(1), self._head, self._head_bias)

    def _block(self, weights: "_Weights", stream: Tensor, mask: Tensor | None) -> Tensor:
        n, length, dim = stream.shape
        qkv = F.linear(_scaled(stream).to(self.dtype), weights.qkv, weights.qkv_bias)
        query, key, value = qkv.view(n, length, 3, self.network.heads, -1).permute(2, 0, 3, 1, 4)
        # The scale is in the queries' weights already.
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0)
        attended = attended.transpose(1, 2).reshape(n, length, dim)
        stream = stream + F.linear(attended, weights.proj, weights.proj_bias)
        hidden = F.linear(_scaled(stream).to(self.dtype), weights.gate_up, weights.gate_up_bias)
        gate, up = hidden.chunk(2, dim=-1)
        return stream + F.linear(F.silu(gate) * up, weights.down, weights.down_bias)


class _Weights:
    """A folded block's weights in the type of the products."""

    def __init__(self, block: FoldedBlock, dtype: torch.dtype) -> None:
        dim = block.proj.shape[0]
        self.qkv = block.qkv.to(dtype)
        self.qkv_bias = F.pad(block.query_bias, (0, 2 * dim)).to(dtype)
        self.proj, self.proj_bias = block.proj.to(dtype), block.proj_bias.to(dtype)
        self.gate_up, self.gate_up_bias = block.gate_up.to(dtype), block.gate_up_bias.to(dtype)
        self.down, self.down_bias = block.down.to(dtype), block.down_bias.to(dtype)


def _scaled(stream: Tensor) -> Tensor:
    """The stream (n, tokens, D) divided by each token's root mean square: LayerNorm, as it is centred."""
    return F.rms_norm(stream, stream.shape[-1:], eps=NORM_EPS)


def _mask(kind: Tensor, dtype: torch.dtype) -> Tensor:
    """Additive attention mask (tokens, tokens): 0 between tokens of one kind, minus infinity elsewhere."""
    same = kind[:, None] == kind[None, :]
    return torch.zeros(same.shape, dtype=dtype, device=kind.device).masked_fill_(~same, -torch.inf)
