"""Streaming an ENVI cube to float32 blocks: the product beside rioxarray with Dask and rasterio windows.

    python -m benchmarks.reading [--lines 4000] [--repeats 3] [--json FILE]

The cube (int16, band-interleaved by line, 1000 samples, 224 bands; 1.79 GB by default) is made in a
temporary folder and deleted. Every run is a process of its own, so that its peak memory is its own; the
contestants take turns, the file stays in the page cache, and the fastest of the repeats counts (imports do
not). Each reads every value and turns it into float32 (band, row, column); a sum over some of them makes sure
that all read the same.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SAMPLES, BANDS = 1000, 224
BLOCK_LINES = 128
GOALS = {"rioxarray": 3.5, "rasterio": 4.0}
MEMORY_GOAL_MB = 300


def make_cube(folder: Path, lines: int) -> Path:
    """Write the cube and its header; returns the data file."""
    data = folder / "cube.bil"
    generator = np.random.default_rng(0)
    with data.open("wb") as file:
        for start in range(0, lines, 100):
            count = min(100, lines - start)
            file.write(generator.integers(0, 10_000, (count, BANDS, SAMPLES), dtype=np.int16).tobytes())
    (folder / "cube.hdr").write_text(
        f"ENVI\nsamples = {SAMPLES}\nlines = {lines}\nbands = {BANDS}\nheader offset = 0\n"
        "data type = 2\ninterleave = bil\nbyte order = 0\n"
    )
    return data


def stream_product(data: Path) -> float:
    """The product's own blocks."""
    from hsi_toolkit.scene import iter_blocks, open_scene

    return sum(checksum(block.data) for block in iter_blocks(open_scene(data)))


def stream_rioxarray(data: Path) -> float:
    """rioxarray with Dask on two threads, blocks of whole lines."""
    import dask
    import rioxarray

    with dask.config.set(scheduler="threads", num_workers=2):
        array = rioxarray.open_rasterio(data, chunks={"band": -1, "y": BLOCK_LINES, "x": -1}).astype(
            "float32"
        )
        blocks = array.data.to_delayed().ravel()
        return sum(dask.compute(*(dask.delayed(checksum)(block) for block in blocks)))


def stream_rasterio(data: Path) -> float:
    """rasterio windows of whole lines, read as float32."""
    import rasterio
    from rasterio.windows import Window

    total = 0.0
    with rasterio.open(data) as dataset:
        for start in range(0, dataset.height, BLOCK_LINES):
            rows = min(BLOCK_LINES, dataset.height - start)
            total += checksum(dataset.read(window=Window(0, start, dataset.width, rows), out_dtype="float32"))
    return total


def stream_floor(data: Path) -> float:
    """What the machine allows: the bytes into a buffer, nothing converted."""
    buffer = bytearray(BLOCK_LINES * BANDS * SAMPLES * 2)
    with data.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return float("nan")


CONTESTANTS: dict[str, Callable[[Path], float]] = {
    "floor": stream_floor,
    "product": stream_product,
    "rioxarray": stream_rioxarray,
    "rasterio": stream_rasterio,
}


IMPORTS = {
    "floor": (),
    "product": ("hsi_toolkit.scene",),
    "rioxarray": ("rioxarray", "dask.array"),
    "rasterio": ("rasterio",),
}
"""What a process loads before the clock starts."""


def checksum(block: np.ndarray) -> float:
    """A sum that shows what was read without costing a pass over the block: every 97th pixel of each line."""
    return float(block[:, :, ::97].sum(dtype=np.float64))


def run_one(name: str, data: Path) -> None:
    """One timed run in this process, reported as JSON on stdout."""
    for module in IMPORTS[name]:
        import_module(module)
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    total = CONTESTANTS[name](data)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        json.dumps(
            {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": after.ru_maxrss / 1024, "checksum": total}
        )
    )


def measure(data: Path, repeats: int) -> dict[str, dict[str, float]]:
    """The best of ``repeats`` runs of every contestant, taking turns."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTESTANTS}
    for _ in range(repeats):
        for name in CONTESTANTS:
            command = [sys.executable, "-m", "benchmarks.reading", "--run", name, "--data", str(data)]
            answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
            runs[name].append(json.loads(answer.stdout))
    checksums = {run["checksum"] for name in GOALS | {"product": 0} for run in runs[name]}
    if max(checksums) - min(checksums) > 1e-9 * max(checksums):
        raise RuntimeError(f"The contestants read different values: {sorted(checksums)}.")
    return {
        name: {
            "seconds": min(run["seconds"] for run in all_runs),
            "cpu_seconds": min(run["cpu_seconds"] for run in all_runs),
            "peak_mb": max(run["peak_mb"] for run in all_runs),
        }
        for name, all_runs in runs.items()
    }


def main() -> None:
    """Make the cube, measure, print the table and say whether the goals are met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lines", type=int, default=4000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--run", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run_one(options.run, options.data)
        return
    with tempfile.TemporaryDirectory(prefix="hsi-bench-") as folder:
        results = measure(make_cube(Path(folder), options.lines), options.repeats)
    own = results["product"]
    size = options.lines * BANDS * SAMPLES * 2 / 1e9
    print(f"{size:.2f} GB int16 BIL to float32 blocks, best of {options.repeats}, {os.cpu_count()} cores")
    for name, result in results.items():
        ratio = result["seconds"] / own["seconds"]
        times = f"{result['seconds']:6.2f} s ({result['cpu_seconds']:5.2f} s of CPU)"
        print(f"  {name:10s} {times}  {result['peak_mb']:5.0f} MB  {ratio:5.2f} x product")
    ratios = {name: results[name]["seconds"] / own["seconds"] for name in GOALS}
    met = all(ratios[name] >= goal for name, goal in GOALS.items()) and own["peak_mb"] <= MEMORY_GOAL_MB
    wanted = ", ".join(f"{goal} x {name}" for name, goal in GOALS.items())
    print(f"goal ({wanted}, at most {MEMORY_GOAL_MB} MB): {'met' if met else 'MISSED'}")
    if options.json:
        options.json.write_text(
            json.dumps({"results": results, "ratios": ratios, "met": met}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
