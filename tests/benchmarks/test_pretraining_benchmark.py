"""The bookkeeping of the benchmark of pretraining, and its labels from abundances."""

from pathlib import Path

import numpy as np

from benchmarks.accuracy import Result
from benchmarks.few_labels import abundance_scenes
from benchmarks.pretraining import PARTS, Table, methods_of


def results_of(scene: str, seed: int, scores: dict[str, float]) -> list[Result]:
    methods = [method for part in PARTS for method in methods_of(part)]
    return [
        Result(scene, "disjoint", 10, seed, method, scores.get(method, 50.0), scores.get(method, 50.0), 1.0)
        for method in methods
    ]


def test_gains_are_paired_by_seed_and_scenes_weigh_the_same() -> None:
    results = []
    for seed in (0, 1):
        results += results_of("a", seed, {"pretrained": 53.0 + seed, "random start": 51.0 + seed})
    for seed in range(3):
        results += results_of("b", seed, {"pretrained": 60.0, "random start": 60.0})
    text = Table(results).text()
    assert "| a | +2.00 ± 0.00 |" in text
    assert "| mean | +1.00 ± 0.00 |" in text
    assert "| seeds | 2 | 3 |  |" in text


def test_seeds_that_a_method_lacks_are_left_out() -> None:
    results = [row for seed in range(3) for row in results_of("a", seed, {})]
    whole = Table(results).seeds["a", 10]
    cut = Table(results[:-1]).seeds["a", 10]
    assert (whole, cut) == ([0, 1, 2], [0, 1])


def test_pixels_that_one_endmember_dominates_are_labelled(shared: Path) -> None:
    scene = next(abundance_scenes(shared / "scenes", ["jasper"]))
    assert scene.scene.shape == (198, 100, 100)
    assert np.bincount(scene.labels.ravel()).tolist() == [3041, 2314, 3205, 1022, 418]
    water = scene.scene.to_numpy()[:, scene.labels == 2].mean()
    assert water < 0.5 * scene.scene.to_numpy()[:, scene.labels == 1].mean()
