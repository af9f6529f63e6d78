"""Peak memory and time of sharpening a scene that is made as it is read, to 5,000 x 5,000 x 200 unless told.

    python -m benchmarks.fusion_memory [--method NAME] [--rows N] [--columns N] [--bands N] [--folder DIR]

The guide has four bands and that size, the scene a quarter of it. The folder (default: the system's for
temporary files) needs room for the result, up to 4 bytes a value. Each method is best run in its own process.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import from_origin

from benchmarks.denoising_memory import GOAL_MB, Told, peak_mb
from hsi_toolkit.pipelines import superresolve
from hsi_toolkit.scene import make_scene
from hsi_toolkit.tasks.superresolve import Superresolve

RATIO, CELL, MATERIALS = 4, 30, 8
NOISE = 0.003


@dataclass(frozen=True, eq=False)
class Fields:
    """Fields of eight materials, ``CELL`` sharp pixels wide, seen with pixels of ``pixel`` sharp ones."""

    shape: tuple[int, int, int]
    spectra: NDArray[np.float64]
    pixel: int
    noise_seed: int = 1

    def read(self, bands: slice | NDArray[np.intp], rows: slice, columns: slice) -> NDArray[np.float32]:
        """The window, (bands, rows, columns) float32."""
        width = -(-self.shape[2] * self.pixel // CELL)
        across = np.arange(columns.start, columns.stop) * self.pixel // CELL
        made = []
        for row in range(rows.start, rows.stop):
            material = np.random.default_rng(row * self.pixel // CELL).integers(0, MATERIALS, width)
            noise = np.random.default_rng([self.noise_seed, self.pixel, row]).standard_normal(
                (self.shape[0], self.shape[2]), dtype=np.float32
            )
            line = self.spectra[material[across]].T.astype(np.float32)
            made.append((line + np.float32(NOISE) * noise[:, columns])[bands])
        return np.stack(made, axis=1)


def main() -> None:
    """Sharpen the scene and print time and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--columns", type=int, default=5000)
    parser.add_argument("--bands", type=int, default=200)
    parser.add_argument("--method", default="gsa")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    position = np.linspace(0, 1, given.bands)
    spectra = np.stack([0.3 + 0.2 * np.sin((2 + k) * position + k) for k in range(MATERIALS)])
    broad = spectra[:, : given.bands // 4 * 4].reshape(MATERIALS, 4, -1).mean(axis=2)
    crs = CRS.from_epsg(32633)

    def opened(path: str, variable: str | None = None) -> object:
        pixel, bands, of = (RATIO, given.bands, spectra) if path == "scene" else (1, 4, broad)
        source = Fields((bands, given.rows // pixel, given.columns // pixel), of, pixel)
        place = from_origin(4e5, 5.8e6, 5.0 * pixel, 5.0 * pixel)
        return make_scene(source, path=Path(path), crs=crs, transform=place)

    superresolve.open_scene = opened  # type: ignore[assignment]
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        started, cpu = time.perf_counter(), time.process_time()
        output = Path(folder) / "sharp.tif"
        task = Superresolve(scene="scene", guide="guide", output=str(output), method=given.method)
        result = superresolve.run(task, Told())
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        size = output.stat().st_size / 1e9
    pixels = given.rows * given.columns / 1e6
    print(
        f"{given.rows} x {given.columns} x {given.bands}, {given.method}, {result['components']} components"
    )
    print(
        f"{seconds:.0f} s ({seconds / pixels:.1f} s a Mpixel, {cpu / pixels:.1f} of the processor, their "
        f"making included), {size:.1f} GB written, peak {peak_mb():.0f} MB (goal {GOAL_MB} MB)"
    )


if __name__ == "__main__":
    main()
