"""Peak memory of denoising a scene that is made as it is read: 5,000 x 5,000 x 200 unless told otherwise.

python -m benchmarks.denoising_memory [--rows N] [--columns N] [--bands N] [--method NAME]
"""

import argparse
import resource
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


@dataclass(frozen=True, eq=False)
class Fields:
    """Mixtures of eight materials in blocks, with noise that depends on nothing but place and band."""

    shape: tuple[int, int, int]

    def read(self, bands: slice | NDArray[np.intp], rows: slice, columns: slice) -> NDArray[np.float32]:
        """The window, (bands, rows, columns) float32."""
        position = np.linspace(0, 1, self.shape[0])
        materials = np.stack([0.3 + 0.2 * np.sin((2 + k) * position + k) for k in range(8)], axis=1)
        made = []
        for row in range(rows.start, rows.stop):
            rng = np.random.default_rng(row // 25)
            cells = rng.dirichlet(np.full(8, 0.5), size=-(-self.shape[2] // 25))
            line = np.repeat(cells @ materials.T, 25, axis=0)[: self.shape[2]].T
            noise = np.random.default_rng(1_000_000 + row).standard_normal(line.shape, dtype=np.float32)
            made.append((line.astype(np.float32) + np.float32(0.01) * noise)[bands][:, columns])
        return np.stack(made, axis=1)


def main() -> None:
    """Denoise the scene and print time and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--columns", type=int, default=5000)
    parser.add_argument("--bands", type=int, default=200)
    parser.add_argument("--method", default="auto")
    given = parser.parse_args()
    source = Fields((given.bands, given.rows, given.columns))
    denoise.open_scene = lambda path, variable: make_scene(source, path=Path(path))  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        task = Denoise("made.hdr", str(Path(folder) / "clean.tif"), method=given.method)
        result = denoise.run(task, Progress())
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{given.rows} x {given.columns} x {given.bands}, {given.method}: {result['summary']}")
    print(f"{seconds:.0f} s, peak {peak:.0f} MB (goal {GOAL_MB} MB)")


if __name__ == "__main__":
    main()
