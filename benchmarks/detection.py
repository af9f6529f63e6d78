"""Anomaly and target detection on the real scenes with known anomalies, and their speed.

    python -m benchmarks.detection [--no-speed] [--json FILE]

Anomalies: the area under the ROC curve, average precision, and the share of anomalous pixels found where one
background pixel in a thousand exceeds the threshold; then what the map's own threshold for that rate really
gives. Targets: the signature is the mean spectrum of ONE object (a connected patch of the truth); the others
are the targets, and the object itself is left out, for up to five of the largest objects of each scene. (The
usual protocol takes the signature from all true pixels and leaks.) Speed: global RX, matched filter and ACE
on two scene sizes against the ``spectral`` package, which has to be installed for it, and the largest
difference of the scores.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.scenes import describe, load_array, load_cube, shared_scenes
from hsi_toolkit.detection.anomalies import AnomalyDetector, GlobalRX, QuasiLocalRX, SubspaceRX
from hsi_toolkit.detection.background import Background, mahalanobis
from hsi_toolkit.detection.local import LocalRX
from hsi_toolkit.detection.scan import Scan
from hsi_toolkit.detection.targets import Method, TargetDetector, scorer_of
from hsi_toolkit.detection.thresholds import LOGNORMAL, ScoreDistribution, Tail, false_alarm_threshold
from hsi_toolkit.spectral.covariance import StreamingCovariance

RATE = 1e-3
MOST_OBJECTS = 5
DETECTORS: dict[str, AnomalyDetector] = {
    "rx": GlobalRX(),
    "rx, robust": GlobalRX(robust=True),
    "subspace-rx": SubspaceRX(),
    "local-rx": LocalRX(),
    "auto": QuasiLocalRX(),
}
METHODS: tuple[Method, ...] = ("mf", "ace", "cem", "sam", "osp", "auto")
ROBUST: tuple[Method, ...] = ("mf", "ace", "auto")
SIZES = ((610, 340, 103), (512, 217, 204))
AUC_GOAL, PRECISION_GOAL, LOSS_GOAL = 0.97, 0.42, 0.01

Scores = NDArray[np.float32]
Mask = NDArray[np.bool_]
Spectrum = NDArray[np.float64]


def scenes() -> Iterator[tuple[str, xr.DataArray, Mask]]:
    """Name, scene and truth of every scene with known anomalies."""
    for path in sorted(shared_scenes().glob("*/scene.json")):
        name = path.parent.name
        facts = describe(name)
        if "anomaly" in facts["task"]:
            cube = xr.DataArray(load_cube(name).astype(np.float32), dims=("band", "y", "x"))
            yield name, cube, load_array(name, facts["truth"]["mask"]) > 0


def measures(scores: Scores, truth: Mask, tail: Tail) -> dict[str, float]:
    """Quality of scores (n,) for a truth (n,)."""
    background = np.sort(scores[~truth])[::-1]
    distribution = ScoreDistribution()
    distribution.update(scores)
    cut = false_alarm_threshold(distribution, RATE, tail)
    return {
        "auc": float(roc_auc_score(truth, scores)),
        "precision": float(average_precision_score(truth, scores)),
        "found": float((scores[truth] > background[int(RATE * len(background))]).mean()),
        "map_found": float((scores[truth] > cut).mean()),
        "map_rate": float((background > cut).mean()),
    }


def anomalies() -> dict[str, dict[str, dict[str, float]]]:
    """Measures by detector and scene."""
    results: dict[str, dict[str, dict[str, float]]] = {name: {} for name in DETECTORS}
    for name, scene, truth in scenes():
        for label, detector in DETECTORS.items():
            scan = Scan(scene, passes=detector.passes)
            scores = np.concatenate([rows.data[0] for rows in detector.scores(scan)])
            results[label][name] = measures(scores.ravel(), truth.ravel(), LOGNORMAL)
    return results


def targets() -> dict[str, dict[str, dict[str, float]]]:
    """Measures by method and scene, the mean over the objects that the signature is taken from."""
    detectors = [(method, method, False) for method in METHODS]
    detectors += [(f"{method}, robust", method, True) for method in ROBUST]
    results: dict[str, dict[str, dict[str, float]]] = {label: {} for label, _, _ in detectors}
    for name, scene, truth in scenes():
        patches, count = ndimage.label(truth, np.ones((3, 3)))
        if count < 2:
            continue
        sizes = np.bincount(patches.ravel())[1:]
        largest = np.argsort(-sizes, kind="stable")[:MOST_OBJECTS] + 1
        for label, method, robust in detectors:
            runs = []
            for number in largest:
                source = patches == number
                signature = scene.values[:, source].mean(axis=1, dtype=np.float64)
                detector = TargetDetector(signature, method, robust)
                scores = np.concatenate([rows.data[0] for rows in detector.scores(Scan(scene))])
                runs.append(measures(scores[~source], truth[~source], detector.tail))
            results[label][name] = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
    return results


def print_table(title: str, results: dict[str, dict[str, dict[str, float]]]) -> None:
    """One row a detector, AUC and average precision a scene."""
    names = list(next(iter(results.values())))
    print(f"\n{title}: AUC / average precision\n\n| | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for label, found in results.items():
        cells = (f"{found[name]['auc']:.3f} / {found[name]['precision']:.2f}" for name in names)
        print(f"| {label} | " + " | ".join(cells) + " |")
    keys = ("auc", "precision", "found", "map_found", "map_rate")
    print("\n| mean | AUC | AP | found at 1e-3 | found by the map | false alarms of the map |")
    print("|---|---|---|---|---|---|")
    for label, found in results.items():
        means = {key: np.mean([found[name][key] for name in names]) for key in keys}
        print(f"| {label} | " + " | ".join(f"{means[key]:.4f}" for key in keys) + " |")


def judge(results: dict[str, dict[str, dict[str, float]]]) -> None:
    """The anomaly goals."""
    auto, plain = results["auto"], results["rx"]
    area = float(np.mean([each["auc"] for each in auto.values()]))
    precision = float(np.mean([each["precision"] for each in auto.values()]))
    loss = max(plain[name]["auc"] - auto[name]["auc"] for name in auto)
    print(f"\nmean AUC {area:.4f} (goal {AUC_GOAL}), mean AP {precision:.3f} (goal {PRECISION_GOAL})")
    print(f"largest loss against global RX {loss:.4f} (at most {LOSS_GOAL})")


def packaged(detector: str, cube: NDArray[np.floating], signature: Spectrum) -> Scores:
    """Scores (pixels,) of the ``spectral`` package, its statistics included."""
    import spectral

    background = spectral.calc_stats(cube)
    if detector == "rx":
        return np.asarray(spectral.rx(cube, background=background)).ravel()
    if detector == "mf":
        return np.asarray(spectral.matched_filter(cube, signature, background)).ravel()
    return np.asarray(spectral.ace(cube, signature, background)).ravel()


def ours(detector: str, cube: NDArray[np.floating], signature: Spectrum) -> Scores:
    """The same scores, statistics included."""
    pixels = cube.reshape(-1, cube.shape[2])
    statistics = StreamingCovariance(cube.shape[2], quick=True)
    statistics.update(pixels)
    if detector == "rx":
        return mahalanobis(pixels, Background.of(statistics))
    if detector == "mf":
        return scorer_of(signature, statistics, "mf")(pixels)
    return np.square(scorer_of(signature, statistics, "ace")(pixels))


def speed(repeats: int) -> list[dict[str, object]]:
    """Seconds of both packages on float32 arrays (rows, columns, bands); the best of the repeats.

    Differences are from the package's scores of the same values in float64: its statistics follow the type.
    """
    found: list[dict[str, object]] = []
    for shape in SIZES:
        rng = np.random.default_rng(0)
        mixing = rng.normal(size=(9, shape[2])) * 500
        cube = rng.normal(size=(*shape[:2], 9)) @ mixing + rng.normal(0, 20, shape) + 3000
        cube = cube.astype(np.float32)
        signature = cube[10, 10].astype(np.float64) + 100
        for detector in ("rx", "mf", "ace"):
            seconds = {"spectral": np.inf, "ours": np.inf}
            for _ in range(repeats):
                for label, call in (("spectral", packaged), ("ours", ours)):
                    # BLAS's threads go on spinning for a while, at the cost of whoever comes next.
                    time.sleep(0.2)
                    started = time.perf_counter()
                    scores = call(detector, cube, signature)
                    seconds[label] = min(seconds[label], time.perf_counter() - started)
            exact = packaged(detector, cube.astype(np.float64), signature)
            found.append(
                {
                    "shape": "x".join(map(str, shape)),
                    "detector": detector,
                    **{label: round(value, 3) for label, value in seconds.items()},
                    "faster": round(seconds["spectral"] / seconds["ours"], 2),
                    "difference": f"{np.abs(scores - exact).max() / np.std(exact):.1e}",
                }
            )
    return found


def main() -> None:
    """Measure and print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--no-speed", action="store_true", help="leave the speed out")
    parser.add_argument("--only-speed", action="store_true", help="measure the speed alone")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results: dict[str, object] = {}
    if not arguments.only_speed:
        found = anomalies()
        print_table("Anomalies", found)
        judge(found)
        examples = targets()
        print_table("Targets, signature from one object", examples)
        results |= {"anomalies": found, "targets": examples}
    if not arguments.no_speed:
        times = speed(arguments.repeats)
        print("\n| scene | detector | spectral s | ours s | faster | largest difference, in spreads |")
        print("|---|---|---|---|---|---|")
        for each in times:
            print("| " + " | ".join(map(str, each.values())) + " |")
        results["speed"] = times
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
