"""The worker: does the tasks that another program asks for, one JSON object a line. See docs/worker.md.

    python -I -m hsi_toolkit.worker [--idle SECONDS] [--scratch FOLDER]

Requests come on the standard input, events go to the standard output, which nothing else can reach: what
libraries print goes to the error stream. Nothing heavy is imported before the worker is ready.
"""

import argparse
import faulthandler
import gc
import json
import math
import os
import queue
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import NoReturn

from hsi_toolkit import __version__, files
from hsi_toolkit.errors import ParameterError
from hsi_toolkit.failures import Failure, failure_of
from hsi_toolkit.progress import Progress
from hsi_toolkit.tasks import TASKS

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

PROTOCOL = 1

#: Seconds that work may take to end by itself once nobody waits for it any more.
GRACE = 2.0
#: Seconds between two progress events of the same stage.
INTERVAL = 0.1
#: Seconds without a job after which the libraries that most tasks need are loaded.
WARM_UP_AFTER = 0.3

# What a host program, QGIS above all, sets for its own copies of Python, GDAL, PROJ and Qt.
_FOREIGN = ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH")
_FOREIGN_PREFIXES = ("PYTHON", "QT_", "QML")
_WARM_UP = ("numpy", "rasterio", "rioxarray", "torch", "hsi_toolkit.pipelines.classify")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Serve until the standard input closes, a job is cancelled or none has come for ``--idle`` seconds."""
    parser = argparse.ArgumentParser(prog="hsi_toolkit.worker", description="Do tasks for another program.")
    parser.add_argument("--idle", type=float, default=600.0, help="seconds without a job before it ends")
    parser.add_argument("--scratch", help="a new folder for temporary files; removed at the end")
    options = parser.parse_args(arguments)
    forget_foreign_environment(os.environ)
    _lead_a_session()
    worker = Worker(*_take_streams(), options.idle, _use_scratch(options.scratch))
    worker.serve()


def forget_foreign_environment(environment: MutableMapping[str, str]) -> None:
    """Remove what points libraries at another program's files, such as the PROJ database of QGIS."""
    for name in tuple(environment):
        if name in _FOREIGN or name.startswith(_FOREIGN_PREFIXES):
            del environment[name]


def _lead_a_session() -> None:
    """Lead a process group, so that this process and all that it starts can be ended together."""
    if hasattr(os, "setsid"):
        # Refused to a process that leads a group already, which serves as well.
        with suppress(PermissionError):
            os.setsid()


def _take_streams() -> tuple[int, int]:
    """Descriptors of requests and events; what is left of the standard streams cannot disturb either."""
    requests, events = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    faulthandler.enable()
    return requests, events


def _use_scratch(folder: str | None) -> str:
    """Let temporary files of this process and its children go to a folder that was not there before."""
    if folder is None:
        scratch = tempfile.mkdtemp(prefix="hsi-worker-")
    else:
        scratch = os.path.abspath(folder)
        os.mkdir(scratch, 0o700)
    tempfile.tempdir = scratch
    for name in ("TMPDIR", "TEMP", "TMP", "CPL_TMPDIR"):
        os.environ[name] = scratch
    return scratch


@dataclass(frozen=True)
class _Job:
    """A request that is waiting or running."""

    id: str
    task: object
    parameters: object
    cancelled: threading.Event = field(default_factory=threading.Event)


class Worker:
    """Reads requests in a thread of its own and does their jobs in the main thread, one after another."""

    def __init__(self, requests: int, events: int, idle: float, scratch: str) -> None:
        self._requests, self._events = requests, events
        self._idle, self._scratch = idle, scratch
        self._writing = threading.Lock()
        self._waiting: queue.Queue[_Job | None] = queue.Queue()
        self._jobs: dict[str, _Job] = {}

    def serve(self) -> NoReturn:
        """Do jobs until there is a reason to end; the process ends here."""
        self.say("ready", protocol=PROTOCOL, version=__version__, pid=os.getpid())
        threading.Thread(target=self._read, name="requests", daemon=True).start()
        warm_up = list(_WARM_UP)
        while True:
            try:
                job = self._waiting.get(timeout=WARM_UP_AFTER if warm_up else self._idle)
            except queue.Empty:
                if not warm_up:
                    self._leave()
                # One module at a time, so that a job that comes meanwhile waits for no more than that.
                with suppress(ImportError, OSError):
                    import_module(warm_up.pop(0))
                continue
            if job is None:
                self._leave()
            self._do(job)

    def say(self, event: str, **content: object) -> None:
        """Send an event; ends the process when nobody reads any more."""
        line = json.dumps({"event": event, **content}, allow_nan=False) + "\n"
        data = line.encode("ascii")
        try:
            with self._writing:
                while data:
                    data = data[os.write(self._events, data) :]
        except OSError:
            self._leave()

    def _do(self, job: _Job) -> None:
        """Do the job and say how it ended. A cancelled worker ends, so that all memory goes back."""
        progress = _JobProgress(self, job)
        result, failure = None, None
        try:
            result = json_able(_run(job, progress))
        except BaseException as error:
            failure = failure_of(error)
        self._jobs.pop(job.id, None)
        progress.flush()
        if failure is None:
            self.say("result", id=job.id, result=result)
        else:
            self._say_failure(job.id, failure)
            if failure.kind == "cancelled":
                self._leave()
        _free_memory()

    def _say_failure(self, id: str | None, failure: Failure) -> None:
        self.say("error", id=id, kind=failure.kind, message=failure.message, details=failure.details)

    def _read(self) -> None:
        """Take requests until the stream closes, which means that nobody waits for a result any more."""
        rest = b""
        while chunk := _read_some(self._requests):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in filter(bytes.strip, lines):
                self._take(line)
        for job in tuple(self._jobs.values()):
            job.cancelled.set()
        self._waiting.put(None)
        time.sleep(GRACE)
        self._abandon()

    def _take(self, line: bytes) -> None:
        """Queue the job that the line asks for, cancel the one it names, or say what is wrong with it."""
        request = _parsed(line)
        id = request.get("id")
        if not isinstance(id, str):
            self._say_failure(None, Failure("internal", f"This is no request: {line[:200]!r}."))
        elif request.get("protocol") != PROTOCOL:
            self._say_failure(id, _other_protocol(request.get("protocol")))
        elif request.get("cancel") is True:
            if (job := self._jobs.get(id)) is not None:
                job.cancelled.set()
        else:
            self._jobs[id] = job = _Job(id, request.get("task"), request.get("parameters", {}))
            self._waiting.put(job)

    def _leave(self) -> NoReturn:
        """End, and with this process all that it has started; nothing temporary stays on the disk."""
        if threading.current_thread() is not threading.main_thread():
            self._abandon()
        self._clear()
        if _leads_a_group():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.killpg(0, signal.SIGTERM)
        # Threads and destructors of libraries have no say in when the memory goes back.
        os._exit(0)

    def _abandon(self) -> NoReturn:
        """End although the main thread is busy."""
        self._clear()
        if _leads_a_group():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    def _clear(self) -> None:
        files.remove_unfinished()
        shutil.rmtree(self._scratch, ignore_errors=True)


class _JobProgress(Progress):
    """Progress events of a job: each new stage, and within a stage some of them."""

    def __init__(self, worker: Worker, job: _Job) -> None:
        self._worker, self._job = worker, job
        self._fraction, self._message, self._stage = 0.0, "", ""
        self._pending, self._due = False, 0.0

    def report(self, fraction: float, message: str = "") -> None:
        if math.isfinite(fraction):
            self._fraction = min(max(float(fraction), 0.0), 1.0)
        self._message = message or self._message
        # "Epoch 3 of 8" and "Epoch 4 of 8" are one stage.
        stage = re.sub(r"[\d.,]+", "", self._message)
        self._pending = True
        if stage != self._stage or time.monotonic() >= self._due:
            self._stage = stage
            self.flush()

    def flush(self) -> None:
        """Send what was reported last, if it has been held back."""
        if self._pending:
            self._pending, self._due = False, time.monotonic() + INTERVAL
            self._worker.say(
                "progress", id=self._job.id, fraction=round(self._fraction, 4), message=self._message
            )

    def log(self, message: str) -> None:
        self._worker.say("log", id=self._job.id, message=message)

    def cancelled(self) -> bool:
        return self._job.cancelled.is_set()


def _run(job: _Job, progress: Progress) -> Mapping[str, object]:
    """Check the request and do its task."""
    kind = TASKS.get(job.task) if isinstance(job.task, str) else None
    if kind is None:
        raise ParameterError(f"There is no task {job.task!r}.", "There are " + ", ".join(TASKS) + ".")
    if not isinstance(job.parameters, dict):
        raise ParameterError("The parameters are no object of names and values.", "Give them as one.")
    progress.check()
    task = kind.from_dict(job.parameters)
    from hsi_toolkit import pipelines

    return pipelines.run(task, progress)


def json_able(value: object) -> Json:
    """``value`` in JSON's types: NaN and infinities become null, arrays lists and paths texts."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): json_able(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [json_able(entry) for entry in value]
    # NumPy's arrays and scalars, without importing NumPy.
    if hasattr(value, "tolist"):
        return json_able(value.tolist())
    return str(value)


def _parsed(line: bytes) -> Mapping[str, object]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return request if isinstance(request, dict) else {}


def _other_protocol(found: object) -> Failure:
    return Failure(
        "environment",
        f"The plugin speaks version {found} of the protocol, the engine {__version__} version {PROTOCOL}. "
        "Create the environment again, so that both match.",
    )


def _read_some(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:
        return b""


def _leads_a_group() -> bool:
    return hasattr(os, "killpg") and os.getpgrp() == os.getpid()


def _free_memory() -> None:
    """Give back what the job has left: other programs, QGIS above all, need the GPU too."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
