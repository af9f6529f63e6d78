"""Sparse sampling attention against its definition, token by token."""

import pytest
import torch
from torch import Tensor, nn

from hsi_toolkit.models.hypersigma.attention import Grid, SampledAttention


def by_definition(attention: SampledAttention, x: Tensor, grid: Grid) -> Tensor:
    """One token, head and point at a time."""
    rows, columns = grid
    inner, size = attention.inner, attention.head_dim
    out = torch.zeros(*x.shape[:2], inner)
    for sample, tokens in enumerate(attention.qkv(x)):
        q, k, v = tokens[:, :inner], tokens[:, inner : 2 * inner], tokens[:, 2 * inner :]
        offsets = attention.sampling_offsets(q).view(-1, attention.heads, attention.points, 2)
        for token in range(rows * columns):
            for head in range(attention.heads):
                part = slice(head * size, (head + 1) * size)
                places = offsets[token, head] + torch.tensor([token % columns, token // columns])
                keys, values = (bilinear(each[:, part], places, grid) for each in (k, v))
                weights = (keys @ q[token, part] * size**-0.5).softmax(dim=0)
                out[sample, token, part] = weights @ values
    return attention.proj(out)


def bilinear(table: Tensor, places: Tensor, grid: Grid) -> Tensor:
    """Rows (points, channels) interpolated at places (column, row); zero outside."""
    found = torch.zeros(len(places), table.shape[1])
    for row in range(grid[0]):
        for column in range(grid[1]):
            distance = (places - torch.tensor([column, row])).abs().clamp(max=1)
            found += (1 - distance).prod(dim=1, keepdim=True) * table[row * grid[1] + column]
    return found


# Without gradients heads of a multiple of 16 channels go through the compiled kernel.
@pytest.mark.parametrize(("dim", "heads"), [(12, 3), (11, 3), (64, 2)])
@pytest.mark.parametrize("trained", [True, False])
def test_agrees_with_the_definition_also_where_heads_leave_channels_over(
    dim: int, heads: int, trained: bool
) -> None:
    torch.manual_seed(1)
    attention = SampledAttention(dim, heads, points=5)
    nn.init.normal_(attention.sampling_offsets.weight, std=2.0)
    x = torch.randn(2, 12, dim)
    with torch.set_grad_enabled(trained):
        computed = attention(x, (3, 4))
    torch.testing.assert_close(computed, by_definition(attention, x, (3, 4)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dim", [12, 48])
def test_a_missing_value_stays_in_its_own_sample(dim: int) -> None:
    attention = SampledAttention(dim, 3, points=4)
    x = torch.randn(2, 9, dim)
    x[0, 4] = torch.nan
    with torch.no_grad():
        out = attention(x, (3, 3))
    assert out[0, 4].isnan().all()
    assert out[1].isfinite().all()


@pytest.mark.parametrize("dim", [16, 32])
@pytest.mark.parametrize("trained", [True, False])
def test_half_precision_samples_the_same_places_of_a_large_grid(trained: bool, dim: int) -> None:
    torch.manual_seed(2)
    attention = SampledAttention(dim, 2, points=4)
    nn.init.zeros_(attention.sampling_offsets.weight)
    attention.sampling_offsets.bias.data.fill_(0.25)
    x = torch.randn(1, 64 * 64, dim)
    with torch.set_grad_enabled(trained):
        exact = attention(x, (64, 64))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = attention(x, (64, 64))
        pure = attention.to(torch.bfloat16)(x.to(torch.bfloat16), (64, 64))
    for rounded in (mixed, pure):
        assert rounded.dtype == torch.bfloat16
        assert (rounded - exact).abs().max() < 0.05 * exact.abs().max()
