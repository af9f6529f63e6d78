"""Tiles on several threads, in order, with few of them in memory."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import TypeVar

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

Item = TypeVar("Item")
Result = TypeVar("Result")

_lock = threading.Lock()
_users = 0
_limit: AbstractContextManager[object] | None = None


def in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``function`` of each item, in order, by as many threads as BLAS would use; twice as many are held.

    OMP_NUM_THREADS is heeded. What an item raises is raised in its turn.
    """
    workers = _threads()
    with _one_blas_thread(), ThreadPoolExecutor(workers, thread_name_prefix="hsi-tile") as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """BLAS on one thread while anybody is inside: its setting is that of the whole process."""
    global _users, _limit
    with _lock:
        _users += 1
        if _users == 1:
            _limit = _controller().limit(limits=1)
            _limit.__enter__()
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and _limit is not None:
                _limit.__exit__(None, None, None)
                _limit = None


@cache
def _threads() -> int:
    # Asked once, before the first limit is set.
    return max((library["num_threads"] for library in _controller().info()), default=1)


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")
