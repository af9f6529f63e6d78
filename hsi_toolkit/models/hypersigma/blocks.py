"""Transformer blocks of HyperSIGMA, stacks of them, and what stands between encoders and heads."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hsi_toolkit.models.hypersigma.attention import Attention, Grid, SampledAttention
from hsi_toolkit.models.layers import DropPath, Mlp, drop_path_rates

NORM_EPS = 1e-6
POINTS = 8
INIT_STD = 0.02


class Block(nn.Module):
    """Pre-norm transformer block with full (``points`` None) or sparse sampling attention.

    ``scale`` is the start value of learnt multipliers of both branches, which no released network has.
    """

    def __init__(
        self, dim: int, heads: int, points: int | None, drop_path: float = 0.0, scale: float | None = None
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = Attention(dim, heads) if points is None else SampledAttention(dim, heads, points)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim)
        self.gamma_1, self.gamma_2 = (
            None if scale is None else nn.Parameter(torch.full((dim,), scale)) for _ in range(2)
        )

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Map (N, length, dim) to (N, length, dim); the tokens form ``grid`` in raster order."""
        attended = self.attn(self.norm1(x), grid)
        x = x + self.drop_path(attended if self.gamma_1 is None else self.gamma_1 * attended)
        mixed = self.mlp(self.norm2(x).to(self.mlp.fc1.weight.dtype))
        out: Tensor = x + self.drop_path(mixed if self.gamma_2 is None else self.gamma_2 * mixed)
        return out


class BlockStack(nn.ModuleList):
    """Transformer blocks in a row.

    With ``recompute`` set, activations inside a block are computed again for the gradient instead of kept
    (Chen et al. 2016).
    """

    def __init__(self, blocks: Iterable[Block]) -> None:
        super().__init__(blocks)
        self.recompute = False

    def outputs(self, x: Tensor, grid: Grid, wanted: Sequence[int]) -> list[Tensor]:
        """What the blocks ``wanted`` give for tokens (N, length, dim), in the blocks' order.

        Blocks behind the last of them are not run.
        """
        found = []
        for index in range(max(wanted) + 1):
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(self[index], x, grid, use_reentrant=False)
            else:
                x = self[index](x, grid)
            if index in wanted:
                found.append(x)
        return found


def sampling_blocks(
    depth: int,
    dim: int,
    heads: int,
    *,
    interval: int,
    points: int = POINTS,
    drop_path: float = 0.0,
    last: int | None = None,
) -> BlockStack:
    """Blocks of which every ``interval``-th has full attention and the others ``points`` sampled points.

    Blocks behind the ``last`` that anyone reads exist because released files have them; they are frozen.
    """
    blocks = BlockStack(
        Block(dim, heads, None if (index + 1) % interval == 0 else points, rate)
        for index, rate in enumerate(drop_path_rates(drop_path, depth))
    )
    init_blocks(blocks)
    for index in range(depth if last is None else last + 1, depth):
        freeze(blocks[index])
    return blocks


def recompute_activations(network: nn.Module, on: bool = True) -> None:
    """Trade time for memory in all transformer blocks of ``network`` when training."""
    for module in network.modules():
        if isinstance(module, BlockStack):
            module.recompute = on


def round_blocks(network: nn.Module, dtype: torch.dtype) -> None:
    """Let all transformer blocks of ``network`` multiply in ``dtype``, for inference.

    Their matrices, nine tenths of the arithmetic and the memory, are converted in place. Everything else
    stays as it is: the sums that pass from block to block, norms, attention weights, embeddings and heads.
    """
    for block in network.modules():
        if isinstance(block, Block):
            for layer in block.modules():
                if isinstance(layer, nn.Linear):
                    layer.to(dtype)


class PatchEmbed(nn.Module):
    """Tokens of patches; a border too narrow for a patch is left out."""

    def __init__(self, channels: int, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> tuple[Tensor, Grid]:
        """Tokens (N, rows * columns, dim) of images (N, channels, H, W), and their grid."""
        embedded = self.proj(x)
        return embedded.flatten(2).transpose(1, 2), (embedded.shape[2], embedded.shape[3])


def as_maps(tokens: Tensor, grid: Grid) -> Tensor:
    """Maps (N, dim, rows, columns) of tokens (N, rows * columns, dim)."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *grid)


def position_table(length: int, dim: int) -> nn.Parameter:
    """A learnt position table (1, length, dim)."""
    table = nn.Parameter(torch.zeros(1, length, dim))
    nn.init.trunc_normal_(table, std=INIT_STD)
    return table


def gate(tokens: int, hidden: int, channels: int) -> nn.Sequential:
    """Spectral enhancement: weights from 0 to 1 of ``channels`` maps from ``tokens`` spectral values."""
    return nn.Sequential(
        nn.Linear(tokens, hidden, bias=False),
        nn.ReLU(),
        nn.Linear(hidden, channels, bias=False),
        nn.Sigmoid(),
    )


def enhance(maps: Tensor, weights: Tensor) -> Tensor:
    """Maps (N, channels, H, W) times one plus the ``weights`` (N, channels) of a ``gate``."""
    return maps * (1 + weights[:, :, None, None])


def conv3x3(channels: int, out: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size."""
    return nn.Conv2d(channels, out, kernel_size=3, padding=1)


def conv1x1(channels: int, out: int) -> nn.Conv2d:
    """A linear map of the channels of each pixel, without bias."""
    return nn.Conv2d(channels, out, kernel_size=1, bias=False)


def linear_stack(*widths: int) -> nn.Sequential:
    """Linear layers in a row with nothing between them, as the released classifiers have."""
    return nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths)))


def unused(owner: nn.Module, **members: nn.Module | nn.Parameter) -> None:
    """Give ``owner`` parameters that released files hold but that nothing computes with.

    They exist for strict loading and saving only, so they are frozen: an optimiser never sees a gradient of
    theirs, and training on several devices does not wait for one.
    """
    for name, member in members.items():
        setattr(owner, name, member)
        freeze(member)


def freeze(member: nn.Module | nn.Parameter) -> None:
    """Exclude from training."""
    member.requires_grad_(False)


def init_blocks(blocks: Iterable[nn.Module]) -> None:
    """Start values: truncated normal Linears, residual branches scaled down with depth (Bao et al. 2022)."""
    for index, block in enumerate(blocks):
        for name, child in block.named_modules():
            if isinstance(child, nn.Linear):
                nn.init.trunc_normal_(child.weight, std=INIT_STD)
                nn.init.zeros_(child.bias)
                if name in ("attn.proj", "mlp.fc2"):
                    child.weight.data.div_(math.sqrt(2 * (index + 1)))
