"""HyperSIGMA's networks trained on a real scene of their own: abundances, anomalies, targets, change.

Part of ``benchmarks.hypersigma_tasks``. A network "before training" is the same one after no epoch.
"""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.change import pair as made_pair
from benchmarks.scenes import describe, load_array, load_cube
from hsi_toolkit.change.decision import no_change_threshold
from hsi_toolkit.change.detectors import fit_pair
from hsi_toolkit.change.learned import EVEN_ODDS, learn_change
from hsi_toolkit.change.pair import ScenePair
from hsi_toolkit.detection.anomalies import QuasiLocalRX
from hsi_toolkit.detection.learned import learn_anomalies, learn_target
from hsi_toolkit.detection.neighbourhood import Rows
from hsi_toolkit.detection.scan import Scan
from hsi_toolkit.detection.targets import TargetDetector
from hsi_toolkit.progress import Progress
from hsi_toolkit.quality.matching import match_spectra
from hsi_toolkit.spectral.compute import Compute
from hsi_toolkit.tasks.anomalies import Anomalies
from hsi_toolkit.tasks.base import Task
from hsi_toolkit.tasks.change import Change
from hsi_toolkit.tasks.target import Target
from hsi_toolkit.tasks.unmix import Unmix
from hsi_toolkit.training.per_scene import Start
from hsi_toolkit.unmixing import Unmixer, find_endmembers, fit_brightness
from hsi_toolkit.unmixing.brightness import UNEVEN, Brightness
from hsi_toolkit.unmixing.learned import learn_unmixing

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

UNMIXED, ANOMALOUS, TARGETS, CHANGED = "samson", "abu_urban_1", "abu_airport_3", "samson"
CHANGE_SIDE = 60
"""Rows and columns of the pair: a processor judges about 120 pixels a second."""
CHANGE_SEED, CHANGE_SHARE, CHANGE_SHIFT = 100, 0.03, 0.3

START, PROGRESS = Start(device="cpu"), Progress()


class Figures(NamedTuple):
    """A metric on one scene: before and after training, and by the default method; seconds of both."""

    scene: str
    metric: str
    untrained: float
    trained: float
    default: float
    seconds: float
    default_seconds: float


def unmixing(folder: Path) -> Iterator[Figures]:
    """Root mean square error of the abundances, and mean angle of the endmembers, all of them found."""
    cube = load_cube(UNMIXED, folder).astype(np.float32)
    truth = describe(UNMIXED, folder)["truth"]
    spectra = load_array(UNMIXED, truth["endmembers"], folder).astype(np.float64)
    spectra = spectra.T if truth["endmembers"]["layout"] == "bs" else spectra
    shares = load_array(UNMIXED, truth["abundances"], folder).astype(np.float64)

    began = time.perf_counter()
    pixels = cube.reshape(len(cube), -1).T.astype(np.float64)
    found = find_endmembers(pixels, len(spectra))
    fitted, spread = fit_brightness(pixels, found)
    light: Brightness = "even" if spread < UNEVEN else "free"
    found = fitted if light == "even" else found
    names = tuple(map(str, range(len(found))))
    unmixed = Unmixer(found, names, brightness=light)(torch.from_numpy(pixels)).abundances.numpy()
    default_seconds = time.perf_counter() - began
    results = {"default": (unmixed.T.reshape(shares.shape), found)}
    for label, epochs in (("untrained", 0), ("trained", epochs_of(Unmix))):
        began = time.perf_counter()
        learned = learn_unmixing(scene_of(cube), found, names, light, START, epochs, PROGRESS)
        parts = [rows.data for rows in learned.rows(scene_of(cube), PROGRESS)]
        results[label] = np.concatenate(parts, axis=1).astype(np.float64), learned.spectra
    seconds = time.perf_counter() - began
    errors, angles = {}, {}
    for label, (mapped, endmembers) in results.items():
        pairing, apart = match_spectra(endmembers, spectra)
        errors[label] = float(np.sqrt(np.mean((mapped[pairing] - shares) ** 2)))
        angles[label] = float(apart.mean())
    for metric, each in (("abundance RMSE", errors), ("endmember angle, rad", angles)):
        yield Figures(UNMIXED, metric, **each, seconds=seconds, default_seconds=default_seconds)


def anomalies(folder: Path) -> Iterator[Figures]:
    """Area under the ROC curve, and average precision."""
    scene, truth = with_truth(ANOMALOUS, folder)
    began = time.perf_counter()
    default = together(QuasiLocalRX().scores(Scan(scene, passes=QuasiLocalRX().passes)))
    default_seconds = time.perf_counter() - began
    results = {"default": default}
    for label, epochs in (("untrained", 0), ("trained", epochs_of(Anomalies))):
        began = time.perf_counter()
        learned = learn_anomalies(scene, START, epochs, PROGRESS)
        results[label] = together(learned.scores(scene, PROGRESS))
    seconds = time.perf_counter() - began
    yield from detection_figures(ANOMALOUS, results, truth, seconds, default_seconds)


def targets(folder: Path) -> Iterator[Figures]:
    """The same of targets: the signature is the mean of the largest object, which is left out."""
    scene, truth = with_truth(TARGETS, folder)
    patches, _ = ndimage.label(truth, np.ones((3, 3)))
    source = patches == 1 + np.bincount(patches.ravel())[1:].argmax()
    signature = scene.values[:, source].mean(axis=1, dtype=np.float64)[None]
    began = time.perf_counter()
    results = {"default": together(TargetDetector(signature).scores(Scan(scene)))[~source]}
    default_seconds = time.perf_counter() - began
    for label, epochs in (("untrained", 0), ("trained", epochs_of(Target))):
        began = time.perf_counter()
        learned = learn_target(scene, signature, START, epochs, PROGRESS)
        results[label] = together(learned.scores(scene, PROGRESS))[~source]
    seconds = time.perf_counter() - began
    yield from detection_figures(TARGETS, results, truth[~source], seconds, default_seconds)


def change(folder: Path) -> Iterator[Figures]:
    """Average precision, and F1 of the map, of a pair made as in ``benchmarks.change``."""
    cube = load_cube(CHANGED, folder)[:, :CHANGE_SIDE, :CHANGE_SIDE]
    before, after, truth = made_pair(cube, CHANGE_SEED, CHANGE_SHARE, CHANGE_SHIFT)
    pair = ScenePair.of(scene_of(before), scene_of(after))
    began = time.perf_counter()
    sample = pair.sample(PROGRESS)
    model = fit_pair(*sample)
    spectra = [each.reshape(len(each), -1).T for each in (before, after)]
    scores = model.detector.scores(*spectra, Compute())
    results = {"default": (scores, no_change_threshold(model.detector.scores(*sample, Compute())))}
    default_seconds = time.perf_counter() - began
    for label, epochs in (("untrained", 0), ("trained", epochs_of(Change))):
        began = time.perf_counter()
        learned = learn_change(pair, model, sample, START, epochs, PROGRESS)
        results[label] = together(learned.scores(pair, PROGRESS)).ravel(), EVEN_ODDS
    seconds = time.perf_counter() - began
    precision, f1 = {}, {}
    for label, (scores, threshold) in results.items():
        above, known = scores > threshold, truth.ravel()
        precision[label] = float(average_precision_score(known, scores))
        f1[label] = float(2 * (above & known).sum() / max(1, above.sum() + known.sum()))
    for metric, each in (("average precision", precision), ("F1 of the map", f1)):
        yield Figures(CHANGED, metric, **each, seconds=seconds, default_seconds=default_seconds)


def detection_figures(
    name: str, results: dict[str, NDArray[np.float32]], truth: Mask, seconds: float, default_seconds: float
) -> Iterator[Figures]:
    """Both measures of scores of the pixels of ``truth``."""
    for metric, measure in (("AUC", roc_auc_score), ("average precision", average_precision_score)):
        found = {label: float(measure(truth.ravel(), scores.ravel())) for label, scores in results.items()}
        yield Figures(name, metric, **found, seconds=seconds, default_seconds=default_seconds)


def with_truth(name: str, folder: Path) -> tuple[xr.DataArray, Mask]:
    """A scene and where its anomalies are."""
    mask = load_array(name, describe(name, folder)["truth"]["mask"], folder) > 0
    return scene_of(load_cube(name, folder)), mask


def scene_of(cube: NDArray[np.floating]) -> xr.DataArray:
    """A cube (bands, rows, columns) as a scene."""
    return xr.DataArray(cube.astype(np.float32), dims=("band", "y", "x"))


def together(scores: Iterable[Rows]) -> NDArray[np.float32]:
    """Scores (rows, columns) that come row by row."""
    return np.concatenate([rows.data[0] for rows in scores])


def epochs_of(task: type[Task]) -> int:
    """The epochs that a task takes by default."""
    return next(int(each.default) for each in task.parameters() if each.name == "epochs")
