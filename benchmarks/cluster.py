"""A map by one and by two worker processes: how much faster two are, and whether they write the same bytes.

    python -m benchmarks.cluster [--rows 2400] [--rounds 3] [--mode fast] [--size small] [--json FILE]

Both clusters are there before the clock starts, and have mapped the scene once, so that what is measured is
the work: reading, computing, sending and writing. They take turns, and the best round of each counts. The map
of this process alone is what both are held against; so is one during which a worker is killed. The network is
random: what it says takes as long as what a trained one says. For each map every process opens the scene and
makes the network anew, some tenths of a second: of a scene that is done in a few seconds two processes save
less.
"""

import argparse
import json
import os
import signal
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks.memory import BANDS, CLASSES, FIELD, make_classifier
from hsi_toolkit.blockwise.cluster import Cluster, connect
from hsi_toolkit.inference import MapOutputs, classify_scene
from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import open_scene

GOAL = 1.7
COLUMNS = 240
BLOCKS = 64
"""About so many, so that the last ones of two processes end together."""


@dataclass(frozen=True)
class Figures:
    """Seconds of the best round, and whether the bytes were those of this process.

    ``share`` is the processor time of the busier one of two processes as a part of that of one alone: half,
    if the work is divided well and costs no more, however busy the machine is.
    """

    pixels: int
    one: float
    two: float
    share: float
    same: bool
    same_after_kill: bool

    @property
    def ratio(self) -> float:
        """How much faster two processes are."""
        return self.one / self.two

    @property
    def reached(self) -> bool:
        """Whether speed and bytes are as they should be."""
        return self.ratio >= GOAL and self.same and self.same_after_kill


class KillOne(Progress):
    """Kills a worker when a third of the map is done."""

    def __init__(self, process: int) -> None:
        self._process: int | None = process

    def report(self, fraction: float, message: str = "") -> None:
        if fraction > 1 / 3 and self._process is not None:
            os.kill(self._process, signal.SIGKILL)
            self._process = None


class Work:
    """The scene and the classifier, to be mapped by different processes."""

    def __init__(self, folder: Path, rows: int, size: str, mode: str) -> None:
        self._folder, self._mode = folder, mode
        rng = np.random.default_rng(0)
        fields = rng.integers(0, CLASSES, (rows // FIELD + 1, COLUMNS // FIELD + 1))
        covers = np.kron(fields, np.ones((FIELD, FIELD), int))[:rows, :COLUMNS]
        spectra = rng.uniform(0.05, 0.6, (CLASSES, BANDS)).cumsum(axis=1) / BANDS
        cube = (spectra[covers] + 0.01 * rng.standard_normal((rows, COLUMNS, BANDS))).astype(np.float32)
        np.save(folder / "scene.npy", cube.transpose(2, 0, 1))
        self._scene = open_scene(folder / "scene.npy", ":byx")
        self._classifier: SceneClassifier = make_classifier(cube.reshape(-1, BANDS)[::7], size)
        # Blocks of a line hold some five values for each band: the limit at which there are enough blocks.
        self._limit = int(4 * COLUMNS * (max(rows / BLOCKS, 4) + 10) * 5 * BANDS / 0.75)

    def seconds(self, name: str, cluster: Cluster | None = None, progress: Progress | None = None) -> float:
        """Time of a map, written under ``name``."""
        start = time.perf_counter()
        classify_scene(
            self._scene,
            self._classifier,
            MapOutputs(*(self._path(name, layer) for layer in ("map", "p", "u"))),
            mode="fast" if self._mode == "fast" else "exact",
            device="cpu",
            memory_limit=self._limit,
            overwrite=True,
            cluster=cluster,
            progress=progress,
        )
        return time.perf_counter() - start

    def same(self, name: str, other: str) -> bool:
        """Whether two maps are the same bytes."""
        return all(
            self._path(name, layer).read_bytes() == self._path(other, layer).read_bytes()
            for layer in ("map", "p", "u")
        )

    def _path(self, name: str, layer: str) -> Path:
        return self._folder / f"{name}_{layer}.tif"


def main(arguments: list[str] | None = None) -> int:
    """Print the figures, write them where asked, and return 1 if the goal was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--rows", type=int, default=2400, help=f"of {COLUMNS} pixels (default 2400)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the best counts (default 3)")
    parser.add_argument("--mode", choices=("exact", "fast"), default="fast")
    parser.add_argument("--size", default="small", help="small, base, large or huge (default small)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        work = Work(Path(name), options.rows, options.size, options.mode)
        figures = measure(work, options.rows * COLUMNS, options.rounds)
    print(f"{figures.pixels} pixels, {options.mode} mode, HSIMAE {options.size}")
    for processes, taken in (("one process", figures.one), ("two processes", figures.two)):
        print(f"{processes:16}{taken:9.2f} s{figures.pixels / taken:11,.0f} pixels/s")
    print(f"the busier of two takes {figures.share:.0%} of the processor time that one takes")
    print(
        f"two are {figures.ratio:.2f} times as fast (goal {GOAL:g}); bytes the same: {_word(figures.same)}, "
        f"with a worker killed meanwhile: {_word(figures.same_after_kill)}: "
        f"{'reached' if figures.reached else 'MISSED'}"
    )
    if options.json is not None:
        named = {
            "benchmark": "cluster",
            "reached": figures.reached,
            "ratio": figures.ratio,
            **asdict(figures),
        }
        options.json.write_text(json.dumps(named, indent=2) + "\n", encoding="utf-8")
    return 0 if figures.reached else 1


def measure(work: Work, pixels: int, rounds: int) -> Figures:
    """Both clusters in turns, then one of two that loses a worker."""
    work.seconds("here")
    with connect("local:1") as one, connect("local:2") as two:
        clusters = {"one": one, "two": two}
        for name, cluster in clusters.items():
            work.seconds(name, cluster)
        same = all(work.same("here", name) for name in clusters)
        best, busiest = dict.fromkeys(clusters, float("inf")), dict.fromkeys(clusters, float("inf"))
        for _ in range(rounds):
            for name, cluster in clusters.items():
                before = processor_seconds(cluster)
                best[name] = min(best[name], work.seconds(name, cluster))
                after = processor_seconds(cluster)
                busiest[name] = min(busiest[name], max(after[each] - before[each] for each in after))
        work.seconds("killed", two, KillOne(two.process_numbers()[0]))
    share = busiest["two"] / busiest["one"]
    return Figures(pixels, best["one"], best["two"], share, same, work.same("here", "killed"))


def processor_seconds(cluster: Cluster) -> dict[int, float]:
    """Processor time of each process so far."""
    return {number: sum(psutil.Process(number).cpu_times()[:2]) for number in cluster.process_numbers()}


def _word(said: bool) -> str:
    return "yes" if said else "NO"


if __name__ == "__main__":
    raise SystemExit(main())
