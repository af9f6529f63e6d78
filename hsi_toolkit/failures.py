"""What went wrong, told to whoever asked: one sentence on the problem, one on the cure."""

import errno
import sys
import traceback
from dataclasses import dataclass
from typing import Literal

from hsi_toolkit.errors import Cancelled, HsiError

Kind = Literal["user", "environment", "memory", "internal", "cancelled"]


@dataclass(frozen=True)
class Failure:
    """An error as every door reports it.

    ``kind`` says whose turn it is: the user's, that of who set up the environment, ours (``"internal"``), or
    nobody's. ``message`` is shown as it is; ``details`` is a traceback where it helps to find the cause.
    """

    kind: Kind
    message: str
    details: str = ""


def failure_of(error: BaseException) -> Failure:
    """What to tell of any exception that ended a task."""
    if isinstance(error, Cancelled | KeyboardInterrupt):
        return Failure("cancelled", "Cancelled; no output was changed.")
    if isinstance(error, HsiError):
        return Failure(_KINDS.get(error.kind, "user"), str(error))
    trace = "".join(traceback.format_exception(error))
    if (message := _memory_sentence(error)) is not None:
        return Failure("memory", message, trace)
    if isinstance(error, OSError) and error.errno in _FULL:
        return Failure(
            "user", f"The disk is full ({error}). Free space, also in the temporary folder.", trace
        )
    if isinstance(error, ImportError) or getattr(error, "winerror", None) in _UNLOADABLE:
        name = getattr(error, "name", None)
        what = f"The package {name} is" if name else "A library is"
        return Failure(
            "environment",
            f"{what} missing or damaged in the engine's environment ({error}). Create the environment again.",
            trace,
        )
    return Failure("internal", f"This is a defect of hsi_toolkit ({type(error).__name__}: {error}).", trace)


_FULL = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)
# Windows: a module, a procedure or an initialisation routine of a library is missing or fails.
_UNLOADABLE = (126, 127, 1114)
_KINDS: dict[str, Kind] = {"user": "user", "environment": "environment", "memory": "memory"}


def _memory_sentence(error: BaseException) -> str | None:
    """The sentence for memory of either kind; PyTorch is asked only where it has been loaded."""
    if "torch" in sys.modules:
        from hsi_toolkit.inference.devices import is_out_of_memory

        if is_out_of_memory(error):
            if "CUDA" in str(error) or "CUBLAS" in str(error):
                return "The GPU has not enough memory. Close programs that use it, or choose the device cpu."
            return _MEMORY
    return _MEMORY if isinstance(error, MemoryError) else None


_MEMORY = "There is not enough memory. Set a lower memory limit or close other programs."
