"""Fitting spectra in which single bands are wrong: impulses, dead lines, missing values."""

import torch
from torch import Tensor

_HUBER = 2.5  # deviations beyond which a band pulls with constant force
_ITERATIONS = 12
_MAJORITY = 0.25  # wrong in more bands than that, a spectrum is rather a rare one


def fit_incomplete(whitened: Tensor, basis: Tensor, missing: Tensor) -> Tensor:
    """Complete spectra by what their other bands say.

    Filling in the fit and fitting again converges to the least-squares fit of the bands that are there.

    Args:
        whitened: (bands, pixels) float32; any finite number where it is missing.
        basis: (bands, n) orthonormal directions of the signal.
        missing: (bands, pixels) bool.

    Returns:
        The spectra, (bands, pixels), with the fit where they were missing.
    """
    concerned = torch.nonzero(missing.any(0))[:, 0]
    if not len(concerned):
        return whitened
    gone, given = missing[:, concerned], whitened[:, concerned]
    filled = torch.where(gone, 0.0, given)
    for _ in range(_ITERATIONS):
        filled = torch.where(gone, basis @ (basis.T @ filled), given)
    complete = whitened.clone()
    complete[:, concerned] = filled
    return complete


def outliers(whitened: Tensor, basis: Tensor, missing: Tensor, threshold: Tensor) -> Tensor:
    """Which bands of which pixels do not belong to their spectrum.

    Huber's M-estimate of each spectrum, by modified residuals: what lies further off than 2.5 deviations is
    drawn there, and the fit repeated. Pixels with outliers in more than a quarter of the bands are another
    material, not wrong, and have none.

    Args:
        whitened, basis, missing: as in ``fit_incomplete``.
        threshold: (bands,) deviations beyond which a band is an outlier.

    Returns:
        (bands, pixels) bool, ``missing`` not included.
    """
    drawn = fit_incomplete(whitened, basis, missing)
    residual = torch.zeros_like(drawn)
    for _ in range(_ITERATIONS):
        fitted = basis @ (basis.T @ drawn)
        residual = torch.where(missing, torch.zeros_like(whitened), whitened - fitted)
        if bool((residual.abs() <= _HUBER).all()):
            break
        drawn = fitted + residual.clamp(-_HUBER, _HUBER)
    found = residual.abs() > threshold[:, None]
    found[:, found.sum(0) > _MAJORITY * len(basis)] = False
    return found
