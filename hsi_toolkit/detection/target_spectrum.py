"""One spectrum for many target pixels: their mean, or the pixel that stands for them best."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.errors import LabelError

Choice = Literal["mean", "mean-of-nearest", "median-pixel", "central-pixel", "pixel-nearest-to-mean"]
Distance = Literal["euclidean", "angle"]

CHOICES: tuple[tuple[Choice, Distance], ...] = (
    ("mean", "euclidean"),
    ("mean-of-nearest", "euclidean"),
    ("mean-of-nearest", "angle"),
    ("median-pixel", "euclidean"),
    ("median-pixel", "angle"),
    ("central-pixel", "euclidean"),
    ("central-pixel", "angle"),
    ("pixel-nearest-to-mean", "euclidean"),
    ("pixel-nearest-to-mean", "angle"),
)
"""The nine variants of HyperSIGMA's target detection, in the order of their published numbers."""

_NEAREST_SHARE = 0.8


def target_spectrum(
    spectra: NDArray[np.float64], choice: Choice = "mean", distance: Distance = "euclidean"
) -> NDArray[np.float64]:
    """One spectrum (bands,) for target ``spectra`` (n, bands).

    ``mean-of-nearest`` averages the four fifths nearest to the mean; ``median-pixel`` and ``central-pixel``
    are those whose summed distances to all others are the median and the least.

    Raises:
        LabelError: there is no spectrum.
    """
    if not len(spectra):
        raise LabelError("There is no target pixel.", "Mark at least one target.")
    mean: NDArray[np.float64] = spectra.mean(axis=0)
    if choice == "mean":
        return mean
    if choice in ("median-pixel", "central-pixel"):
        order = np.argsort(_distances(spectra, spectra, distance).sum(axis=1), kind="stable")
        return _row(spectra, order[(len(spectra) - 1) // 2 if choice == "median-pixel" else 0])
    order = np.argsort(_distances(spectra, mean[None], distance)[:, 0], kind="stable")
    if choice == "pixel-nearest-to-mean":
        return _row(spectra, order[0])
    nearest: NDArray[np.float64] = spectra[order[: max(int(_NEAREST_SHARE * len(spectra)), 1)]].mean(axis=0)
    return nearest


def _row(spectra: NDArray[np.float64], index: np.intp) -> NDArray[np.float64]:
    row: NDArray[np.float64] = spectra[index]
    return row


def _distances(
    spectra: NDArray[np.float64], others: NDArray[np.float64], distance: Distance
) -> NDArray[np.float64]:
    """Distances (n, m) between spectra (n, bands) and others (m, bands)."""
    apart: NDArray[np.float64]
    if distance == "euclidean":
        apart = np.linalg.norm(spectra[:, None] - others[None], axis=2)
        return apart
    lengths = np.linalg.norm(spectra, axis=1)[:, None] * np.linalg.norm(others, axis=1)[None]
    apart = np.arccos(np.clip(spectra @ others.T / lengths, -1, 1))
    return apart
