"""Deciding from labels and unlabelled pixels whether a pixel's neighbourhood helps to classify it.

Windows and smoothing gain several points in scenes of large fields and lose twenty where pixels are as large
as the objects. Two questions decide. Do pixels a window's radius apart mostly get the same class? Thousands
of unlabelled pixels answer that, whichever few were labelled. And does smoothing the spectra clearly lose in
cross-validation over whole clusters of labels? That alone would err when labels are few.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from hsi_toolkit.training.teachers import fit_discriminant

Index = NDArray[np.int64]

# Cohen's kappa of pixels a radius apart: 0.9 and more where fields are large, 0.1 to 0.5 in cities at 30 m.
LEAST_AGREEMENT = 0.7
# Up to this kappa spectra are sharpened in full: there a pixel is a mixture of its neighbourhood. Between the
# two, pixels are larger than the point spread and smaller than the fields, and sharpening fades out.
SHARPENED_AGREEMENT = 0.55
# Standard errors that smoothing must lose by in cross-validation to be turned down against the agreement.
CERTAIN = 3.0
_FOLDS = 4


@dataclass(frozen=True)
class ContextGate:
    """Whether context is used, and why.

    ``agreement`` is Cohen's kappa of the classes predicted for pixels a window's radius apart; ``gain`` the
    cross-validated accuracy of smoothed less that of plain spectra, the mean over clusters of labels, and
    ``gain_error`` its standard error. Both are NaN where labels are too few.
    """

    context: bool
    agreement: float
    gain: float
    gain_error: float

    @property
    def favoured(self) -> bool:
        """Whether neighbours agree enough to use context."""
        return self.agreement >= LEAST_AGREEMENT

    @property
    def sharpening(self) -> float:
        """How much of the sharpening is applied where context is not used, 0 to 1."""
        fading = (LEAST_AGREEMENT - self.agreement) / (LEAST_AGREEMENT - SHARPENED_AGREEMENT)
        return min(max(fading, 0.0), 1.0)

    @classmethod
    def decide(cls, agreement: float, gain: float, gain_error: float) -> "ContextGate":
        """Context where neighbours agree and smoothing does not clearly lose."""
        loses = gain < -CERTAIN * gain_error  # False for NaN
        return cls(agreement >= LEAST_AGREEMENT and not loses, agreement, gain, gain_error)


def agreement(first: Index, second: Index, n_classes: int) -> float:
    """Cohen's kappa of paired classes (n,): 1 when all agree, 0 when no more than by chance."""
    table = np.bincount(first * n_classes + second, minlength=n_classes**2).reshape(n_classes, n_classes)
    share = table / max(1, table.sum())
    chance = float(share.sum(axis=0) @ share.sum(axis=1))
    return float((np.trace(share) - chance) / (1.0 - chance)) if chance < 1.0 else 1.0


def smoothing_gain(
    plain: Tensor, smooth: Tensor, classes: Index, positions: Index, groups: Index
) -> tuple[float, float]:
    """Cross-validated accuracy of discriminants on ``smooth`` less that on ``plain`` spectra, and its error.

    Whole ``groups`` are held out, and training pixels near them. The gain is the mean over groups and its
    error the standard error of that mean. ``positions`` are rows and columns (n, 2).
    """
    gains: list[float] = []
    for train, test in buffered_folds(classes, positions, groups):
        present, numbered = np.unique(classes[train], return_inverse=True)
        right = []
        for spectra in (plain, smooth):
            expert = fit_discriminant(spectra[train].double().numpy(), numbered, len(present))
            right.append(present[expert(spectra[test]).argmax(dim=1).numpy()] == classes[test])
        better = right[1].astype(np.float64) - right[0]
        gains += [better[groups[test] == group].mean() for group in np.unique(groups[test])]
    if len(gains) < 2:
        return float("nan"), float("nan")
    return float(np.mean(gains)), float(np.std(gains, ddof=1) / np.sqrt(len(gains)))


def buffered_folds(
    classes: Index, positions: Index, groups: Index, reach: int = 4
) -> Iterator[tuple[Index, Index]]:
    """Training and test indices of up to four folds of whole groups, each class spread over the folds.

    Training pixels within ``reach`` pixels of a test pixel are left out, and test pixels of classes that then
    are not trained on.
    """
    fold = np.empty(len(classes), dtype=np.int64)
    for label in np.unique(classes):
        members = classes == label
        _, number = np.unique(groups[members], return_inverse=True)
        fold[members] = number % _FOLDS
    for turn in range(_FOLDS):
        held = fold == turn
        if not held.any() or held.all():
            continue
        train = np.flatnonzero(~held & ~_near(positions, positions[held], reach))
        test = np.flatnonzero(held & np.isin(classes, classes[train]))
        if len(test) and len(np.unique(classes[train])) > 1:
            yield train, test


def _near(positions: Index, others: Index, reach: int) -> NDArray[np.bool_]:
    distance, _ = cKDTree(others).query(positions, p=np.inf)
    near: NDArray[np.bool_] = distance <= reach
    return near
