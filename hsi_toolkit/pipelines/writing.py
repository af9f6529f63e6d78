"""Writing what is done while the next is worked on."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


class WriteBehind:
    """Runs one write after the other in a thread; a new one waits for the last, whose error it raises.

    Leave it before the writers it is used with: they must not be closed while it writes.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="hsi-write")
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._wait()
        finally:
            self._pool.shutdown(wait=True)

    def submit(
        self, write: Callable[[Float32, int, int], None], values: Float32, y0: int, x0: int = 0
    ) -> None:
        """Have ``write(values, y0, x0)`` called."""
        self._wait()
        self._last = self._pool.submit(write, values, y0, x0)

    def _wait(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.result()
