"""A class map over part of a 30 GB cube: peak memory, and memory block by block.

    python -m benchmarks.memory [--lines 200] [--size small] [--json FILE]

The cube (ENVI, int16, band-interleaved by line, 20,000 lines, 10,000 samples, 75 bands) is made in a
temporary folder as a sparse file: the lines that are mapped hold spectra, the others are holes. It is opened
whole; lines from its middle are mapped in fast mode. The network is random: what it says costs the same
memory as what a trained one says. Memory is the process's resident set, sampled twenty times a second;
libraries and model are part of it.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Thread

import numpy as np
import psutil
import torch

from hsi_toolkit.inference import MapOutputs, classify_scene
from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.models.hsimae import HSIMAEConfig, HSIViT
from hsi_toolkit.models.spatial_filter import SpatialFilter
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import open_scene
from hsi_toolkit.training.teachers import fit_features

LINES, SAMPLES, BANDS = 20_000, 10_000, 75
FIRST_LINE = 9_000
CLASSES = 8
FIELD = 40
"""Side in pixels of the square fields that the mapped lines show."""

PEAK_GOAL_MB = 2000
GROWTH_GOAL = 0.10
"""The later half of the blocks may hold at most so much more memory than the earlier half."""

SAMPLE_SECONDS = 0.05


@dataclass(frozen=True)
class BlockMemory:
    """Resident memory while a block was worked on, MB."""

    block: str
    seconds: float
    mean_mb: float
    peak_mb: float


class Meter(Progress):
    """Resident memory, sampled all the time and told apart by block."""

    def __init__(self) -> None:
        self.blocks: list[BlockMemory] = []
        self._process = psutil.Process()
        self._name, self._start, self._samples = "", 0.0, [0.0]

    def report(self, fraction: float, message: str = "") -> None:
        """A message announces the next block."""
        if message or fraction >= 1.0:
            self._finish()
            self._name, self._start, self._samples = message, time.perf_counter(), []

    def resident_mb(self) -> float:
        """Resident memory now."""
        return float(self._process.memory_info().rss) / 1e6

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Sample until the block ends."""
        stop = Event()

        def sample() -> None:
            while not stop.wait(SAMPLE_SECONDS):
                self._samples.append(self.resident_mb())

        thread = Thread(target=sample, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _finish(self) -> None:
        if self._name and self._samples:
            taken = time.perf_counter() - self._start
            self.blocks.append(
                BlockMemory(self._name, taken, float(np.mean(self._samples)), max(self._samples))
            )
        self._name = ""


def make_cube(folder: Path, lines: int) -> Path:
    """The sparse cube with ``lines`` real lines; returns the data file."""
    rng = np.random.default_rng(0)
    position = np.linspace(0, 1, BANDS)
    centres, widths = rng.uniform(0, 1, (CLASSES, 2, 1)), rng.uniform(0.05, 0.3, (CLASSES, 2, 1))
    materials = 1500 + 2000 * np.exp(-(((position - centres) / widths) ** 2)).sum(axis=1)
    data = folder / "cube.bil"
    with data.open("wb") as file:
        file.truncate(LINES * SAMPLES * BANDS * 2)
        file.seek(FIRST_LINE * SAMPLES * BANDS * 2)
        for line in range(lines):
            if line % FIELD == 0:
                fields = rng.integers(0, CLASSES, -(-SAMPLES // FIELD))
            spectra = materials[np.repeat(fields, FIELD)[:SAMPLES]].T
            file.write((spectra + rng.normal(scale=60, size=spectra.shape)).astype("<i2").tobytes())
    wavelengths = ", ".join(f"{400 + 28 * band}" for band in range(BANDS))
    (folder / "cube.hdr").write_text(
        f"ENVI\nsamples = {SAMPLES}\nlines = {LINES}\nbands = {BANDS}\nheader offset = 0\ndata type = 2\n"
        f"interleave = bil\nbyte order = 0\nwavelength units = Nanometers\nwavelength = {{{wavelengths}}}\n"
    )
    return data


def make_classifier(pixels: np.ndarray, size: str) -> SceneClassifier:
    """A classifier with context for scenes like ``pixels`` (n, bands); its network is random."""
    torch.manual_seed(0)
    network = HSIViT(HSIMAEConfig.of_size(size), CLASSES)
    torch.nn.init.normal_(network.cls_head.weight, std=1.0)
    return SceneClassifier(
        network,
        fit_features(pixels),
        None,
        SpatialFilter(sigma=1.0, amount=1.0),
        bands=torch.arange(pixels.shape[1]),
        n_bands=pixels.shape[1],
        context=True,
    ).eval()


def main(arguments: list[str] | None = None) -> int:
    """Print the memory of every block, write the figures where asked, and return 1 if a goal was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--lines", type=int, default=200, help="that are mapped (default 200)")
    parser.add_argument("--size", default="small", help="of the network (default small)")
    parser.add_argument("--memory-limit", type=int, help="MB for blocks and batches; default: the product's")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="default 2")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    meter = Meter()
    with tempfile.TemporaryDirectory() as name:
        data = make_cube(Path(name), options.lines)
        start = time.perf_counter()
        scene = open_scene(data)
        opened = time.perf_counter() - start
        part = scene[:, FIRST_LINE : FIRST_LINE + options.lines]
        sample = part[:, :: max(1, options.lines // 4), :: SAMPLES // 200].values
        classifier = make_classifier(sample.reshape(BANDS, -1).T, options.size)
        print(f"cube of {data.stat().st_size / 1e9:.0f} GB opened whole in {1000 * opened:.0f} ms")
        with meter.watching():
            result = classify_scene(
                part,
                classifier,
                MapOutputs(Path(name) / "map.tif"),
                mode="fast",
                device="cpu",
                memory_limit=options.memory_limit * 2**20 if options.memory_limit else None,
                progress=meter,
            )
    peak = max(block.peak_mb for block in meter.blocks)
    growth = growth_of(meter.blocks)
    print(f"{'block':44}{'seconds':>9}{'mean MB':>9}{'peak MB':>9}")
    for block in meter.blocks:
        print(f"{block.block:44}{block.seconds:9.1f}{block.mean_mb:9.0f}{block.peak_mb:9.0f}")
    reached = peak < PEAK_GOAL_MB and growth <= GROWTH_GOAL
    print(
        f"{sum(result.pixels):,} pixels in {result.seconds:.0f} s, peak {peak:.0f} MB "
        f"(goal under {PEAK_GOAL_MB}), later half {100 * growth:+.1f} % over the earlier one "
        f"(goal at most {100 * GROWTH_GOAL:g} %): "
        f"{'reached' if reached else 'MISSED'}"
    )
    if options.json is not None:
        figures = {"benchmark": "memory", "reached": reached, "peak_mb": peak, "growth": growth}
        figures |= {"blocks": [asdict(block) for block in meter.blocks], "result": asdict(result)}
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0 if reached else 1


def growth_of(blocks: list[BlockMemory]) -> float:
    """Relative growth of the highest memory from the earlier to the later half of the blocks."""
    half = len(blocks) // 2
    if half == 0:
        return 0.0
    earlier, later = blocks[:half], blocks[half:]
    return max(b.peak_mb for b in later) / max(b.peak_mb for b in earlier) - 1


if __name__ == "__main__":
    raise SystemExit(main())
