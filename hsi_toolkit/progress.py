"""How long work says where it is and learns that it should stop."""

import math
import time
from collections.abc import Callable

from hsi_toolkit.errors import Cancelled

# Seconds and share of the work after which its speed is known well enough to say how long it takes.
_EVIDENCE_SECONDS, _EVIDENCE_SHARE = 3.0, 0.01
# Work that takes fewer seconds than this in all is done before an estimate helps anybody.
_WORTH_TELLING = 20.0
# Seconds after which a rate is measured anew within one and the same step.
_REFRESH = 10.0


class Progress:
    """Silent progress, the base of the ones that show something.

    Fractions run from 0 to 1; an empty message says that what was last said still holds. ``part`` hands a
    slice of the range to a step, so that a step reports 0 to 1 of its own without knowing what comes before
    or after it.
    """

    def report(self, fraction: float, message: str = "") -> None:
        """Say that ``fraction`` (0 to 1) of the work is done and what is being done now."""

    def log(self, message: str) -> None:
        """Say something that should stay readable after the run."""

    def cancelled(self) -> bool:
        """Whether the user asked to stop."""
        return False

    def check(self) -> None:
        """Raise ``Cancelled`` if the user asked to stop; called at every block and step."""
        if self.cancelled():
            raise Cancelled("Cancelled; no output was changed.")

    def part(self, start: float, stop: float) -> "Progress":
        """The progress of a step that covers ``start`` to ``stop`` of this one."""
        return _Part(self, start, stop)


class _Part(Progress):
    def __init__(self, whole: Progress, start: float, stop: float) -> None:
        self._whole, self._start, self._stop = whole, start, stop

    def report(self, fraction: float, message: str = "") -> None:
        self._whole.report(self._start + min(max(fraction, 0.0), 1.0) * (self._stop - self._start), message)

    def log(self, message: str) -> None:
        self._whole.log(message)

    def cancelled(self) -> bool:
        return self._whole.cancelled()


class Pace(_Part):
    """The progress of work of known size: messages say how fast it goes, one log line how long it takes.

    Nothing is assumed about the machine. What passes until the first report is taken for the preparation of
    the first of ``parts`` alike, and what follows for the work itself; as soon as both are known well enough,
    the log gets a line such as "Classifying: 38 blocks, about 4 minutes on this CPU (2 threads)", unless all
    is over soon.

    Args:
        whole: what is told.
        what: the work in words, such as "Classifying: 38 blocks".
        amount: its size in ``unit``, such as "pixels".
        parts: how many parts, each with a preparation of its own, it has; the last may be a fraction of one.
        where: what does it, such as "this CPU (2 threads)".
        clock: seconds, for measuring.
    """

    def __init__(
        self,
        whole: Progress,
        what: str,
        amount: float,
        unit: str,
        *,
        parts: float = 1.0,
        where: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(whole, 0.0, 1.0)
        self._what, self._where, self._parts = what, where, parts
        self._amount, self._unit, self._clock = amount, unit, clock
        self._made = clock()
        self._ready: float | None = None
        self._first, self._told = 0.0, False
        self._step, self._rate, self._said, self._measured = "", "", "", -math.inf

    def report(self, fraction: float, message: str = "") -> None:
        now = self._clock()
        if self._ready is None:
            self._ready, self._first = now, fraction
        done, worked = fraction - self._first, now - self._ready
        # Of the first part's preparation as much counts as is done of the part; time worked has later ones.
        seconds = worked + min(done * self._parts, 1.0) * (self._ready - self._made)
        known = worked >= _EVIDENCE_SECONDS and done >= _EVIDENCE_SHARE
        if known and not self._told:
            self._told = True
            self._tell((1.0 - self._first) * seconds / done)
        fresh = bool(message) and message != self._step
        self._step = message or self._step
        if known and (fresh or now - self._measured >= _REFRESH):
            self._rate, self._measured = rate_text(done * self._amount / seconds, self._unit), now
        text = ", ".join(each for each in (self._step, self._rate) if each)
        super().report(fraction, "" if text == self._said else text)
        self._said = text

    def _tell(self, seconds: float) -> None:
        if seconds >= _WORTH_TELLING:
            where = f" on {self._where}" if self._where else ""
            self.log(f"{self._what}, about {duration_text(seconds)}{where}")


def duration_text(seconds: float) -> str:
    """A duration as precisely as one can be foretold, such as ``"40 seconds"`` or ``"4 minutes"``."""
    if seconds < 90:
        return f"{max(10, round(seconds / 10) * 10)} seconds"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} minutes"
    hours = round(seconds / 1800) / 2
    return f"{hours:g} hours" if hours < 48 else f"{hours / 24:.0f} days"


def rate_text(rate: float, unit: str) -> str:
    """A rate with two digits that count, such as ``"41,000 pixels/s"``."""
    if rate <= 0:
        return f"0 {unit}/s"
    digits = 1 - math.floor(math.log10(rate))
    return f"{round(rate, digits):,.{max(0, digits)}f} {unit}/s"
