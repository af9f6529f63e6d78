"""Streaming scenes to float32 blocks: the product beside rioxarray with Dask and rasterio windows.

    python -m benchmarks.reading [--gigabytes 2] [--repeats 3] [--cases bil,band] [--json FILE]

Files of int16 numbers (1000 samples, 224 bands, smooth with noise) are made in a temporary folder, one case
at a time, and deleted: ENVI in each interleave, held against the bytes alone (``readinto``), and GeoTIFF in
tiles of 256 x 256, compressed with ZSTD and predictor 2, pixel- and band-interleaved, held against rioxarray.
Every run is a process of its own, so that its peak memory is its own; the contestants take turns, the file
stays in the page cache, and the fastest of the repeats counts (imports do not). Each reads every value and
turns it into float32 (band, row, column); a sum over some of them makes sure that all read the same.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SAMPLES, BANDS = 1000, 224
BLOCK_LINES = 128
TILE = 256
AXES = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}

FLOOR_GOAL = 2.5
"""Times the bytes alone that a flat file may take."""
MEMORY_GOAL_MB = 400
OPENING_GOAL_MS = 50.0


@dataclass(frozen=True)
class Case:
    """A kind of file, who reads it, and how many times as fast as each of them the product has to be."""

    name: str
    make: Callable[[Path, int], Path]
    contestants: tuple[str, ...]
    goals: dict[str, float]


def lines_of(lines: int, step: int = TILE) -> Iterator[tuple[int, np.ndarray]]:
    """The scene in strips of lines: the first line's number and (bands, lines, samples) int16."""
    generator = np.random.default_rng(0)
    spectrum = 1500 + 1000 * np.sin(np.linspace(0, 9, BANDS))
    across = np.sin(np.linspace(0, 40, SAMPLES))
    # Noise is drawn once and shifted: drawing takes longer than writing.
    noise = generator.normal(0, 25, (BANDS, step, SAMPLES)).astype(np.float32)
    for start in range(0, lines, step):
        count = min(step, lines - start)
        along = np.cos((start + np.arange(count)) / 30)
        surface = (1 + 0.4 * along[:, None] * across).astype(np.float32)
        values = spectrum.astype(np.float32)[:, None, None] * surface
        yield start, np.rint(values + np.roll(noise, start // step, axis=2)[:, :count]).astype(np.int16)


def make_envi(interleave: str) -> Callable[[Path, int], Path]:
    """A function that writes the cube and its header in one interleave; it returns the data file."""

    def make(folder: Path, lines: int) -> Path:
        data = folder / f"cube.{interleave}"
        with data.open("wb") as file:
            file.truncate(lines * BANDS * SAMPLES * 2)
            for start, values in lines_of(lines):
                if interleave == "bsq":
                    for band, plane in enumerate(values):
                        file.seek((band * lines + start) * SAMPLES * 2)
                        file.write(plane.tobytes())
                else:
                    file.seek(start * BANDS * SAMPLES * 2)
                    file.write(np.ascontiguousarray(values.transpose(AXES[interleave])).tobytes())
        data.with_suffix(".hdr").write_text(
            f"ENVI\nsamples = {SAMPLES}\nlines = {lines}\nbands = {BANDS}\nheader offset = 0\n"
            f"data type = 2\ninterleave = {interleave}\nbyte order = 0\n"
        )
        return data

    return make


def make_geotiff(interleave: str) -> Callable[[Path, int], Path]:
    """A function that writes the cube as a tiled GeoTIFF."""

    def make(folder: Path, lines: int) -> Path:
        import rasterio
        from rasterio.transform import from_origin
        from rasterio.windows import Window

        data = folder / f"{interleave}.tif"
        profile = {
            "driver": "GTiff", "width": SAMPLES, "height": lines, "count": BANDS, "dtype": "int16",
            "tiled": True, "blockxsize": TILE, "blockysize": TILE, "interleave": interleave,
            "compress": "zstd", "zstd_level": 1, "predictor": 2, "BIGTIFF": "YES", "NUM_THREADS": "2",
            "crs": "EPSG:32633", "transform": from_origin(4e5, 5.8e6, 30, 30),
        }  # fmt: skip
        with rasterio.open(data, "w", **profile) as dataset:
            for start, values in lines_of(lines):
                dataset.write(values, window=Window(0, start, SAMPLES, values.shape[1]))
        return data

    return make


def stream_product(data: Path) -> float:
    """The product's own blocks."""
    from hsi_toolkit.scene import iter_blocks, open_scene

    return sum(checksum(block.data) for block in iter_blocks(open_scene(data)))


def stream_rioxarray(data: Path) -> float:
    """rioxarray with Dask on two threads, each with a handle of its own, blocks of whole lines."""
    import dask
    import rioxarray

    lines = TILE if data.suffix == ".tif" else BLOCK_LINES
    with dask.config.set(scheduler="threads", num_workers=2):
        array = rioxarray.open_rasterio(data, chunks={"band": -1, "y": lines, "x": -1}, lock=False)
        blocks = array.astype("float32").data.to_delayed().ravel()
        return sum(dask.compute(*(dask.delayed(checksum)(block) for block in blocks)))


def stream_rasterio(data: Path) -> float:
    """rasterio windows of whole lines, read as float32."""
    import rasterio
    from rasterio.windows import Window

    lines = TILE if data.suffix == ".tif" else BLOCK_LINES
    total = 0.0
    with rasterio.open(data) as dataset:
        for start in range(0, dataset.height, lines):
            rows = min(lines, dataset.height - start)
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
    "product": ("hsi_toolkit.scene", "hsi_toolkit.scene.readers.gdal"),
    "rioxarray": ("rioxarray", "dask.array"),
    "rasterio": ("rasterio",),
}
"""What a process loads before the clock starts."""

CASES = (
    Case(
        "bil",
        make_envi("bil"),
        ("floor", "product", "rioxarray", "rasterio"),
        {"rioxarray": 3.5, "rasterio": 4.0},
    ),
    Case("bsq", make_envi("bsq"), ("floor", "product"), {}),
    Case("bip", make_envi("bip"), ("floor", "product"), {}),
    Case("pixel", make_geotiff("pixel"), ("product", "rioxarray", "rasterio"), {"rioxarray": 1.5}),
    Case("band", make_geotiff("band"), ("product", "rioxarray", "rasterio"), {"rioxarray": 1.5}),
)


def checksum(block: np.ndarray) -> float:
    """A sum that shows what was read without costing a pass over the block: every 97th pixel of each line."""
    return float(block[:, :, ::97].sum(dtype=np.float64))


def run_one(name: str, data: Path) -> None:
    """One timed run in this process, reported as JSON on stdout."""
    for module in IMPORTS[name]:
        import_module(module)
    if name == "product":
        # Whatever a reader imports: opening anything asks several of them.
        opening_ms(data, 1)
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    total = CONTESTANTS[name](data)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    answer = {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": after.ru_maxrss / 1024, "checksum": total}
    if name == "product":
        answer["opening_ms"] = opening_ms(data)
    print(json.dumps(answer))


def opening_ms(data: Path, times: int = 15) -> float:
    """Milliseconds that opening takes, the median of several."""
    from hsi_toolkit.scene import open_scene

    taken = []
    for _ in range(times):
        started = time.perf_counter()
        open_scene(data)
        taken.append(time.perf_counter() - started)
    return 1e3 * float(np.median(taken))


def measure(case: Case, data: Path, repeats: int) -> dict[str, dict[str, float]]:
    """The best of ``repeats`` runs of every contestant, taking turns."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in case.contestants}
    for _ in range(repeats):
        for name in case.contestants:
            command = [sys.executable, "-m", "benchmarks.reading", "--run", name, "--data", str(data)]
            answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
            runs[name].append(json.loads(answer.stdout))
    checksums = {run["checksum"] for name in case.contestants if name != "floor" for run in runs[name]}
    if max(checksums) - min(checksums) > 1e-9 * max(checksums):
        raise RuntimeError(f"The contestants read different values: {sorted(checksums)}.")
    best = {"peak_mb": max}
    return {
        name: {
            key: best.get(key, min)(run[key] for run in all_runs) for key in all_runs[0] if key != "checksum"
        }
        for name, all_runs in runs.items()
    }


def judge(case: Case, results: dict[str, dict[str, float]]) -> list[tuple[str, bool]]:
    """The goals of a case in words, and whether each is met."""
    own = results["product"]
    goals = [
        (f"{goal} x {name}", results[name]["seconds"] >= goal * own["seconds"])
        for name, goal in case.goals.items()
    ]
    if "floor" in results:
        within = own["seconds"] <= FLOOR_GOAL * results["floor"]["seconds"]
        goals.append((f"within {FLOOR_GOAL} x the floor", within))
    goals.append((f"at most {MEMORY_GOAL_MB} MB", own["peak_mb"] <= MEMORY_GOAL_MB))
    goals.append((f"opened within {OPENING_GOAL_MS:g} ms", own["opening_ms"] <= OPENING_GOAL_MS))
    return goals


def show(case: Case, data: Path, results: dict[str, dict[str, float]]) -> bool:
    """Print a case's table; whether all its goals are met."""
    own = results["product"]
    print(f"{case.name}: {data.stat().st_size / 1e9:.2f} GB, opened in {own['opening_ms']:.1f} ms")
    for name, result in results.items():
        times = f"{result['seconds']:6.2f} s ({result['cpu_seconds']:5.2f} s of CPU)"
        ratio = result["seconds"] / own["seconds"]
        print(f"  {name:10s} {times}  {result['peak_mb']:5.0f} MB  {ratio:5.2f} x product")
    goals = judge(case, results)
    print("  " + "; ".join(f"{text}: {'met' if met else 'MISSED'}" for text, met in goals))
    return all(met for _, met in goals)


def main() -> None:
    """Make each case's file, measure, print the tables and say whether the goals are met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cases", default=",".join(case.name for case in CASES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--run", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--make", choices=[case.name for case in CASES], help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run_one(options.run, options.data)
        return
    lines = max(1, round(options.gigabytes * 1e9 / (2 * BANDS * SAMPLES)))
    if options.make:
        (case,) = (case for case in CASES if case.name == options.make)
        print(case.make(options.data, lines))
        return
    size = lines * BANDS * SAMPLES * 2 / 1e9
    print(f"{size:.2f} GB of int16 to float32 blocks, best of {options.repeats}, {os.cpu_count()} cores")
    kept: dict[str, object] = {}
    for case in CASES:
        if case.name not in options.cases.split(","):
            continue
        with tempfile.TemporaryDirectory(prefix="hsi-bench-") as folder:
            # In a process of its own: what a parent once held counts as its children's peak.
            command = [sys.executable, "-m", "benchmarks.reading", "--make", case.name, "--data", folder]
            made = subprocess.run(
                [*command, "--gigabytes", str(options.gigabytes)],
                check=True,
                capture_output=True,
                text=True,
                cwd=ROOT,
            )
            data = Path(made.stdout.strip())
            results = measure(case, data, options.repeats)
            kept[case.name] = {"results": results, "met": show(case, data, results)}
    if options.json:
        options.json.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
