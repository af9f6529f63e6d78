"""How well a change map agrees with a reference."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.errors import ParameterError


@dataclass(frozen=True)
class ChangeQuality:
    """Overall accuracy, kappa, and F1, precision and recall of the changed pixels, to four digits."""

    accuracy: float
    kappa: float
    f1: float
    precision: float
    recall: float


def change_quality(
    changed: NDArray[np.bool_], reference: NDArray[np.bool_], known: NDArray[np.bool_] | None = None
) -> ChangeQuality:
    """Agreement of a change map with a reference of the same shape, at the ``known`` pixels.

    As published for HyperSIGMA: F1 is computed from the rounded precision and recall. A rate of nothing is 0.

    Raises:
        ParameterError: no pixel is known.
    """
    found, true = (changed, reference) if known is None else (changed[known], reference[known])
    if not found.size:
        raise ParameterError("The reference says nothing about any pixel.", "Choose another reference.")
    hits = int((found & true).sum())
    total, claimed, wanted = found.size, int(found.sum()), int(true.sum())
    agreeing = total - claimed - wanted + 2 * hits
    accuracy = agreeing / total
    by_chance = (claimed * wanted + (total - claimed) * (total - wanted)) / total**2
    kappa = (accuracy - by_chance) / (1 - by_chance) if by_chance < 1 else 1.0
    precision = round(hits / claimed, 4) if claimed else 0.0
    recall = round(hits / wanted, 4) if wanted else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return ChangeQuality(round(accuracy, 4), round(kappa, 4), round(f1, 4), precision, recall)
