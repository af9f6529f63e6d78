"""The worker's process as the plugin sees it: its start, its lines, its end. The protocol: docs/worker.md."""

import json
import os
import shutil
import signal
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple
from uuid import uuid4

from qgis.PyQt.QtCore import QProcess, QProcessEnvironment

from ..hsi_toolkit import __version__
from ..hsi_toolkit.tasks import TASKS

PROTOCOL = 1

#: Milliseconds that one look at the process takes at most, and seconds it has to end by itself.
POLL, GRACE = 50, 0.5
#: Bytes of a line that is still read, and of the worker's error stream that are kept for the log.
LONGEST_LINE, TAIL = 8 << 20, 64 << 10

CURE = "Create the environment again on the options page (Settings ▸ Options ▸ hsi_toolkit)."

# What QGIS sets for its own copies of Python, GDAL, PROJ and Qt.
FOREIGN = ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH", "__PYVENV_LAUNCHER__")
FOREIGN_PREFIXES = ("PYTHON", "QT_", "QML")


class EngineError(Exception):
    """A task failed; ``kind`` is user, environment, memory or internal, ``details`` a traceback or empty."""

    def __init__(self, kind: str, message: str, details: str = "") -> None:
        super().__init__(message)
        self.kind, self.message, self.details = kind, message, details


class EngineCancelled(Exception):
    """The user cancelled, or the engine was stopped; outputs are as they were before."""


class WorkerEnded(Exception):
    """The worker's process is gone."""


@dataclass(frozen=True)
class Launch:
    """How a worker is started; with another one wanted, it is replaced."""

    command: Tuple[str, ...]
    idle_seconds: int
    model_folder: str


@dataclass(frozen=True)
class Request:
    """What the worker is asked for."""

    id: str
    task: str
    parameters: Mapping[str, Any]


class Worker:
    """The worker's process and what it says."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.version = ""
        # The worker makes this folder and removes it, unless it is killed.
        self._scratch = os.path.join(tempfile.gettempdir(), f"hsi-engine-{uuid4().hex}")
        self._line, self._too_long, self._tail = bytearray(), False, b""
        self._process = QProcess()
        self._process.setProcessEnvironment(_process_environment(launch.model_folder))
        options = ["--idle", str(launch.idle_seconds), "--scratch", self._scratch]
        self._process.start(launch.command[0], [*launch.command[1:], *options])
        self._process.waitForStarted()
        self._pid = self._process.processId()

    def is_alive(self) -> bool:
        return self._process.state() != QProcess.ProcessState.NotRunning

    def has_retired(self) -> bool:
        """Whether it ended of its own accord, as an idle worker does."""
        crashed = self._process.exitStatus() == QProcess.ExitStatus.CrashExit
        return not crashed and self._process.exitCode() == 0

    def accept(self, ready: Mapping[str, Any]) -> None:
        """Take the worker as it introduces itself.

        Raises:
            EngineError: it speaks another version of the protocol.
        """
        version = str(ready.get("version") or "unknown")
        if ready.get("protocol") != PROTOCOL:
            raise EngineError(
                "environment",
                f"The plugin {__version__} and the engine {version} do not match: they speak versions "
                f"{PROTOCOL} and {ready.get('protocol')} of their protocol. {CURE}",
            )
        self.version = version
        # Behind a launcher, as in a virtual environment on Windows, this is another process than the started.
        pid = ready.get("pid")
        if isinstance(pid, int) and 1 < pid < 1 << 31:
            self._pid = pid

    def ask(self, request: Request) -> None:
        self._send({"id": request.id, "task": request.task, "parameters": request.parameters})

    def cancel(self, request: Request) -> None:
        self._send({"id": request.id, "cancel": True})

    def _send(self, content: Mapping[str, Any]) -> None:
        line = json.dumps({"protocol": PROTOCOL, **content})
        self._process.write(line.encode("ascii") + b"\n")
        self._process.waitForBytesWritten(POLL)

    def next_events(self) -> List[Dict[str, Any]]:
        """What the worker says within a moment.

        Raises:
            WorkerEnded: nothing, and it never will.
        """
        alive = self.is_alive()
        events = self.read(POLL)
        if not events and not alive:
            raise WorkerEnded
        return events

    def read(self, milliseconds: int) -> List[Dict[str, Any]]:
        """The events that have come, waiting so long for the first; lines that hold no event are dropped."""
        self._process.waitForReadyRead(milliseconds)
        self._tail = (self._tail + bytes(self._process.readAllStandardError()))[-TAIL:]
        events = []
        *whole, rest = bytes(self._process.readAllStandardOutput()).split(b"\n")
        for piece in whole:
            self._line += piece
            event = None if self._too_long else _event_of(bytes(self._line))
            if event is not None:
                events.append(event)
            self._line, self._too_long = bytearray(), False
        self._line += rest
        if len(self._line) > LONGEST_LINE:
            self._line, self._too_long = bytearray(), True
        return events

    def error_of(self, event: Mapping[str, Any], request: Request) -> Exception:
        """The exception for an error that the worker reports."""
        kind, message = str(event.get("kind")), str(event.get("message"))
        if kind == "cancelled":
            return EngineCancelled(message)
        if self.version != __version__:
            message += f" The plugin is {__version__}, the engine {self.version}. {CURE}"
        elif kind == "environment":
            message += f" {CURE}"
        details = str(event.get("details") or "")
        if kind not in ("user", "memory", "environment"):
            kind = "internal"
            message += self.write_log(request, details)
        return EngineError(kind, message, details)

    def failure(self, request: Request) -> EngineError:
        """The exception for a worker that has ended without an answer."""
        process, tail = self._process, self._tail.decode("utf-8", "replace").strip()
        if process.error() == QProcess.ProcessError.FailedToStart:
            problem = f"The engine's interpreter {self.launch.command[0]} cannot be started"
            return EngineError("environment", f"{problem} ({process.errorString()}). {CURE}")
        last = tail.splitlines()[-1] if tail else "it said nothing"
        if not self.version and "No module named" in last and "hsi_toolkit" in last:
            problem = f"The interpreter {self.launch.command[0]} has no hsi_toolkit"
            return EngineError("environment", f"{problem}. {CURE}", tail)
        how, log = self._ending(), self.write_log(request)
        if not self.version:
            return EngineError("environment", f"The engine did not start ({how}): {last}. {CURE}{log}", tail)
        perhaps = "; perhaps memory ran out" if how == "signal 9" else ""
        problem = f"The engine ended unexpectedly ({how}){perhaps}"
        cure = "Outputs are as they were, and the next run starts it anew."
        return EngineError("internal", f"{problem}. {cure}{log}", tail)

    def _ending(self) -> str:
        code = self._process.exitCode()
        if self._process.exitStatus() != QProcess.ExitStatus.CrashExit:
            return f"exit code {code}"
        # Windows has exceptions such as 0xc0000005 where others have signals.
        return f"signal {code}" if os.name == "posix" else f"{code & 0xFFFFFFFF:#x}"

    def write_log(self, request: Request, details: str = "") -> str:
        """Keep the request and what the worker wrote last in a file; a sentence that names it."""
        asked = json.dumps({"task": request.task, "parameters": request.parameters}, indent=1, default=str)
        head = f"hsi_toolkit {__version__}, engine {self.version or 'not ready'}: {self.launch.command}"
        tail = self._tail.decode("utf-8", "replace")
        try:
            with tempfile.NamedTemporaryFile(
                "w", prefix="hsi-engine-", suffix=".log", delete=False, encoding="utf-8", errors="replace"
            ) as log:
                log.write("\n\n".join((head, asked, details[-TAIL:], tail)))
        except OSError as error:
            return f" No log could be written ({error})."
        return f" The log is in {log.name}."

    def end(self, request: Optional[Request] = None) -> None:
        """End the process and all that it started, and remove what it leaves of the job and its own."""
        if request is None:
            self._process.closeWriteChannel()
            self._process.waitForFinished(int(1000 * GRACE))
        if self.is_alive() or os.name == "posix":
            _kill_group(self._pid)
        if self.is_alive():
            self._process.kill()
            self._process.waitForFinished(int(1000 * GRACE))
        if request is not None:
            _remove_leftovers(request, self._pid)
        shutil.rmtree(self._scratch, ignore_errors=True)


def _process_environment(model_folder: str) -> QProcessEnvironment:
    """QGIS's environment without what is meant for its own libraries."""
    variables = QProcessEnvironment.systemEnvironment()
    for name in variables.keys():  # noqa: SIM118  not a mapping
        if name in FOREIGN or name.startswith(FOREIGN_PREFIXES):
            variables.remove(name)
    if model_folder:
        variables.insert("HSI_MODELS", model_folder)
    return variables


def _event_of(line: bytes) -> Optional[Dict[str, Any]]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _kill_group(pid: int) -> None:
    """End the worker's whole process group: the worker leads one of its own."""
    if pid < 1:
        return
    if not hasattr(os, "killpg"):
        QProcess.execute("taskkill", ["/T", "/F", "/PID", str(pid)])
    elif pid != os.getpgrp():
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def _remove_leftovers(request: Request, pid: int) -> None:
    """Remove what a killed worker left beside the job's outputs."""
    kind = TASKS.get(request.task)
    for declared in kind.parameters() if kind else ():
        value = request.parameters.get(declared.name)
        if declared.kind.endswith("_output") and isinstance(value, str) and value:
            folder = Path(value) if declared.kind == "folder_output" else Path(value).parent
            # The name that hsi_toolkit.files.atomic_path gives them.
            for leftover in folder.glob(f".*.{pid}-*.part*"):
                with suppress(OSError):
                    leftover.unlink()
