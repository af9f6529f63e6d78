"""The two attentions of HyperSIGMA: all tokens with all tokens, and each token with a few sampled points."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Grid = tuple[int, int]
"""Rows and columns of the grid that tokens form, in raster order."""


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values.

    A head has ``dim // heads`` channels, so that the heads together may have fewer than ``dim``: the released
    denoisers divide 191 channels among 12 heads of 15.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = dim // heads
        self.inner = self.head_dim * heads
        self.qkv = nn.Linear(dim, 3 * self.inner)
        self.proj = nn.Linear(self.inner, dim)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Attend within each sequence of (N, length, dim); the grid is of no importance here."""
        n, length, _ = x.shape
        q, k, v = self.qkv(x).view(n, length, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(out.transpose(1, 2).reshape(n, length, self.inner))
        return projected


class SampledAttention(Attention):
    """Sparse sampling attention: every token attends to ``points`` places of the grid that its query chooses.

    Wang et al. 2025, "HyperSIGMA: Hyperspectral Intelligence Comprehension Foundation Model", IEEE TPAMI,
    section III-B. Keys and values of all heads are sampled together, in one bilinear ``grid_sample``; what
    lies outside the grid is zero.
    """

    def __init__(self, dim: int, heads: int, points: int) -> None:
        super().__init__(dim, heads)
        self.points = points
        self.sampling_offsets = nn.Linear(self.inner, heads * points * 2)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Attend within each sequence of (N, rows * columns, dim) that forms ``grid`` in raster order."""
        n, length, _ = x.shape
        rows, columns = grid
        qkv = self.qkv(x)
        places = self._places(qkv[..., : self.inner], grid)
        by_head = qkv.view(n, length, 3, self.heads, self.head_dim)
        keys_values = by_head[:, :, 1:].permute(0, 3, 2, 4, 1).reshape(n * self.heads, -1, rows, columns)
        sampled = F.grid_sample(
            keys_values, places, mode="bilinear", padding_mode="zeros", align_corners=False
        )
        keys, values = sampled.view(n * self.heads, 2, self.head_dim, length, self.points).unbind(1)
        queries = by_head[:, :, 0].permute(0, 2, 3, 1).reshape(n * self.heads, self.head_dim, length, 1)
        scores = (queries * keys).sum(dim=1) * self.head_dim**-0.5
        out = (values * scores.softmax(dim=-1).unsqueeze(1)).sum(dim=-1)
        projected: Tensor = self.proj(out.reshape(n, self.inner, length).transpose(1, 2))
        return projected

    def _places(self, queries: Tensor, grid: Grid) -> Tensor:
        """Where to sample, (N * heads, length, points, 2) as (x, y) from -1 to 1 across the grid.

        Offsets are in cells, from the centre of the token's own cell.
        """
        n, length, _ = queries.shape
        rows, columns = grid
        offsets = self.sampling_offsets(queries).view(n, length, self.heads, self.points, 2)
        y, x = torch.meshgrid(
            torch.arange(rows, device=queries.device, dtype=offsets.dtype),
            torch.arange(columns, device=queries.device, dtype=offsets.dtype),
            indexing="ij",
        )
        centres = torch.stack([x, y], dim=-1).view(length, 1, 1, 2) + 0.5
        cells = offsets.new_tensor([columns, rows])
        places: Tensor = 2 * (centres + offsets) / cells - 1
        return places.transpose(1, 2).flatten(0, 1)
