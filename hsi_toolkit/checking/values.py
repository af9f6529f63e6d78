"""What a scene's numbers say about themselves: fill values nobody declared, scales nobody applied."""

from dataclasses import dataclass

import numpy as np

from hsi_toolkit.checking.findings import Finding
from hsi_toolkit.checking.sample import SceneSample

FILL_SHARE = 0.0005
"""Share of the pixels that hold one and the same number in all bands, from which on it is a fill value."""

LARGEST_REFLECTANCE = 2.0
"""A median above this is no reflectance from 0 to 1."""

SCALED_REFLECTANCE = (300.0, 20_000.0)
"""Between these lies the 99th percentile of reflectance times 10,000."""


@dataclass(frozen=True)
class Fill:
    """A value that fills whole pixels, and the share of pixels it fills."""

    value: float
    share: float


def find_fill(sample: SceneSample) -> Fill | None:
    """The number that most pixels hold in all their bands, if it cannot be a measurement.

    Zero, negative numbers and the largest of unsigned 16-bit numbers are taken for fill; a pixel of one
    other number in all bands may be a saturated or a synthetic one.
    """
    data = sample.data
    if len(data) < 3:
        return None
    first = data[0]
    same = np.isfinite(first)
    for band in data[1:]:
        same &= band == first
    values, counts = np.unique(first[same], return_counts=True)
    fills = (values <= 0) | (values >= 65_535)
    if not fills.any():
        return None
    counts = np.where(fills, counts, 0)
    most = int(counts.argmax())
    share = counts[most] / first.size
    return Fill(float(values[most]), float(share)) if share >= FILL_SHARE else None


def check_values(sample: SceneSample, quantity: str, seen: np.ndarray) -> list[Finding]:
    """Whether the values can be what the scene calls them; ``seen`` are the bands worth looking at."""
    thin = sample.data[np.flatnonzero(seen)[:: max(1, int(seen.sum()) // 16)], ::3, ::3]
    values = thin[np.isfinite(thin)]
    if not values.size:
        return [
            Finding("Values", "problem", "No pixel of the sample holds data.", "Check the no-data value.")
        ]
    middle, high = (float(value) for value in np.percentile(values, (50, 99)))
    whole = bool((values == np.rint(values)).all())
    if quantity == "reflectance" and middle > LARGEST_REFLECTANCE:
        text = f"Half of the values exceed {middle:.4g}, which is no reflectance from 0 to 1."
        remedy = "Give the scale that was not applied, such as --scale 0.0001."
        return [Finding("Values", "problem", text, remedy)]
    if quantity == "dn":
        if whole and SCALED_REFLECTANCE[0] <= high <= SCALED_REFLECTANCE[1]:
            text = f"Whole numbers up to about {high:.0f}: reflectance times 10,000, or plain counts."
            remedy = "If reflectance, write it down with --quantity reflectance --scale 0.0001 --fix."
            return [Finding("Values", "note", text, remedy)]
        if not whole and float(np.percentile(values, 1)) > -0.5 and high <= 1.5:
            text = f"Values up to about {high:.2f} look like reflectance, but the file does not say so."
            return [
                Finding("Values", "note", text, "If so, write it down with --quantity reflectance --fix.")
            ]
        return [
            Finding(
                "Values", "note", "The file does not say what its values are.", "They count as plain numbers."
            )
        ]
    return [Finding("Values", "good", f"The values are {quantity}; half of them lie below {middle:.4g}.")]
