"""Learning-rate schedules of the published recipes."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class CosineSchedule:
    """Cosine decay from ``peak`` to ``floor`` over ``steps`` after a linear warm-up from ``start``.

    This is timm's ``CosineLRScheduler`` as HSIMAE steps it, in iterations or in epochs: the cosine does not
    wait for the warm-up, and the value lags one step behind (``lr``).
    """

    peak: float
    floor: float
    steps: int
    warmup_steps: int = 0
    start: float = 0.0

    def value(self, index: int) -> float:
        """The schedule itself at ``index`` (0 up to ``steps``)."""
        if index < self.warmup_steps:
            return self.start + index * (self.peak - self.start) / self.warmup_steps
        if index >= self.steps:
            return self.floor
        share = index / self.steps
        return self.floor + (self.peak - self.floor) * (1 + math.cos(math.pi * share)) / 2

    def lr(self, step: int) -> float:
        """The learning rate of optimiser step ``step`` (from 0).

        The published code advances the schedule after each step with that step's own number, so that the
        first two steps both run at ``value(0)``.
        """
        return self.value(max(step - 1, 0))


def warmup_cosine(step: float, *, base: float, total: float, warmup: float, start: float = 1e-6) -> float:
    """The rate at ``step`` (from 0): linear from ``start`` to ``base``, then half a cosine to 0.

    BiMAE counts steps; HyperSIGMA counts epochs, fractions included, and starts at 0.
    """
    if step < warmup:
        return start + step * (base - start) / warmup
    if step > total:
        return 0.0
    return base / 2 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
