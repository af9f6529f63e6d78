"""Sharpening with a guide against bicubic interpolation and the plain Gram-Schmidt method, in one run.

    HSI_SHARED=../shared python -m benchmarks.fusion [--json FILE]

The scene is made from a sharp cube, which is the truth, by a Gaussian point spread of 0.45 scene pixels,
sampling every fourth pixel, and noise of 35 dB in each band. The guide is four broad bands of the same cube
with noise of 40 dB; for Paris it is the real image of another instrument, so that nothing ties the two but
the place. The peer is adaptive Gram-Schmidt as the field's toolboxes have it (Selva et al. 2015, GSA-HS):
for every band the regression of the band on the guide's bands at the scene's resolution.
"""

import argparse
import itertools
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.scenes import Cube, describe, load_array, load_cube
from hsi_toolkit.demo import make_demo_scene
from hsi_toolkit.fusion import Axis
from hsi_toolkit.pipelines import run
from hsi_toolkit.quality import CubeComparison
from hsi_toolkit.scene import RasterWriter, make_scene, open_scene
from hsi_toolkit.tasks.superresolve import Superresolve

RATIO, WIDTH = 4, 0.45
SCENE_NOISE, GUIDE_NOISE = 35.0, 40.0
REAL = ("jasper", "cave_toy", "paris_sr")


@dataclass(frozen=True)
class Result:
    """How close one method came on one scene."""

    scene: str
    method: str
    psnr: float
    ssim: float
    spectral_angle_degrees: float
    ergas: float
    seconds: float


def main() -> None:
    """Print the table, and write it as JSON if asked."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--json", type=Path)
    wanted = arguments.parse_args()
    results = [each for name, pair in truths().items() for each in compare(name, *pair)]
    print("scene        method    PSNR dB   SSIM   angle °   ERGAS   seconds")
    for each in results:
        print(
            f"{each.scene:<12} {each.method:<8} {each.psnr:8.2f} {each.ssim:6.3f} "
            f"{each.spectral_angle_degrees:9.2f} {each.ergas:7.2f} {each.seconds:9.2f}"
        )
    if wanted.json:
        wanted.json.write_text(json.dumps([asdict(each) for each in results], indent=2) + "\n")


def truths() -> dict[str, tuple[Cube, Cube | None]]:
    """Sharp cubes, (bands, rows, cols), each with its real guide where there is one."""
    with tempfile.TemporaryDirectory() as folder:
        scene = open_scene(make_demo_scene(folder).scene).hsi.good_bands
        cubes: dict[str, tuple[Cube, Cube | None]] = {
            "synthetic": (scene[:, :160, :160].to_numpy().astype(np.float64), None)
        }
    for name in REAL:
        real = (describe(name)["truth"] or {}).get("multispectral")
        guide = None if real is None else load_array(name, real).astype(np.float64)
        cubes[name] = (load_cube(name), guide)
    return cubes


def compare(name: str, truth: Cube, real_guide: Cube | None) -> list[Result]:
    """Every method on one scene."""
    rng = np.random.default_rng(0)
    height, width = (side // RATIO * RATIO for side in truth.shape[1:])
    truth = truth[:, :height, :width]
    truth = truth[truth.std(axis=(1, 2)) > 0]
    rows, cols = (Axis(side, side // RATIO, 1 / RATIO, 0.0) for side in (height, width))
    scene = _noisy(rows.blur(WIDTH) @ truth @ cols.blur(WIDTH).T, SCENE_NOISE, rng)
    if real_guide is None:
        edges = np.linspace(0, len(truth), 5).astype(int)
        broad = [truth[low:high].mean(axis=0) for low, high in itertools.pairwise(edges)]
        guide = _noisy(np.stack(broad), GUIDE_NOISE, rng)
    else:
        guide = real_guide[:, :height, :width]
    found = []
    start = time.perf_counter()
    smooth = rows.interpolate() @ scene @ cols.interpolate().T
    found.append(_result(name, "bicubic", smooth, truth, start))
    start = time.perf_counter()
    found.append(_result(name, "GSA-HS", _plain_gsa(scene, guide, smooth, rows, cols), truth, start))
    with tempfile.TemporaryDirectory() as folder:
        paths = [_write(Path(folder) / file, cube) for file, cube in (("s.tif", scene), ("g.tif", guide))]
        for method in ("gsa", "bayes", "cnmf"):
            sharp = str(Path(folder) / f"{method}.tif")
            start = time.perf_counter()
            run(Superresolve(scene=paths[0], guide=paths[1], output=sharp, method=method))
            found.append(_result(name, method, open_scene(sharp).to_numpy(), truth, start))
    return found


def _plain_gsa(scene: Cube, guide: Cube, smooth: Cube, rows: Axis, cols: Axis) -> Cube:
    box = [np.kron(np.eye(axis.coarse), np.full(RATIO, 1 / RATIO)) for axis in (rows, cols)]
    low = box[0] @ guide @ box[1].T
    design = np.concatenate([low.reshape(len(low), -1), np.ones((1, low[0].size))]).T
    gains = np.linalg.lstsq(design, scene.reshape(len(scene), -1).T, rcond=None)[0][:-1]
    detail = guide - rows.interpolate() @ low @ cols.interpolate().T
    sharp: Cube = smooth + np.einsum("mb,mij->bij", gains, detail)
    return sharp


def _noisy(cube: Cube, decibels: float, rng: np.random.Generator) -> Cube:
    spread = cube.std(axis=(1, 2), keepdims=True) * 10 ** (-decibels / 20)
    noisy: Cube = cube + rng.normal(size=cube.shape) * spread
    return noisy


def _write(path: Path, cube: Cube) -> str:
    values = cube.astype(np.float32)
    with RasterWriter(path, like=make_scene(values, path=path), count=len(cube)) as writer:
        writer.write(values, 0)
    return str(path)


def _result(scene: str, method: str, cube: Cube, truth: Cube, start: float) -> Result:
    seconds = time.perf_counter() - start
    sums = CubeComparison(truth.max(axis=(1, 2)))
    sums.update(cube.astype(np.float32), truth.astype(np.float32))
    quality = sums.result()
    angle = float(np.degrees(quality.spectral_angle))
    return Result(scene, method, quality.mean_psnr, quality.mean_ssim, angle, quality.ergas, seconds)


if __name__ == "__main__":
    main()
