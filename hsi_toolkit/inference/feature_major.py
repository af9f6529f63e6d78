"""The HSIMAE forward pass for processors: channels outermost, windows innermost.

Every matrix product is then a large one over all tokens of a batch, and the many tiny attentions (4, 9 or 36
tokens, 16 channels a head) run as a few vectorised sums over neighbouring windows instead of thousands of
tiny matrix products. Work space is made once a thread, and a batch is small enough for the cache.
"""

import math
import threading

import torch
from torch import Tensor

from hsi_toolkit.inference.folding import NORM_EPS, FoldedBlock, FoldedNetwork


class FeatureMajorForward:
    """Logits of windows, computed on the calling thread; several threads may call one instance.

    Args:
        network: the folded weights.
        dtype: of the matrix products. With bfloat16 the residual stream and the attention stay float32.
    """

    def __init__(self, network: FoldedNetwork, dtype: torch.dtype = torch.float32) -> None:
        self.network, self.dtype = network, dtype
        self._spatial, self._spectral, self._joint = (
            [_Weights(block, dtype) for block in blocks]
            for blocks in (network.spatial, network.spectral, network.joint)
        )
        self._embed, self._positions = network.embed.float(), network.positions.float().unsqueeze(-1)
        self._head, self._head_bias = network.head.float(), network.head_bias.float()
        self._threads = threading.local()

    def __call__(self, windows: Tensor) -> Tensor:
        """Logits (n, K) float32 of windows (n, F, side, side) float32."""
        dim, groups, cells, n = self.network.dim, self.network.groups, self.network.cells, len(windows)
        stream = self._tokens(windows)
        flat = stream.view(dim, -1)
        if self._spatial:
            spatial = self._take("spatial", dim, cells, groups, n).copy_(stream.transpose(1, 2))
            for weights in self._spatial:
                self._block(weights, spatial.view(dim, -1), cells)
            for weights in self._spectral:
                self._block(weights, flat, groups)
            stream.add_(spatial.transpose(1, 2))
        for weights in self._joint:
            self._block(weights, flat, groups * cells)
        pooled = self._scaled(flat).view(dim, groups, cells, n).mean(dim=2)
        return torch.addmm(self._head_bias, pooled.permute(2, 1, 0).reshape(n, -1), self._head.T)

    def _tokens(self, windows: Tensor) -> Tensor:
        """Embedded tokens (D, T, L, n)."""
        net, n = self.network, len(windows)
        cut = windows.reshape(n, net.groups, -1, net.side, net.patch, net.side, net.patch)
        values = cut.permute(2, 4, 6, 1, 3, 5, 0).reshape(self._embed.shape[1], -1)
        tokens = torch.mm(self._embed, values, out=self._take("stream", net.dim, values.shape[1]))
        return tokens.view(net.dim, net.groups, net.cells, n).add_(self._positions)

    def _block(self, weights: "_Weights", stream: Tensor, length: int) -> None:
        """Run one block in place on ``stream`` (D, length * rest), the sequences being of ``length``."""
        dim, tokens = stream.shape
        qkv = self._product(weights.qkv, self._operand(self._scaled(stream)))
        if self.dtype != torch.float32:
            qkv = self._take("qkv", 3 * dim, tokens).copy_(qkv)
        qkv[:dim].add_(weights.query_bias)
        self._attend(qkv.view(3, self.network.heads, -1, length, tokens // length))
        self._add_product(stream, weights.proj, self._operand(qkv[:dim]), weights.proj_bias)

        scaled = self._operand(self._scaled(stream))
        hidden = self._take("hidden", weights.gate_up.shape[0], tokens, dtype=self.dtype)
        torch.addmm(weights.gate_up_bias, weights.gate_up, scaled, out=hidden)
        gate, up = hidden.chunk(2)
        torch.ops.aten.silu_(gate)
        self._add_product(stream, weights.down, gate.mul_(up), weights.down_bias)

    def _attend(self, qkv: Tensor) -> None:
        """Attention within sequences of (3, heads, channels, length, rest); the result replaces the queries.

        One pass a channel for the scores and one a token for the sums, each vectorised over ``rest``.
        """
        query, key, value = qkv
        heads, channels, length, rest = query.shape
        scores = self._take("scores", heads, length, length, rest)
        torch.mul(query[:, 0, :, None], key[:, 0, None], out=scores)
        for channel in range(1, channels):
            scores.addcmul_(query[:, channel, :, None], key[:, channel, None])
        weights = torch.softmax(scores, dim=2)
        torch.mul(weights[:, None, :, 0], value[:, :, :1], out=query)
        for token in range(1, length):
            query.addcmul_(weights[:, None, :, token], value[:, :, token : token + 1])

    def _scaled(self, stream: Tensor) -> Tensor:
        """The stream (D, tokens) divided by each token's root mean square: LayerNorm, as it is centred."""
        out = self._take("scaled", *stream.shape)
        torch.mul(stream, stream, out=out)
        return torch.mul(stream, (out.mean(dim=0) + NORM_EPS).rsqrt_(), out=out)

    def _operand(self, values: Tensor) -> Tensor:
        """``values`` in the type of the matrix products."""
        if self.dtype == torch.float32:
            return values
        return self._take("operand", *values.shape, dtype=self.dtype).copy_(values)

    def _product(self, matrix: Tensor, operand: Tensor) -> Tensor:
        out = self._take("hidden", matrix.shape[0], operand.shape[1], dtype=self.dtype)
        return torch.mm(matrix, operand, out=out)

    def _add_product(self, stream: Tensor, matrix: Tensor, operand: Tensor, bias: Tensor) -> None:
        """Add ``matrix @ operand + bias`` to the stream."""
        if self.dtype == torch.float32:
            stream.addmm_(matrix, operand)
        else:
            out = self._take("product", *stream.shape, dtype=self.dtype)
            stream.add_(torch.mm(matrix, operand, out=out))
        stream.add_(bias)

    def _take(self, name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """This thread's buffer of that name, grown when needed, as a tensor of ``shape``."""
        buffers: dict[str, Tensor] = self._threads.__dict__.setdefault("buffers", {})
        size = math.prod(shape)
        if name not in buffers or buffers[name].numel() < size:
            buffers[name] = torch.empty(size, dtype=dtype)
        return buffers[name][:size].view(shape)


class _Weights:
    """A folded block's matrices in the type of the products, and its biases as columns."""

    def __init__(self, block: FoldedBlock, dtype: torch.dtype) -> None:
        self.qkv, self.query_bias = block.qkv.to(dtype), _column(block.query_bias)
        self.proj, self.proj_bias = block.proj.to(dtype), _column(block.proj_bias)
        self.gate_up, self.gate_up_bias = block.gate_up.to(dtype), _column(block.gate_up_bias).to(dtype)
        self.down, self.down_bias = block.down.to(dtype), _column(block.down_bias)


def _column(bias: Tensor) -> Tensor:
    return bias.float().unsqueeze(1)
