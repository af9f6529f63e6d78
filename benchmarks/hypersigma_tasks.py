"""HyperSIGMA's small networks on real scenes: against their own untrained start, and the default method.

    python -m benchmarks.hypersigma_tasks --scenes DIR [--only TASK ...]

Every network starts from random weights and is trained on the spot, with the task's defaults. A task is a
function of the folder of scenes that gives its rows, listed in ``TASKS``.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from benchmarks import hypersigma_scenes
from benchmarks.denoising import denoise as default_denoise
from benchmarks.denoising import disturbed, load, survey
from benchmarks.few_labels import ClassificationScene, Index, classification_scenes, disjoint_split
from benchmarks.hypersigma_scenes import epochs_of
from hsi_toolkit.denoising.learned import learn_denoiser
from hsi_toolkit.fusion.learned import consistent, enlarged, learn_sharpener
from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.models.hypersigma.classification import FusionClassifier
from hsi_toolkit.models.hypersigma.window_classifier import HyperSigmaClassifier
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import read_windows
from hsi_toolkit.tasks.denoise import Denoise
from hsi_toolkit.training.finetune import FinetuneConfig, train_classifier
from hsi_toolkit.training.per_scene import Start
from hsi_toolkit.training.preparation import LabelledPixels
from hsi_toolkit.training.sigma_finetune import SigmaConfig, train_hypersigma
from hsi_toolkit.training.windows import SceneWindows

LABELS_A_CLASS = 40
DENOISED = [
    ("jasper", "sigma 20 %"),
    ("jasper", "sigma 10 %"),
    ("jasper", "sigma 40 %"),
    ("cave", "sigma 20 %"),
]
"""Scenes and noise; the recipe was chosen on the first, CAVE had no part in it."""
SHARPENING_EPOCHS = 6
CHUNK = 512


@dataclass(frozen=True)
class Row:
    """A metric of one scene: before and after training, and by the default method; seconds of both."""

    task: str
    scene: str
    metric: str
    untrained: float
    hypersigma: float
    default: float
    hypersigma_seconds: float
    default_seconds: float


def classification(scenes: Path) -> Iterator[Row]:
    """Mean of overall and average accuracy, 40 labels a class, test pixels apart from training clusters."""
    for scene in classification_scenes(scenes):
        values = np.unique(scene.labels[scene.labels > 0])
        split = disjoint_split(scene.labels, LABELS_A_CLASS, seed=0)
        classes = np.searchsorted(values, scene.labels[tuple(split.train.T)])
        rows, cols = split.train.T
        pixels = LabelledPixels(rows, cols, classes.astype(np.int64), split.groups)
        truth = np.searchsorted(values, scene.labels[tuple(split.test.T)])
        source, n = SceneWindows(scene.scene), len(values)

        start = time.perf_counter()
        trained = train_hypersigma(source, pixels, None, SigmaConfig(), n_classes=n).classifier
        between = time.perf_counter()
        default = train_classifier(source, pixels, None, FinetuneConfig(), n_classes=n).classifier
        end = time.perf_counter()
        scores = [
            score(mapped(each, scene, split.test), truth) for each in (untrained(trained), trained, default)
        ]
        metric = "accuracy, %"
        yield Row("classification", scene.name, metric, *scores, between - start, end - between)


def untrained(classifier: HyperSigmaClassifier) -> HyperSigmaClassifier:
    """The classifier with the weights it began with."""
    torch.manual_seed(0)
    network = FusionClassifier(classifier.network.config)
    start = HyperSigmaClassifier(
        network, classifier.spectral, bands=classifier.bands, n_bands=classifier.n_bands
    )
    return start.eval()


def mapped(classifier: SceneClassifier, scene: ClassificationScene, pixels: Index) -> NDArray[np.int64]:
    """The class (n,) of each pixel."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(pixels), CHUNK):
            rows, cols = pixels[start : start + CHUNK].T
            windows = torch.from_numpy(read_windows(scene.scene, rows, cols, classifier.radius))
            found.append(classifier(windows).argmax(dim=1).numpy())
    return np.concatenate(found)


def score(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Mean of overall and average accuracy in percent."""
    right = found == truth
    average = np.mean([right[truth == label].mean() for label in np.unique(truth)])
    return 50.0 * float(right.mean() + average)


def denoising(scenes: Path) -> Iterator[Row]:
    """Mean PSNR over the bands with noise of a share of each band's spread, for each of ``DENOISED``."""
    cubes = load(scenes)
    for name, case in DENOISED:
        clean = cubes[name][:, :256, :256]
        noisy = disturbed(clean, case, seed=0)
        scene = xr.DataArray(noisy, dims=("band", "y", "x"))
        progress, start = Progress(), Start(device="cpu")
        model = survey(noisy).model

        found, seconds = {}, {}
        for label, epochs in (("untrained", 0), ("trained", epochs_of(Denoise))):
            began = time.perf_counter()
            learned = learn_denoiser(scene, model, start, epochs, progress)
            found[label] = np.concatenate([rows.data for rows in learned.rows(progress)], axis=1)
            seconds[label] = time.perf_counter() - began
        began = time.perf_counter()
        found["default"] = default_denoise(noisy)
        seconds["default"] = time.perf_counter() - began
        scores = [band_psnr(found[label], clean) for label in ("untrained", "trained", "default")]
        metric = f"PSNR, dB ({case}: {band_psnr(noisy, clean):.4g} as given)"
        yield Row("denoising", name, metric, *scores, seconds["trained"], seconds["default"])


def superresolution(scenes: Path) -> Iterator[Row]:
    """Mean PSNR over the bands, twice as sharp; the default without a guide is bicubic interpolation."""
    sharp = load(scenes)["cave"][:, :256, :256]
    bands, rows, columns = sharp.shape
    coarse = sharp.reshape(bands, rows // 2, 2, columns // 2, 2).mean(axis=(2, 4))
    scene = xr.DataArray(coarse, dims=("band", "y", "x"))
    progress, start = Progress(), Start(device="cpu")

    began = time.perf_counter()
    learned = learn_sharpener(scene, 2, start, SHARPENING_EPOCHS, progress)
    found = np.concatenate([each.data for each in learned.rows(scene, progress)], axis=1)
    between = time.perf_counter()
    tile = torch.from_numpy(coarse)[None]
    bicubic = enlarged(tile, 2)
    end = time.perf_counter()
    # The network begins as bicubic interpolation, which its last step brings nearer to the scene.
    begun = consistent(bicubic, tile)
    scores = [band_psnr(each, sharp) for each in (begun[0].numpy(), found, bicubic[0].numpy())]
    yield Row("super-resolution", "cave", "PSNR, dB", *scores, between - began, end - between)


def band_psnr(found: NDArray[np.floating], clean: NDArray[np.floating]) -> float:
    """Mean over the bands, of a peak of 1."""
    errors = np.square(found.astype(np.float64) - clean).mean(axis=(1, 2))
    return float((-10 * np.log10(errors)).mean())


def rows_of(task: str, figures: Iterable[hypersigma_scenes.Figures]) -> Iterator[Row]:
    """Rows of a task whose figures were measured elsewhere."""
    for each in figures:
        scores = each.untrained, each.trained, each.default
        yield Row(task, each.scene, each.metric, *scores, each.seconds, each.default_seconds)


TASKS: dict[str, Callable[[Path], Iterable[Row]]] = {
    "classification": classification,
    "denoising": denoising,
    "super-resolution": superresolution,
    "unmixing": lambda scenes: rows_of("unmixing", hypersigma_scenes.unmixing(scenes)),
    "anomalies": lambda scenes: rows_of("anomalies", hypersigma_scenes.anomalies(scenes)),
    "target": lambda scenes: rows_of("target", hypersigma_scenes.targets(scenes)),
    "change": lambda scenes: rows_of("change", hypersigma_scenes.change(scenes)),
}
"""The tasks by name; each is a section of the table."""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scenes", type=Path, required=True, help="folder of scenes with scene.json")
    parser.add_argument("--only", nargs="+", choices=sorted(TASKS), default=list(TASKS))
    arguments = parser.parse_args()
    print("| task | scene | metric | untrained | HyperSIGMA small | s | default method | s |")
    print("|---|---|---|---|---|---|---|---|")
    for task in arguments.only:
        for row in TASKS[task](arguments.scenes):
            print(
                f"| {row.task} | {row.scene} | {row.metric} | {row.untrained:.4g} | {row.hypersigma:.4g} | "
                f"{row.hypersigma_seconds:.0f} | {row.default:.4g} | {row.default_seconds:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
