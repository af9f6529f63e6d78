"""How long work says where it is and learns that it should stop."""

from hsi_toolkit.errors import Cancelled


class Progress:
    """Silent progress, the base of the ones that show something.

    Fractions run from 0 to 1. ``part`` hands a slice of the range to a step, so that a step
    reports 0 to 1 of its own without knowing what comes before or after it.
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
