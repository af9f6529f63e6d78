"""The two attentions of HyperSIGMA: all tokens with all tokens, and each token with a few sampled points."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LANES = 16
"""Channels of a head that the compiled kernel takes at a time."""

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
        qkv: Tensor = self.qkv(x.to(self.qkv.weight.dtype))
        # Of attention itself a processor gains nothing in 16 bits.
        given = qkv if qkv.is_cuda else qkv.to(torch.promote_types(qkv.dtype, torch.float32))
        q, k, v = given.view(n, length, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v).to(qkv.dtype)
        projected: Tensor = self.proj(out.transpose(1, 2).reshape(n, length, self.inner))
        return projected


class SampledAttention(Attention):
    """Sparse sampling attention: every token attends to ``points`` places of the grid that its query chooses.

    Wang et al. 2025, "HyperSIGMA: Hyperspectral Intelligence Comprehension Foundation Model", IEEE TPAMI,
    section III-B. Keys and values are interpolated bilinearly; what lies outside the grid is zero.
    """

    def __init__(self, dim: int, heads: int, points: int) -> None:
        super().__init__(dim, heads)
        self.points = points
        self.sampling_offsets = nn.Linear(self.inner, heads * points * 2)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Attend within each sequence of (N, rows * columns, dim) that forms ``grid`` in raster order."""
        n, length, _ = x.shape
        qkv: Tensor = self.qkv(x.to(self.qkv.weight.dtype))
        offsets: Tensor = self.sampling_offsets(qkv[..., : self.inner])
        # A place in a large grid needs more digits than half precision has.
        offsets = offsets.to(torch.promote_types(offsets.dtype, torch.float32))
        places = offsets.view(n, length, self.heads, self.points, 2) + _cells(grid, offsets)
        by_head = qkv.view(n, length, 3, self.heads, self.head_dim)
        if x.device.type == "cpu" and not torch.is_grad_enabled() and _has_kernel(by_head):
            out = _attend_by_kernel(by_head, places, grid)
        # On a CPU, sums of whole rows are up to five times as fast as grid_sample, which goes through
        # the grid once for each channel; their gradient is not.
        elif x.device.type == "cpu" and not torch.is_grad_enabled():
            out = _attend_rows(by_head.to(places.dtype), places, grid).to(qkv.dtype)
        else:
            out = _attend_sampled(by_head, places, grid)
        projected: Tensor = self.proj(out)
        return projected


def _cells(grid: Grid, like: Tensor) -> Tensor:
    """Column and row of each token, (length, 1, 1, 2)."""
    y, x = torch.meshgrid(
        *(torch.arange(count, device=like.device, dtype=like.dtype) for count in grid), indexing="ij"
    )
    return torch.stack([x, y], dim=-1).view(-1, 1, 1, 2)


def _has_kernel(qkv: Tensor) -> bool:
    """Whether heads fill vectors of numbers that the compiled kernel knows."""
    return qkv.dtype in (torch.float32, torch.bfloat16) and qkv.shape[-1] % LANES == 0


def _attend_by_kernel(qkv: Tensor, places: Tensor, grid: Grid) -> Tensor:
    """The same as ``_attend_sampled`` in one pass over the tokens, compiled for the processor."""
    # The compiler takes a second to load, which only who predicts should wait for.
    from hsi_toolkit.kernels import array, attend_sampled, in_parts

    n, length, _, heads, head_dim = qkv.shape
    out = qkv.new_empty(n, length, heads * head_dim)
    given = array(qkv.flatten(0, 1)), array(places.contiguous().flatten(0, 1))
    taken = array(out.view(n * length, heads, head_dim))
    in_parts(lambda start, stop: attend_sampled(*given, *grid, start, stop, taken), n * length)
    return out


def _attend_sampled(qkv: Tensor, places: Tensor, grid: Grid) -> Tensor:
    """What tokens attend to, (N, length, heads * head_dim), all heads in one ``grid_sample``.

    ``qkv`` is (N, length, 3, heads, head_dim) and ``places`` (N, length, heads, points, 2) are columns and
    rows, whole numbers at the cells' centres.
    """
    n, length, _, heads, head_dim = qkv.shape
    rows, columns = grid
    relative = (2 * places + 1) / places.new_tensor([columns, rows]) - 1
    keys_values = qkv[:, :, 1:].permute(0, 3, 2, 4, 1).reshape(n * heads, 2 * head_dim, rows, columns)
    sampled = F.grid_sample(
        keys_values.to(relative.dtype),
        relative.transpose(1, 2).flatten(0, 1),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    keys, values = sampled.to(qkv.dtype).view(n * heads, 2, head_dim, length, -1).unbind(1)
    queries = qkv[:, :, 0].permute(0, 2, 3, 1).reshape(n * heads, head_dim, length, 1)
    scores = (queries * keys).sum(dim=1) * head_dim**-0.5
    out: Tensor = (values * scores.softmax(dim=-1).unsqueeze(1)).sum(dim=-1)
    return out.view(n, heads * head_dim, length).transpose(1, 2)


def _attend_rows(qkv: Tensor, places: Tensor, grid: Grid) -> Tensor:
    """The same as ``_attend_sampled``: each sample is a weighted sum of the rows of four cells.

    A head's value at all points is one sum over four times as many cells, so that values are never sampled.
    """
    n, length, _, heads, head_dim = qkv.shape
    table = qkv.reshape(-1, head_dim)
    cells, weights = _corners(places, grid)
    sample = torch.arange(n, dtype=torch.int32).view(n, 1, 1, 1, 1) * length
    queries = (sample + cells) * (3 * heads) + torch.arange(heads, dtype=torch.int32).view(heads, 1, 1)
    keys = F.embedding_bag(
        (queries + heads).view(-1, 4), table, per_sample_weights=weights.view(-1, 4), mode="sum"
    )
    own = qkv[:, :, 0].reshape(n * length * heads, 1, head_dim)
    # A row times a matrix takes a third of the time of the matrix times a column.
    scores = torch.bmm(own, keys.view(n * length * heads, -1, head_dim).transpose(1, 2)) * head_dim**-0.5
    attention = scores.softmax(dim=-1).view(*weights.shape[:-1], 1) * weights
    out = F.embedding_bag(
        (queries + 2 * heads).flatten(-2).flatten(0, 2),
        table,
        per_sample_weights=attention.flatten(-2).flatten(0, 2),
        mode="sum",
    )
    return out.view(n, length, heads * head_dim)


def _corners(places: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The four cells around each place, as indices, and their bilinear weights; both (…, 4).

    Cells outside the grid have no weight.
    """
    (left, right), (at_left, at_right) = _neighbours(places[..., 0], grid[1])
    (upper, lower), (at_upper, at_lower) = _neighbours(places[..., 1], grid[0])
    upper, lower = upper * grid[1], lower * grid[1]
    cells = [upper + left, upper + right, lower + left, lower + right]
    weights = [at_upper * at_left, at_upper * at_right, at_lower * at_left, at_lower * at_right]
    return torch.stack(cells, dim=-1), torch.stack(weights, dim=-1)


def _neighbours(positions: Tensor, size: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The cells before and behind each of ``positions`` along an axis of ``size``, and their weights."""
    before = positions.floor()
    share = positions - before
    behind = before + 1
    weights = (1 - share) * _inside(before, size), share * _inside(behind, size)
    # Clamped as integers, for places may be NaN where the scene is.
    cells = before.int().clamp_(0, size - 1), behind.int().clamp_(0, size - 1)
    return cells, weights


def _inside(cells: Tensor, size: int) -> Tensor:
    return (cells >= 0).logical_and_(cells < size)
