"""Building blocks that both generations of HSIMAE share: tokens, positions, attention, MLPs, start values."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hsi_toolkit.errors import ModelError


@dataclass(frozen=True)
class TokenLayout:
    """How a window of ``img_size``² pixels and ``bands`` features is cut into tokens.

    Token index is t*L + row*side + col. The values of a token run band, row, column, which is also the
    order of a Conv3d kernel, so that embedding tokens is one matrix product.
    """

    img_size: int
    patch_size: int
    bands: int
    b_patch_size: int

    @property
    def groups(self) -> int:
        """Band groups T: tokens along the spectrum."""
        return self.bands // self.b_patch_size

    @property
    def side(self) -> int:
        """Cells along one side of the window."""
        return self.img_size // self.patch_size

    @property
    def cells(self) -> int:
        """Cells L of a window: tokens per band group."""
        return self.side**2

    @property
    def values(self) -> int:
        """Values of a token."""
        return self.b_patch_size * self.patch_size**2

    def cut(self, imgs: Tensor) -> Tensor:
        """Tokens (N, T*L, values) of windows (N, 1, bands, img_size, img_size).

        Raises:
            ModelError: the windows have other bands or another size.
        """
        if tuple(imgs.shape[1:]) != (1, self.bands, self.img_size, self.img_size):
            raise ModelError(
                f"The model takes windows of {self.bands} bands and {self.img_size}×{self.img_size} pixels, "
                f"but was given shape {tuple(imgs.shape)}.",
                "Prepare the scene with the features the model was trained on.",
            )
        p, side = self.patch_size, self.side
        split = imgs.reshape(-1, self.groups, self.b_patch_size, side, p, side, p)
        return split.permute(0, 1, 3, 5, 2, 4, 6).reshape(imgs.shape[0], -1, self.values)

    def join(self, tokens: Tensor) -> Tensor:
        """Windows (N, 1, bands, img_size, img_size) of tokens (N, T*L, values)."""
        p, side = self.patch_size, self.side
        split = tokens.reshape(-1, self.groups, side, side, self.b_patch_size, p, p)
        return split.permute(0, 1, 4, 2, 5, 3, 6).reshape(-1, 1, self.bands, self.img_size, self.img_size)


def sincos_1d(dim: int, positions: Tensor) -> Tensor:
    """Sine-cosine table (len(positions), dim), the sine half first (Vaswani et al. 2017, section 3.5)."""
    omega = 1.0 / 10000 ** (torch.arange(dim // 2, dtype=torch.float32) / (dim / 2.0))
    angles = torch.outer(positions.float().flatten(), omega)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def sincos_3d(dim: int, groups: int, cells: int) -> Tensor:
    """Fixed position table (1, groups*cells**2, dim) of tokens (band group, row, column).

    The first half of the channels encodes the band group, then a quarter the column and a quarter the
    row: column before row, as in the published weights.
    """
    group, row, col = torch.meshgrid(
        torch.arange(groups), torch.arange(cells), torch.arange(cells), indexing="ij"
    )
    parts = [sincos_1d(dim // 2, group), sincos_1d(dim // 4, col), sincos_1d(dim // 4, row)]
    return torch.cat(parts, dim=1).unsqueeze(0)


class DropPath(nn.Module):
    """Drop the residual branch of whole samples in training (stochastic depth, Huang et al. 2016)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Zero random samples along the first axis and scale the others by 1/(1 - rate)."""
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        return x * x.new_empty(shape).bernoulli_(keep).div_(keep)


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Drop rates of ``depth`` blocks, growing linearly from 0 to ``last``."""
    return [last * index / max(depth - 1, 1) for index in range(depth)]


class Attention(nn.Module):
    """Multi-head self-attention with separate query, key and value projections."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ModelError(f"{dim} channels cannot be divided among {num_heads} attention heads.")
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Attend within each sequence of (N, length, dim); the scale is head_dim**-0.5."""
        n, length, dim = x.shape
        q, k, v = (
            layer(x).view(n, length, self.num_heads, dim // self.num_heads).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        out = F.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(out.transpose(1, 2).reshape(n, length, dim))
        return projected


def swiglu_width(dim: int) -> int:
    """Hidden width of a SwiGLU over ``dim`` channels: two thirds of 4*dim, up to a multiple of 4."""
    return 4 * math.ceil(2 * 4 * dim // 3 / 4)


class SwiGLU(nn.Module):
    """Gated MLP ``w2(silu(w1 x) * w3 x)`` (Shazeer 2020, equation 6)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = swiglu_width(dim)
        self.w1 = nn.Linear(dim, hidden)
        self.w2 = nn.Linear(hidden, dim)
        self.w3 = nn.Linear(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, dim) to (…, dim)."""
        out: Tensor = self.w2(F.silu(self.w1(x)) * self.w3(x))
        return out


class Mlp(nn.Module):
    """Two-layer MLP with GELU and four times the channels inside."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, dim) to (…, dim)."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Pre-norm transformer block: attention and MLP, each with a residual connection."""

    def __init__(
        self, dim: int, num_heads: int, mlp: Literal["swiglu", "gelu"], drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp: SwiGLU | Mlp = SwiGLU(dim) if mlp == "swiglu" else Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, length, dim) to (N, length, dim)."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class PatchEmbed(nn.Module):
    """Linear embedding of tokens, stored as the Conv3d of the published weights."""

    def __init__(self, b_patch_size: int, patch_size: int, dim: int) -> None:
        super().__init__()
        kernel = (b_patch_size, patch_size, patch_size)
        self.proj = nn.Conv3d(1, dim, kernel_size=kernel, stride=kernel)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed tokens (N, length, values) as cut by ``TokenLayout.cut`` into (N, length, dim).

        Kernel equals stride, so the convolution is a matrix product, which is several times faster on
        windows this small and leaves out the tokens that masking removed.
        """
        return F.linear(tokens, self.proj.weight.flatten(1), self.proj.bias)


def init_transformer(module: nn.Module, *, trunc_init: bool) -> None:
    """Set the initial weights of every Linear, LayerNorm and patch embedding below ``module``.

    With ``trunc_init`` (all published training) Linears are truncated normal with deviation .02 and the
    patch embedding truncated normal with deviation 1; without it both are Xavier uniform.
    """
    for child in module.modules():
        if isinstance(child, nn.Linear):
            if trunc_init:
                nn.init.trunc_normal_(child.weight, std=0.02)
            else:
                nn.init.xavier_uniform_(child.weight)
            nn.init.zeros_(child.bias)
        elif isinstance(child, nn.LayerNorm):
            nn.init.ones_(child.weight)
            nn.init.zeros_(child.bias)
        elif isinstance(child, PatchEmbed):
            if trunc_init:
                nn.init.trunc_normal_(child.proj.weight)
            else:
                nn.init.xavier_uniform_(child.proj.weight.view(child.proj.weight.shape[0], -1))


def reconstruction_loss(
    pred: Tensor, target: Tensor, removed: Tensor, *, normalise: bool
) -> tuple[Tensor, Tensor]:
    """Loss of predicted tokens (N, length, values), and the prediction in the units of ``target``.

    The loss is the mean squared error of a token, averaged over the tokens where ``removed`` (N, length)
    is 1, of the whole batch. With ``normalise`` the prediction is of the target standardised token by token
    with its own mean and unbiased variance (He et al. 2022, section 4.1).
    """
    pred = pred.to(target.dtype)
    wanted = target
    mean, deviation = torch.zeros_like(target[..., :1]), torch.ones_like(target[..., :1])
    if normalise:
        mean = target.mean(dim=-1, keepdim=True)
        deviation = (target.var(dim=-1, keepdim=True) + 1e-6).sqrt()
        wanted = (target - mean) / deviation
    per_token = (pred - wanted).square().mean(dim=-1)
    return (per_token * removed).sum() / removed.sum(), pred * deviation + mean
