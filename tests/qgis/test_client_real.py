"""The engine's client with the real worker: results, cancelling and crashes at any moment."""

import importlib
import os
import signal
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BEFORE = b"as it was before"

#: Seconds after which a cancelled job counts as hanging; it should take half a second.
AT_ONCE = 5.0


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory, monkeypatch):
    """The temporary folder of this test and its workers alone."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def client(qgis_app, engine_python, temporary, monkeypatch):
    """The client with the real engine; in the end nothing temporary is left but logs."""
    module = importlib.import_module("hsi_toolkit.qgis_plugin.client")
    monkeypatch.setenv("HSI_PYTHON", str(engine_python))
    yield module
    module.stop()
    assert [path for path in temporary.glob("hsi-*") if path.suffix != ".log"] == []


def write_scene(folder, rows=12, cols=10, bands=40):
    """An ENVI scene with wavelengths."""
    folder.mkdir(parents=True, exist_ok=True)
    values = [
        0.1 + 0.01 * ((band * 7 + pixel * (band % 5 + 1)) % 23)
        for band in range(bands)
        for pixel in range(rows * cols)
    ]
    (folder / "scene.img").write_bytes(struct.pack(f"<{len(values)}f", *values))
    wavelengths = ", ".join(str(400 + 25 * band) for band in range(bands))
    (folder / "scene.hdr").write_text(
        f"ENVI\nsamples = {cols}\nlines = {rows}\nbands = {bands}\nheader offset = 0\n"
        "file type = ENVI Standard\ndata type = 4\ninterleave = bsq\nbyte order = 0\n"
        "wavelength units = Nanometers\nmap info = {UTM, 1, 1, 400000, 5800000, 10, 10, 33, North, WGS-84}\n"
        f"wavelength = {{{wavelengths}}}\n"
    )
    return folder / "scene.img"


@pytest.fixture
def scene(tmp_path):
    return write_scene(tmp_path / "input")


@pytest.fixture
def output(tmp_path):
    """An output that is there already, alone in its folder."""
    path = tmp_path / "output" / "features.tif"
    path.parent.mkdir()
    path.write_bytes(BEFORE)
    return path


class Hook:
    """A feedback that lets ``act`` run when ``marker`` appears, where the caller asks whether to cancel."""

    def __new__(cls, marker, act):
        from qgis.core import QgsProcessingFeedback

        class Feedback(QgsProcessingFeedback):
            def isCanceled(self):
                return marker.exists() and act()

        return Feedback(False)


def runs(pid):
    """Whether the process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def features(scene, output, **more):
    return {"scene": str(scene), "output": str(output), "overwrite": True, **more}


def test_a_task_is_done(client, scene, output):
    result = client.run_task("features", features(scene, output))
    assert result["outputs"] == {"features": str(output)}
    assert output.read_bytes()[:2] == b"II"
    assert list(output.parent.iterdir()) == [output]


def test_the_engine_is_well(client):
    result = client.run_task("doctor", {})
    assert result["warnings"] == []


def test_an_error_of_the_user_has_the_words_of_the_library(client, tmp_path):
    with pytest.raises(client.EngineError, match=r"There is no file .*absent.tif. Check the path.") as caught:
        client.run_task("info", {"scene": str(tmp_path / "absent.tif")})
    assert caught.value.kind == "user"


def test_a_file_that_cannot_grow_is_an_error_of_the_user(client, stuck, output):
    """As on a full disk: the system refuses to write on."""
    make, _ = stuck
    with pytest.raises(client.EngineError, match=r"Writing .* failed: File too large") as caught:
        make("no space").run("doctor", {"output": str(output), "overwrite": True})
    assert caught.value.kind == "user"
    assert output.read_bytes() == BEFORE
    assert list(output.parent.iterdir()) == [output]


def test_paths_with_spaces_and_other_alphabets(client, engine_python, tmp_path, monkeypatch):
    """The home folder, the environment, the scene and the output."""
    home = tmp_path / "Jörg Müller 高光谱"
    home.mkdir()
    environment = home / "my engine"
    environment.symlink_to(engine_python.parents[1], target_is_directory=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HSI_PYTHON", str(environment / "bin" / engine_python.name))
    monkeypatch.setattr(tempfile, "tempdir", str(home))
    monkeypatch.setenv("LC_ALL", "C")
    output = home / "výstup ü.tif"
    result = client.run_task("features", features(write_scene(home / "Flug 1"), output))
    assert result["outputs"]["features"] == str(output)
    assert output.exists()


def test_what_qgis_sets_for_itself_does_no_harm(client, scene, output, tmp_path, monkeypatch):
    """A PROJ database of another version, a home of Python and packages that are not the engine's."""
    (tmp_path / "proj.db").write_bytes(b"of another version")
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    for name in ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH", "PYTHONHOME", "PYTHONPATH"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("PYTHONEXECUTABLE", "/nowhere")
    assert client.run_task("doctor", {})["warnings"] == []
    client.run_task("features", features(scene, output))


# Where the worker is when it is told to stop. HANG makes a mark and stays in a C function that keeps Python's
# lock, so that nothing within the process can end it: the hardest case of a kernel, an import or a driver.
PROGRAM = """
import ctypes, os, sys
from hsi_toolkit import worker

def hang():
    open({marker!r}, "w").close()
    ctypes.PyDLL(None).sleep(60)

def before(owner, name, calls):
    original, left = getattr(owner, name), [calls]
    def hooked(*arguments, **options):
        left[0] -= 1
        if left[0] < 0:
            hang()
        return original(*arguments, **options)
    setattr(owner, name, hooked)

{patch}
worker._WARM_UP = ()
worker.main()
"""
MOMENTS = {
    "start": "hang()",
    "import": """
        import importlib.abc
        class Slow(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name == "rasterio":
                    hang()
        sys.meta_path.insert(0, Slow())
    """,
    "read": "from hsi_toolkit.scene import raw; before(raw.RawSource, 'read', 0)",
    "compute": "from hsi_toolkit.spectral import MultiScalePCA; before(MultiScalePCA, 'transform', 0)",
    "write": "from hsi_toolkit.scene import RasterWriter; before(RasterWriter, '_put', 0)",
}


@pytest.fixture
def stuck(client, engine_python, tmp_path):
    """Engines whose worker gets stuck at a moment, and the mark that it makes there."""
    engines, marker = [], tmp_path / "stuck"

    def make(moment):
        patch = MOMENTS.get(moment, "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))")
        program = PROGRAM.format(marker=str(marker), patch=textwrap.dedent(patch))
        engines.append(client.Engine([str(engine_python), "-I", "-c", program]))
        return engines[-1]

    yield make, marker
    for engine in engines:
        engine.stop()


@pytest.mark.parametrize("moment", MOMENTS)
def test_cancelling_acts_at_any_moment(client, stuck, scene, output, moment):
    make, marker = stuck
    engine = make(moment)
    cancelled = []

    def cancel():
        cancelled.append((time.monotonic(), engine._host._worker._process.processId()))
        return True

    with pytest.raises(client.EngineCancelled):
        engine.run("features", features(scene, output), Hook(marker, cancel))
    when, pid = cancelled[0]
    assert time.monotonic() - when < AT_ONCE
    assert not runs(pid)
    assert output.read_bytes() == BEFORE
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.slow
def test_killing_the_worker_twenty_times_loses_nothing(client, stuck, scene, output):
    make, marker = stuck
    for moment in [*MOMENTS, "write", *("start", "import") * 7]:
        engine = make(moment)
        marker.unlink(missing_ok=True)

        def kill(engine=engine):
            os.kill(engine._host._worker._process.processId(), signal.SIGKILL)
            marker.unlink()
            return False

        with pytest.raises(client.EngineError, match="signal 9"):
            engine.run("features", features(scene, output), Hook(marker, kill))
        assert output.read_bytes() == BEFORE
        assert list(output.parent.iterdir()) == [output]
    assert client.run_task("features", features(scene, output))["outputs"]
    assert output.read_bytes() != BEFORE


def test_tidy_work_ends_tidily(client, scene, output, tmp_path):
    """Work that looks up at every block ends by itself; nothing has to be killed."""
    seen = tmp_path / "input"
    with pytest.raises(client.EngineCancelled):
        client.run_task("features", features(scene, output), Hook(seen, lambda: True))
    assert output.read_bytes() == BEFORE


ENDING = """
import os, sys, threading
sys.path.insert(0, {plugins!r})
from qgis.core import QgsApplication
application = QgsApplication([], False)
application.initQgis()
from hsi_toolkit.qgis_plugin import client

def job():
    # A task that needs no library, so that the worker is warm at once.
    try:
        client.run_task("nothing", {{}})
    except client.EngineError as error:
        print(error.kind, client._engine._host._worker._pid, flush=True)
{ending}
"""
ENDINGS = {
    "the end of the script": "job()",
    "an exception": "job()\nraise KeyError",
    "exitQgis": "job()\napplication.exitQgis()",
    "stop": "job()\nclient.stop()",
    "unload twice": "job()\nclient.stop()\nclient.stop()",
    "no farewell": "job()\nos._exit(0)",
    "a crash": "job()\nos.kill(os.getpid(), 11)",
    "a job in a thread": """
job()
demo = {"output": sys.argv[1]}
threading.Thread(target=client.run_task, args=("demo", demo), daemon=True).start()
""",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_worker_ends_with_its_host(client, profile, tmp_path, ending):
    program = ENDING.format(plugins=str(profile / "python" / "plugins"), ending=ENDINGS[ending])
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "demo")], capture_output=True, text=True, timeout=60
    )
    kind, pid = done.stdout.split()
    assert kind == "user"
    expected = {"an exception": 1, "a crash": -signal.SIGSEGV}
    assert done.returncode == expected.get(ending, 0), done.stderr
    end = time.monotonic() + AT_ONCE
    while runs(pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not runs(pid)


def test_a_job_in_a_thread_of_qgis(client, scene, output):
    """As Processing does it: in QGIS's own thread pool, while the main thread runs its event loop."""
    from qgis.core import QgsApplication, QgsTask
    from qgis.PyQt.QtCore import QEventLoop, QTimer

    results = []
    task = QgsTask.fromFunction("features", lambda task: client.run_task("features", features(scene, output)))
    loop = QEventLoop()
    task.taskCompleted.connect(loop.quit)
    task.taskTerminated.connect(loop.quit)
    QTimer.singleShot(60_000, loop.quit)
    task.taskCompleted.connect(lambda: results.append(task.returned_values))
    QgsApplication.taskManager().addTask(task)
    loop.exec()
    assert results[0]["outputs"] == {"features": str(output)}
