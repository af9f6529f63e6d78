"""How well detection scores separate targets from background: areas under the three-dimensional ROC curve."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.errors import ParameterError


@dataclass(frozen=True)
class DetectionAreas:
    """Areas under the curves of detection rate, false-alarm rate and threshold (Chang 2021, IEEE TGRS).

    ``detection`` is the usual AUC of detection over false alarms; ``false_alarm`` and ``target`` are those of
    either rate over the threshold; ``overall`` = detection + target - false_alarm and ``snpr`` = target /
    false_alarm.
    """

    detection: float
    false_alarm: float
    target: float
    overall: float
    snpr: float


def detection_areas(scores: NDArray[np.floating], targets: NDArray[np.bool_]) -> DetectionAreas:
    """Areas of scores from 0 to 1 and of the true targets, arrays of one shape.

    As published for HyperSIGMA: every distinct score is a threshold, the point beyond the highest score is
    left out, and all areas are rounded to four digits, the last two computed from rounded ones.

    Raises:
        ParameterError: there is no target, or no background.
    """
    truth = targets.ravel()
    if truth.all() or not truth.any():
        raise ParameterError(
            f"The reference has {int(truth.sum())} target pixels of {truth.size}.",
            "Give a reference with targets and background.",
        )
    order = np.argsort(scores.ravel(), kind="stable")[::-1]
    ordered = scores.ravel()[order].astype(np.float64)
    last_of_score = np.append(np.flatnonzero(np.diff(ordered)), ordered.size - 1)
    detected = np.cumsum(truth[order])[last_of_score] / truth.sum()
    alarmed = np.cumsum(~truth[order])[last_of_score] / (~truth).sum()
    thresholds = ordered[last_of_score]
    detection = round(float(np.trapezoid(detected, alarmed)), 4)
    false_alarm = round(float(-np.trapezoid(alarmed, thresholds)), 4)
    target = round(float(-np.trapezoid(detected, thresholds)), 4)
    return DetectionAreas(
        detection,
        false_alarm,
        target,
        round(detection + target - false_alarm, 4),
        round(target / false_alarm, 4) if false_alarm else float("inf"),
    )
