"""Accuracy with few labels: the product beside classical classifiers, on the same splits.

    python -m benchmarks.accuracy --scenes DIR

Every classification scene under DIR (found by its ``scene.json``) is classified from 10, 20 and 40 labelled
pixels a class. Disjoint splits (ten seeds) keep test pixels away from training clusters; random splits (five
seeds) are for the record: there, neighbours of training pixels are tested, so they leak. The figure is the
mean of overall and average accuracy, in percent. Results go to a CSV as they come; a run that was interrupted
goes on where it stopped.
"""

import argparse
import csv
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.baselines import BASELINES, Views, predict, views
from benchmarks.few_labels import (
    ClassificationScene,
    Index,
    LabelSplit,
    classification_scenes,
    disjoint_split,
    random_split,
)
from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.training.finetune import FinetuneConfig, train_classifier
from hsi_toolkit.training.preparation import LabelledPixels
from hsi_toolkit.training.windows import SceneWindows

PRODUCT = "hsi train"
FLOOR = "LDA spectra"
COUNTS = (10, 20, 40)
SPLITS: dict[str, tuple[Callable[[Index, int, int], LabelSplit], int]] = {
    "disjoint": (disjoint_split, 10),
    "random": (random_split, 5),
}
CHUNK = 512


@dataclass(frozen=True)
class Job:
    """One split of one scene."""

    scene: str
    split: str
    labels: int
    seed: int


@dataclass(frozen=True)
class Result:
    """One classifier on one split: overall and average accuracy in percent, and the seconds it took."""

    scene: str
    split: str
    labels: int
    seed: int
    method: str
    overall: float
    average: float
    seconds: float

    @property
    def job(self) -> Job:
        """The split it belongs to."""
        return Job(self.scene, self.split, self.labels, self.seed)

    @property
    def score(self) -> float:
        """Mean of overall and average accuracy."""
        return (self.overall + self.average) / 2


_scenes: dict[str, ClassificationScene] = {}
_views: dict[str, Views] = {}


def run_job(job: Job) -> list[Result]:
    """All classifiers on one split."""
    scene = _scenes[job.scene]
    if job.scene not in _views:
        _views[job.scene] = views(scene.scene)
    split = SPLITS[job.split][0](scene.labels, job.labels, job.seed)
    truth = scene.labels[tuple(split.test.T)]
    results = []
    for method in (PRODUCT, *BASELINES):
        start = time.perf_counter()
        if method == PRODUCT:
            mapped = classify(scene, split, job.seed)
        else:
            mapped = predict(method, _views[job.scene], scene.labels, split)
        seconds = time.perf_counter() - start
        overall, average = accuracies(truth, mapped)
        results.append(Result(job.scene, job.split, job.labels, job.seed, method, overall, average, seconds))
    return results


def classify(scene: ClassificationScene, split: LabelSplit, seed: int) -> Index:
    """Labels (n,) that the product, at its defaults, gives the test pixels."""
    return label(scene, split, train(scene, split, FinetuneConfig(seed=seed)))


def train(scene: ClassificationScene, split: LabelSplit, config: FinetuneConfig) -> SceneClassifier:
    """The product's classifier of the training pixels."""
    values, classes = np.unique(scene.labels[tuple(split.train.T)], return_inverse=True)
    pixels = LabelledPixels(split.train[:, 0], split.train[:, 1], classes, split.groups)
    source = SceneWindows(scene.scene)
    return train_classifier(source, pixels, None, config, n_classes=len(values)).classifier


def label(scene: ClassificationScene, split: LabelSplit, classifier: SceneClassifier) -> Index:
    """Labels (n,) that a classifier gives the test pixels."""
    source = SceneWindows(scene.scene)
    values = np.unique(scene.labels[tuple(split.train.T)])
    parts = []
    with torch.inference_mode():
        for start in range(0, len(split.test), CHUNK):
            rows, cols = split.test[start : start + CHUNK].T
            windows = torch.from_numpy(source.windows(rows, cols, classifier.radius))
            parts.append(classifier(windows).argmax(dim=1).numpy())
    return values[np.concatenate(parts)]


def accuracies(truth: Index, mapped: Index) -> tuple[float, float]:
    """Overall and average accuracy in percent."""
    recalls = [(mapped[truth == label] == label).mean() for label in np.unique(truth)]
    return 100 * float((mapped == truth).mean()), 100 * float(np.mean(recalls))


def jobs(scenes: Iterable[str], splits: Sequence[str], counts: Sequence[int]) -> Iterator[Job]:
    """All splits, seed by seed, so that an unfinished run has seen everything equally often."""
    scenes = list(scenes)
    for split in splits:
        for seed in range(SPLITS[split][1]):
            yield from (Job(scene, split, count, seed) for scene in scenes for count in counts)


def read_results(path: Path) -> list[Result]:
    """The results stored so far, without those of a split that was cut off while they were written."""
    stored = rows(path)
    found: dict[Job, set[str]] = {}
    for row in stored:
        found.setdefault(row.job, set()).add(row.method)
    return [row for row in stored if found[row.job] >= {PRODUCT, *BASELINES}]


def rows(path: Path) -> list[Result]:
    """The whole rows of a CSV of results; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Result(
                row["scene"], row["split"], int(row["labels"]), int(row["seed"]), row["method"],
                float(row["overall"]), float(row["average"]), float(row["seconds"]),
            )
            for row in csv.DictReader(file)
            if row["seconds"]
        ]  # fmt: skip


def append_results(path: Path, results: Sequence[Result]) -> None:
    """Add results to the CSV."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(vars(results[0])))
        if new:
            writer.writeheader()
        writer.writerows(vars(result) for result in results)


class Scores:
    """Scores of one kind of split, by method: arrays (scenes, counts, seeds) over the seeds all have."""

    def __init__(self, results: Sequence[Result], split: str) -> None:
        chosen = [result for result in results if result.split == split]
        self.scenes = sorted({result.scene for result in chosen})
        self.counts = sorted({result.labels for result in chosen})
        done: dict[int, set[Job]] = {}
        for result in chosen:
            done.setdefault(result.seed, set()).add(result.job)
        whole = len(self.scenes) * len(self.counts)
        self.seeds = sorted(seed for seed, found in done.items() if len(found) == whole)
        by_key = {(r.method, r.scene, r.labels, r.seed): r.score for r in chosen}
        self.of = {
            method: np.array(
                [
                    [[by_key[method, scene, count, seed] for seed in self.seeds] for count in self.counts]
                    for scene in self.scenes
                ]
            )
            for method in (PRODUCT, *BASELINES)
        }

    def best_fixed(self) -> str:
        """The baseline whose mean over the scenes is highest."""
        return max(BASELINES, key=lambda method: self.of[method].mean())

    def hindsight(self) -> float:
        """Mean over the scenes of each scene's best baseline, known only afterwards."""
        return float(np.max([self.of[method].mean(axis=(1, 2)) for method in BASELINES], axis=0).mean())

    def difference(self, method: str, scene: int | slice = slice(None)) -> tuple[float, float]:
        """Product less ``method``, paired by seed, and its standard error over seeds."""
        gap = (self.of[PRODUCT] - self.of[method])[scene]
        per_seed = gap.reshape(-1, gap.shape[-1]).mean(axis=0)
        return float(per_seed.mean()), float(per_seed.std(ddof=1) / np.sqrt(len(per_seed)))


def table(results: Sequence[Result], split: str) -> str:
    """The scores of a kind of split as Markdown."""
    scores = Scores(results, split)
    if len(scores.seeds) < 2:
        return f"## {split}: fewer than two seeds are complete"
    leak = "" if split == "disjoint" else "; NEIGHBOURS OF TRAINING PIXELS ARE TESTED, so these figures leak"
    lines = [f"## {split} splits, {len(scores.seeds)} seeds, (OA + AA) / 2 in %{leak}", ""]
    columns = [f"{scene} {count}" for scene in scores.scenes for count in scores.counts]
    columns += [*scores.scenes, "mean", f"{PRODUCT} less this"]
    lines += ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    order = sorted(BASELINES, key=lambda method: -scores.of[method].mean())
    for method in (PRODUCT, *order):
        values = scores.of[method]
        cells = [f"{value:.1f}" for value in values.mean(axis=2).ravel()]
        cells += [f"{value:.1f}" for value in values.mean(axis=(1, 2))] + [f"{values.mean():.2f}"]
        gap = "" if method == PRODUCT else "{:+.2f} ± {:.2f}".format(*scores.difference(method))
        lines.append(f"| {method} | " + " | ".join([*cells, gap]) + " |")
    return "\n".join([*lines, "", *_summary(scores)])


def _summary(scores: Scores) -> list[str]:
    best = scores.best_fixed()
    gap, error = scores.difference(best)
    lines = [f"- best fixed baseline: {best}; {PRODUCT} is {gap:+.2f} ± {error:.2f} points ahead of it"]
    for number, scene in enumerate(scores.scenes):
        gap, error = scores.difference(FLOOR, number)
        lines.append(f"- {scene}: {gap:+.2f} ± {error:.2f} points against {FLOOR}")
    mean = float(scores.of[PRODUCT].mean())
    lines.append(
        f"- best baseline of each scene, with hindsight: {scores.hindsight():.2f}; {PRODUCT}: {mean:.2f}"
    )
    return lines


def _prepare_process(folder: Path) -> None:
    torch.set_num_threads(1)
    _scenes.update({scene.name: scene for scene in classification_scenes(folder)})


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=Path, required=True, help="folder of scenes")
    parser.add_argument("--results", type=Path, default=Path("build/accuracy.csv"), help="where results go")
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--splits", nargs="+", choices=list(SPLITS), default=list(SPLITS))
    parser.add_argument("--counts", nargs="+", type=int, default=list(COUNTS), help="labels a class")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    names = [scene.name for scene in classification_scenes(arguments.scenes)]
    if not names:
        parser.error(f"{arguments.scenes} has no scene for classification")
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    done = {result.job for result in read_results(arguments.results)}
    missing = [job for job in jobs(names, arguments.splits, arguments.counts) if job not in done]
    context = multiprocessing.get_context("spawn")
    with context.Pool(arguments.workers, _prepare_process, (arguments.scenes,)) as pool:
        for number, results in enumerate(pool.imap_unordered(run_job, missing), start=1):
            append_results(arguments.results, results)
            best = max(results[1:], key=lambda result: result.score)
            job = results[0].job
            print(
                f"{number}/{len(missing)} {job.scene} {job.split} {job.labels} seed {job.seed}: "
                f"{results[0].score:.1f}, best baseline {best.score:.1f} ({best.method})",
                flush=True,
            )
    for split in arguments.splits:
        print(f"\n{table(read_results(arguments.results), split)}")


if __name__ == "__main__":
    main()
