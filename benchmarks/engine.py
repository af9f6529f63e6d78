"""What the engine's process costs: its start, the next job on a warm one, and the end of a cancelled one.

    HSI_PYTHON=.venv/bin/python /usr/bin/python3 benchmarks/engine.py [--rounds 5] [--json FILE]

Runs in QGIS's own Python, with the plugin's client and the real worker. A job's start is the time from the
call to its first progress, or to its result where it has none; features says something after its first block.
Cancelling is measured on Polygons to map with the demo scene, each time at a moment of the real work, and
once more with the worker stuck in a C function that keeps Python's lock: from the wish to cancel until the
caller is free and the worker's process gone. What stood at the outputs must be there unchanged.
"""

import argparse
import hashlib
import importlib
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
ROOT = Path(__file__).resolve().parents[1]

from qgis.core import QgsApplication, QgsProcessingFeedback  # noqa: E402

STUCK = """
import ctypes
from hsi_toolkit import worker
worker._run = lambda job, progress: (progress.report(0.0, "Stuck"), ctypes.PyDLL(None).sleep(60))
worker.main()
"""


class Watching(QgsProcessingFeedback):
    """Notes when the first progress of the task came, and cancels when ``moment`` says so."""

    def __init__(self, moment=lambda text: False):
        super().__init__(False)
        self.moment, self.text = moment, ""
        self.begun = self.cancelled = None

    def setProgressText(self, text):  # noqa: N802  Qt's name
        self.text = text
        if self.begun is None and text != "Starting the engine":
            self.begun = time.perf_counter()

    def isCanceled(self):  # noqa: N802  Qt's name
        if self.cancelled is None and self.moment(self.text):
            self.cancelled = time.perf_counter()
        return self.cancelled is not None


def load_client(folder):
    """The plugin's client; the repository's root is the plugin's package."""
    (folder / "hsi_toolkit").symlink_to(ROOT, target_is_directory=True)
    sys.path.insert(0, str(folder))
    return importlib.import_module("hsi_toolkit.qgis_plugin.client")


def job_start(run, *arguments):
    """Seconds until the job begins and until it is done."""
    feedback, begun = Watching(), time.perf_counter()
    run(*arguments, feedback)
    done = time.perf_counter()
    return (feedback.begun or done) - begun, done - begun


def measure_starts(client, rounds, scene, folder):
    """Rows of task, cold start, cold in all, warm start, warm in all; medians over the rounds."""
    tasks = {
        "info": {"scene": str(scene)},
        "features": {"scene": str(scene), "output": str(folder / "features.tif"), "overwrite": True},
        "doctor": {},
    }
    rows = []
    for task, parameters in tasks.items():
        times = []
        for _ in range(rounds):
            client.stop()
            cold = job_start(client.run_task, task, parameters)
            times.append((*cold, *job_start(client.run_task, task, parameters)))
        rows.append((task, *(statistics.median(column) for column in zip(*times, strict=True))))
    return rows


def maps_of(pid):
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return ""


def measure_cancels(client, rounds, scene, labels, folder):
    """Rows of moment, seconds until all is over (median, longest), and whether the files are as they were."""
    parameters = {"scene": str(scene), "labels": str(labels), "field": "class", "output": str(folder)}
    parameters["overwrite"] = True
    stuck = client.Engine([os.environ["HSI_PYTHON"], "-I", "-c", STUCK])
    moments = {
        "start": lambda text: text.startswith("Starting"),
        "import": lambda text: (
            text.startswith("Starting") and "libtorch_cpu" in maps_of(pid_of(client._engine))
        ),
        "read": lambda text: text.startswith("Reading"),
        "compute": lambda text: text.startswith("Epoch"),
        "write": lambda text: text.startswith("Classifying") and any(folder.glob(".results.*/.map.*")),
        "stuck in C": lambda text: text.startswith("Stuck"),
    }
    rows = []
    for name, moment in moments.items():
        engine, times, whole = stuck if name == "stuck in C" else client._engine, [], True
        for _ in range(rounds):
            before, feedback = fingerprint(folder), Watching(moment)
            engine.stop()
            pids = []
            feedback.moment = lambda text, moment=moment, engine=engine, pids=pids: (
                moment(text) and not pids.append(pid_of(engine))
            )
            try:
                engine.run("map", parameters, feedback)
            except client.EngineCancelled:
                free = time.perf_counter()
            else:
                raise SystemExit(f"{name}: the job was done before it could be cancelled")
            while any(os.path.exists(f"/proc/{pid}") for pid in pids if pid):
                time.sleep(0.001)
            times.append((free - feedback.cancelled, time.perf_counter() - feedback.cancelled))
            whole = whole and fingerprint(folder) == before
        free, gone = zip(*times, strict=True)
        rows.append((name, statistics.median(free), max(free), statistics.median(gone), max(gone), whole))
    stuck.stop()
    return rows


def pid_of(engine):
    worker = engine._host._worker if engine._host else None
    return worker._pid if worker else 0


def fingerprint(folder):
    """The files of the folder, but for the checkpoint from which training goes on."""
    files = [path for path in folder.iterdir() if path.name != "model.part.safetensors"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def make_scene(client, folder):
    """The demo's scene and polygons, without its map."""
    feedback = Watching(lambda text: text.startswith("The demo scene is ready"))
    try:
        client.run_task("demo", {"output": str(folder)}, feedback)
    except client.EngineCancelled:
        return folder / "scene.tif", folder / "training.gpkg"
    raise SystemExit("the demo was not to be finished")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    os.environ.setdefault("HSI_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
    application = QgsApplication([], False)
    application.initQgis()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        client = load_client(folder)
        scene, labels = make_scene(client, folder / "demo")
        output = folder / "output"
        output.mkdir()
        for file in ("model.safetensors", "map.tif", "report.html"):
            (output / file).write_bytes(b"as it was before")
        starts = measure_starts(client, options.rounds, scene, folder)
        cancels = measure_cancels(client, options.rounds, scene, labels, output)
        client.stop()
    print(f"load {' '.join(f'{each:.1f}' for each in os.getloadavg())} on {os.cpu_count()} processors\n")
    print(f"{'task':<12}{'cold start':>12}{'cold done':>12}{'warm start':>12}{'warm done':>12}   seconds")
    for task, *seconds in starts:
        print(f"{task:<12}" + "".join(f"{each:>12.3f}" for each in seconds))
    print(f"\n{'cancel at':<12}{'free':>12}{'at most':>12}{'gone':>12}{'at most':>12}   files as before")
    for moment, *seconds, whole in cancels:
        print(
            f"{moment:<12}" + "".join(f"{each:>12.3f}" for each in seconds) + f"   {'yes' if whole else 'NO'}"
        )
    if options.json:
        options.json.write_text(json.dumps({"starts": starts, "cancels": cancels}, indent=1) + "\n")


if __name__ == "__main__":
    main()
