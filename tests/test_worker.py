"""The worker as another program sees it: its lines, its errors, its end."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsi_toolkit import __version__
from hsi_toolkit.errors import OutOfMemoryError
from hsi_toolkit.failures import failure_of
from hsi_toolkit.worker import PROTOCOL, forget_foreign_environment, json_able

LIMIT = 60.0

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs signals")


class Client:
    """A worker process and the way to talk to it."""

    def __init__(self, command: list[str], **options: Any) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, **options)

    def say(self, line: str | bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write((line.encode() if isinstance(line, str) else line) + b"\n")
        self.process.stdin.flush()

    def ask(self, task: object, parameters: object = None, **more: object) -> None:
        request = {"protocol": PROTOCOL, "id": "1", "task": task, "parameters": parameters or {}, **more}
        self.say(json.dumps(request))

    def cancel(self, id: str = "1") -> None:
        self.say(json.dumps({"protocol": PROTOCOL, "id": id, "cancel": True}))

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.process.stderr and self.process.stderr.read().decode()
        return json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))

    def answer(self) -> dict[str, Any]:
        """The next event that ends a job."""
        while (event := self.hear())["event"] not in ("result", "error"):
            pass
        return event

    def hang_up(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.stdin = None

    def end(self) -> int:
        """How it ended, after it has; the streams stay as they are."""
        return self.process.wait(LIMIT)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Starts workers, and takes none of them along."""
    clients: list[Client] = []

    def start(idle: float = LIMIT, patch: str = "", **options: Any) -> Client:
        arguments = ["--idle", str(idle), "--scratch", str(tmp_path / "scratch")]
        program = ["-m", "hsi_toolkit.worker"]
        if patch:
            program = ["-c", f"from hsi_toolkit import worker\n{textwrap.dedent(patch)}\nworker.main()"]
        clients.append(Client([sys.executable, "-I", *program, *arguments], **options))
        return clients[-1]

    yield start
    for client in clients:
        client.process.kill()
        client.process.communicate()


# A pipeline in place of the real ones; WORK is its body.
PIPELINE = """
import sys, os, time, threading
from hsi_toolkit import pipelines
def run(task, progress):
    {work}
pipelines.run = run
"""


def pipeline(work: str) -> str:
    return PIPELINE.format(work=textwrap.dedent(work).strip().replace("\n", "\n    "))


def test_it_says_first_that_it_is_ready(start: Callable[..., Client]) -> None:
    client = start()
    ready = {"event": "ready", "protocol": PROTOCOL, "version": __version__, "pid": client.process.pid}
    assert client.hear() == ready


def test_nothing_heavy_is_imported_before_it_is_ready(start: Callable[..., Client]) -> None:
    client = start(patch="import sys; sys.modules.update(dict.fromkeys(('torch', 'numpy', 'rasterio')))")
    assert client.hear()["event"] == "ready"


def test_it_does_one_job_after_another(start: Callable[..., Client], tmp_path: Path) -> None:
    client = start()
    client.ask("doctor", {"output": str(tmp_path / "report.txt")}, id="first")
    client.ask("doctor", {"output": str(tmp_path / "report.txt")}, id="second")
    first, second = client.answer(), client.answer()
    assert (first["event"], first["id"], first["result"]["failed"]) == ("result", "first", 0)
    assert (second["event"], second["id"], second["kind"]) == ("error", "second", "user")
    assert "exists already" in second["message"]


def test_progress_names_stages_and_ends_with_the_last(start: Callable[..., Client]) -> None:
    client = start(
        patch=pipeline(
            """
            for step in range(1000): progress.report(step / 2000, f"Reading block {step} of 1000")
            progress.report(float("nan"), "Writing")
            progress.report(0.99)
            progress.log("Note this.")
            return {"value": float("inf")}
            """
        )
    )
    client.hear()
    client.ask("demo")
    events = []
    while (event := client.hear())["event"] != "result":
        events.append(event)
    messages = [event["message"] for event in events]
    fractions = [event["fraction"] for event in events if event["event"] == "progress"]
    assert messages[0] == "Reading block 0 of 1000"
    assert len(messages) < 100
    assert "Note this." in messages
    assert (messages[-1], fractions[-1]) == ("Writing", 0.99)
    assert event["result"] == {"value": None}


@pytest.mark.parametrize(
    ("request_line", "id", "kind", "words"),
    [
        (b"{not json", None, "internal", "no request"),
        (b"\xff\xfe\x00", None, "internal", "no request"),
        (b"[" * 100_000, None, "internal", "no request"),
        (b'{"protocol": 1}', None, "internal", "no request"),
        (b'{"protocol": 2, "id": "x", "task": "info"}', "x", "environment", "version 2"),
        (b'{"protocol": 1, "id": "x", "task": "infoo"}', "x", "user", "no task 'infoo'"),
        (b'{"protocol": 1, "id": "x", "task": ["info"]}', "x", "user", "no task"),
        (b'{"protocol": 1, "id": "x", "task": "info", "parameters": []}', "x", "user", "no object"),
        (b'{"protocol": 1, "id": "x", "task": "info", "parameters": {}}', "x", "user", "'scene'"),
        (b'{"protocol": 1, "id": "x", "task": "info", "parameters": {"seed": 1}}', "x", "user", "'seed'"),
    ],
)
def test_a_bad_request_is_an_answer_and_no_end(
    start: Callable[..., Client], request_line: bytes, id: str | None, kind: str, words: str
) -> None:
    client = start(patch=pipeline("return {}"))
    client.hear()
    client.say(request_line)
    answer = client.answer()
    assert (answer["event"], answer["id"], answer["kind"]) == ("error", id, kind)
    assert words in answer["message"]
    client.ask("demo")
    assert client.answer()["event"] == "result"


@pytest.mark.parametrize(
    ("work", "kind", "words"),
    [
        ("raise MemoryError", "memory", "memory limit"),
        ("import torch; raise torch.cuda.OutOfMemoryError('CUDA out of memory')", "memory", "GPU"),
        ("import torch; torch.empty(1 << 60)", "memory", "memory limit"),
        ("import missing_package", "environment", "missing_package"),
        ("raise OSError(28, 'No space left on device')", "user", "disk is full"),
        ("raise KeyError('lost')", "internal", "defect"),
        ("sys.exit('done')", "internal", "defect"),
    ],
)
def test_an_error_has_the_kind_that_says_whose_turn_it_is(
    start: Callable[..., Client], work: str, kind: str, words: str
) -> None:
    client = start(patch=pipeline(work))
    client.hear()
    client.ask("demo")
    answer = client.answer()
    assert (answer["event"], answer["kind"]) == ("error", kind)
    assert words in answer["message"]
    assert "Traceback" in answer["details"]


def test_an_error_of_the_user_has_no_traceback() -> None:
    failure = failure_of(OutOfMemoryError("The scene does not fit.", "Take a smaller one."))
    assert (failure.kind, failure.message) == ("memory", "The scene does not fit. Take a smaller one.")
    assert failure.details == ""


def test_what_libraries_print_disturbs_no_event(start: Callable[..., Client]) -> None:
    client = start(
        patch=pipeline(
            """
            print("a print"); sys.__stdout__.write("another"); sys.__stdout__.flush()
            os.write(1, b"a C library"); os.system("echo a child")
            assert os.read(0, 1) == b""
            return {"fine": True}
            """
        )
    )
    assert client.hear()["event"] == "ready"
    client.ask("demo")
    assert client.hear() == {"event": "result", "id": "1", "result": {"fine": True}}
    _, errors = client.process.communicate(timeout=LIMIT)
    for text in (b"a print", b"another", b"a C library", b"a child"):
        assert text in errors


def test_what_the_host_sets_for_its_own_libraries_does_no_harm(
    start: Callable[..., Client], tmp_path: Path
) -> None:
    poison = dict.fromkeys(
        ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH", "PYTHONHOME", "PYTHONPATH"), str(tmp_path)
    )
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    (tmp_path / "proj.db").write_bytes(b"")
    client = start(env={**os.environ, **poison, "QT_PLUGIN_PATH": "x"})
    client.hear()
    client.ask("doctor")
    result = client.answer()["result"]
    assert result["warnings"] == []


def test_only_what_belongs_to_the_host_is_forgotten() -> None:
    environment = {"PROJ_LIB": "a", "QT_X": "b", "PYTHONHOME": "c", "PATH": "d", "GDAL_CACHEMAX": "e"}
    forget_foreign_environment(environment)
    assert environment == {"PATH": "d", "GDAL_CACHEMAX": "e"}


def test_cancelling_is_answered_and_ends_it(start: Callable[..., Client], tmp_path: Path) -> None:
    client = start(
        patch=pipeline(
            """
            from hsi_toolkit.files import atomic_path
            with atomic_path(task.output + "/map.tif"):
                progress.report(0.5, "Working")
                while True:
                    progress.check(); time.sleep(0.01)
            """
        )
    )
    client.hear()
    client.ask("demo", {"output": str(tmp_path)})
    assert client.hear()["message"] == "Working"
    client.cancel("another")
    client.cancel()
    answer = client.answer()
    assert (answer["event"], answer["id"], answer["kind"]) == ("error", "1", "cancelled")
    assert client.end() == 0
    assert list(tmp_path.iterdir()) == []


def test_a_job_cancelled_before_its_turn_does_not_begin(start: Callable[..., Client]) -> None:
    client = start(patch=pipeline("progress.log('begun'); time.sleep(0.2); return {}"))
    client.hear()
    client.ask("demo")
    client.ask("demo", id="2")
    client.cancel("2")
    assert [client.hear()["event"] for _ in range(2)] == ["log", "result"]
    answer = client.hear()
    assert (answer["id"], answer["kind"]) == ("2", "cancelled")


def test_closing_its_input_ends_an_idle_worker(start: Callable[..., Client]) -> None:
    client = start()
    client.hear()
    client.hang_up()
    assert client.end() == 0


def test_closing_its_input_cancels_the_job(start: Callable[..., Client]) -> None:
    client = start(patch=pipeline("progress.log('begun')\nwhile True: progress.check(); time.sleep(0.01)"))
    client.hear()
    client.ask("demo")
    client.hear()
    client.hang_up()
    assert client.answer()["kind"] == "cancelled"
    assert client.end() == 0


@POSIX
def test_work_that_never_looks_up_ends_without_its_client(
    start: Callable[..., Client], tmp_path: Path
) -> None:
    """With its children and its temporary files, although the main thread is stuck."""
    client = start(
        patch="worker.GRACE = 0.1\n"
        + pipeline(
            """
            import subprocess, tempfile
            from hsi_toolkit.files import atomic_path
            child = subprocess.Popen(["sleep", "60"])
            tempfile.mkdtemp()
            with atomic_path(task.output + "/map.tif"):
                progress.log(str(child.pid))
                time.sleep(60)
            """
        )
    )
    client.hear()
    client.ask("demo", {"output": str(tmp_path)})
    child = int(client.hear()["message"])
    client.hang_up()
    assert client.end() == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []
    assert not _runs(child)


@POSIX
def test_its_children_end_with_it(start: Callable[..., Client]) -> None:
    client = start(
        idle=0.2,
        patch="worker._WARM_UP = ()\n"
        + pipeline("import subprocess; return {'pid': subprocess.Popen(['sleep', '60']).pid}"),
    )
    client.hear()
    client.ask("demo")
    child = client.answer()["result"]["pid"]
    assert client.end() == 0
    assert not _runs(child)


@POSIX
def test_it_leads_a_process_group_of_its_own(start: Callable[..., Client]) -> None:
    client = start()
    pid = client.hear()["pid"]
    assert os.getpgid(pid) == pid


def test_its_temporary_folder_is_one_that_was_not_there(start: Callable[..., Client], tmp_path: Path) -> None:
    """It is removed at the end, which must not happen to somebody's files."""
    (tmp_path / "scratch").mkdir()
    assert start().end() == 1
    assert (tmp_path / "scratch").exists()


def test_an_idle_worker_ends_and_leaves_nothing(start: Callable[..., Client], tmp_path: Path) -> None:
    client = start(idle=0.1, patch="worker._WARM_UP = ()")
    client.hear()
    assert client.end() == 0
    assert list(tmp_path.iterdir()) == []


def test_results_are_json_whatever_they_hold() -> None:
    value = {
        1: np.float32("nan"),
        "path": Path("a"),
        "array": np.array([[1.5, np.inf]]),
        "count": np.int64(3),
        "tuple": (True, None, float("-inf")),
    }
    plain = {"1": None, "path": "a", "array": [[1.5, None]], "count": 3, "tuple": [True, None, None]}
    assert json_able(value) == plain
    json.dumps(json_able(value), allow_nan=False)


def _runs(pid: int) -> bool:
    """Whether the process is there and no zombie, once a signal on its way has had time to arrive."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        time.sleep(0.02)
    return True
