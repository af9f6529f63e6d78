"""A class map of a scene of 30,000 x 30,000 pixels and 224 bands, 403 GB, interrupted once.

    python -m benchmarks.huge [--side 30000] [--windows 12] [--size small] [--folder DIR] [--json FILE]

The scene (ENVI, int16, band-interleaved by line) is a sparse file: square windows of it hold spectra, all
else is nodata, as around a mosaic. All of it is mapped in fast mode with a block journal; when half the lines
are done the map is cancelled, and the same call is made again. Memory is the process's resident set, sampled
twenty times a second; libraries and model are part of it. The folder (default: the system's for temporary
files) needs 2 GB for the windows, which take whole pages of the file, and 2 bytes a pixel for the journal.
The network is random: what it says takes as long as what a trained one says.
"""

import argparse
import json
import os
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.windows import Window

from benchmarks.memory import CLASSES, GROWTH_GOAL, PEAK_GOAL_MB, Meter, growth_of, make_classifier
from hsi_toolkit.errors import Cancelled
from hsi_toolkit.inference import MapOutputs, classify_scene
from hsi_toolkit.scene import open_scene

BANDS = 224
WINDOW = 128
"""Side in pixels of the windows that hold spectra."""


@dataclass(frozen=True)
class Scene:
    """The file, and the upper left corners (rows, columns) of its windows."""

    data: Path
    side: int
    corners: list[tuple[int, int]]
    pixels: NDArray[np.float32]


class Interrupted(Meter):
    """Cancels once, when half is done."""

    def __init__(self) -> None:
        super().__init__()
        self._half = self._asked = False
        self.count = 0
        """How many blocks there are, as messages say: "Classifying block 3 of 1500"."""

    def report(self, fraction: float, message: str = "") -> None:
        super().report(fraction, message)
        if found := re.match(r"Classifying block \d+ of (\d+)", message):
            self.count = int(found[1])
        self._half = fraction >= 0.5

    def cancelled(self) -> bool:
        ask = self._half and not self._asked
        self._asked |= ask
        return ask


def make_scene(folder: Path, side: int, windows: int) -> Scene:
    """The sparse scene; windows lie at random, one in each of as many strips of lines."""
    rng = np.random.default_rng(0)
    position = np.linspace(0, 1, BANDS)
    centres, widths = rng.uniform(0, 1, (CLASSES, 2, 1)), rng.uniform(0.05, 0.3, (CLASSES, 2, 1))
    materials = 1500 + 2000 * np.exp(-(((position - centres) / widths) ** 2)).sum(axis=1)
    data, corners, kept = folder / "scene.bil", [], []
    with data.open("wb") as file:
        file.truncate(side * side * BANDS * 2)
        for number in range(windows):
            row = number * side // windows + int(rng.integers(0, side // windows - WINDOW))
            column = int(rng.integers(0, side - WINDOW))
            fields = rng.integers(0, CLASSES, (WINDOW // 16, WINDOW // 16))
            cube = materials[np.kron(fields, np.ones((16, 16), int))]
            values = (cube + rng.normal(scale=60, size=cube.shape)).astype("<i2")
            for line in range(WINDOW):
                for band in range(BANDS):
                    file.seek((((row + line) * BANDS + band) * side + column) * 2)
                    file.write(values[line, :, band].tobytes())
            corners.append((row, column))
            kept.append(values[::4, ::4].reshape(-1, BANDS).astype(np.float32))
    wavelengths = ", ".join(f"{420 + 9 * band}" for band in range(BANDS))
    (folder / "scene.hdr").write_text(
        f"ENVI\nsamples = {side}\nlines = {side}\nbands = {BANDS}\nheader offset = 0\ndata type = 2\n"
        "interleave = bil\nbyte order = 0\ndata ignore value = 0\nwavelength units = Nanometers\n"
        f"wavelength = {{{wavelengths}}}\n"
    )
    return Scene(data, side, corners, np.concatenate(kept))


def main(arguments: list[str] | None = None) -> int:
    """Print the figures, write them where asked, and return 1 if something was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--side", type=int, default=30_000, help="pixels (default 30,000)")
    parser.add_argument("--windows", type=int, default=12, help="that hold spectra (default 12)")
    parser.add_argument("--size", default="small", help="of the network (default small)")
    parser.add_argument("--folder", type=Path, help="for the scene, journal and map")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="default 2")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        scene = make_scene(Path(name), options.side, options.windows)
        figures = measure(scene, Path(name), options.size)
    print(
        f"{figures['gigabytes']:.0f} GB opened in {figures['opened_ms']:.0f} ms; "
        f"{figures['seconds_before']:.0f} s to the cancel, {figures['seconds_after']:.0f} s from there "
        f"({figures['processor_seconds']:.0f} of the processor), {figures['resumed']} of "
        f"{figures['blocks']} blocks kept; {figures['pixels']:,} pixels with data\n"
        f"peak {figures['peak_mb']:.0f} MB (goal under {PEAK_GOAL_MB}), later half of the blocks "
        f"{100 * figures['growth']:+.1f} % over the earlier one (goal at most {100 * GROWTH_GOAL:g} %); "
        f"classes where the data are: {'yes' if figures['whole'] else 'NO'}: "
        f"{'reached' if figures['reached'] else 'MISSED'}"
    )
    if options.json is not None:
        options.json.write_text(json.dumps({"benchmark": "huge", **figures}, indent=2) + "\n")
    return 0 if figures["reached"] else 1


def measure(scene: Scene, folder: Path, size: str) -> dict[str, float]:
    """Map the scene in two goes."""
    begun = time.perf_counter()
    cube = open_scene(scene.data)
    opened = time.perf_counter() - begun
    classifier = make_classifier(scene.pixels, size)
    output, meter, used = folder / "map.tif", Interrupted(), time.process_time()

    def mapped() -> tuple[int, int]:
        result = classify_scene(
            cube,
            classifier,
            MapOutputs(output),
            mode="fast",
            device="cpu",
            journal=folder / "map.part.journal",
            progress=meter,
        )
        return sum(result.pixels), result.resumed

    start = time.perf_counter()
    with meter.watching():
        try:
            mapped()
        except Cancelled:
            halfway = time.perf_counter()
        pixels, resumed = mapped()
    end = time.perf_counter()
    peak = max(block.peak_mb for block in meter.blocks)
    growth, whole = growth_of(meter.blocks), _lies_where_data_are(output, scene)
    return {
        "gigabytes": scene.data.stat().st_size / 1e9,
        "opened_ms": 1000 * opened,
        "seconds_before": halfway - start,
        "seconds_after": end - halfway,
        "processor_seconds": time.process_time() - used,
        "blocks": meter.count,
        "resumed": resumed,
        "pixels": pixels,
        "peak_mb": peak,
        "growth": growth,
        "whole": whole,
        "reached": peak < PEAK_GOAL_MB and growth <= GROWTH_GOAL and whole and resumed > 0,
    }


def _lies_where_data_are(path: Path, scene: Scene) -> bool:
    """Whether the map has classes in the windows, and nowhere else."""
    inside = total = 0
    with rasterio.open(path) as raster:
        for row, column in scene.corners:
            inside += int(np.count_nonzero(raster.read(1, window=Window(column, row, WINDOW, WINDOW))))
        for row in range(0, scene.side, 256):
            height = min(256, scene.side - row)
            total += int(np.count_nonzero(raster.read(1, window=Window(0, row, scene.side, height))))
    return inside == total == len(scene.corners) * WINDOW**2


if __name__ == "__main__":
    raise SystemExit(main())
