"""What a running job shows in QGIS: progress, its stage with the time that is left, and the log."""

import json
import math
import time
from typing import Any, Mapping, Optional

from qgis.core import QgsFeedback, QgsProcessingFeedback

#: Seconds and share of the work after which a remaining time is worth saying.
WORTH_SAYING_AFTER, WORTH_SAYING_FROM = 5.0, 0.02
#: Seconds over which the rate of work and the shown time are smoothed at least.
SMOOTHING = 10.0


class Reporter:
    """Passes a job's events to a feedback, in the thread of whoever waits for the job."""

    def __init__(self, feedback: Optional[QgsFeedback]) -> None:
        self._feedback = feedback
        self._full = feedback if isinstance(feedback, QgsProcessingFeedback) else None
        self._remaining = Remaining()
        self._text = ""

    def is_cancelled(self) -> bool:
        return self._feedback is not None and self._feedback.isCanceled()

    def say_request(self, task: str, parameters: Mapping[str, Any]) -> None:
        """Show what the engine is asked for, to repeat or to report it."""
        if self._full is not None:
            self._full.pushCommandInfo(
                json.dumps({"task": task, "parameters": parameters}, ensure_ascii=False)
            )

    def take(self, event: Mapping[str, Any]) -> None:
        """Show a progress or log event; one with nothing sensible in it shows nothing."""
        message = str(event.get("message") or "")
        if self._feedback is None or (not message and "fraction" not in event):
            return
        if event.get("event") == "log":
            if self._full is not None:
                self._full.pushInfo(message)
            return
        left, fraction = "", event.get("fraction")
        if isinstance(fraction, (int, float)) and 0 <= fraction <= 1:
            self._feedback.setProgress(100.0 * fraction)
            left = words(self._remaining.seconds(float(fraction), time.monotonic()))
        text = " · ".join(part for part in (message, left) if part)
        if text and text != self._text and self._full is not None:
            self._full.setProgressText(text)
            self._text = text


class Remaining:
    """How long work will still take, told calmly.

    The rate is that of about the last fifth of the time so far, so that a slow stage is noticed and one slow
    block is not; what is told runs down like a clock and moves towards a new estimate bit by bit.
    """

    def __init__(self) -> None:
        self._begun: Optional[float] = None
        self._time, self._fraction = 0.0, 0.0
        self._rate, self._weight = 0.0, 0.0
        self._told: Optional[float] = None

    def seconds(self, fraction: float, now: float) -> Optional[float]:
        """Seconds that are left once ``fraction`` is done; None while that is a guess."""
        if self._begun is None:
            self._begun, self._time, self._fraction = now, now, fraction
        step, elapsed = now - self._time, now - self._begun
        if step <= 0:
            return self._told
        # A running mean over past rates; each fades with the time that has gone by since.
        fading = math.exp(-step / max(SMOOTHING, elapsed / 5))
        self._rate = fading * self._rate + (1 - fading) * max(fraction - self._fraction, 0.0) / step
        self._weight = fading * self._weight + (1 - fading)
        self._time, self._fraction = now, fraction
        if self._rate <= 0 or elapsed < WORTH_SAYING_AFTER or fraction < WORTH_SAYING_FROM:
            return None
        estimate = (1 - fraction) * self._weight / self._rate
        if self._told is None:
            self._told = estimate
        clock = max(self._told - step, 0.0)
        self._told = clock + (estimate - clock) * (1 - math.exp(-step / SMOOTHING))
        return self._told


def words(seconds: Optional[float]) -> str:
    """A time as one would say it: "about 40 s left", "about 3 min left", "about 2 h left"."""
    if seconds is None:
        return ""
    if seconds < 10:
        return "a few seconds left"
    if seconds < 55:
        return f"about {10 * math.ceil(seconds / 10)} s left"
    if seconds < 5400:
        return f"about {max(1, round(seconds / 60))} min left"
    return f"about {seconds / 3600:.1f} h left"
