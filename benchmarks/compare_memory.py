"""Peak memory and time of comparing two scenes that are made as they are read, of 5,000 x 5,000 x 200.

    python -m benchmarks.compare_memory [--rows N] [--columns N] [--bands N]

Both show the same fields under different noise.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.denoising_memory import GOAL_MB, Told, peak_mb
from benchmarks.fusion_memory import MATERIALS, Fields
from hsi_toolkit.pipelines import compare
from hsi_toolkit.scene import make_scene
from hsi_toolkit.tasks.compare import Compare


def main() -> None:
    """Compare the scenes and print time and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--columns", type=int, default=5000)
    parser.add_argument("--bands", type=int, default=200)
    given = parser.parse_args()
    position = np.linspace(0, 1, given.bands)
    spectra = np.stack([0.3 + 0.2 * np.sin((2 + k) * position + k) for k in range(MATERIALS)])

    def opened(path: str, variable: str | None = None) -> object:
        source = Fields((given.bands, given.rows, given.columns), spectra, 1, noise_seed=int(path == "clean"))
        return make_scene(source, path=Path(path))

    compare.open_scene = opened  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        started, cpu = time.perf_counter(), time.process_time()
        task = Compare(scene="clean", reference="truth", report=str(Path(folder) / "report.html"))
        result = compare.run(task, Told())
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    pixels = given.rows * given.columns / 1e6
    print(f"{given.rows} x {given.columns} x {given.bands}: PSNR {result['psnr']:.2f} dB")
    print(
        f"{seconds:.0f} s ({cpu / pixels:.1f} processor seconds a Mpixel, their making included), "
        f"peak {peak_mb():.0f} MB (goal {GOAL_MB} MB)"
    )


if __name__ == "__main__":
    main()
