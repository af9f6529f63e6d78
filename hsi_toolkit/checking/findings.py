"""What a check has to say."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["good", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """A sentence about one topic, how serious it is, and what to do about it."""

    topic: str
    status: Status
    text: str
    remedy: str = ""


def counted(number: int, what: str, verb: str = "") -> str:
    """``number`` things with the verb that fits: "1 band is", "3 bands are", "2 bands"."""
    plural = number != 1
    words = {"is": ("is", "are"), "": ("", "")}[verb][plural]
    return f"{number:,} {what}{'s' if plural else ''} {words}".strip()


def band_ranges(numbers: list[int]) -> str:
    """Band numbers as ranges: [1, 2, 3, 7] is "1-3, 7"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
