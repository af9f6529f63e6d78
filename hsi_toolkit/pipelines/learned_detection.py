"""Anomalies and targets by a network trained on the scene: the method hypersigma of both tasks.

It stands apart from the other methods because it needs PyTorch, which takes a second to load.
"""

from collections.abc import Mapping
from typing import cast

import xarray as xr

from hsi_toolkit.detection.learned import LearnedDetector, learn_anomalies, learn_target
from hsi_toolkit.detection.maps import DetectionMap, summary_of, write_scores
from hsi_toolkit.detection.signatures import TargetSpectra
from hsi_toolkit.detection.thresholds import NORMAL, false_alarm_threshold
from hsi_toolkit.progress import Progress
from hsi_toolkit.tasks.anomalies import Anomalies
from hsi_toolkit.tasks.target import Target
from hsi_toolkit.training.per_scene import Start

_LEARNING = 0.7
"""Part of the work that training takes, about."""


def learned_anomalies(task: Anomalies, scene: xr.DataArray, progress: Progress) -> Mapping[str, object]:
    """Train, score and write; the result of the task without its outputs."""
    detector = learn_anomalies(scene, _start(task), task.epochs, progress.part(0.0, _LEARNING))
    return _write(task, scene, detector, "anomaly", "anomalies", progress)


def learned_target(
    task: Target, scene: xr.DataArray, target: TargetSpectra, progress: Progress
) -> Mapping[str, object]:
    """Train, score and write; the result of the task without its outputs."""
    detector = learn_target(
        scene, target.signatures, _start(task), task.epochs, progress.part(0.0, _LEARNING)
    )
    result = _write(task, scene, detector, "target", "targets", progress)
    facts = cast("dict[str, str]", result["facts"])
    return {
        **result,
        "facts": {"Examples": target.source} | facts,
        "warnings": list(target.warnings),
        "signatures": len(target.signatures),
    }


def _write(
    task: Anomalies | Target,
    scene: xr.DataArray,
    detector: LearnedDetector,
    one: str,
    several: str,
    progress: Progress,
) -> dict[str, object]:
    rate = task.false_alarm_rate
    detections = None
    if task.detections:
        detections = DetectionMap(
            task.detections, one, lambda scores: false_alarm_threshold(scores, rate, NORMAL)
        )
    found = write_scores(
        detector.scores(scene, progress.part(_LEARNING, 1.0)),
        task.output,
        scene,
        description=f"{one} score ({task.method})",
        detections=detections,
        overwrite=task.overwrite,
        progress=progress,
    )
    result = summary_of(found, rate, several)
    facts = cast("dict[str, str]", result.get("facts", {}))
    return {**result, "facts": facts | detector.learning.facts()}


def _start(task: Anomalies | Target) -> Start:
    return Start(task.size, task.weights, task.seed, task.device)
