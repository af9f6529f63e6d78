"""Where inference runs: device, number type, threads and memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import psutil
import torch

from hsi_toolkit.errors import ParameterError

DeviceName = Literal["auto", "cpu", "cuda"]

MEMORY_SHARE = 0.25
"""Part of the memory there is that blocks and batches may take when no limit is given."""

BLOCK_MEMORY = 768 << 20
"""Bytes beyond which larger blocks and batches gain nothing on a processor."""


def choose_device(name: str = "auto") -> torch.device:
    """The device called ``name``: "cpu", "cuda", "cuda:1", …; "auto" is CUDA where there is a device.

    Raises:
        ParameterError: the name is unknown, or CUDA is asked for and there is no such device.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ParameterError(f"There is no device {name!r}.", "Choose auto, cpu or cuda.") from error
    if device.type not in ("cpu", "cuda"):
        raise ParameterError(f"The device {name!r} is not supported.", "Choose auto, cpu or cuda.")
    if device.type == "cuda" and not available:
        raise ParameterError("CUDA was asked for, but PyTorch finds no CUDA device.", _cuda_remedy())
    if device.type == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ParameterError(f"There is no device {name!r}, only {count}.", "Choose cuda or a lower number.")
    return device


def describe_device(device: torch.device) -> str:
    """The device in words, such as "this CPU (2 threads)"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"this CPU ({threads} thread{'' if threads == 1 else 's'})"


def fast_dtype(device: torch.device) -> torch.dtype:
    """The type in which matrix products are fastest: a 16-bit one where the hardware multiplies it."""
    if device.type == "cuda":
        # Ampere (8.0) is the first generation that multiplies bfloat16 itself.
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    # Private, and missing in the oldest torch that is supported: without it float32 is the safe answer.
    bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return torch.bfloat16 if bf16() or amx() else torch.float32


def quick_dtypes(device: torch.device) -> tuple[torch.dtype, ...]:
    """The types in which matrix products are faster than in float32, the fastest first; they may be none.

    int8 is among them where a processor adds up products of bytes itself (VNNI).
    """
    half = fast_dtype(device)
    dtypes = () if half == torch.float32 else (half,)
    # Private, and missing in the oldest torch that is supported, as is the product.
    vnni = getattr(torch.cpu, "_is_vnni_supported", lambda: False)
    if device.type == "cpu" and vnni() and hasattr(torch, "_int_mm"):
        return (torch.int8, *dtypes)
    return dtypes


def free_memory(device: torch.device) -> int:
    """Bytes that can be allocated now, on the device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return int(psutil.virtual_memory().available)


def memory_budget(device: torch.device, limit: int | None = None) -> int:
    """Bytes for blocks and batches: ``limit``, or a share of what is free.

    Libraries and model come on top; ``limit`` bounds main memory only.
    """
    if device.type == "cuda":
        return int(MEMORY_SHARE * free_memory(device))
    if limit is not None:
        return limit
    return min(BLOCK_MEMORY, int(MEMORY_SHARE * free_memory(device)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that an allocation failed, which PyTorch tells in several ways."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    signs = ("not enough memory", "can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


@contextmanager
def single_threaded_operations() -> Iterator[int]:
    """Let every thread work on its own: operations inside use one thread; yields how many there were.

    PyTorch's own threads wait for each other in every one of a network's thousand small operations; threads
    with windows of their own do not.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def _cuda_remedy() -> str:
    if torch.version.cuda is None:
        return "Install a PyTorch build with CUDA, or choose cpu or auto."
    return "Check the driver with nvidia-smi, or choose cpu or auto."
