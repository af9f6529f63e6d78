"""The engine's client against workers that misbehave: one sentence for the user, and QGIS lives."""

import importlib
import os
import re
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

FAKE = Path(__file__).with_name("fake_worker.py")

#: Seconds after which a cancelled job counts as hanging; it should take half a second.
AT_ONCE = 5.0


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory, monkeypatch):
    """The temporary folder, and with it the logs, of this test alone."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def client(qgis_app):
    return importlib.import_module("hsi_toolkit.qgis_plugin.client")


@pytest.fixture
def engine(client):
    """Makes engines with a fake worker of a mode, and ends them."""
    engines = []

    def make(mode, program=sys.executable):
        engines.append(client.Engine([program, str(FAKE), mode]))
        return engines[-1]

    yield make
    for each in engines:
        each.stop()


@pytest.fixture
def feedback(qgis_app):
    """A feedback that remembers what it is shown, and cancels itself when ``cancel_when`` says so."""
    from qgis.core import QgsProcessingFeedback

    class Feedback(QgsProcessingFeedback):
        def __init__(self):
            super().__init__(False)
            self.texts, self.infos, self.commands = [], [], []
            self.cancel_when = lambda: False

        def isCanceled(self):
            return self.cancel_when()

        def setProgressText(self, text):
            self.texts.append(text)

        def pushInfo(self, text):
            self.infos.append(text)

        def pushCommandInfo(self, text):
            self.commands.append(text)

    return Feedback()


@pytest.fixture
def output(tmp_path):
    """A task's output that is there already."""
    path = tmp_path / "features.tif"
    path.write_bytes(b"as it was before")
    return path


def failure(client, run, *arguments):
    with pytest.raises(client.EngineError) as caught:
        run(*arguments)
    return caught.value


def runs(pid):
    """Whether the process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def goes(pid):
    """Whether the process is gone, as soon as a signal on its way has arrived."""
    end = time.monotonic() + AT_ONCE
    while runs(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not runs(pid)


def log_of(error):
    """The log that a message names."""
    return Path(re.search(r"The log is in (.+\.log)\.", error.message)[1]).read_text(encoding="utf-8")


# Jobs


def test_a_result_comes_back_and_the_worker_stays(engine):
    good = engine("good")
    first, second = (good.run("info", {"scene": "ä b.tif", "number": n}) for n in (1, 2))
    assert (first["scene"], first["number"], second["number"]) == ("ä b.tif", 1, 2)
    assert first["pid"] == second["pid"]


def test_progress_log_and_request_reach_the_feedback(engine, feedback):
    engine("chatty").run("info", {"scene": "a.tif"}, feedback)
    assert feedback.texts == ["Starting the engine", *(f"Step {n}" for n in range(5))]
    assert feedback.progress() == 100.0
    assert feedback.infos == ["38 blocks"]
    assert feedback.commands == ['{"task": "info", "parameters": {"scene": "a.tif"}}']


def test_a_plain_feedback_serves_too(engine, qgis_app):
    from qgis.core import QgsFeedback

    plain = QgsFeedback()
    assert engine("chatty").run("info", {}, plain) == {}
    assert plain.progress() == 100.0


def test_jobs_from_many_threads_share_the_worker(engine):
    good, results = engine("good"), {}

    def run(number):
        results[number] = good.run("info", {"number": number})

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: result["number"] for number, result in results.items()} == {n: n for n in range(8)}
    assert len({result["pid"] for result in results.values()}) == 1


def test_a_job_may_be_silent(engine):
    assert engine("silent").run("info", {"seconds": 0.5})["seconds"] == 0.5


def test_a_worker_that_retires_as_a_job_comes_is_replaced(engine):
    retiring = engine("retires")
    first, second = retiring.run("info", {}), retiring.run("info", {})
    assert first["pid"] != second["pid"]


def test_a_worker_that_died_between_jobs_is_replaced(engine):
    good = engine("good")
    first = good.run("info", {})["pid"]
    os.kill(first, 9)
    assert goes(first)
    assert good.run("info", {})["pid"] != first


def test_other_settings_start_another_worker(engine, monkeypatch, qgis_app):
    settings = importlib.import_module("hsi_toolkit.qgis_plugin.settings").Settings
    surroundings = engine("surroundings")
    monkeypatch.delenv("HSI_MODELS", raising=False)
    first = surroundings.run("info", {})
    assert "HSI_MODELS" not in first["environment"]
    assert first["arguments"][:2] == ["--idle", "600"]
    try:
        settings(model_folder="/models of mine", idle_minutes=3).save()
        second = surroundings.run("info", {})
    finally:
        settings().save()
    assert second["pid"] != first["pid"]
    assert second["environment"]["HSI_MODELS"] == "/models of mine"
    assert second["arguments"][:2] == ["--idle", "180"]
    assert goes(first["pid"])


def test_the_worker_does_not_get_what_is_meant_for_qgis(engine, monkeypatch, tmp_path):
    kept = {"GDAL_CACHEMAX": "64", "HTTPS_PROXY": "http://proxy", "CUDA_VISIBLE_DEVICES": "0"}
    poison = ("PYTHONHOME", "PYTHONPATH", "PYTHONEXECUTABLE", "PROJ_LIB", "PROJ_DATA", "GDAL_DATA")
    for name in (*poison, "GDAL_DRIVER_PATH", "QT_PLUGIN_PATH"):
        monkeypatch.setenv(name, str(tmp_path))
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    environment = engine("surroundings").run("info", {})["environment"]
    assert str(tmp_path) not in environment.values()
    assert {name: environment[name] for name in kept} == kept


# Workers that do not start


def test_a_missing_interpreter_is_a_sentence_with_the_cure(client, engine, tmp_path):
    error = failure(client, engine("good", str(tmp_path / "no python")).run, "info", {})
    assert error.kind == "environment"
    assert "no python" in error.message
    assert "options page" in error.message


def test_a_file_that_is_no_program_is_a_sentence_with_the_cure(client, engine, output):
    error = failure(client, engine("good", str(output)).run, "info", {})
    assert (error.kind, "options page" in error.message) == ("environment", True)


def test_no_interpreter_is_the_sentence_of_the_environment(client, monkeypatch):
    environment = client.environment
    monkeypatch.setattr(environment, "find_interpreter", lambda: None)
    monkeypatch.setattr(environment, "missing_sentence", lambda: "Create one.", raising=False)
    error = failure(client, client.run_task, "info", {})
    assert (error.kind, error.message) == ("environment", "Create one.")


def test_an_interpreter_without_the_toolkit_is_told_apart(client, engine):
    error = failure(client, engine("no_toolkit").run, "info", {})
    assert error.kind == "environment"
    assert "has no hsi_toolkit" in error.message


def test_a_worker_that_fails_to_start_says_why(client, engine):
    error = failure(client, engine("exit_at_once").run, "info", {})
    assert error.kind == "environment"
    assert "exit code 1" in error.message
    assert "libfoo.so.1" in error.message
    assert "libfoo.so.1" in log_of(error)


def test_a_worker_killed_at_its_start_says_so(client, engine):
    error = failure(client, engine("killed_at_once").run, "info", {})
    assert (error.kind, "signal 9" in error.message) == ("environment", True)


def test_a_worker_that_is_never_ready_is_given_up(client, engine, monkeypatch):
    monkeypatch.setattr(client, "START_LIMIT", 0.3)
    error = failure(client, engine("never_ready").run, "info", {})
    assert (error.kind, "did not start within" in error.message) == ("environment", True)


def test_another_version_of_the_protocol_is_a_sentence_with_the_cure(client, engine):
    error = failure(client, engine("other_protocol").run, "info", {})
    assert error.kind == "environment"
    assert "9.9.9" in error.message
    assert "options page" in error.message


def test_an_error_of_an_engine_of_another_version_says_so(client, engine):
    error = failure(client, engine("other_version").run, "info", {})
    assert error.kind == "user"
    assert "the engine 0.0.9" in error.message


# Workers that talk nonsense


def test_garbage_before_the_start_is_ignored(engine):
    assert engine("garbage_before_ready").run("info", {"a": 1})["a"] == 1


def test_garbage_within_a_job_is_ignored(engine, feedback):
    assert engine("garbage").run("info", {}, feedback) == {"fine": True}


def test_long_lines_are_read_and_endless_ones_dropped(engine):
    assert len(engine("long_lines").run("info", {})["text"]) == 1 << 20


def test_a_worker_that_refuses_the_request_is_no_hang(client, engine):
    assert failure(client, engine("refuses_the_request").run, "info", {}).kind == "internal"


# Workers that fail


@pytest.mark.parametrize(
    ("mode", "how"),
    [
        ("killed", "signal 9"),
        ("half_a_line", "signal 9"),
        ("segmentation_fault", "signal 11"),
        ("exits_without_answer", "exit code 0"),
    ],
)
def test_a_worker_that_ends_within_a_job_is_one_sentence_and_a_log(client, engine, output, mode, how):
    error = failure(client, engine(mode).run, "features", {"scene": "a.tif", "output": str(output)})
    assert error.kind == "internal"
    assert f"ended unexpectedly ({how})" in error.message
    assert '"scene": "a.tif"' in log_of(error)


def test_what_a_killed_worker_leaves_is_removed_and_nothing_else(client, engine, output):
    error = failure(client, engine("killed").run, "features", {"output": str(output)})
    log = log_of(error)
    assert "the last words" in log
    assert len(log) < 100_000
    assert output.read_bytes() == b"as it was before"
    (foreign,) = [path for path in output.parent.iterdir() if path != output]
    assert foreign.name.startswith(".features.")


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [("disk_full", "user", "No space left on device"), ("gpu_memory", "memory", "The GPU has not enough")],
)
def test_what_the_worker_says_reaches_the_user_as_it_is(client, engine, mode, kind, words):
    failing = engine(mode)
    for _ in range(2):
        error = failure(client, failing.run, "info", {})
        assert error.kind == kind
        assert error.message.startswith(words) or words in error.message


def test_a_defect_comes_with_its_traceback_and_a_log(client, engine):
    error = failure(client, engine("defect").run, "info", {})
    assert (error.kind, error.details) == ("internal", "Traceback: in the worker")
    assert "Traceback: in the worker" in log_of(error)


def test_parameters_that_cannot_be_sent_are_an_error_and_no_hang(client, engine):
    assert failure(client, engine("good").run, "info", {"scene": object()}).kind == "internal"


# Cancelling


def test_a_worker_that_does_not_listen_is_ended_with_its_children(client, engine, feedback, output):
    deaf = engine("deaf")
    feedback.cancel_when = lambda: bool(feedback.infos)
    begun = time.monotonic()
    with pytest.raises(client.EngineCancelled):
        deaf.run("features", {"output": str(output)}, feedback)
    assert time.monotonic() - begun < AT_ONCE
    assert goes(int(feedback.infos[0]))
    assert output.read_bytes() == b"as it was before"
    assert len(list(output.parent.iterdir())) == 2


def test_cancelling_acts_while_the_worker_starts(client, engine, feedback):
    feedback.cancel_when = lambda: bool(feedback.texts)
    with pytest.raises(client.EngineCancelled):
        engine("never_ready").run("info", {}, feedback)


def test_a_job_that_waits_for_its_turn_is_cancelled_alone(client, engine, feedback):
    silent, results = engine("silent"), []
    begun = threading.Event()

    def long_job():
        begun.set()
        results.append(silent.run("info", {"seconds": 1.0}))

    thread = threading.Thread(target=long_job)
    thread.start()
    begun.wait()
    while silent._host is None or not silent._host.jobs.empty():
        time.sleep(0.01)
    feedback.cancel_when = lambda: True
    with pytest.raises(client.EngineCancelled):
        silent.run("info", {}, feedback)
    assert results == []
    thread.join()
    assert results[0]["seconds"] == 1.0
    assert silent.run("info", {})["pid"] == results[0]["pid"]


def test_an_interrupted_caller_cancels_its_job(client, engine, feedback, tmp_path):
    def interrupt():
        if feedback.infos:
            raise KeyboardInterrupt
        return False

    deaf = engine("deaf")
    feedback.cancel_when = interrupt
    with pytest.raises(KeyboardInterrupt):
        deaf.run("info", {"output": str(tmp_path / "map.tif")}, feedback)
    assert goes(int(feedback.infos[0]))


# Ending


def test_stopping_ends_an_idle_worker(engine):
    good = engine("good")
    pid = good.run("info", {})["pid"]
    good.stop()
    assert not runs(pid)
    assert good.run("info", {})["pid"] != pid


def test_stopping_cancels_the_job_that_runs_and_those_that_wait(client, engine, feedback, output):
    deaf, caught = engine("deaf"), []

    def run(shown):
        try:
            deaf.run("features", {"output": str(output)}, shown)
        except client.EngineCancelled as error:
            caught.append(error)

    running = threading.Thread(target=run, args=(feedback,))
    running.start()
    while not feedback.infos:
        time.sleep(0.01)
    waiting = threading.Thread(target=run, args=(None,))
    waiting.start()
    while deaf._host.jobs.empty():
        time.sleep(0.01)
    deaf.stop()
    running.join(AT_ONCE)
    waiting.join(AT_ONCE)
    assert len(caught) == 2
    assert goes(int(feedback.infos[0]))


def test_stopping_what_never_ran_is_fine(client, engine):
    engine("good").stop()
    client.stop()
