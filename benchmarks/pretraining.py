"""What the built-in pretrained network gives: against a random start, and against classical classifiers.

    python -m benchmarks.pretraining --scenes DIR

On scenes that pretraining has not seen, with 5, 10, 20 and 40 labelled pixels a class in compact clusters and
test pixels away from them (``few_labels.disjoint_split``). Every start is judged as the product, in which the
network shares the last word with spectral experts; by the network alone; and frozen as it starts, when only
its head is fitted, in closed form. All methods see the same splits; differences are paired over seeds. The
figure is the mean of overall and average accuracy, in percent. Results go to a CSV as they come; a run that
was interrupted goes on where it stopped.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.accuracy import Job, Result, accuracies, append_results, label, rows, train
from benchmarks.baselines import Views, predict, views
from benchmarks.few_labels import (
    ClassificationScene,
    LabelSplit,
    abundance_scenes,
    classification_scenes,
    disjoint_split,
)
from hsi_toolkit.models import zoo
from hsi_toolkit.models.bundle import ModelBundle
from hsi_toolkit.models.checkpoints import load_by_name
from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.models.hsimae import HSIMAEConfig, HSIViT
from hsi_toolkit.progress import Progress
from hsi_toolkit.training.dual_branch import DualBranchRun, Recipe
from hsi_toolkit.training.finetune import FinetuneConfig
from hsi_toolkit.training.head_start import HeadStart
from hsi_toolkit.training.preparation import LabelledPixels, prepare
from hsi_toolkit.training.windows import SceneWindows

WEIGHTS = "hsimae-small"
PRETRAINED, RANDOM = "pretrained", "random start"
ALONE, FROZEN = ", network alone", ", frozen"
STARTS = (PRETRAINED, RANDOM)
KINDS = ("", ALONE, FROZEN)
PARTS = (*STARTS, "frozen", "classical")
CLASSICAL = ("LDA spectra", "LDA smoothed", "SVM spectra", "RF spectra")
# Scenes whose labels are endmembers that cover most of a pixel.
ABUNDANCES = ("jasper", "samson")
COUNTS = (5, 10, 20, 40)
SEEDS = 5
# Test pixels of a split, at random where there are more.
MOST_TESTED = 2500


@dataclass(frozen=True)
class Task:
    """What is trained on one split: a start of the network, the frozen networks, or all classical ones."""

    job: Job
    part: str
    weights: str


_scenes: dict[str, ClassificationScene] = {}
_views: dict[str, Views] = {}


def run_task(task: Task) -> list[Result]:
    """The results of one part on one split."""
    job, scene = task.job, _scenes[task.job.scene]
    split = disjoint_split(scene.labels, job.labels, job.seed)
    if len(split.test) > MOST_TESTED:
        chosen = np.random.default_rng(job.seed).permutation(len(split.test))[:MOST_TESTED]
        split = replace(split, test=split.test[np.sort(chosen)])
    truth = scene.labels[tuple(split.test.T)]
    results = []

    def note(method: str, mapped: np.ndarray, start: float) -> None:
        overall, average = accuracies(truth, mapped)
        seconds = time.perf_counter() - start
        results.append(Result(job.scene, job.split, job.labels, job.seed, method, overall, average, seconds))

    if task.part in STARTS:
        start = time.perf_counter()
        weights = str(zoo.resolve(task.weights)) if task.part == PRETRAINED else None
        classifier = train(scene, split, FinetuneConfig(seed=job.seed, weights=weights))
        note(task.part, label(scene, split, classifier), start)
        start = time.perf_counter()
        classifier.network_weight = 1.0
        note(task.part + ALONE, label(scene, split, classifier), start)
        return results
    if task.part == "frozen":
        for name, classifier in frozen(scene, split, job.seed, task.weights).items():
            start = time.perf_counter()
            note(name, label(scene, split, classifier), start)
        return results
    if job.scene not in _views:
        _views[job.scene] = views(scene.scene)
    for method in CLASSICAL:
        start = time.perf_counter()
        note(method, predict(method, _views[job.scene], scene.labels, split), start)
    return results


def frozen(
    scene: ClassificationScene, split: LabelSplit, seed: int, weights: str
) -> dict[str, SceneClassifier]:
    """The networks as they start, each with the head of pretraining's tasks and without experts."""
    source = SceneWindows(scene.scene)
    values, classes = np.unique(scene.labels[tuple(split.train.T)], return_inverse=True)
    pixels = LabelledPixels(split.train[:, 0], split.train[:, 1], classes, split.groups)
    none = pixels.select(np.zeros(len(pixels), bool))
    settings = FinetuneConfig()
    prepared = prepare(
        source, pixels, none, n_classes=len(values), n_unlabelled=settings.n_unlabelled, seed=seed,
        progress=Progress(),
    )  # fmt: skip
    bundle = ModelBundle.load(zoo.resolve(weights))
    start = HeadStart.of(bundle.metadata.extra)
    assert start is not None, "the weights were pretrained without few-label tasks"
    model = HSIMAEConfig.of_size(settings.size)
    found = {}
    for name in STARTS:
        run = DualBranchRun(
            prepared, Recipe(1, seed), model, n_classes=len(values), device=torch.device("cpu"), identity=""
        )
        if name == PRETRAINED:
            load_by_name(run.network, bundle.part("network"))
        run.start_head(start)
        network = HSIViT(model, len(values))
        load_by_name(network, run.network.state_dict())
        found[name + FROZEN] = SceneClassifier(
            network, prepared.spectral, None, prepared.spatial_filter, bands=torch.from_numpy(prepared.bands),
            n_bands=source.shape[0], context=prepared.gate.context,
        ).eval()  # fmt: skip
    return found


def methods_of(part: str) -> tuple[str, ...]:
    """The methods whose results a part gives."""
    if part == "frozen":
        return tuple(start + FROZEN for start in STARTS)
    return (part, part + ALONE) if part in STARTS else CLASSICAL


class Table:
    """Scores by method, scene and count, over the seeds that all methods have there."""

    def __init__(self, results: Sequence[Result]) -> None:
        self.methods = [*(start + kind for kind in KINDS for start in STARTS), *CLASSICAL]
        scores = {(r.method, r.scene, r.labels, r.seed): r.score for r in results}
        places = sorted({(r.scene, r.labels) for r in results})
        seeds = {
            place: [
                seed
                for seed in sorted({r.seed for r in results})
                if all((method, *place, seed) in scores for method in self.methods)
            ]
            for place in places
        }
        self.seeds = {place: found for place, found in seeds.items() if len(found) > 1}
        self.scenes = sorted({scene for scene, _ in self.seeds})
        self.counts = sorted(
            count
            for count in {count for _, count in self.seeds}
            if all((scene, count) in self.seeds for scene in self.scenes)
        )
        self.of = {
            (method, *place): np.array([scores[method, *place, seed] for seed in found])
            for place, found in self.seeds.items()
            for method in self.methods
        }

    def text(self) -> str:
        """The scores as Markdown, then what the pretrained start gains."""
        columns = [f"{scene} {count}" for scene in (*self.scenes, "mean") for count in self.counts]
        lines = ["(OA + AA) / 2 in %", "", _row("", columns), "|---" * (len(columns) + 1) + "|"]
        for method in self.methods:
            means = np.array([[self.of[method, s, c].mean() for c in self.counts] for s in self.scenes])
            lines.append(_row(method, [f"{value:.1f}" for value in (*means.ravel(), *means.mean(axis=0))]))
        tested = [str(len(self.seeds[scene, count])) for scene in self.scenes for count in self.counts]
        lines.append(_row("seeds", tested + [""] * len(self.counts)))
        lines += ["", _row("pretrained less random start", map(str, self.counts))]
        lines.append("|---" * (len(self.counts) + 1) + "|")
        for kind in KINDS:
            for name in self.scenes:
                lines.append(_row(name + kind, [self._told(kind, [name], count) for count in self.counts]))
            lines.append(_row("mean" + kind, [self._told(kind, self.scenes, c) for c in self.counts]))
        return "\n".join(lines)

    def _told(self, kind: str, scenes: Sequence[str], count: int) -> str:
        """Pretrained less random start, paired by seed, the mean over scenes, and its standard error."""
        gaps = [self.of[PRETRAINED + kind, s, count] - self.of[RANDOM + kind, s, count] for s in scenes]
        mean = np.mean([gap.mean() for gap in gaps])
        error = np.sqrt(sum(gap.var(ddof=1) / len(gap) for gap in gaps)) / len(gaps)
        return f"{mean:+.2f} ± {error:.2f}"


def _row(name: str, cells: Iterable[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"


def scenes_of(folder: Path) -> dict[str, ClassificationScene]:
    """All scenes by their names."""
    found = [*classification_scenes(folder), *abundance_scenes(folder, ABUNDANCES)]
    return {scene.name: scene for scene in found}


def _prepare_process(folder: Path) -> None:
    torch.set_num_threads(1)
    _scenes.update(scenes_of(folder))


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=Path, required=True, help="folder of scenes")
    parser.add_argument(
        "--results", type=Path, default=Path("build/pretraining.csv"), help="where results go"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--weights", default=WEIGHTS, help="the pretrained network, a name or a file")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--only", nargs="+", help="names of scenes, if not all")
    parser.add_argument("--counts", nargs="+", type=int, default=list(COUNTS), help="labels a class")
    parser.add_argument(
        "--seeds", nargs=2, type=int, default=(0, SEEDS), help="first seed, and one past the last"
    )
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    done = {(result.job, result.method) for result in rows(arguments.results)}
    tasks = [
        Task(Job(scene, "disjoint", count, seed), part, arguments.weights)
        for seed in range(*arguments.seeds)
        for scene in arguments.only or scenes_of(arguments.scenes)
        for count in arguments.counts
        for part in arguments.parts
    ]
    missing = [task for task in tasks if any((task.job, name) not in done for name in methods_of(task.part))]
    context = multiprocessing.get_context("spawn")
    with context.Pool(arguments.workers, _prepare_process, (arguments.scenes,)) as pool:
        for number, results in enumerate(pool.imap_unordered(run_task, missing), start=1):
            append_results(arguments.results, results)
            first = results[0]
            print(
                f"{number}/{len(missing)} {first.scene} {first.labels} seed {first.seed}: "
                + ", ".join(f"{result.method} {result.score:.1f}" for result in results),
                flush=True,
            )
    table = Table(rows(arguments.results))
    if table.counts:
        print(f"\n{table.text()}")


if __name__ == "__main__":
    main()
