"""Arithmetic of lanes, and the kernels against PyTorch's own operations."""

import numba
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hsi_toolkit import kernels
from hsi_toolkit.kernels import (
    WIDTH,
    add_product,
    array,
    attend,
    exp,
    fma,
    gate,
    in_parts,
    load,
    maximum,
    normalise,
    quantise,
    sqrt,
    store,
    total,
)

DTYPES = [torch.float32, torch.bfloat16]

# Compiled anew in every run: what is on disk does not follow changes of the module under test.
kernel = numba.njit


@kernel
def _exponentials(values: np.ndarray, out: np.ndarray) -> None:
    for i in range(0, values.size, WIDTH):
        store(out, i, exp(load(values, i)))


@kernel
def _copied(values: np.ndarray, out: np.ndarray) -> None:
    for i in range(0, values.size, WIDTH):
        store(out, i, load(values, i))


@kernel
def _norm(values: np.ndarray, out: np.ndarray) -> None:
    squares = load(np.zeros(WIDTH, np.float32), 0)
    largest = load(values, 0)
    for i in range(0, values.size, WIDTH):
        squares = fma(load(values, i), load(values, i), squares)
        largest = maximum(largest, load(values, i))
    store(out, 0, sqrt(squares))
    store(out, WIDTH, largest)
    out[2 * WIDTH] = total(squares)


def test_exponentials_are_exact_to_float32() -> None:
    values = np.linspace(-87, 88, 16_000, dtype=np.float32)
    out = np.empty_like(values)
    _exponentials(values, out)
    np.testing.assert_allclose(out, np.exp(values.astype(np.float64)), rtol=3e-7)


def test_exponentials_beyond_float32_stay_finite() -> None:
    values = np.repeat(np.float32([-1e4, -100, 100, 1e4]), 4)
    out = np.empty_like(values)
    _exponentials(values, out)
    assert np.isfinite(out).all()
    assert (out[:8] < 1e-37).all()


def test_not_a_number_stays_none() -> None:
    values = np.full(WIDTH, np.nan, np.float32)
    out = np.empty_like(values)
    _exponentials(values, out)
    assert np.isnan(out).all()


def test_bfloat16_is_rounded_as_pytorch_rounds_it() -> None:
    values = torch.randn(4096, generator=torch.Generator().manual_seed(0))
    values[:16] = torch.tensor([0.0, -0.0, 1.0, 1.00390625, 1.01171875, torch.inf, -torch.inf, 1e-40] * 2)
    out = torch.empty(4096, dtype=torch.bfloat16)
    _copied(array(values), array(out))
    assert torch.equal(out, values.bfloat16())
    wide = torch.empty(4096)
    _copied(array(out), array(wide))
    assert torch.equal(wide, out.float())


def test_sums_roots_and_maxima() -> None:
    values = np.random.default_rng(0).standard_normal(8 * WIDTH).astype(np.float32)
    out = np.zeros(2 * WIDTH + 1, np.float32)
    _norm(values, out)
    by_lane = values.reshape(-1, WIDTH)
    np.testing.assert_allclose(out[:WIDTH], np.linalg.norm(by_lane, axis=0), rtol=1e-6)
    np.testing.assert_array_equal(out[WIDTH : 2 * WIDTH], by_lane.max(axis=0))
    assert out[-1] == pytest.approx((values**2).sum(), rel=1e-6)


def test_kernels_work_where_nothing_can_be_kept_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def unwritable(self: object) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr("numba.core.dispatcher.Dispatcher.enable_caching", unwritable)

    def doubled(values: np.ndarray) -> None:
        values *= 2

    values = np.ones(3)
    kernels.kernel(doubled)(values)
    assert values.tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_parts_cover_all_once(count: int) -> None:
    done = np.zeros(count, int)

    def work(start: int, stop: int) -> None:
        done[start:stop] += 1

    in_parts(work, count)
    assert (done == 1).all()


def test_an_error_in_a_part_is_raised() -> None:
    def work(start: int, stop: int) -> None:
        raise ValueError(f"{start} to {stop}")

    with pytest.raises(ValueError, match=" to "):
        in_parts(work, 8)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def close(found: Tensor, expected: Tensor) -> None:
    tolerance = 1e-5 if found.dtype == torch.float32 else 1e-2
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_stream_is_divided_by_its_root_mean_square(dtype: torch.dtype) -> None:
    stream, out = numbers(24, 48), torch.empty(24, 48, dtype=dtype)
    normalise(array(stream), 1e-5, array(out), array(torch.empty(48)))
    close(out, F.rms_norm(stream.T, (24,), eps=1e-5).T)


def test_bytes_are_rounded_by_their_token() -> None:
    stream = numbers(24, 48) * torch.arange(48)
    out, scales = torch.empty(24, 48, dtype=torch.int8), torch.empty(48)
    normalise(array(stream), 1e-5, array(out), array(scales))
    expected = F.rms_norm(stream.T, (24,), eps=1e-5).T
    assert out[:, 1:].abs().amax(dim=0).eq(127).all()
    assert ((out * scales - expected).abs() <= 0.501 * scales).all()
    quantise(array(stream), array(out), array(scales))
    assert ((out * scales - stream).abs() <= 0.501 * scales).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_a_branch_gives_is_added(dtype: torch.dtype) -> None:
    stream, product, bias = numbers(24, 48), numbers(24, 48, seed=1).to(dtype), numbers(24, seed=2)
    expected = stream + product.float() + bias[:, None]
    add_product(array(stream), array(product), array(torch.ones(24)), array(torch.ones(48)), array(bias))
    torch.testing.assert_close(stream, expected)


def test_integers_count_times_the_scales_of_their_row_and_token() -> None:
    stream, bias = numbers(24, 48), numbers(24, seed=2)
    product = (1000 * numbers(24, 48, seed=1)).int()
    rows, tokens = numbers(24, seed=3), numbers(48, seed=4)
    expected = stream + product * rows[:, None] * tokens + bias[:, None]
    add_product(array(stream), array(product), array(rows), array(tokens), array(bias))
    torch.testing.assert_close(stream, expected, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gate_is_swiglu(dtype: torch.dtype) -> None:
    hidden, bias = numbers(10, 32).to(dtype), numbers(10, seed=1)
    first, second = (hidden.float() + bias[:, None]).chunk(2)
    out = torch.empty(5, 32, dtype=dtype)
    gate(array(hidden), array(torch.ones(10)), array(torch.ones(32)), array(bias), array(out))
    close(out, F.silu(first) * second)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.int32])
@pytest.mark.parametrize("length", [1, 4, 9])
def test_attention_is_that_of_pytorch(length: int, dtype: torch.dtype) -> None:
    heads, channels, rest = 2, 16, 32
    qkv, bias = numbers(3, heads, channels, length, rest), numbers(heads * channels, seed=1)
    rows, tokens = torch.ones(3 * heads * channels), torch.ones(length * rest)
    given = qkv.to(dtype)
    if dtype == torch.int32:
        rows, tokens = rows / 1000, tokens * 0.1
        given = (10000 * qkv).int()
    kind = torch.float32 if dtype == torch.int32 else dtype
    out = torch.empty(heads, channels, length, rest, dtype=kind)
    attend(array(given), array(rows), array(tokens), array(bias), array(out))
    query, key, value = (
        part.permute(3, 0, 2, 1) for part in (qkv if dtype == torch.int32 else given.float())
    )
    query = query + bias.view(heads, 1, channels)
    expected = F.scaled_dot_product_attention(query, key, value, scale=1.0)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.int32: 1e-3}[dtype]
    torch.testing.assert_close(out.float(), expected.permute(1, 3, 2, 0), atol=tolerance, rtol=tolerance)
