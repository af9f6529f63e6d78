"""Kernels compiled for the processor at hand: what lies between a network's matrix products.

They are compiled on their first call, which takes a second, and kept on disk until this file changes; so all
that they are made of is here. Each works on the calling thread and lets other threads run.

``Lanes`` are sixteen float32 numbers, loaded from and stored to arrays; the arithmetic in between stays in
registers, whatever vector registers the processor has. No loop depends on the compiler finding out that it
can be vectorised.

Matrices are of one of three kinds: float32; bfloat16, as int16 by its bits; or int8, with products of int32.
Of int8 a row of a matrix and a token have a scale each: a number stands for itself times both.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float32] | NDArray[np.int16] | NDArray[np.int8] | NDArray[np.int32]
"""A contiguous array of float32, of bfloat16 by its bits as int16, or of products of int8."""

Kernel = Callable[..., None]

WIDTH = 16
"""Numbers that are computed with together; what is computed one by one is padded to a multiple."""

_FLOAT, _BITS, _HALF, _BYTE = ir.FloatType(), ir.IntType(32), ir.IntType(16), ir.IntType(8)
_FLOATS, _WORDS, _HALVES, _BYTES = (ir.VectorType(each, WIDTH) for each in (_FLOAT, _BITS, _HALF, _BYTE))

# 1.5 * 2**23: what is added to it is rounded to an integer, which is then in the lowest bits.
_SHIFT = 12582912.0

# Cephes' polynomial for expf, highest power first.
_POLYNOMIAL = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)


def _intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose code in a kernel is what ``function`` writes for the types it is given."""
    made: Callable[..., Any] = intrinsic(function)
    return made


class _LanesType(types.Type):  # type: ignore[misc]
    """Numba's type of ``WIDTH`` float32 numbers."""

    def __init__(self) -> None:
        super().__init__(name=f"Lanes{WIDTH}")


_LANES = _LanesType()


@register_model(_LanesType)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    """Lanes are kept as a vector."""

    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _FLOATS)


def _splat(builder: Any, value: Any) -> Any:
    """A scalar, or a Python number, in all lanes."""
    if isinstance(value, float):
        return ir.Constant(_FLOATS, [value] * WIDTH)
    if isinstance(value, int):
        return ir.Constant(_WORDS, [value] * WIDTH)
    vector = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), value, ir.Constant(_BITS, 0))
    return builder.shuffle_vector(vector, vector, ir.Constant(_WORDS, [0] * WIDTH))


def _place(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """Pointer to the lanes that begin at ``array.flat[index]``."""
    data = context.make_array(kind)(context, builder, array).data
    vectors = {types.float32: _FLOATS, types.int16: _HALVES, types.int8: _BYTES, types.int32: _WORDS}
    return builder.bitcast(builder.gep(data, [index]), vectors[kind.dtype].as_pointer())


def _widened(builder: Any, kind: Any, loaded: Any) -> Any:
    """What was loaded from an array of that kind, as float32."""
    if kind.dtype == types.int16:
        high = builder.shl(builder.zext(loaded, _WORDS), _splat(builder, 16))
        return builder.bitcast(high, _FLOATS)
    return builder.sitofp(loaded, _FLOATS) if kind.dtype == types.int32 else loaded


def _narrowed(builder: Any, kind: Any, lanes: Any) -> Any:
    """Float32 rounded to the nearest number of an array of that kind, ties to even."""
    if kind.dtype == types.int16:
        bits = builder.bitcast(lanes, _WORDS)
        odd = builder.and_(builder.lshr(bits, _splat(builder, 16)), _splat(builder, 1))
        rounded = builder.add(builder.add(bits, _splat(builder, 0x7FFF)), odd)
        return builder.trunc(builder.lshr(rounded, _splat(builder, 16)), _HALVES)
    if kind.dtype == types.int8:
        shifted = builder.fadd(lanes, _splat(builder, _SHIFT))
        return builder.trunc(builder.bitcast(shifted, _WORDS), _BYTES)
    return lanes


@_intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """Lanes from ``array.flat[index]`` on; the array is contiguous."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = signature.args[0]
        loaded = builder.load(_place(context, builder, kind, *arguments), align=kind.dtype.bitwidth // 8)
        return _widened(builder, kind, loaded)

    return _LANES(array, types.intp), code


@_intrinsic
def load_scaled(typing: Any, array: Any, index: Any, scale: Any) -> Any:
    """As ``load``; integers times ``scale``."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, (array, index, scale) = signature.args[0], arguments
        loaded = builder.load(_place(context, builder, kind, array, index), align=kind.dtype.bitwidth // 8)
        value = _widened(builder, kind, loaded)
        return builder.fmul(value, scale) if kind.dtype == types.int32 else value

    return _LANES(array, types.intp, _LANES), code


@_intrinsic
def store(typing: Any, array: Any, index: Any, lanes: Any) -> Any:
    """Write lanes from ``array.flat[index]`` on, rounded to the nearest number; int8 from -127 to 127."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, (array, index, lanes) = signature.args[0], arguments
        pointer = _place(context, builder, kind, array, index)
        builder.store(_narrowed(builder, kind, lanes), pointer, align=kind.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, _LANES), code


@_intrinsic
def spread(typing: Any, value: Any) -> Any:
    """One number in all lanes."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _splat(builder, arguments[0])

    return _LANES(types.float32), code


@_intrinsic
def total(typing: Any, lanes: Any) -> Any:
    """The sum of all lanes."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes, half = arguments[0], WIDTH
        while half > 1:
            half //= 2
            order = [(lane + half) % WIDTH for lane in range(WIDTH)]
            other = builder.shuffle_vector(lanes, lanes, ir.Constant(_WORDS, order))
            lanes = builder.fadd(lanes, other)
        return builder.extract_element(lanes, ir.Constant(_BITS, 0))

    return types.float32(_LANES), code


def _operation(arity: int, emit: Callable[..., Any], doc: str) -> Any:
    """A function of so many lanes."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return emit(builder, *arguments)

    signature = _LANES(*[_LANES] * arity)
    if arity == 1:

        def function(typing: Any, a: Any) -> Any:
            return signature, code
    elif arity == 2:

        def function(typing: Any, a: Any, b: Any) -> Any:  # type: ignore[misc]
            return signature, code
    else:

        def function(typing: Any, a: Any, b: Any, c: Any) -> Any:  # type: ignore[misc]
            return signature, code

    function.__doc__ = doc
    return _intrinsic(function)


def _call(builder: Any, name: str, *lanes: Any) -> Any:
    """A function of lanes that LLVM brings."""
    name = f"llvm.{name}.v{WIDTH}f32"
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * len(lanes))
    return builder.call(builder.module.globals.get(name) or ir.Function(builder.module, kind, name), lanes)


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return _call(builder, "fmuladd", a, b, c)


def _maximum(builder: Any, a: Any, b: Any) -> Any:
    """The larger; ``b`` where ``a`` is not a number."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _exponential(builder: Any, x: Any) -> Any:
    """Range reduction by powers of two, then a polynomial."""

    def constant(value: float) -> Any:
        return _splat(builder, value)

    # What is not a number is neither below nor above, and stays.
    x = builder.select(builder.fcmp_ordered("<", x, constant(-87.0)), constant(-87.0), x)
    x = builder.select(builder.fcmp_ordered(">", x, constant(88.0)), constant(88.0), x)
    shifted = _fma(builder, x, constant(1.44269504), constant(_SHIFT))
    whole = builder.fsub(shifted, constant(_SHIFT))
    rest = _fma(builder, whole, constant(-0.693359375), x)
    rest = _fma(builder, whole, constant(2.12194440e-4), rest)
    y = constant(_POLYNOMIAL[0])
    for coefficient in _POLYNOMIAL[1:]:
        y = _fma(builder, y, rest, constant(coefficient))
    y = _fma(builder, builder.fmul(y, rest), rest, builder.fadd(rest, constant(1.0)))
    exponent = builder.add(builder.bitcast(shifted, _WORDS), _splat(builder, 127))
    return builder.fmul(y, builder.bitcast(builder.shl(exponent, _splat(builder, 23)), _FLOATS))


def _root(builder: Any, x: Any) -> Any:
    return _call(builder, "sqrt", x)


add = _operation(2, lambda builder, a, b: builder.fadd(a, b), "a + b")
subtract = _operation(2, lambda builder, a, b: builder.fsub(a, b), "a - b")
multiply = _operation(2, lambda builder, a, b: builder.fmul(a, b), "a * b")
divide = _operation(2, lambda builder, a, b: builder.fdiv(a, b), "a / b")
fma = _operation(3, _fma, "a * b + c, rounded once where the processor can.")
maximum = _operation(2, _maximum, "The larger of a and b.")
exp = _operation(
    1, _exponential, "Exponential to 2e-7 of itself, from -87 to 88; what is beyond counts as these."
)
sqrt = _operation(1, _root, "Square root.")


def kernel(function: Kernel) -> Kernel:
    """Compile a function of arrays and numbers."""
    try:
        compiled: Kernel = numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # Neither this folder nor the user's cache can be written.
        compiled = numba.njit(nogil=True, error_model="numpy")(function)
    return compiled


def array(tensor: Tensor) -> Array:
    """A contiguous float32 or bfloat16 tensor on the processor for a kernel, without a copy."""
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def in_parts(work: Callable[[int, int], None], count: int) -> None:
    """``work(start, stop)`` for parts of ``range(count)`` on as many threads as PyTorch uses."""
    threads = min(torch.get_num_threads(), count)
    if threads < 2:
        work(0, count)
        return
    edges = [count * part // threads for part in range(threads + 1)]
    list(_pool(threads).map(work, edges[:-1], edges[1:]))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="hsi-kernel")


_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
# Of int8; and what is smaller than this is rounded to zero.
_STEPS, _TINY = np.float32(127.0), np.float32(1e-30)


@kernel
def normalise(stream: Array, epsilon: float, out: Array, scales: Array) -> None:
    """Set ``out`` (D, n) to the stream (D, n) divided by each token's root mean square.

    If ``out`` is int8 its tokens' scales go to ``scales`` (n,).
    """
    dim, tokens = stream.shape
    zero, share, least = spread(_ZERO), spread(_ONE / np.float32(dim)), spread(np.float32(epsilon))
    for i in range(0, tokens, WIDTH):
        squares, most = zero, zero
        for d in range(dim):
            value = load(stream, d * tokens + i)
            squares = fma(value, value, squares)
            most = maximum(most, maximum(value, subtract(zero, value)))
        factor = divide(spread(_ONE), sqrt(fma(squares, share, least)))
        if out.itemsize == 1:
            most = maximum(most, spread(_TINY))
            store(scales, i, divide(multiply(most, factor), spread(_STEPS)))
            factor = divide(spread(_STEPS), most)
        for d in range(dim):
            store(out, d * tokens + i, multiply(load(stream, d * tokens + i), factor))


@kernel
def add_product(stream: Array, product: Array, rows: Array, tokens: Array, bias: Array) -> None:
    """Add ``product`` (D, n) of scales ``rows`` and ``tokens``, and ``bias`` (D,), to ``stream``."""
    dim, count = stream.shape
    for d in range(dim):
        constant, row = spread(bias[d]), spread(rows[d])
        for i in range(0, count, WIDTH):
            at = d * count + i
            added = add(load_scaled(product, at, multiply(row, load(tokens, i))), constant)
            store(stream, at, add(load(stream, at), added))


@kernel
def gate(hidden: Array, rows: Array, tokens: Array, bias: Array, out: Array) -> None:
    """SwiGLU of ``hidden`` (2h, n) of scales ``rows`` and ``tokens``, plus ``bias`` (2h,).

    silu(first half) * second half goes to ``out`` (h, n), which may be the first half of ``hidden``.
    """
    half, count = hidden.shape[0] // 2, hidden.shape[1]
    one, zero = spread(_ONE), spread(_ZERO)
    for row in range(half):
        first, second = spread(bias[row]), spread(bias[half + row])
        first_scale, second_scale = spread(rows[row]), spread(rows[half + row])
        for i in range(0, count, WIDTH):
            at, token = row * count + i, load(tokens, i)
            x = add(load_scaled(hidden, at, multiply(first_scale, token)), first)
            up = add(load_scaled(hidden, half * count + at, multiply(second_scale, token)), second)
            store(out, at, divide(multiply(x, up), add(one, exp(subtract(zero, x)))))


@kernel
def quantise(values: Array, out: Array, scales: Array) -> None:
    """Round ``values`` (D, n) to int8 ``out``, the scales of the tokens going to ``scales`` (n,)."""
    dim, tokens = values.shape
    zero = spread(_ZERO)
    for i in range(0, tokens, WIDTH):
        most = spread(_TINY)
        for d in range(dim):
            value = load(values, d * tokens + i)
            most = maximum(most, maximum(value, subtract(zero, value)))
        store(scales, i, divide(most, spread(_STEPS)))
        factor = divide(spread(_STEPS), most)
        for d in range(dim):
            store(out, d * tokens + i, multiply(load(values, d * tokens + i), factor))


@kernel
def attend(qkv: Array, rows: Array, tokens: Array, bias: Array, out: Array) -> None:
    """Attention within sequences, into ``out`` (heads, channels, length, rest).

    ``qkv`` is (3, heads, channels, length, rest) with scales ``rows`` (3 * heads * channels) and ``tokens``
    (length * rest); ``bias`` (heads * channels) goes to the queries, which have attention's scale already.
    """
    _, heads, channels, length, rest = qkv.shape
    key = np.empty((length, channels, WIDTH), np.float32)
    value = np.empty((length, channels, WIDTH), np.float32)
    query = np.empty((channels, WIDTH), np.float32)
    scores = np.empty((length, WIDTH), np.float32)
    part, inner = heads * channels * length * rest, heads * channels
    for head in range(heads):
        for start in range(0, rest, WIDTH):
            first = head * channels * length * rest + start
            for c in range(channels):
                row = head * channels + c
                key_scale, value_scale = spread(rows[inner + row]), spread(rows[2 * inner + row])
                for t in range(length):
                    at, token = first + (c * length + t) * rest, load(tokens, t * rest + start)
                    keys = load_scaled(qkv, part + at, multiply(key_scale, token))
                    store(key, (t * channels + c) * WIDTH, keys)
                    values = load_scaled(qkv, 2 * part + at, multiply(value_scale, token))
                    store(value, (t * channels + c) * WIDTH, values)
            for t in range(length):
                token = load(tokens, t * rest + start)
                for c in range(channels):
                    row = head * channels + c
                    at = first + (c * length + t) * rest
                    here = load_scaled(qkv, at, multiply(spread(rows[row]), token))
                    store(query, c * WIDTH, add(here, spread(bias[row])))
                most = spread(np.float32(-np.inf))
                for s in range(length):
                    score = spread(_ZERO)
                    for c in range(channels):
                        score = fma(load(query, c * WIDTH), load(key, (s * channels + c) * WIDTH), score)
                    store(scores, s * WIDTH, score)
                    most = maximum(most, score)
                whole = spread(_ZERO)
                for s in range(length):
                    weight = exp(subtract(load(scores, s * WIDTH), most))
                    store(scores, s * WIDTH, weight)
                    whole = add(whole, weight)
                scale = divide(spread(_ONE), whole)
                for c in range(channels):
                    mixed = spread(_ZERO)
                    for s in range(length):
                        mixed = fma(load(scores, s * WIDTH), load(value, (s * channels + c) * WIDTH), mixed)
                    store(out, first + (c * length + t) * rest, multiply(mixed, scale))


@kernel
def attend_sampled(
    qkv: Array, places: Array, rows: int, columns: int, start: int, stop: int, out: Array
) -> None:
    """What the tokens ``start`` to ``stop`` (exclusive) of all sequences attend to.

    ``qkv`` is (tokens, 3, heads, head_dim), every ``rows * columns`` tokens being a sequence that forms a
    grid in raster order; ``places`` (tokens, heads, points, 2) are columns and rows, whole numbers at the
    cells' centres, and ``out`` (tokens, heads, head_dim). ``head_dim`` is a multiple of ``WIDTH``. Keys and
    values are interpolated bilinearly; what lies outside the grid is zero.
    """
    _, _, heads, dim = qkv.shape
    points = places.shape[2]
    cells = np.zeros((points, 4), np.int64)
    weights = np.zeros((points, 4), np.float32)
    scores = np.zeros(points, np.float32)
    scale = np.float32(1.0 / math.sqrt(dim))
    for token in range(start, stop):
        first = token - token % (rows * columns)
        for head in range(heads):
            query = (token * 3 * heads + head) * dim
            most = np.float32(-np.inf)
            for point in range(points):
                x, y = places[token, head, point, 0], places[token, head, point, 1]
                left, upper = np.floor(x), np.floor(y)
                right_share, lower_share = x - left, y - upper
                for corner in range(4):
                    right, lower = corner % 2, corner // 2
                    column, row = left + np.float32(right), upper + np.float32(lower)
                    inside = column >= 0 and column < columns and row >= 0 and row < rows
                    across = right_share if right else _ONE - right_share
                    down = lower_share if lower else _ONE - lower_share
                    # Where a place is not a number its weights are not, whichever cell they go to.
                    known = x - x == 0 and y - y == 0
                    weights[point, corner] = across * down if inside or not known else _ZERO
                    cell = int(row) * columns + int(column) if inside else 0
                    cells[point, corner] = ((first + cell) * 3 * heads + head) * dim
                sums = spread(_ZERO)
                for c in range(0, dim, WIDTH):
                    key = spread(_ZERO)
                    for corner in range(4):
                        at = cells[point, corner] + heads * dim + c
                        key = fma(spread(weights[point, corner]), load(qkv, at), key)
                    sums = fma(load(qkv, query + c), key, sums)
                scores[point] = total(sums) * scale
                most = max(most, scores[point])
            whole = _ZERO
            for point in range(points):
                scores[point] = np.exp(scores[point] - most)
                whole += scores[point]
            for c in range(0, dim, WIDTH):
                mixed = spread(_ZERO)
                for point in range(points):
                    share = scores[point] / whole
                    for corner in range(4):
                        at = cells[point, corner] + 2 * heads * dim + c
                        mixed = fma(spread(share * weights[point, corner]), load(qkv, at), mixed)
                store(out, (token * heads + head) * dim + c, mixed)
