"""The splits and the bookkeeping of the accuracy benchmark."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import PRODUCT, Job, Result, Scores, append_results, jobs, read_results, table
from benchmarks.baselines import BASELINES
from benchmarks.few_labels import GAP, disjoint_split, random_split


def make_labels() -> np.ndarray:
    """Fields of three classes and a class of six pixels only."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (10, 10)).repeat(12, axis=0).repeat(12, axis=1)
    labels[::20, 5] = 4
    return labels


@pytest.mark.parametrize("seed", range(5))
def test_disjoint_test_pixels_are_apart_from_training_clusters(seed: int) -> None:
    labels = make_labels()
    split = disjoint_split(labels, 20, seed)
    distance = np.abs(split.train[:, None] - split.test[None]).max(axis=2)
    assert distance.min() >= GAP
    trained = labels[tuple(split.train.T)]
    assert np.bincount(trained)[1:4].tolist() == [20, 20, 20]
    assert set(np.unique(labels[tuple(split.test.T)])) == {1, 2, 3, 4}
    for label in (1, 2, 3):
        assert 4 <= len(np.unique(split.groups[trained == label])) <= 8


def test_splits_repeat_and_use_each_pixel_once() -> None:
    labels = make_labels()
    for make in (disjoint_split, random_split):
        first, second = make(labels, 10, 3), make(labels, 10, 3)
        np.testing.assert_array_equal(first.train, second.train)
        both = np.concatenate([first.train, first.test])
        assert len(np.unique(both, axis=0)) == len(both)


def make_results(job: Job, product: float) -> list[Result]:
    scores = [product] + [50.0 + number for number in range(len(BASELINES))]
    return [
        Result(job.scene, job.split, job.labels, job.seed, method, score, score, 1.0)
        for method, score in zip((PRODUCT, *BASELINES), scores, strict=True)
    ]


def test_an_interrupted_run_continues_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    first, second = list(jobs(["a"], ["disjoint"], [10]))[:2]
    append_results(path, make_results(first, 60.0))
    append_results(path, make_results(second, 60.0)[:3])
    assert {result.job for result in read_results(path)} == {first}


def test_differences_are_paired_by_seed() -> None:
    results = []
    for number, job in enumerate(jobs(["a", "b"], ["disjoint"], [10, 20])):
        results += make_results(job, 60.0 + job.seed + number % 2)
    scores = Scores(results, "disjoint")
    best = scores.best_fixed()
    assert best == list(BASELINES)[-1]
    gap, error = scores.difference(best)
    assert gap == pytest.approx(60 + 4.5 + 0.5 - 56)
    assert error == pytest.approx(np.arange(10).std(ddof=1) / np.sqrt(10))
    assert f"best fixed baseline: {best}" in table(results, "disjoint")
    assert "leak" not in table(results, "disjoint")
