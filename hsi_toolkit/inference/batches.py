"""Running a network over many windows: batches, threads, cancelling, and smaller batches when memory ends."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import torch
from torch import Tensor

from hsi_toolkit.errors import OutOfMemoryError
from hsi_toolkit.inference.devices import is_out_of_memory, single_threaded_operations
from hsi_toolkit.progress import Progress

POLL_SECONDS = 0.1
"""How often the caller looks for cancellation while batches run."""

SPREAD = 4
"""Batches that few windows are cut into, so that several threads get some. It does not follow the number of
threads: what is computed must not depend on that."""


class BatchRunner:
    """Fills an output with ``compute(indices)`` for all indices, batch by batch.

    The batch size is halved when memory does not suffice, and stays so for what follows.

    Args:
        batch_size: indices a batch to start with.
        threads: at most this many batches run at a time; None means as many as PyTorch uses threads.
    """

    def __init__(self, batch_size: int, threads: int | None = None) -> None:
        self.batch_size, self.threads = batch_size, threads

    def run(
        self, compute: Callable[[Tensor], Tensor], indices: Tensor, out: Tensor, progress: Progress
    ) -> Tensor:
        """Set ``out[i]`` to row i of ``compute(indices)``; ``indices`` and ``out`` have the same length.

        Raises:
            OutOfMemoryError: not even a batch of one fits into memory.
            Cancelled: the user cancelled; at most the batches that run are still finished.
        """
        progress.check()
        with single_threaded_operations() as available:
            threads = self.threads or available
            spans = _Spans(len(indices), self._spread(len(indices)))
            with ThreadPoolExecutor(threads, thread_name_prefix="hsi-window") as pool:
                work = [pool.submit(_work, spans, compute, indices, out) for _ in range(threads)]
                try:
                    while wait(work, timeout=POLL_SECONDS).not_done:
                        progress.check()
                        progress.report(spans.done / max(1, len(indices)))
                finally:
                    spans.stop()
        for thread in work:
            thread.result()
        if spans.halved:
            self.batch_size = spans.size
        return out

    def _spread(self, count: int) -> int:
        """The batch size at which several threads get work, where there may be several."""
        parts = 1 if self.threads == 1 else SPREAD
        return max(1, min(self.batch_size, -(-count // parts)))


class _Spans:
    """The batches that are still to do, handed out to threads."""

    def __init__(self, count: int, size: int) -> None:
        self.size, self.done, self.halved = size, 0, False
        self._todo: list[tuple[int, int]] = [(0, count)] if count else []
        self._lock = threading.Lock()

    def take(self) -> tuple[int, int] | None:
        """The next batch, None when there is none."""
        with self._lock:
            if not self._todo:
                return None
            start, stop = self._todo.pop()
            end = min(stop, start + self.size)
            if end < stop:
                self._todo.append((end, stop))
            return start, end

    def finished(self, start: int, stop: int) -> None:
        with self._lock:
            self.done += stop - start

    def too_large(self, start: int, stop: int) -> bool:
        """Take a batch that did not fit back, to be done in halves; False if it was a single one."""
        with self._lock:
            if stop - start == 1:
                return False
            self.size, self.halved = min(self.size, (stop - start) // 2), True
            self._todo.append((start, stop))
            return True

    def stop(self) -> None:
        with self._lock:
            self._todo.clear()


def _work(spans: _Spans, compute: Callable[[Tensor], Tensor], indices: Tensor, out: Tensor) -> None:
    """Do batches until none is left; the body of each thread."""
    torch.set_num_threads(1)
    with torch.inference_mode():
        while (span := spans.take()) is not None:
            start, stop = span
            try:
                out[start:stop] = compute(indices[start:stop])
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    spans.stop()
                    raise
                fits = spans.too_large(start, stop)
                if not fits:
                    spans.stop()
                    raise OutOfMemoryError(
                        "Not even one window fits into the memory there is.",
                        "Close other programs, choose a smaller model or another device.",
                    ) from error
                if out.device.type == "cuda":
                    torch.cuda.empty_cache()
            else:
                spans.finished(start, stop)
