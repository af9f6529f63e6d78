"""Names for endmembers that were found: the most similar spectra of a library."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from hsi_toolkit.quality.matching import spectral_angles
from hsi_toolkit.spectral.library import SpectralLibrary

Float64 = NDArray[np.float64]

LARGEST_ANGLE = 0.2
"""Radians beyond which no spectrum of the library counts as similar."""


@dataclass(frozen=True)
class Name:
    """What an endmember resembles.

    Attributes:
        text: its name in outputs.
        angle: spectral angle to the library's spectrum in radians, NaN where none is similar.
    """

    text: str
    angle: float


def name_endmembers(endmembers: Float64, library: SpectralLibrary) -> list[Name]:
    """A name for each of ``endmembers`` (n, bands), from a library on the same bands.

    The sum of the angles is smallest over all ways to give each endmember a spectrum of its own (Kuhn 1955);
    endmembers without a similar spectrum keep a number.
    """
    whole = np.isfinite(library.spectra).all(axis=1) & (np.linalg.norm(library.spectra, axis=1) > 0)
    candidates = library.spectra[whole]
    names = [name for name, usable in zip(library.names, whole, strict=True) if usable]
    found = plain_names(len(endmembers))
    if not names:
        return found
    angles = spectral_angles(endmembers, candidates)
    for row, column in zip(*linear_sum_assignment(angles), strict=True):
        if angles[row, column] <= LARGEST_ANGLE:
            found[row] = Name(names[column], float(angles[row, column]))
    return found


def plain_names(count: int) -> list[Name]:
    """Names of endmembers that resemble nothing known."""
    return [Name(f"endmember {number}", float("nan")) for number in range(1, count + 1)]
