"""What drawing at the places of Where to draw next gains, against random places and the most uncertain ones.

    python -m benchmarks.draw_next [--json FILE] [--scenes N] [--repeats N]

Scenes of which every pixel's class is known: farmlands whose fields differ within a crop as much as crops do,
and the demo's landscapes. A classifier is trained on one polygon a class; its map and the entropy of its
probabilities are what a user has. Then 15 or 20 places are drawn at, each as an analyst would: the pixels of
the field or object at the place within 9 x 9 pixels, with their true class. Trained again, the overall
accuracy tells the gain. Differences are paired by scene; their standard error is over scenes.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label, uniform_filter
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier

from hsi_toolkit.demo import make_demo_scene
from hsi_toolkit.scene import open_scene, read_class_map
from hsi_toolkit.training.labels import read_labels
from hsi_toolkit.training.places import PlaceFinder, PlaceRule

WINDOW = 9

Ints = NDArray[np.int64]
Rule = Callable[["Scene", Ints, NDArray[np.float64], int, int], tuple[Ints, Ints]]


@dataclass(frozen=True, eq=False)
class Scene:
    """Features (rows, columns, F), true class and object of every pixel, and which are labelled."""

    features: NDArray[np.float64]
    truth: Ints
    objects: Ints
    labelled: NDArray[np.bool_]
    places: int

    def classify(self, labelled: NDArray[np.bool_]) -> tuple[Ints, NDArray[np.float64]]:
        """Classes and normalised entropy of a forest's and a discriminant's mean probabilities."""
        known, classes = self.features[labelled], self.truth[labelled]
        everything = self.features.reshape(-1, self.features.shape[-1])
        forest = RandomForestClassifier(60, min_samples_leaf=2, random_state=0).fit(known, classes)
        linear = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(known, classes)
        likely = (forest.predict_proba(everything) + linear.predict_proba(everything)) / 2
        entropy = -(likely * np.log(np.maximum(likely, 1e-12))).sum(axis=1) / np.log(likely.shape[1])
        mapped = forest.classes_[likely.argmax(axis=1)]
        return mapped.reshape(self.truth.shape), entropy.reshape(self.truth.shape)

    def drawn(self, rows: Ints, cols: Ints) -> NDArray[np.bool_]:
        """The labels, and those drawn at the places."""
        labelled, half = self.labelled.copy(), WINDOW // 2
        for row, col in zip(rows, cols, strict=True):
            around = (
                slice(max(0, row - half), row + half + 1),
                slice(max(0, col - half), col + half + 1),
            )
            labelled[around] |= self.objects[around] == self.objects[row, col]
        return labelled


def farmland(seed: int, side: int = 160, field: int = 16, crops: int = 6, bands: int = 8) -> Scene:
    """Square fields, each with a spectrum of its own around its crop's."""
    rng = np.random.default_rng(seed)
    crop = rng.integers(0, crops, (side // field) ** 2)
    spectra = 1.2 * rng.standard_normal((crops, bands))[crop] + 0.8 * rng.standard_normal((len(crop), bands))
    rows, cols = np.mgrid[:side, :side]
    objects = rows // field * (side // field) + cols // field
    pure = gaussian_filter(spectra[objects], (0.7, 0.7, 0))
    known = [np.flatnonzero(crop == each)[0] for each in range(crops) if (crop == each).any()]
    inside = (np.abs(rows % field - field / 2) < 5) & (np.abs(cols % field - field / 2) < 5)
    features = pure + 0.5 * rng.standard_normal(pure.shape)
    return Scene(features, crop[objects], objects, np.isin(objects, known) & inside, 15)


def landscape(seed: int) -> Scene:
    """The demo's valley, with one of its training polygons a class."""
    with tempfile.TemporaryDirectory() as folder:
        files = make_demo_scene(folder, seed=seed)
        scene = open_scene(files.scene)
        cube = scene.hsi.good_bands.to_numpy()
        truth = read_class_map(files.reference)[0].astype(np.int64)
        labels = read_labels(files.labels, files.field, scene)
    pixels = cube.reshape(len(cube), -1).T.astype(np.float64)
    features = PCA(20, random_state=0).fit(pixels[::7]).transform(pixels).reshape(*truth.shape, -1)
    objects, count = np.zeros_like(truth), 0
    for number in np.unique(truth):
        parts, found = label(truth == number)
        objects[parts > 0] = parts[parts > 0] + count
        count += found
    labelled = np.zeros(truth.shape, bool)
    for number in range(len(labels.names)):
        own = labels.groups == labels.groups[labels.classes == number][0]
        labelled[labels.rows[own], labels.cols[own]] = True
    return Scene(features, truth, objects, labelled, 20)


def places(
    scene: Scene, mapped: Ints, uncertainty: NDArray[np.float64], count: int, seed: int
) -> tuple[Ints, Ints]:
    """Those of the task."""
    rows, cols = np.nonzero(scene.labelled)
    labelled = np.array(shapely.points(cols + 0.5, rows + 0.5))
    finder = PlaceFinder(PlaceRule(count, WINDOW, None, seed), uncertainty.shape, labelled)
    finder.add(np.pad(uncertainty, ((finder.halo, finder.halo), (0, 0))), mapped + 1, 0)
    found = finder.places()
    return found.rows, found.cols


def at_random(
    scene: Scene, mapped: Ints, uncertainty: NDArray[np.float64], count: int, seed: int
) -> tuple[Ints, Ints]:
    """Anywhere."""
    half = WINDOW // 2
    limits = np.array(uncertainty.shape)[:, None] - half
    rows, cols = np.random.default_rng(seed).integers(half, limits, (2, count))
    return rows, cols


def most_uncertain(
    scene: Scene, mapped: Ints, uncertainty: NDArray[np.float64], count: int, seed: int
) -> tuple[Ints, Ints]:
    """The windows of the highest mean uncertainty, as far apart as the task's places are at least."""
    left = uniform_filter(uncertainty, WINDOW)
    left[scene.labelled] = 0
    apart = max(WINDOW, 0.5 * np.sqrt(left.size / count))
    rows, cols = np.mgrid[: left.shape[0], : left.shape[1]]
    chosen = []
    for _ in range(count):
        row, col = np.unravel_index(left.argmax(), left.shape)
        chosen.append((int(row), int(col)))
        left[np.hypot(rows - row, cols - col) < apart] = 0
    found = np.array(chosen)
    return found[:, 0], found[:, 1]


RULES: dict[str, tuple[Rule, bool]] = {
    "where to draw next": (places, True),
    "at random": (at_random, True),
    "most uncertain": (most_uncertain, False),
}


def measure(scene: Scene, repeats: int) -> dict[str, dict[str, float]]:
    """The gain of overall accuracy and the errors at the places, relative to those anywhere, of each rule."""
    mapped, uncertainty = scene.classify(scene.labelled)
    wrong = mapped != scene.truth
    found = {}
    for name, (rule, drawn_by_lot) in RULES.items():
        gains, errors = [], []
        for seed in range(repeats if drawn_by_lot else 1):
            rows, cols = rule(scene, mapped, uncertainty, scene.places, seed)
            after, _ = scene.classify(scene.drawn(rows, cols))
            gains.append(float(wrong.mean() - (after != scene.truth).mean()))
            errors.append(float(wrong[rows, cols].mean() / wrong.mean()))
        found[name] = {"gain": float(np.mean(gains)), "errors": float(np.mean(errors))}
    return found


def summary(kind: str, results: list[dict[str, dict[str, float]]]) -> Iterator[str]:
    """A line for each rule."""
    chance = np.array([each["at random"]["gain"] for each in results])
    for name in RULES:
        gains = np.array([each[name]["gain"] for each in results])
        errors = np.mean([each[name]["errors"] for each in results])
        more = gains - chance
        error = more.std(ddof=1) / np.sqrt(len(more)) if len(more) > 1 else float("nan")
        yield (
            f"{kind:10}  {name:20}  gain {100 * gains.mean():5.2f} points, against random "
            f"{100 * more.mean():+5.2f} ± {100 * error:.2f}, errors {errors:.2f} times the mean"
        )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--scenes", type=int, default=8, help="of each kind")
    parser.add_argument("--repeats", type=int, default=3, help="seeds of each rule that draws by lot")
    arguments = parser.parse_args()
    found = {}
    for kind, make in (("farmland", farmland), ("landscape", landscape)):
        found[kind] = [measure(make(seed), arguments.repeats) for seed in range(arguments.scenes)]
        for line in summary(kind, found[kind]):
            print(line, flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
