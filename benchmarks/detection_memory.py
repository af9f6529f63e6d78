"""Detection and change on scenes of 5,000 x 5,000 pixels and 200 bands: peak memory and time of each task.

    python -m benchmarks.detection_memory [--side 5000] [--tasks anomalies target change] [--json FILE]

Two cubes (ENVI, int16, band-interleaved by line; 10 GB each) are made in a temporary folder as sparse files:
every tenth hundred lines hold spectra, the others are holes and read as zeros. Each task is a process of its
own, so that its peak memory (resident set, libraries included) is its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
from shapely.geometry import box

from hsi_toolkit.pipelines import run
from hsi_toolkit.progress import Progress
from hsi_toolkit.tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]
BANDS = 200
FILLED_LINES, EVERY = 100, 1000
PEAK_GOAL_MB = 3000
METHODS = {"anomalies": ("auto", "rx", "local-rx"), "target": ("auto", "mf"), "change": ("auto",)}


def make_cube(path: Path, side: int, seed: int) -> None:
    """A sparse cube whose filled lines are mixtures of a few smooth spectra."""
    spectra = np.random.default_rng(0).uniform(200, 4000, (6, BANDS))
    with path.open("wb") as file:
        file.truncate(2 * side * side * BANDS)
        for start in range(0, side, EVERY):
            # The same ground on both dates, other noise.
            ground = np.random.default_rng(start).dirichlet(np.full(6, 0.4), (FILLED_LINES, side))
            noise = np.random.default_rng(start + seed + 1)
            file.seek(2 * start * side * BANDS)
            for line in ground:
                values = line @ spectra + noise.normal(0, 20, (side, BANDS))
                file.write(np.ascontiguousarray(values.T).astype(np.int16).tobytes())
    path.with_suffix(".hdr").write_text(
        f"ENVI\nsamples = {side}\nlines = {side}\nbands = {BANDS}\nheader offset = 0\n"
        "data type = 2\ninterleave = bil\nbyte order = 0\n"
    )


def run_one(name: str, method: str, folder: Path) -> None:
    """One task in this process, reported as JSON on stdout."""
    out = folder / "out"
    out.mkdir(exist_ok=True)
    values: dict[str, object] = {"method": method, "output": str(out / "scores.tif"), "overwrite": True}
    if name == "change":
        values |= {"before": str(folder / "first.bil"), "after": str(folder / "second.bil")}
        values |= {"map": str(out / "map.tif"), "types": str(out / "types.tif")}
    else:
        values |= {"scene": str(folder / "first.bil"), "detections": str(out / "map.tif")}
    if name == "target":
        values["target"] = str(folder / "target.gpkg")
    started = time.perf_counter()
    run(TASKS[name].from_dict(values), Progress())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": round(time.perf_counter() - started, 1), "peak_mb": round(peak)}))


def main() -> None:
    """Make the cubes, run the tasks and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--side", type=int, default=5000)
    parser.add_argument("--tasks", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run_one(arguments.run[0], arguments.run[1], Path(arguments.run[2]))
        return
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, cube in enumerate(("first.bil", "second.bil")):
            make_cube(folder / cube, arguments.side, number)
        gpd.GeoDataFrame(geometry=[box(10, -14, 14, -10)]).to_file(folder / "target.gpkg", driver="GPKG")
        print("| task | method | seconds | peak MB |\n|---|---|---|---|")
        for task in arguments.tasks:
            for method in arguments.methods or METHODS[task]:
                command = [sys.executable, "-m", "benchmarks.detection_memory", "--run", task, method, name]
                answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
                results[f"{task} {method}"] = found = json.loads(answer.stdout)
                print(f"| {task} | {method} | {found['seconds']} | {found['peak_mb']} |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    worst = max(found["peak_mb"] for found in results.values())
    print(f"worst peak {worst} MB; goal {PEAK_GOAL_MB} MB: {'reached' if worst < PEAK_GOAL_MB else 'MISSED'}")


if __name__ == "__main__":
    main()
