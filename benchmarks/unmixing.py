"""Unmixing: exactness, speed, blind quality on real scenes, and memory, product against peers in one run.

    python -m benchmarks.unmixing [exact] [speed] [blind] [memory] [--peer-python PYTHON] [--json FILE]

Without names everything runs. Peers (pysptools, cvxopt) live in an environment of their own, whose
interpreter is given by ``--peer-python``; without it, their lines are left out. The real scenes lie in the
shared folder (``HSI_SHARED``). Exactness is the largest difference of an abundance from a quadratic-
programming solver's at tolerance 1e-13. Blind quality takes nothing but the number of endmembers: spectral
angle in radians to the reference endmembers (best pairing) and root mean square error of the abundances,
over ten seeds; beside it N-FINDR and VCA with fully constrained least squares on pixels brought to the same
sum. The memory run unmixes a scene of 5,000 x 5,000 x 200 that is made while it is read.
"""

import argparse
import json
import os
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from hsi_toolkit.pipelines import unmix as pipeline
from hsi_toolkit.progress import Progress
from hsi_toolkit.quality.matching import match_spectra
from hsi_toolkit.scene import make_scene, open_scene
from hsi_toolkit.tasks.unmix import Unmix
from hsi_toolkit.unmixing import Unmixer, estimate_abundances, find_endmembers, fit_brightness, nfindr, vca
from hsi_toolkit.unmixing.brightness import UNEVEN

Float64 = NDArray[np.float64]

SEEDS = range(10)
SPEED_PIXELS, PEER_PIXELS, BANDS = 207_400, 1500, 103
SPEED_COUNTS = (4, 9)
LINEAR_COUNTS = (3, 6, 12, 20, 30)
EXACT_COUNTS = (3, 4, 6, 9, 15, 30)
EXACT_PIXELS = 300
MEMORY_SHAPE = (200, 5000, 5000)
SHARED = Path(os.environ.get("HSI_SHARED", Path(__file__).resolve().parents[2] / "shared"))

PEER = """
import sys, time
import numpy as np
what, source, target = sys.argv[1:]
given = np.load(source)
pixels, endmembers = given["pixels"].astype(np.float64), given["endmembers"]
if what == "speed":
    from pysptools.abundance_maps.amaps import FCLS
    start = time.perf_counter()
    found = FCLS(pixels, endmembers)
    np.savez(target, found=found, seconds=time.perf_counter() - start)
else:
    from cvxopt import matrix, solvers
    solvers.options.update(show_progress=False, abstol=1e-13, reltol=1e-13, feastol=1e-13, maxiters=200)
    count = len(endmembers)
    gram = matrix(endmembers @ endmembers.T)
    bounds, zeros = matrix(-np.eye(count)), matrix(np.zeros(count))
    ones, one = matrix(np.ones((1, count))), matrix(1.0)
    found = [np.array(solvers.qp(gram, matrix(-endmembers @ pixel), bounds, zeros, ones, one)["x"])[:, 0]
             for pixel in pixels]
    np.savez(target, found=np.array(found))
"""


@dataclass(frozen=True)
class Truth:
    """A real scene with reference endmembers (count, bands) and abundances (n, count)."""

    pixels: Float64
    endmembers: Float64
    abundances: Float64


def mixtures(count: int, pixels: int, seed: int = 0) -> tuple[NDArray[np.float32], Float64]:
    """Noisy mixtures (pixels, bands) of smooth spectra (count, bands)."""
    generator = np.random.default_rng(seed)
    steps = generator.normal(size=(count, BANDS))
    endmembers = np.abs(np.cumsum(steps, axis=1)) * 0.02 + 0.05
    shares = generator.dirichlet(np.full(count, 0.7), pixels)
    noise = generator.normal(0, 0.01, (pixels, BANDS))
    return (shares @ endmembers + noise).astype(np.float32), endmembers


def ask_peer(python: str, what: str, pixels: NDArray[np.float32], endmembers: Float64) -> dict[str, Float64]:
    """What the peer answers, from its own interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(source, pixels=pixels, endmembers=endmembers)
        subprocess.run([python, "-c", PEER, what, str(source), str(target)], check=True)
        with np.load(target) as found:
            return {name: np.asarray(found[name], np.float64) for name in found.files}


def exact(peer: str | None) -> dict[str, object]:
    """Largest difference from a quadratic-programming solver, and the optimality conditions."""
    figures: dict[str, object] = {}
    for count in EXACT_COUNTS:
        pixels, endmembers = mixtures(count, EXACT_PIXELS, seed=count)
        spectra, values = torch.from_numpy(endmembers), torch.from_numpy(pixels)
        found = estimate_abundances(values, spectra)
        slope = (found @ spectra - values.double()) @ spectra.T
        slope = slope - (slope * found).sum(1, keepdim=True)
        figure = {"kkt": float(-slope.min()), "slackness": float((slope * found).abs().max())}
        if peer:
            reference = ask_peer(peer, "exact", pixels, endmembers)["found"]
            figure["difference"] = float(np.abs(found.numpy() - reference).max())
        figures[str(count)] = figure
        print(f"exact, {count} endmembers: {figure}")
    return figures


def speed(peer: str | None) -> dict[str, object]:
    """Pixels per second of the fully constrained solver, and of pysptools' on the first pixels."""
    figures: dict[str, object] = {}
    for count in (*SPEED_COUNTS, *LINEAR_COUNTS):
        pixels, endmembers = mixtures(count, SPEED_PIXELS if count < 10 else SPEED_PIXELS // 4)
        values, spectra = torch.from_numpy(pixels), torch.from_numpy(endmembers)
        estimate_abundances(values[:20_000], spectra)
        rates = []
        for part in (values[: len(values) // 4], values):
            start = time.perf_counter()
            estimate_abundances(part, spectra)
            rates.append(len(part) / (time.perf_counter() - start))
        figure = {"quarter": rates[0], "whole": rates[1]}
        if peer and count in (*SPEED_COUNTS, 30):
            taken = ask_peer(peer, "speed", pixels[:PEER_PIXELS], endmembers)["seconds"]
            figure |= {"peer": PEER_PIXELS / float(taken), "ratio": rates[1] * float(taken) / PEER_PIXELS}
        figures[str(count)] = figure
        print(
            f"speed, {count} endmembers, pixels/s: " + ", ".join(f"{k} {v:,.0f}" for k, v in figure.items())
        )
    return figures


def truth(name: str) -> Truth:
    """A scene of the shared folder."""
    folder = SHARED / "scenes" / name
    card = json.loads((folder / "scene.json").read_text(encoding="utf-8"))
    rows, columns, bands = card["cube"]["shape"]
    cube = _matrix(folder, card["cube"]).reshape(bands, -1).T * (card["cube"]["scale"] or 1.0)
    spectra = _matrix(folder, card["truth"]["endmembers"])
    spectra = spectra.T if card["truth"]["endmembers"]["layout"] == "bs" else spectra
    shares = _matrix(folder, card["truth"]["abundances"])
    if card["truth"]["abundances"]["layout"] == "yxb":
        # Pixels of the cube are in column-major order.
        shares = shares.transpose(1, 0, 2).reshape(rows * columns, -1)
    else:
        shares = shares.reshape(-1, rows * columns).T
    return Truth(cube, spectra, shares)


def _matrix(folder: Path, entry: dict[str, str]) -> Float64:
    from scipy.io import loadmat

    return np.asarray(loadmat(folder / entry["file"])[entry["key"]], np.float64)


def product_abundances(pixels: Float64, endmembers: Float64) -> Float64:
    """The product's default: even light where the scene shows it, else a brightness of each pixel's own."""
    fitted, spread = fit_brightness(pixels, endmembers)
    even = spread < UNEVEN
    names = tuple(map(str, range(len(endmembers))))
    unmixer = Unmixer(fitted if even else endmembers, names, brightness="even" if even else "free")
    return unmixer(torch.from_numpy(pixels)).abundances.numpy()


def normalised_abundances(pixels: Float64, endmembers: Float64) -> Float64:
    """Fully constrained fractions of pixels and endmembers of the same sum."""
    scaled = [values / np.maximum(values.sum(1, keepdims=True), 1e-9) for values in (pixels, endmembers)]
    return estimate_abundances(*map(torch.from_numpy, scaled)).numpy()


def blind(_: str | None) -> dict[str, object]:
    """Spectral angle and abundance error of product, N-FINDR and VCA over ten seeds."""
    figures: dict[str, object] = {}
    for name in ("samson", "jasper"):
        known = truth(name)
        count = len(known.endmembers)
        methods = {
            "product": lambda seed: find_endmembers(known.pixels, count, seed=seed),  # noqa: B023
            "N-FINDR": lambda seed: known.pixels[nfindr(known.pixels, count, seed=seed)],  # noqa: B023
            "VCA": lambda seed: known.pixels[vca(known.pixels, count, seed=seed, restarts=1)],  # noqa: B023
        }
        for method, extract in methods.items():
            angles, errors = [], []
            estimate = product_abundances if method == "product" else normalised_abundances
            start = time.perf_counter()
            for seed in SEEDS:
                spectra = extract(seed)
                pairing, angle = match_spectra(spectra, known.endmembers)
                shares = estimate(known.pixels, spectra)[:, pairing]
                angles.append(float(angle.mean()))
                errors.append(float(np.sqrt(np.mean((shares - known.abundances) ** 2))))
            figure = {
                "angle": float(np.median(angles)),
                "angle spread": float(np.std(angles)),
                "error": float(np.median(errors)),
                "error spread": float(np.std(errors)),
                "seconds a seed": (time.perf_counter() - start) / len(SEEDS),
            }
            figures[f"{name}, {method}"] = figure
            print(f"blind, {name}, {method}: " + ", ".join(f"{k} {v:.4g}" for k, v in figure.items()))
    return figures


class LazyMixtures:
    """A scene (bands, rows, columns) of mixtures that are made when they are read."""

    shape = MEMORY_SHAPE

    def __init__(self) -> None:
        _, endmembers = mixtures(5, 1)
        position = np.linspace(0, BANDS - 1, self.shape[0])
        self._spectra = np.stack([np.interp(position, np.arange(BANDS), each) for each in endmembers])

    def read(self, bands: slice | NDArray[np.intp], rows: slice, columns: slice) -> NDArray[np.float32]:
        """The window (bands, rows, columns); every row has a seed of its own."""
        lines = []
        for row in range(rows.start, rows.stop):
            generator = np.random.default_rng(row)
            shares = generator.dirichlet(np.full(5, 0.5), self.shape[2])[columns].astype(np.float32)
            light = generator.uniform(0.5, 1.5, (self.shape[2], 1))[columns].astype(np.float32)
            lines.append((light * shares) @ self._spectra[:, bands].astype(np.float32))
        return np.stack(lines).transpose(2, 0, 1)


def memory(_: str | None) -> dict[str, object]:
    """Peak resident memory and time of the whole task on a scene larger than memory."""
    scene = make_scene(LazyMixtures(), path=Path("made while it is read"))
    pipeline.open_scene = lambda *_: scene
    peak, stop = [0.0], threading.Event()
    process = psutil.Process()

    def watch() -> None:
        while not stop.wait(0.05):
            peak[0] = max(peak[0], process.memory_info().rss / 1e6)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        pipeline.run(Unmix(scene="lazy", output=f"{folder}/abundances.tif", endmembers="5"), Progress())
    seconds = time.perf_counter() - start
    stop.set()
    thread.join()
    pipeline.open_scene = open_scene
    figure = {"peak MB": peak[0], "seconds": seconds}
    print(f"memory, {MEMORY_SHAPE}: " + ", ".join(f"{k} {v:,.0f}" for k, v in figure.items()))
    return dict(figure)


PARTS = {"exact": exact, "speed": speed, "blind": blind, "memory": memory}


def main(arguments: list[str] | None = None) -> None:
    """Run the parts and print their figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=(*PARTS, []), help="which parts; all by default")
    parser.add_argument("--peer-python", help="interpreter of an environment with pysptools and cvxopt")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--threads", type=int, default=1, help="default 1")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    figures = {name: PARTS[name](options.peer_python) for name in options.parts or PARTS}
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
