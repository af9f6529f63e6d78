"""Batches cover everything once, shrink when memory ends, and stop when asked."""

import threading

import pytest
import torch
from torch import Tensor

from hsi_toolkit.errors import Cancelled, OutOfMemoryError
from hsi_toolkit.inference.batches import BatchRunner
from hsi_toolkit.progress import Progress

MESSAGES = [
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: you tried"),
    torch.cuda.OutOfMemoryError("CUDA out of memory."),
    MemoryError(),
]


def run(runner: BatchRunner, compute, count: int, progress: Progress | None = None) -> Tensor:
    indices = torch.arange(count)
    return runner.run(compute, indices, torch.full((count,), -1), progress or Progress())


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 7, 40])
def test_every_index_is_computed_once_and_in_its_place(threads: int, count: int) -> None:
    seen: list[int] = []

    def double(indices: Tensor) -> Tensor:
        seen.extend(indices.tolist())
        return indices * 2

    assert run(BatchRunner(6, threads), double, count).tolist() == [2 * i for i in range(count)]
    assert sorted(seen) == list(range(count))


def test_batches_are_no_larger_than_asked_for() -> None:
    sizes: list[int] = []

    def note(indices: Tensor) -> Tensor:
        sizes.append(len(indices))
        return indices

    run(BatchRunner(6, 2), note, 40)
    assert max(sizes) == 6


@pytest.mark.parametrize("error", MESSAGES, ids=["cpu", "cuda", "python"])
def test_the_batch_is_halved_when_memory_ends_and_stays_so(error: Exception) -> None:
    def greedy(indices: Tensor) -> Tensor:
        if len(indices) > 5:
            raise error
        return indices * 2

    runner = BatchRunner(16, 1)
    assert run(runner, greedy, 50).tolist() == [2 * i for i in range(50)]
    assert runner.batch_size == 4


def test_a_single_window_that_does_not_fit_is_one_clear_error() -> None:
    def hopeless(indices: Tensor) -> Tensor:
        raise MESSAGES[0]

    with pytest.raises(OutOfMemoryError, match="Not even one window"):
        run(BatchRunner(8, 2), hopeless, 20)


def test_other_errors_are_not_taken_for_lack_of_memory() -> None:
    def broken(indices: Tensor) -> Tensor:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="multiplied"):
        run(BatchRunner(8, 2), broken, 20)


def test_cancelling_leaves_out_what_has_not_begun() -> None:
    asked = threading.Event()
    done: list[int] = []

    class Stop(Progress):
        def cancelled(self) -> bool:
            return asked.is_set()

    def work(indices: Tensor) -> Tensor:
        done.append(len(indices))
        asked.set()
        threading.Event().wait(0.2)
        return indices

    with pytest.raises(Cancelled):
        run(BatchRunner(1, 2), work, 1000, Stop())
    assert len(done) < 20


def test_torch_has_its_threads_back_afterwards() -> None:
    before = torch.get_num_threads()
    run(BatchRunner(4, 3), lambda indices: indices, 20)
    assert torch.get_num_threads() == before
