"""The engine's client: hands tasks to a worker process that stays warm, and reports its progress.

Any thread may call ``run_task``. The worker's ``QProcess`` belongs to one thread of this module, which does
the jobs one after another; the caller waits, reports and watches for cancellation.
"""

import atexit
import os
import queue
import threading
import time
from typing import Any, Dict, Mapping, Optional, Sequence, Union

from qgis.core import QgsFeedback

from . import environment
from .engine_process import (
    CURE,
    GRACE,
    POLL,
    EngineCancelled,
    EngineError,
    Launch,
    Request,
    Worker,
    WorkerEnded,
)
from .feedback import Reporter
from .settings import Settings

__all__ = ["Engine", "EngineCancelled", "EngineError", "run_task", "stop"]

#: Seconds a worker has to say that it is ready, and a caller that cancelled waits for the end.
START_LIMIT, PATIENCE = 60.0, 2.0


def run_task(
    task: str, parameters: Mapping[str, Any], feedback: Optional[QgsFeedback] = None
) -> Dict[str, Any]:
    """Let the engine do the task and return its result; from any thread.

    Raises:
        EngineError: the task failed; the message is one for the user.
        EngineCancelled: ``feedback`` was cancelled.
    """
    return _engine.run(task, parameters, feedback)


def stop() -> None:
    """End the worker, and with it a job that runs; the next task starts a new one."""
    _engine.stop()


class _Job:
    """A task on its way: the caller's thread makes it and waits, the host's thread does it."""

    def __init__(self, task: str, parameters: Mapping[str, Any], launch: Launch) -> None:
        self.request = Request(f"{os.getpid()}-{id(self)}", task, dict(parameters))
        self.launch = launch
        self.started, self.cancelled = threading.Event(), threading.Event()
        self.events: "queue.Queue[Union[Dict[str, Any], Exception]]" = queue.Queue()

    def wait(self, reporter: Reporter) -> Dict[str, Any]:
        """Pass on what the worker says until the job has ended."""
        deadline = None
        while deadline is None or time.monotonic() < deadline:
            try:
                event = self.events.get(timeout=POLL / 1000)
            except queue.Empty:
                event = {}
            if isinstance(event, Exception):
                raise event
            if event.get("event") == "result":
                return event["result"]
            reporter.take(event)
            if deadline is None and reporter.is_cancelled():
                self.cancelled.set()
                deadline = time.monotonic() + (PATIENCE if self.started.is_set() else 0.0)
        raise EngineCancelled("Cancelled.")


class Engine:
    """A worker and the thread that owns it; ``command`` starts another program than the engine, for tests."""

    def __init__(self, command: Optional[Sequence[str]] = None) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._host: Optional[_Host] = None
        self._python_ends = False

    def run(
        self, task: str, parameters: Mapping[str, Any], feedback: Optional[QgsFeedback] = None
    ) -> Dict[str, Any]:
        """See ``run_task``."""
        reporter = Reporter(feedback)
        job = _Job(task, parameters, self._launch())
        reporter.say_request(task, parameters)
        with self._lock:
            if self._python_ends:
                raise EngineCancelled("QGIS is ending.")
            if self._host is None or not self._host.is_alive():
                self._host = _Host()
                self._host.start()
                # Python must not end under a thread that is inside Qt.
                atexit.register(self._end)
            self._host.jobs.put(job)
        try:
            return job.wait(reporter)
        finally:
            job.cancelled.set()

    def stop(self) -> None:
        """See ``stop``."""
        with self._lock:
            host, self._host = self._host, None
        if host is not None:
            atexit.unregister(self._end)
            host.stopping.set()
            host.jobs.put(None)
            host.join(PATIENCE)

    def _end(self) -> None:
        self._python_ends = True
        self.stop()

    def _launch(self) -> Launch:
        settings = Settings.load()
        command = self._command
        if command is None:
            python = environment.find_interpreter()
            if python is None:
                raise EngineError("environment", environment.missing_sentence())
            command = (str(python), "-I", "-X", "utf8", "-m", "hsi_toolkit.worker")
        return Launch(tuple(command), 60 * settings.idle_minutes, settings.model_folder)


class _Host(threading.Thread):
    """Does the jobs one after another; the only thread that touches the worker's process."""

    def __init__(self) -> None:
        super().__init__(name="hsi_toolkit engine", daemon=True)
        self.jobs: "queue.Queue[Optional[_Job]]" = queue.Queue()
        self.stopping = threading.Event()
        self._worker: Optional[Worker] = None

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                job = self.jobs.get(timeout=1.0)
            except queue.Empty:
                self._look_after_idle_worker()
                continue
            if job is not None:
                self._settle(job)
        self._dismiss()
        while not self.jobs.empty():
            job = self.jobs.get()
            if job is not None:
                job.events.put(EngineCancelled("The engine was stopped."))

    def _look_after_idle_worker(self) -> None:
        if self._worker is not None:
            self._worker.read(0)
            if not self._worker.is_alive():
                self._dismiss()

    def _settle(self, job: _Job) -> None:
        """Do the job; whatever happens, its caller gets an answer."""
        job.started.set()
        if job.cancelled.is_set():
            return
        try:
            result = self._do(job)
        except EngineError as error:
            # A defect or a lack of memory may have left the worker, or its GPU, in a state to be rid of.
            if error.kind != "user":
                self._dismiss(job)
            job.events.put(_detached(error))
        except EngineCancelled as error:
            self._dismiss(job)
            job.events.put(_detached(error))
        except Exception as error:
            self._dismiss(job)
            job.events.put(EngineError("internal", f"This is a defect of hsi_toolkit's client ({error!r})."))
        else:
            job.events.put({"event": "result", "result": result})

    def _do(self, job: _Job) -> Dict[str, Any]:
        self._look_after_idle_worker()
        warm = self._worker is not None and self._worker.launch == job.launch
        if not warm:
            self._dismiss()
            job.events.put({"event": "progress", "message": "Starting the engine"})
            self._worker = Worker(job.launch)
        worker = self._worker
        try:
            self._await_ready(worker, job)
            return self._await_result(worker, job)
        except WorkerEnded:
            if warm and worker.has_retired():
                return self._do(job)
            raise worker.failure(job.request) from None

    def _await_ready(self, worker: Worker, job: _Job) -> None:
        deadline = time.monotonic() + START_LIMIT
        while not worker.version:
            if self._is_unwanted(job):
                raise EngineCancelled("Cancelled.")
            if time.monotonic() > deadline:
                raise EngineError(
                    "environment",
                    f"The engine did not start within {START_LIMIT:.0f} seconds. Try again; if it stays so: "
                    f"{CURE}{worker.write_log(job.request)}",
                )
            for event in worker.next_events():
                if event.get("event") == "ready":
                    worker.accept(event)

    def _await_result(self, worker: Worker, job: _Job) -> Dict[str, Any]:
        deadline = None
        worker.ask(job.request)
        while deadline is None or time.monotonic() < deadline:
            if deadline is None and self._is_unwanted(job):
                deadline = time.monotonic() + GRACE
                worker.cancel(job.request)
            try:
                events = worker.next_events()
            except WorkerEnded:
                if deadline is None:
                    raise
                break
            for event in events:
                kind, about = event.get("event"), event.get("id")
                if kind == "error" and about in (job.request.id, None):
                    raise worker.error_of(event, job.request)
                if kind == "result" and about == job.request.id and isinstance(event.get("result"), dict):
                    return event["result"]
                if kind in ("progress", "log") and about == job.request.id:
                    job.events.put(event)
        raise EngineCancelled("Cancelled.")

    def _is_unwanted(self, job: _Job) -> bool:
        return job.cancelled.is_set() or self.stopping.is_set()

    def _dismiss(self, job: Optional[_Job] = None) -> None:
        """End the worker: one with a job at once, an idle one as it likes within a moment."""
        if self._worker is not None:
            self._worker.end(job.request if job else None)
            self._worker = None


def _detached(error: Exception) -> Exception:
    """The error without the frames it came from: they hold the process, which must end in its own thread."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


_engine = Engine()
