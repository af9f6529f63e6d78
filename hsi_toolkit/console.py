"""Progress and results in a terminal: a bar, JSON lines, or silence; Ctrl-C cancels."""

import json
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from hsi_toolkit.progress import Progress as WorkProgress

#: A terminal that cannot redraw gets a line for a new message at most this often, in seconds.
_LINE_INTERVAL = 2.0


class _Cancellable(WorkProgress):
    """Progress that the user stops with Ctrl-C; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def cancelled(self) -> bool:
        return self._stop.is_set()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stop.is_set():
            raise KeyboardInterrupt
        self._stop.set()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take Ctrl-C and the terminate signal as a wish to cancel while the block runs."""
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {each: signal.signal(each, self._on_signal) for each in signals}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


class BarProgress(_Cancellable):
    """A bar on a terminal that can redraw, else a line for each new step; on the error stream."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=1.0)
        self._said, self._said_at = "", 0.0

    @contextmanager
    def listening(self) -> Iterator[None]:
        with super().listening():
            if not self._console.is_terminal:
                yield
                return
            with self._bar:
                yield

    def report(self, fraction: float, message: str = "") -> None:
        if self._console.is_terminal:
            changes = {"description": message} if message else {}
            self._bar.update(self._task, completed=fraction, **changes)  # type: ignore[arg-type]
        elif message and message != self._said:
            now = time.monotonic()
            if now - self._said_at >= _LINE_INTERVAL:
                self._console.print(f"{fraction:4.0%}  {message}", markup=False, soft_wrap=True)
                self._said, self._said_at = message, now

    def log(self, message: str) -> None:
        self._console.print(message, markup=False, soft_wrap=True)


class JsonProgress(_Cancellable):
    """One JSON object a line on the error stream, for programs that call the command."""

    def report(self, fraction: float, message: str = "") -> None:
        self._say({"event": "progress", "fraction": round(fraction, 4), "message": message})

    def log(self, message: str) -> None:
        self._say({"event": "log", "message": message})

    @staticmethod
    def _say(event: Mapping[str, object]) -> None:
        sys.stderr.write(json.dumps(event, ensure_ascii=False) + "\n")
        sys.stderr.flush()


class SilentProgress(_Cancellable):
    """Nothing but the wish to cancel."""


def progress_for(kind: str) -> BarProgress | JsonProgress | SilentProgress:
    """The progress of ``--progress bar|json|none``."""
    if kind == "json":
        return JsonProgress()
    return BarProgress() if kind == "bar" else SilentProgress()


def print_result(result: Mapping[str, object], *, as_json: bool) -> None:
    """The result on the output stream: as JSON, or its summary, facts and outputs for a reader."""
    if as_json:
        sys.stdout.write(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
        return
    lines: list[str] = []
    if summary := result.get("summary"):
        lines.append(str(summary))
    for part in ("facts", "outputs"):
        entries = result.get(part)
        if isinstance(entries, Mapping) and entries:
            width = max(len(str(name)) for name in entries) + 2
            lines += [f"{name + ':':<{width}}{value}" for name, value in entries.items()]
    for warning in _texts(result.get("warnings")):
        lines.append(f"Note: {warning}")
    sys.stdout.write("\n".join(lines) + "\n")


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else []
