"""Blocks of pixels on several threads, each with a BLAS of its own."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import TypeVar

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

Block = TypeVar("Block")
Result = TypeVar("Result")


def map_blocks(function: Callable[[Block], Result], blocks: Sequence[Block]) -> Iterator[Result]:
    """``function`` of each block, in order; exhaust the iterator.

    As many threads work as BLAS would use (OMP_NUM_THREADS is heeded). Threads inside BLAS wait for each
    other many times a block, which on a busy machine costs several times the work itself; blocks never wait.
    """
    controller = _controller()
    threads = max((library["num_threads"] for library in controller.info()), default=1)
    workers = min(threads, len(blocks))
    if workers < 2:
        yield from map(function, blocks)
        return
    with controller.limit(limits=1), ThreadPoolExecutor(workers) as pool:
        yield from pool.map(function, blocks)


def one_blas_thread() -> AbstractContextManager[object]:
    """A context for small matrices: waking BLAS's threads, which then spin, costs more than they save."""
    context: AbstractContextManager[object] = _controller().limit(limits=1)
    return context


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")
