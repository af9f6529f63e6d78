"""HSIMAE-Base over a scene: the product's exact and fast modes beside the plain way, on the same weights.

    python -m benchmarks.inference [--threads 2] [--rounds 3] [--json FILE]

The plain way cuts every pixel's 9 × 9 window out of the features, and gives all of them to the float32 module
in batches of 256, on all threads. The product maps the scene from the file to the finished GeoTIFF, its
features included. The sides take turns on some rows of the demo scene, and the best round of each counts;
accuracy and agreement are those of the whole scene, against its reference map. The network alone decides: its
experts, which see every pixel in both modes, are left out. It is trained here, briefly, on 40 pixels a class.

The yardstick is the machine's limit: the network's own matrix products, of batches of the product's size, on
as many threads, with nothing in between, in float32, in the fastest floating type and in int8. They are timed
in turns with the other sides. The goal is held against the floating type: answers in int8 may go past it.

Where there is CUDA, windows a second in bfloat16 are measured as well, with and without ``torch.compile``,
beside the rate of a large matrix product.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hsi_toolkit.demo import make_demo_scene
from hsi_toolkit.inference import MapOutputs, MapResult, classify_scene
from hsi_toolkit.inference.devices import quick_dtypes, single_threaded_operations
from hsi_toolkit.inference.folding import FoldedNetwork
from hsi_toolkit.inference.screening import CPU_TOKENS
from hsi_toolkit.inference.token_major import TokenMajorForward
from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.models.hsimae import HSIMAEConfig, HSIViT
from hsi_toolkit.models.spatial_filter import SpatialFilter
from hsi_toolkit.scene import open_scene
from hsi_toolkit.training.augment import turned
from hsi_toolkit.training.teachers import fit_features

EXACT_GOAL, FAST_GOAL = 2.5, 20.0
SHARE_GOAL = 0.7
AGREEMENT_GOAL, LOSS_GOAL = 0.999, 0.5
CUDA_GOAL, CUDA_SHARE_GOAL = 1_000_000, 0.35

RADIUS, SIDE = 4, 9
PLAIN_BATCH = 256
LABELS_A_CLASS = 40
TRAINING_STEPS, TRAINING_BATCH = 150, 32
CUDA_WINDOWS = 1 << 17
CUDA_MATRIX = 8192
RATE_BATCHES = 64


@dataclass(frozen=True)
class Speed:
    """Seconds of the best round for some rows of the scene.

    ``gflop`` is the arithmetic of a window's matrix products, 1e9 operations; ``rates`` are 1e9 operations a
    second of these products alone, by type.
    """

    pixels: int
    plain: float
    exact: float
    fast: float
    gflop: float
    rates: dict[str, float]

    @property
    def share(self) -> float:
        """What exact mode, from file to map, reaches of the rate of its matrix products in floating point."""
        floating = max(rate for name, rate in self.rates.items() if "int" not in name)
        return self.pixels * self.gflop / self.exact / floating


@dataclass(frozen=True)
class Quality:
    """The whole scene, percent: overall accuracy of both modes, and where labels equal the plain module's."""

    exact_accuracy: float
    fast_accuracy: float
    exact_agreement: float
    fast_agreement: float


def main(arguments: list[str] | None = None) -> int:
    """Print the tables, write the figures where asked, and return 1 if a goal was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="default 2")
    parser.add_argument("--rounds", type=int, default=3, help="of which the best counts (default 3)")
    parser.add_argument("--size", default="base", help="small, base, large or huge (default base)")
    parser.add_argument("--rows", type=int, default=64, help="of the scene that are timed (default 64)")
    parser.add_argument("--side", type=int, default=240, help="of the demo scene (default 240 pixels)")
    parser.add_argument("--float32", action="store_true", help="no 16-bit arithmetic in the product")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = make_demo_scene(folder, shape=(options.side, options.side))
        scene = open_scene(files.scene)
        with rasterio.open(files.reference) as raster:
            truth = raster.read(1).astype(np.int64)
        classifier = train(scene, truth, options.size)
        figures: dict[str, object] = {"benchmark": "inference", "size": options.size}
        figures |= {"threads": options.threads, "float32": options.float32}
        speed = measure_speed(classifier, scene, folder, options.rows, options.rounds, options.float32)
        quality, results = measure_quality(classifier, scene, truth, folder, options.float32)
    figures |= {"speed": asdict(speed), "quality": asdict(quality)}
    figures |= {"results": {mode: asdict(result) for mode, result in results.items()}}
    reached = report(speed, quality, results)
    if torch.cuda.is_available():
        cuda = measure_cuda(FoldedNetwork.of(classifier.network.cuda()), options.rounds)
        reached &= report_cuda(cuda)
        figures["cuda"] = asdict(cuda)
    else:
        print("CUDA: no device, not measured")
    figures["reached"] = reached
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0 if reached else 1


def train(scene: xr.DataArray, truth: NDArray[np.int64], size: str) -> SceneClassifier:
    """A classifier whose network alone decides, trained for a minute or two."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    spectra = scene.values[np.asarray(scene["good"].to_numpy(), bool)]
    n_classes = int(truth.max())
    classifier = SceneClassifier(
        HSIViT(HSIMAEConfig.of_size(size), n_classes, drop_path=0.1),
        fit_features(spectra.reshape(len(spectra), -1).T),
        None,
        SpatialFilter(sigma=1.0, amount=1.0),
        bands=torch.from_numpy(np.flatnonzero(scene["good"].to_numpy())),
        n_bands=scene.sizes["band"],
        context=True,
    )
    cut = windows_of(classifier, scene)
    chosen = [
        rng.permutation(np.argwhere(truth == label))[:LABELS_A_CLASS] for label in range(1, n_classes + 1)
    ]
    rows, columns = np.concatenate(chosen).T
    windows = torch.from_numpy(cut[rows, columns])
    classes = torch.from_numpy(truth[rows, columns] - 1)
    optimiser = torch.optim.AdamW(classifier.network.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=TRAINING_STEPS)
    generator = torch.Generator().manual_seed(0)
    for _ in range(TRAINING_STEPS):
        batch = torch.randint(len(windows), (TRAINING_BATCH,), generator=generator)
        seen = turned(windows[batch], generator)
        loss = F.cross_entropy(classifier.network(seen.unsqueeze(1)), classes[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return classifier.eval()


def windows_of(classifier: SceneClassifier, scene: xr.DataArray) -> NDArray[np.float32]:
    """A view of the windows (rows, columns, F, side, side) of all pixels, edges by reflection."""
    with torch.inference_mode():
        features = classifier.features(torch.from_numpy(scene.values)).numpy()
    padded = np.pad(features, ((0, 0), (RADIUS, RADIUS), (RADIUS, RADIUS)), "symmetric")
    views = np.lib.stride_tricks.sliding_window_view(padded, (SIDE, SIDE), (1, 2))
    return views.transpose(1, 2, 0, 3, 4)


def plain_way(classifier: SceneClassifier, scene: xr.DataArray) -> NDArray[np.int64]:
    """Labels (rows, columns), from 1."""
    cut = windows_of(classifier, scene)
    windows = torch.from_numpy(np.ascontiguousarray(cut).reshape(-1, 1, *cut.shape[2:]))
    with torch.inference_mode():
        labels = [classifier.network(batch).argmax(dim=1) + 1 for batch in windows.split(PLAIN_BATCH)]
    return torch.cat(labels).reshape(cut.shape[:2]).numpy()


def measure_speed(
    classifier: SceneClassifier, scene: xr.DataArray, folder: Path, rows: int, rounds: int, float32: bool
) -> Speed:
    """Time the three ways, and the matrix products alone, in turns on the first ``rows`` rows."""
    part = scene[:, :rows]
    output = MapOutputs(folder / "timed.tif")
    network = FoldedNetwork.of(classifier.network)
    dtypes = {torch.float32} | set(() if float32 else quick_dtypes(torch.device("cpu")))

    def mapped(mode: str) -> Callable[[], object]:
        return lambda: classify_scene(
            part, classifier, output, mode=mode, device="cpu", float32=float32, overwrite=True
        )

    sides = {"plain": lambda: plain_way(classifier, part), "exact": mapped("exact"), "fast": mapped("fast")}
    best = dict.fromkeys(sides, float("inf"))
    rates: dict[str, float] = {}
    for _ in range(rounds):
        for name, side in sides.items():
            best[name] = min(best[name], seconds(side))
        for dtype in dtypes:
            name = str(dtype).removeprefix("torch.")
            rates[name] = max(rates.get(name, 0.0), matrix_rate(network, dtype))
    return Speed(part.sizes["y"] * part.sizes["x"], **best, gflop=network.gflop(), rates=rates)


def matrix_rate(network: FoldedNetwork, dtype: torch.dtype) -> float:
    """1e9 operations a second of the network's matrix products alone, each thread with batches of its own."""
    blocks = (*network.spatial, *network.spectral, *network.joint)
    matrices = [each.to(dtype) for b in blocks for each in (b.qkv, b.proj, b.gate_up, b.down)]
    tokens = CPU_TOKENS * 128 // network.dim
    windows = tokens / (network.groups * network.cells)
    whole = dtype == torch.int8
    multiply, product = (torch._int_mm, torch.int32) if whole else (torch.mm, dtype)

    def work(_: int) -> None:
        torch.set_num_threads(1)
        operands = {size: torch.randn(size, tokens).to(dtype) for size in {m.shape[1] for m in matrices}}
        results = {size: torch.empty(size, tokens, dtype=product) for size in {m.shape[0] for m in matrices}}
        with torch.inference_mode():
            for _ in range(RATE_BATCHES):
                for matrix in matrices:
                    multiply(matrix, operands[matrix.shape[1]], out=results[matrix.shape[0]])

    with single_threaded_operations() as threads, ThreadPoolExecutor(threads) as pool:
        taken = seconds(lambda: list(pool.map(work, range(threads))))
    return threads * RATE_BATCHES * windows * network.gflop() / taken


def measure_quality(
    classifier: SceneClassifier, scene: xr.DataArray, truth: NDArray[np.int64], folder: Path, float32: bool
) -> tuple[Quality, dict[str, MapResult]]:
    """Map the whole scene in both modes and by the plain way."""
    labels = {"plain": plain_way(classifier, scene)}
    results = {}
    for mode in ("exact", "fast"):
        path = folder / f"{mode}.tif"
        output = MapOutputs(path)
        results[mode] = classify_scene(
            scene, classifier, output, mode=mode, device="cpu", float32=float32, overwrite=True
        )
        with rasterio.open(path) as raster:
            labels[mode] = raster.read(1)
    known = truth > 0

    def share(a: NDArray[np.integer], b: NDArray[np.integer]) -> float:
        return 100 * float((a == b)[known].mean())

    quality = Quality(
        exact_accuracy=share(labels["exact"], truth),
        fast_accuracy=share(labels["fast"], truth),
        exact_agreement=share(labels["exact"], labels["plain"]),
        fast_agreement=share(labels["fast"], labels["plain"]),
    )
    return quality, results


@dataclass(frozen=True)
class CudaSpeed:
    """Windows a second by way and batch size, and operations a second of a large product (1e12)."""

    windows: dict[str, float]
    peak: float
    gflop: float

    @property
    def share(self) -> float:
        """What the best way reaches of the peak."""
        return max(self.windows.values()) * self.gflop / 1000 / self.peak


def measure_cuda(network: FoldedNetwork, rounds: int) -> CudaSpeed:
    """Windows a second in bfloat16 on the CUDA device, windows already there."""
    forward = TokenMajorForward(network, torch.bfloat16)
    ways = {"eager": forward, "compiled": torch.compile(forward.__call__, dynamic=False)}
    windows = torch.randn(CUDA_WINDOWS, network.groups * 8, SIDE, SIDE, device="cuda")
    speeds: dict[str, float] = {}
    for name, way in ways.items():
        for batch in (2048, 8192, 32768):

            def run(way: Callable[[Tensor], Tensor] = way, batch: int = batch) -> None:
                with torch.inference_mode():
                    for part in windows.split(batch):
                        way(part)
                torch.cuda.synchronize()

            run()
            speeds[f"{name} {batch}"] = CUDA_WINDOWS / min(seconds(run) for _ in range(rounds))
    square = torch.randn(CUDA_MATRIX, CUDA_MATRIX, device="cuda", dtype=torch.bfloat16)

    def multiply() -> None:
        for _ in range(10):
            torch.mm(square, square)
        torch.cuda.synchronize()

    multiply()
    peak = 10 * 2e-12 * CUDA_MATRIX**3 / min(seconds(multiply) for _ in range(rounds))
    return CudaSpeed(speeds, peak, network.gflop())


def seconds(function: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def report(speed: Speed, quality: Quality, results: dict[str, MapResult]) -> bool:
    """Print what was measured; whether all goals were reached."""
    print(f"{speed.pixels} pixels   seconds   pixels/s   faster   goal")
    exact, fast = speed.plain / speed.exact, speed.plain / speed.fast
    for name, taken, faster, goal in (
        ("plain", speed.plain, 1.0, ""),
        ("exact", speed.exact, exact, f"{EXACT_GOAL:g}x"),
        ("fast", speed.fast, fast, f"{FAST_GOAL:g}x"),
    ):
        print(f"{name:12}{taken:11.2f}{speed.pixels / taken:11.0f}{faster:8.2f}x{goal:>7}")
    rates = ", ".join(f"{rate:.0f} in {name}" for name, rate in speed.rates.items())
    print(
        f"exact mode computes {speed.pixels * speed.gflop / speed.exact:.0f}e9 operations a second, "
        f"{speed.share:.0%} of its matrix products alone in floating point (goal {SHARE_GOAL:.0%}): {rates}"
    )
    for name, taken in (("exact", speed.exact), ("fast", speed.fast)):
        print(f"{name}: {1e6 / speed.pixels * taken / 60:.1f} minutes for 1,000 x 1,000 pixels at this rate")
    for mode, result in results.items():
        pixels = sum(result.pixels)
        print(
            f"{mode}: first answers in {result.precision}, {result.windows / pixels:.3f} windows a pixel, "
            f"{result.rechecked / pixels:.2%} computed again in float32"
        )
    loss = quality.exact_accuracy - quality.fast_accuracy
    print(
        f"labels equal to the plain module's: exact {quality.exact_agreement:.3f} % "
        f"(goal {100 * AGREEMENT_GOAL:g} %), fast {quality.fast_agreement:.3f} %"
    )
    print(
        f"overall accuracy: exact {quality.exact_accuracy:.2f} %, fast {quality.fast_accuracy:.2f} %, "
        f"lost {loss:.2f} points (goal at most {LOSS_GOAL:g})"
    )
    reached = (
        exact >= EXACT_GOAL
        and speed.share >= SHARE_GOAL
        and fast >= FAST_GOAL
        and quality.exact_agreement >= 100 * AGREEMENT_GOAL
        and loss <= LOSS_GOAL
    )
    print(f"goals: {'reached' if reached else 'MISSED'}")
    return reached


def report_cuda(cuda: CudaSpeed) -> bool:
    """Print what CUDA gave; whether its goals were reached."""
    for name, speed in cuda.windows.items():
        print(f"CUDA bfloat16, {name:>14} windows a batch: {speed:12,.0f} windows/s")
    print(f"{cuda.share:.0%} (goal {CUDA_SHARE_GOAL:.0%}) of {cuda.peak:.0f} TFLOP/s of a large product")
    print(f"{1e6 / max(cuda.windows.values()):.1f} s for the windows of 1,000 x 1,000 pixels")
    reached = max(cuda.windows.values()) >= CUDA_GOAL and cuda.share >= CUDA_SHARE_GOAL
    print(f"CUDA goal of {CUDA_GOAL:,} windows/s: {'reached' if reached else 'MISSED'}")
    return reached


if __name__ == "__main__":
    raise SystemExit(main())
