"""Blocks computed by other processes, of this machine or of many, through Dask.

The processes get a function once and then numbers of blocks: they read the scene's file themselves and send
back what is to be written. Dask gives the blocks of a process that died to another one.
"""

import ctypes
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from hsi_toolkit import __version__
from hsi_toolkit.errors import ClusterError, HsiError, ParameterError
from hsi_toolkit.progress import Progress

if TYPE_CHECKING:
    import torch
    from distributed import Client, Future

Key = TypeVar("Key")
Result = TypeVar("Result")

POLL_SECONDS = 0.1
"""How often the caller looks for cancellation while blocks are computed."""

AHEAD = 2
"""Blocks for each process that are under way or wait to be written: what is held does not grow."""

CONNECT_SECONDS = 30

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MOST_MAPPED = 32 << 20
"""glibc's names for when freed memory goes back to the kernel, and how far it raises the second by itself."""

_one_at_a_time = threading.Lock()


class Cluster:
    """Processes that compute blocks; made by ``connect``."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    @property
    def processes(self) -> int:
        """How many there are now, at least 1."""
        return max(1, len(self._client.nthreads()))

    def process_numbers(self) -> list[int]:
        """The processes' numbers on their machines."""
        return self._on_all(os.getpid)

    @property
    def reachable(self) -> bool:
        """Whether the connection holds."""
        return bool(self._client.status == "running")

    def device_kind(self, name: str) -> Literal["cpu", "cuda"]:
        """What "auto", "cpu" or "cuda" means to the processes.

        Raises:
            ParameterError: one has no such device, or "auto" means different ones.
        """
        kinds = set(self._on_all(_device_kind, name))
        if len(kinds) > 1:
            raise ParameterError(
                "Some processes of the cluster have CUDA and others have none.", "Choose cpu or cuda."
            )
        return "cuda" if kinds == {"cuda"} else "cpu"

    def map(
        self,
        function: Callable[[Key], Result],
        keys: Sequence[Key],
        progress: Progress | None = None,
        *,
        most: int | None = None,
    ) -> Iterator[Result]:
        """``function(key)`` of every key, in order, each computed by whichever process is free.

        Args:
            function: goes to each process once; it and what it gives can be pickled.
            keys: what it is called with.
            progress: asked about cancellation.
            most: results that may be under way or wait; None: ``AHEAD`` for each process.

        Raises:
            ClusterError: the connection is lost, or a block ended every process that tried it.
            Cancelled: the user cancelled; blocks under way are given up.
        """
        from cloudpickle import dumps
        from distributed import CancelledError
        from distributed.comm import CommClosedError

        progress = progress or Progress()
        waiting: deque[Future] = deque()
        left = iter(keys)
        try:
            # A task, not scattered data: it is made again when the process that holds it dies. As bytes:
            # the scheduler would open anything else.
            shared = self._client.submit(_opened, dumps(function), pure=False)
            self._result(shared, progress)
            # Otherwise blocks would queue at the one process that has the function.
            self._client.replicate([shared], n=min(self.processes, len(keys)))
            while True:
                room = max(0, (most or AHEAD * self.processes) - len(waiting))
                waiting.extend(
                    self._client.submit(_call, shared, key, pure=False) for key in islice(left, room)
                )
                if not waiting:
                    return
                result = self._result(waiting[0], progress)
                waiting.popleft().release()
                yield cast(Result, result)
        except (CommClosedError, CancelledError) as error:
            raise ClusterError(
                f"The connection to the cluster is lost ({error or type(error).__name__}).",
                "Start the command again: what it has finished is kept.",
            ) from error
        finally:
            with suppress(CommClosedError, CancelledError, TimeoutError):
                self._client.cancel([*waiting], force=True)

    def _result(self, future: "Future", progress: Progress) -> object:
        """What a task gives, or its error, once it is done."""
        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        # Not by Dask's own wait: it takes a client from Dask's settings, which threads have in common.
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        while not done.wait(POLL_SECONDS):
            progress.check()
            if not self.reachable:
                raise CommClosedError("the scheduler is gone")
        progress.check()
        try:
            return future.result()
        except KilledWorker as error:
            raise ClusterError(
                "A block ended every process that tried to compute it.",
                "Set a lower memory limit, and look at the processes' own messages.",
            ) from error

    def _on_all(self, function: Callable[..., Result], *arguments: object) -> list[Result]:
        try:
            return list(self._client.run(function, *arguments).values())
        except HsiError:
            raise
        except Exception as error:
            raise _foreign(error) from error


@contextmanager
def connect(name: str) -> Iterator[Cluster]:
    """The cluster ``name``: "local:4" starts four processes here, "tcp://host:8786" is a Dask scheduler.

    Processes that were started here end with the ``with`` block. A process computes one block at a time, on
    one thread.

    Raises:
        ParameterError: the name is none.
        ClusterError: Dask is not installed, nobody answers, or its processes have another version.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ClusterError(
            "Dask is not installed, which spreads work over processes.", "pip install 'hsi-toolkit[dask]'"
        ) from error
    if name.startswith(("tcp://", "tls://")):
        try:
            client = Client(name, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise ClusterError(
                f"No Dask scheduler answers at {name} ({error}).", "Start it with 'dask scheduler'."
            ) from error
        with client:
            yield _checked(client, name)
        return
    with _local_client(_local_processes(name)) as client:
        yield _checked(client, name)


def processes_for(cluster: str | None, device: str = "") -> AbstractContextManager[Cluster | None]:
    """The processes a task is spread over; None where it runs in this one.

    That is ``cluster`` where it is given, or, for the device "cuda" on a machine with several CUDA devices, a
    process each, if Dask is installed.
    """
    if cluster is not None:
        return connect(cluster)
    if device == "cuda" and find_spec("distributed") is not None:
        import torch

        if torch.cuda.device_count() > 1:
            return connect(f"local:{torch.cuda.device_count()}")
    return nullcontext()


def refuse_cluster(cluster: str | None, method: str) -> None:
    """Raise ParameterError if a cluster is asked for a method that one process does."""
    if cluster is not None:
        raise ParameterError(
            f"The method {method!r} runs in one process.", "Leave the cluster out, or choose another method."
        )


def own_device(name: str) -> "torch.device":
    """The device called ``name`` in a process of a cluster: several on a machine take a CUDA device each."""
    import torch

    from hsi_toolkit.inference.devices import choose_device

    device = choose_device(name)
    count = torch.cuda.device_count() if device.type == "cuda" and device.index is None else 1
    return torch.device(device.type, _place() % count) if count > 1 else device


def _place() -> int:
    """Which of its machine's processes this is; 0 where its name does not tell."""
    from distributed import get_worker

    try:
        return int(get_worker().name)
    except (ValueError, TypeError):
        return 0


def _local_processes(name: str) -> int:
    kind, _, count = name.partition(":")
    if kind != "local" or (count and not (count.isascii() and count.isdigit() and int(count) > 0)):
        raise ParameterError(
            f"{name!r} is no cluster.",
            "Give local, local:4 for four processes of this machine, or the address of a Dask scheduler, "
            "such as tcp://host:8786.",
        )
    return int(count) if count else os.cpu_count() or 1


@contextmanager
def _local_client(count: int) -> Iterator["Client"]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            # Blocks are cut to fit; Dask's own limit would end processes that have room beside each other.
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
            # Dask looks a hundred times a second what its processes are doing: a tenth of their time.
            config={"distributed.worker.profile.enabled": False},
        ) as processes,
        Client(processes, set_as_default=False) as client,
    ):
        yield client


def _checked(client: "Client", name: str) -> Cluster:
    try:
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
    except TimeoutError as error:
        raise ClusterError(
            f"The Dask scheduler at {name} has no workers.", "Start some with 'dask worker'."
        ) from error
    cluster = Cluster(client)
    versions = cluster._on_all(_version)
    try:
        versions.append(client.run_on_scheduler(_version))
    except Exception as error:
        raise _foreign(error) from error
    others = set(versions) - {__version__}
    if others:
        raise ClusterError(
            f"Processes of the cluster have hsi_toolkit {', '.join(sorted(others))}, this is {__version__}.",
            "Install the same version everywhere.",
        )
    return cluster


def _foreign(error: Exception) -> ClusterError:
    return ClusterError(
        f"The processes of the cluster cannot be used ({type(error).__name__}: {error}).",
        f"Install hsi_toolkit {__version__} with its dependencies for scheduler and workers.",
    )


def _version() -> str:
    return __version__


def _device_kind(name: str) -> str:
    from hsi_toolkit.inference.devices import choose_device

    return choose_device(name).type


def _opened(function: bytes) -> object:
    from cloudpickle import loads

    _keep_freed_memory()
    return loads(function)


def _keep_freed_memory() -> None:
    """Let this process use freed memory again, as any does that Dask has not started.

    Dask has its processes give it back at once (MALLOC_TRIM_THRESHOLD_): the kernel then clears the same
    memory anew for every array, an eighth of the time of a map.
    """
    if sys.platform == "linux":
        adjust = getattr(ctypes.CDLL(None), "mallopt", None)
        if adjust is not None:  # other C libraries than glibc have none
            adjust(_TRIM_THRESHOLD, 2 * _MOST_MAPPED)
            adjust(_MMAP_THRESHOLD, _MOST_MAPPED)


def _call(function: Callable[[Key], Result], key: Key) -> Result:
    """``function(key)`` on one thread, and for itself even where a process runs several tasks."""
    with _one_at_a_time, threadpool_limits(1):
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(1)
        return function(key)
