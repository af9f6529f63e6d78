"""Peak memory and time of denoising a scene that is made as it is read, 5,000 x 5,000 x 200 unless told.

    python -m benchmarks.denoising_memory [--rows N] [--columns N] [--bands N] [--materials N] [--folder DIR]

The folder (default: the system's for temporary files) needs room for the result, up to 4 bytes a value.
"""

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.pipelines import denoise
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import make_scene
from hsi_toolkit.tasks.denoise import Denoise

GOAL_MB = 3072
SECONDS_BETWEEN_LINES = 60


@dataclass(frozen=True, eq=False)
class Fields:
    """Mixtures of materials in blocks, with noise that depends on nothing but place and band."""

    shape: tuple[int, int, int]
    count: int

    def read(self, bands: slice | NDArray[np.intp], rows: slice, columns: slice) -> NDArray[np.float32]:
        """The window, (bands, rows, columns) float32."""
        position = np.linspace(0, 1, self.shape[0])
        materials = np.stack([0.3 + 0.2 * np.sin((2 + k) * position + k) for k in range(self.count)], axis=1)
        width = self.shape[2]
        values = np.empty((self.shape[0], rows.stop - rows.start, width), np.float32)
        for index, row in enumerate(range(rows.start, rows.stop)):
            rng = np.random.default_rng(row // 25)
            cells = rng.dirichlet(np.full(self.count, 0.5), size=-(-width // 25))
            line = (materials @ cells.T).astype(np.float32)
            noise = np.random.default_rng(1_000_000 + row).standard_normal(
                (self.shape[0], width), dtype=np.float32
            )
            noise *= np.float32(0.01)
            noise += np.repeat(line, 25, axis=1)[:, :width]
            values[:, index] = noise
        return values[bands][:, :, columns]


class Told(Progress):
    """A line a minute: how far it is, and what the process holds."""

    def __init__(self) -> None:
        self._started = self._told = time.perf_counter()

    def report(self, fraction: float, message: str = "") -> None:
        """Say it if the last time was long ago."""
        now = time.perf_counter()
        if now - self._told >= SECONDS_BETWEEN_LINES:
            self._told = now
            print(f"{now - self._started:7.0f} s  {fraction:6.1%}  {peak_mb():6.0f} MB  {message}")
            sys.stdout.flush()


def peak_mb() -> float:
    """The highest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Denoise the scene and print time and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--columns", type=int, default=5000)
    parser.add_argument("--bands", type=int, default=200)
    parser.add_argument("--materials", type=int, default=8)
    parser.add_argument("--method", default="auto")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--memory-limit", type=int, help="MB, as the task's")
    given = parser.parse_args()
    source = Fields((given.bands, given.rows, given.columns), given.materials)
    denoise.open_scene = lambda path, variable: make_scene(source, path=Path(path))  # type: ignore[assignment]
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        started, cpu = time.perf_counter(), time.process_time()
        output = Path(folder) / "clean.tif"
        task = Denoise("made.hdr", str(output), method=given.method, memory_limit=given.memory_limit)
        result = denoise.run(task, Told())
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        size = output.stat().st_size / 1e9
    pixels = given.rows * given.columns / 1e6
    print(f"{given.rows} x {given.columns} x {given.bands}, {given.method}: {result['summary']}")
    print(
        f"{seconds:.0f} s ({seconds / pixels:.1f} s a Mpixel, {cpu / pixels:.1f} of the processor, its "
        f"making included), {size:.1f} GB written, peak {peak_mb():.0f} MB (goal {GOAL_MB} MB)"
    )


if __name__ == "__main__":
    main()
