"""What a class map costs at 0.1 to 10 megapixels: seconds against pixels, and peak memory.

    python -m benchmarks.scaling [--megapixels 0.1 0.3 1 3 10] [--bands 60] [--rounds 1] [--size small]
                                 [--mode fast] [--folder DIR] [--json FILE]

Square scenes (ENVI, int16, band-interleaved by line) are laid out from one small scene of fields
with mixed borders and noise, mapped each in a fresh process, from the file to the finished map, and removed.
The exponent is the slope of log seconds over log pixels, 1 where the cost is linear. The network is random:
what it says takes as long as what a trained one says. 10 megapixels of 60 bands need 1.2 GB of disk.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from scipy.ndimage import gaussian_filter

from benchmarks.memory import CLASSES, GROWTH_GOAL, make_classifier
from hsi_toolkit.inference import MapOutputs, classify_scene
from hsi_toolkit.inference.devices import choose_device
from hsi_toolkit.scene import open_scene

TILE, FIELD = 256, 32
"""Sides in pixels of the small scene and of its fields."""

WARM = 64
"""Side in pixels of a first map that is not counted: it loads what is compiled."""

EXPONENT_GOAL = 0.05
"""How far from 1 the exponent may be."""


@dataclass(frozen=True)
class Figures:
    """One map: pixels, seconds by the clock and of the processor, peak resident memory."""

    pixels: int
    seconds: float
    processor_seconds: float
    peak_mb: float


def make_scene(path: Path, side: int, bands: int) -> None:
    """A square scene of ``side`` pixels, the small one again and again."""
    rng = np.random.default_rng(0)
    position = np.linspace(0, 1, bands)
    centres, widths = rng.uniform(0, 1, (CLASSES, 2, 1)), rng.uniform(0.05, 0.3, (CLASSES, 2, 1))
    materials = 1500 + 2000 * np.exp(-(((position - centres) / widths) ** 2)).sum(axis=1)
    fields = np.kron(
        rng.integers(0, CLASSES, (TILE // FIELD, TILE // FIELD)), np.ones((FIELD, FIELD), np.intp)
    )
    shares = np.stack(
        [gaussian_filter((fields == k).astype(float), 0.7, mode="wrap") for k in range(CLASSES)]
    )
    light = 1 + 0.1 * gaussian_filter(rng.standard_normal((TILE, TILE)), 4, mode="wrap")
    cube = np.einsum("kyx,kb->ybx", shares * light, materials)
    tile = (cube + rng.normal(scale=30, size=cube.shape)).astype("<i2")
    lines = np.tile(tile, -(-side // TILE))[:, :, :side]
    with path.open("wb") as file:
        for y0 in range(0, side, TILE):
            file.write(lines[: min(TILE, side - y0)].tobytes())
    wavelengths = ", ".join(f"{420 + 2000 * band / bands:.1f}" for band in range(bands))
    path.with_suffix(".hdr").write_text(
        f"ENVI\nsamples = {side}\nlines = {side}\nbands = {bands}\nheader offset = 0\ndata type = 2\n"
        f"interleave = bil\nbyte order = 0\nwavelength units = Nanometers\nwavelength = {{{wavelengths}}}\n"
    )


def map_one(path: Path, size: str, mode: str, device: str, threads: int) -> Figures:
    """Map the scene at ``path``."""
    torch.set_num_threads(threads)
    scene = open_scene(path)
    sample = scene[:, :TILE, :TILE].values[:, ::5, ::5]
    classifier = make_classifier(sample.reshape(len(sample), -1).T, size)

    def mapped(part: xr.DataArray) -> None:
        classify_scene(
            part,
            classifier,
            MapOutputs(path.with_name("map.tif")),
            mode="fast" if mode == "fast" else "exact",
            device=device,
            overwrite=True,
        )

    mapped(scene[:, :WARM, :WARM])
    begun, used = time.perf_counter(), time.process_time()
    mapped(scene)
    seconds, processor = time.perf_counter() - begun, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Figures(scene.sizes["y"] * scene.sizes["x"], seconds, processor, peak)


def exponent(figures: list[Figures], processor: bool = False) -> float:
    """Slope of log seconds over log pixels, by least squares."""
    taken = [each.processor_seconds if processor else each.seconds for each in figures]
    return float(np.polyfit(np.log([each.pixels for each in figures]), np.log(taken), 1)[0])


def growth(figures: list[Figures]) -> float:
    """How much more memory the largest map holds than that of a quarter of its pixels or a little more.

    Much smaller ones have so few blocks that what happens at the same time by chance, reading the next and
    computing this one, has no time to show.
    """
    largest = max(figures, key=lambda each: each.pixels)
    smaller = min((each for each in figures if each.pixels >= largest.pixels / 4), key=lambda e: e.pixels)
    return largest.peak_mb / smaller.peak_mb - 1


def main(arguments: list[str] | None = None) -> int:
    """Print the figures, write them where asked, and return 1 if a goal was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megapixels", type=float, nargs="+", default=[0.1, 0.3, 1, 3, 10])
    parser.add_argument("--bands", type=int, default=60, help="of the scenes (default 60)")
    parser.add_argument("--rounds", type=int, default=1, help="of which the best counts (default 1)")
    parser.add_argument("--size", default="small", help="of the network (default small)")
    parser.add_argument("--mode", choices=("exact", "fast"), default="fast")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="default 2")
    parser.add_argument("--folder", type=Path, help="for the scenes; default: that for temporary files")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--scene", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    how = (options.size, options.mode, options.device, options.threads)
    if options.scene is not None:
        print(json.dumps(asdict(map_one(options.scene, *how))))
        return 0
    device = choose_device(options.device)
    print(f"HSIMAE {options.size}, {options.mode} mode, {device.type}, {options.bands} bands")
    print(f"{'megapixels':>10}{'seconds':>10}{'processor':>11}{'pixels/s':>11}{'peak MB':>9}")
    figures = []
    for megapixels in sorted(options.megapixels):
        figures.append(_in_processes(megapixels, options))
        each = figures[-1]
        print(
            f"{each.pixels / 1e6:10.2f}{each.seconds:10.2f}{each.processor_seconds:11.2f}"
            f"{each.pixels / each.seconds:11,.0f}{each.peak_mb:9.0f}",
            flush=True,
        )
    if len(figures) == 1:
        return 0
    slope, more = exponent(figures), growth(figures)
    reached = abs(slope - 1) <= EXPONENT_GOAL and more <= GROWTH_GOAL
    print(
        f"seconds grow with pixels to the power of {slope:.3f} (goal 1 ± {EXPONENT_GOAL:g}; of the processor "
        f"{exponent(figures, processor=True):.3f}), the last threefold takes {100 * more:+.1f} % memory "
        f"(goal at most {100 * GROWTH_GOAL:g} %): {'reached' if reached else 'MISSED'}"
    )
    if options.json is not None:
        named = {"benchmark": "scaling", "reached": reached, "exponent": slope, "growth": more}
        rows = [asdict(each) for each in figures]
        options.json.write_text(json.dumps({**named, "maps": rows}, indent=2) + "\n", encoding="utf-8")
    return 0 if reached else 1


def _in_processes(megapixels: float, options: argparse.Namespace) -> Figures:
    """The best of some fresh processes that map a scene of this size."""
    given = ["--size", options.size, "--mode", options.mode, "--device", options.device]
    command = [sys.executable, "-m", "benchmarks.scaling", *given, "--threads", str(options.threads)]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "scene.bil"
        make_scene(path, round(math.sqrt(megapixels * 1e6)), options.bands)
        found = [
            Figures(**json.loads(subprocess.check_output([*command, "--scene", str(path)])))
            for _ in range(options.rounds)
        ]
    return min(found, key=lambda each: each.seconds)


if __name__ == "__main__":
    raise SystemExit(main())
