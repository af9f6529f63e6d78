"""Writing behind the work."""

import threading

import numpy as np
import pytest

from hsi_toolkit.errors import OutputError
from hsi_toolkit.pipelines.writing import WriteBehind

BLOCK = np.zeros((1, 2, 3), np.float32)


def test_everything_is_written_in_order_by_another_thread() -> None:
    written: list[tuple[int, int]] = []
    threads: set[int] = set()

    def write(values: np.ndarray, y0: int, x0: int) -> None:
        written.append((y0, x0))
        threads.add(threading.get_ident())

    with WriteBehind() as behind:
        for y0 in range(20):
            behind.submit(write, BLOCK, y0, 7)
    assert written == [(y0, 7) for y0 in range(20)]
    assert threads.isdisjoint({threading.get_ident()})


def fail(*_: object) -> None:
    raise OutputError("The disk is full.", "Make room.")


def work(writes: int, *, badly: bool) -> None:
    with WriteBehind() as behind:
        for _ in range(writes):
            behind.submit(fail, BLOCK, 0)
        if badly:
            raise ValueError("The work failed.")


@pytest.mark.parametrize("writes", [1, 2])
def test_an_error_is_raised_where_the_work_is_done(writes: int) -> None:
    with pytest.raises(OutputError, match="disk is full"):
        work(writes, badly=False)


def test_after_an_error_of_the_work_it_is_that_error_that_counts() -> None:
    with pytest.raises(ValueError, match="work failed"):
        work(1, badly=True)
