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
from numpy.typing import NDArray

from benchmarks.few_labels import ClassificationScene, Index, classification_scenes, disjoint_split
from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.models.hypersigma.classification import FusionClassifier
from hsi_toolkit.models.hypersigma.window_classifier import HyperSigmaClassifier
from hsi_toolkit.scene import read_windows
from hsi_toolkit.training.finetune import FinetuneConfig, train_classifier
from hsi_toolkit.training.preparation import LabelledPixels
from hsi_toolkit.training.sigma_finetune import SigmaConfig, train_hypersigma
from hsi_toolkit.training.windows import SceneWindows

LABELS_A_CLASS = 40
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


TASKS: dict[str, Callable[[Path], Iterable[Row]]] = {"classification": classification}
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
