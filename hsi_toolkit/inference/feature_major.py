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
from hsi_toolkit.kernels import WIDTH, add_normalise, array, attend, gate, normalise


class FeatureMajorForward:
    """Logits of windows, computed on the calling thread; several threads may call one instance.

    Args:
        network: the folded weights.
        dtype: of the matrix products and what goes between them. The residual stream is float32, and so is
            all other arithmetic.
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
        scaled = self._run(self._joint, flat, groups * cells)
        pooled = scaled.float().view(dim, groups, cells, n).mean(dim=2)[..., :count]
        return torch.addmm(self._head_bias, pooled.permute(2, 1, 0).reshape(count, -1), self._head.T)

    def _tokens(self, windows: Tensor) -> Tensor:
        """Embedded tokens (D, T, L, n)."""
        net, n = self.network, len(windows)
        cut = windows.reshape(n, net.groups, -1, net.side, net.patch, net.side, net.patch)
        values = cut.permute(2, 4, 6, 1, 3, 5, 0).reshape(self._embed.shape[1], -1)
        tokens = torch.mm(self._embed, values, out=self._take("stream", net.dim, values.shape[1]))
        return tokens.view(net.dim, net.groups, net.cells, n).add_(self._positions)

    def _run(self, blocks: "list[_Weights]", stream: Tensor, length: int) -> Tensor:
        """Run blocks in place on ``stream`` (D, length * rest), the sequences being of ``length``.

        Returns:
            The stream divided by each token's root mean square: LayerNorm, as the stream is centred.
        """
        dim, tokens = stream.shape
        heads, rest = self.network.heads, tokens // length
        scaled, attended = self._take("scaled", dim, tokens), self._take("attended", dim, tokens)
        qkv, product = self._take("hidden", 3 * dim, tokens), self._take("product", dim, tokens)
        in_heads = array(qkv).reshape(3, heads, -1, length, rest)
        out_heads = array(attended).reshape(heads, -1, length, rest)
        lines, sums, operand = array(stream), array(product), array(scaled)
        normalise(lines, NORM_EPS, operand)
        for weights in blocks:
            torch.mm(weights.qkv, scaled, out=qkv)
            attend(in_heads, array(weights.query_bias), out_heads)
            torch.mm(weights.proj, attended, out=product)
            add_normalise(lines, sums, array(weights.proj_bias), NORM_EPS, operand)
            hidden = self._take("hidden", weights.gate_up.shape[0], tokens)
            torch.mm(weights.gate_up, scaled, out=hidden)
            gate(array(hidden), array(weights.gate_up_bias))
            torch.mm(weights.down, hidden[: len(hidden) // 2], out=product)
            add_normalise(lines, sums, array(weights.down_bias), NORM_EPS, operand)
        return scaled

    def _take(self, name: str, *shape: int) -> Tensor:
        """This thread's buffer of that name, grown when needed, as a tensor of ``shape``."""
        buffers: dict[str, Tensor] = self._threads.__dict__.setdefault("buffers", {})
        dtype = torch.float32 if name in ("stream", "spatial") else self.dtype
        size = math.prod(shape)
        if name not in buffers or buffers[name].numel() < size:
            buffers[name] = torch.empty(size, dtype=dtype)
        return buffers[name][:size].view(shape)


class _Weights:
    """A folded block's matrices in the type of the products, and its biases."""

    def __init__(self, block: FoldedBlock, dtype: torch.dtype) -> None:
        self.qkv, self.proj = block.qkv.to(dtype), block.proj.to(dtype)
        self.gate_up, self.down = block.gate_up.to(dtype), block.down.to(dtype)
        self.query_bias, self.proj_bias = block.query_bias.float(), block.proj_bias.float()
        self.gate_up_bias, self.down_bias = block.gate_up_bias.float(), block.down_bias.float()
