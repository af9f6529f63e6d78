"""The HSIMAE forward pass for processors: channels outermost, windows innermost.

Every matrix product is then a large one over all tokens of a batch. What lies between the products runs in
compiled kernels that take the windows sixteen at a time: the many tiny attentions (4, 9 or 36 tokens, 16
channels a head) never leave the cache. Work space is made once a thread, and a batch is small enough for the
cache.
"""

import math
import threading

import torch
from torch import Tensor
from torch.nn import functional as F

from hsi_toolkit.inference.folding import NORM_EPS, FoldedBlock, FoldedNetwork
from hsi_toolkit.kernels import WIDTH, Array, add_product, array, attend, gate, normalise, quantise


class FeatureMajorForward:
    """Logits of windows, computed on the calling thread; several threads may call one instance.

    Args:
        network: the folded weights.
        dtype: of the matrix products: float32, bfloat16 or int8. What goes between them is float32, or
            bfloat16 where the products are not; int8 has a scale for each token and each row of a matrix. The
            residual stream is float32, and so is all other arithmetic.
    """

    def __init__(self, network: FoldedNetwork, dtype: torch.dtype = torch.float32) -> None:
        self.network, self.dtype = network, dtype
        # Of products, and of what becomes one of their operands.
        self._wide = torch.int32 if dtype == torch.int8 else dtype
        self._between = torch.bfloat16 if dtype == torch.int8 else dtype
        self._spatial, self._spectral, self._joint = (
            [_Weights(block, dtype) for block in blocks]
            for blocks in (network.spatial, network.spectral, network.joint)
        )
        self._embed, self._positions = network.embed.float(), network.positions.float().unsqueeze(-1)
        self._head, self._head_bias = network.head.float(), network.head_bias.float()
        self._threads = threading.local()

    def __call__(self, windows: Tensor) -> Tensor:
        """Logits (n, K) float32 of windows (n, F, side, side) float32."""
        count = len(windows)
        windows = F.pad(windows, (0, 0) * 3 + (0, -count % WIDTH))
        dim, groups, cells, n = self.network.dim, self.network.groups, self.network.cells, len(windows)
        stream = self._tokens(windows)
        flat = stream.view(dim, -1)
        if self._spatial:
            spatial = self._take("spatial", dim, cells, groups, n).copy_(stream.transpose(1, 2))
            self._run(self._spatial, spatial.view(dim, -1), cells)
            self._run(self._spectral, flat, groups)
            stream.add_(spatial.transpose(1, 2))
        self._run(self._joint, flat, groups * cells)
        pooled = _scaled(flat).view(dim, groups, cells, n).mean(dim=2)[..., :count]
        return torch.addmm(self._head_bias, pooled.permute(2, 1, 0).reshape(count, -1), self._head.T)

    def _tokens(self, windows: Tensor) -> Tensor:
        """Embedded tokens (D, T, L, n)."""
        net, n = self.network, len(windows)
        cut = windows.reshape(n, net.groups, -1, net.side, net.patch, net.side, net.patch)
        values = cut.permute(2, 4, 6, 1, 3, 5, 0).reshape(self._embed.shape[1], -1)
        tokens = torch.mm(self._embed, values, out=self._take("stream", net.dim, values.shape[1]))
        return tokens.view(net.dim, net.groups, net.cells, n).add_(self._positions)

    def _run(self, blocks: "list[_Weights]", stream: Tensor, length: int) -> None:
        """Run blocks in place on ``stream`` (D, length * rest), the sequences being of ``length``."""
        dim, tokens = stream.shape
        sequences = (self.network.heads, dim // self.network.heads, length, tokens // length)
        lines = array(stream)
        scaled = self._take("scaled", dim, tokens, dtype=self.dtype)
        scales = array(self._take("scales", tokens))
        attended = self._take("attended", dim, tokens, dtype=self._between)
        product = self._take("product", dim, tokens, dtype=self._wide)
        for weights in blocks:
            normalise(lines, NORM_EPS, array(scaled), scales)
            qkv = weights.qkv(scaled, self._take("hidden", 3 * dim, tokens, dtype=self._wide))
            in_heads, out_heads = array(qkv).reshape(3, *sequences), array(attended).reshape(sequences)
            attend(in_heads, weights.qkv.rows, scales, weights.qkv.bias, out_heads)
            operand, own = self._operand(attended, scales)
            sums = array(weights.proj(operand, product))
            add_product(lines, sums, weights.proj.rows, own, weights.proj.bias)

            normalise(lines, NORM_EPS, array(scaled), scales)
            hidden = self._take("hidden", len(weights.gate_up.matrix), tokens, dtype=self._wide)
            weights.gate_up(scaled, hidden)
            gated = self._take("gated", len(hidden) // 2, tokens, dtype=self._between)
            gate(array(hidden), weights.gate_up.rows, scales, weights.gate_up.bias, array(gated))
            operand, own = self._operand(gated, scales)
            sums = array(weights.down(operand, product))
            add_product(lines, sums, weights.down.rows, own, weights.down.bias)

    def _operand(self, values: Tensor, scales: Array) -> tuple[Tensor, Array]:
        """``values`` (n, tokens) as an operand of a product, and its tokens' scales."""
        if self.dtype != torch.int8:
            return values, scales
        rounded = self._take("rounded", *values.shape, dtype=torch.int8)
        own = array(self._take("own scales", values.shape[1]))
        quantise(array(values), array(rounded), own)
        return rounded, own

    def _take(self, name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """This thread's buffer of that name, grown when needed, as a tensor of ``shape``."""
        buffers: dict[str, Tensor] = self._threads.__dict__.setdefault("buffers", {})
        size = math.prod(shape)
        if name not in buffers or buffers[name].numel() < size:
            buffers[name] = torch.empty(size, dtype=dtype)
        return buffers[name][:size].view(shape)


class _Layer:
    """A matrix (out, in) in the type of the products, a scale for each of its rows, and a bias (out,)."""

    def __init__(self, matrix: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        rows = torch.ones(len(matrix), dtype=matrix.dtype)
        if dtype == torch.int8:
            rows = matrix.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / 127
            matrix = (matrix / rows.unsqueeze(1)).round()
        self.matrix = matrix.to(dtype)
        self.rows, self.bias = array(rows.float()), array(bias.float())

    def __call__(self, operand: Tensor, out: Tensor) -> Tensor:
        """``matrix @ operand``; ``operand`` is (in, tokens)."""
        multiply = torch._int_mm if self.matrix.dtype == torch.int8 else torch.mm
        return multiply(self.matrix, operand, out=out)


class _Weights:
    """A folded block's layers."""

    def __init__(self, block: FoldedBlock, dtype: torch.dtype) -> None:
        self.qkv = _Layer(block.qkv, block.query_bias, dtype)
        self.proj = _Layer(block.proj, block.proj_bias, dtype)
        self.gate_up = _Layer(block.gate_up, block.gate_up_bias, dtype)
        self.down = _Layer(block.down, block.down_bias, dtype)


def _scaled(stream: Tensor) -> Tensor:
    """The stream (D, tokens) divided by each token's root mean square: LayerNorm, as it is centred."""
    return stream * (stream.square().mean(dim=0) + NORM_EPS).rsqrt_()
