"""Fitting spectra in which single bands are wrong: impulses, dead lines, missing values."""

import torch
from torch import Tensor

_HUBER = 2.5  # deviations beyond which a band pulls with constant force
_ITERATIONS = 12
_MAJORITY = 0.25  # wrong in more bands than that, a spectrum is rather a rare one
_SUSPECT = 0.8  # of the threshold: what a plain fit leaves of an outlier beyond it at least
_RIDGE = 1e-6  # where the bands that are left say nothing of a direction, it is zero
_PIXELS = 1 << 12  # that are solved together


def fit_incomplete(whitened: Tensor, basis: Tensor, missing: Tensor, power: Tensor | None = None) -> Tensor:
    """Complete spectra by what their other bands say: the most probable fit of the bands that are there.

    Args:
        whitened: (bands, pixels); any finite number where it is missing.
        basis: (bands, n) orthonormal directions of the signal.
        missing: (bands, pixels) bool.
        power: (n,) variance of the signal along the directions; None: any is as likely.

    Returns:
        The spectra, (bands, pixels), with the fit where they were missing.
    """
    concerned = torch.nonzero(missing.any(0))[:, 0]
    if not len(concerned):
        return whitened
    complete = whitened.clone()
    dimension = basis.shape[1]
    products = (basis[:, :, None] * basis[:, None]).flatten(1)
    prior = torch.zeros(dimension, device=basis.device) if power is None else 1 / power.clamp_min(_RIDGE)
    identity = torch.diag(1 + prior.to(torch.float64).clamp_min(_RIDGE))
    for pixels in torch.split(concerned, _PIXELS):
        gone = missing[:, pixels]
        given = torch.where(gone, 0.0, whitened[:, pixels])
        # The normal equations of all bands are the identity; a missing band takes its part from them.
        taken = (gone.T.to(products) @ products).reshape(-1, dimension, dimension)
        fitted = torch.linalg.solve(identity - taken, (basis.T @ given).T.to(torch.float64))
        complete[:, pixels] = torch.where(gone, basis @ fitted.T.to(basis), given)
    return complete


def outliers(
    whitened: Tensor, basis: Tensor, missing: Tensor, threshold: Tensor, power: Tensor | None = None
) -> Tensor:
    """Which bands of which pixels do not belong to their spectrum.

    Huber's M-estimate of each spectrum, by modified residuals: what lies further off than 2.5 deviations is
    drawn there, and the fit repeated. Pixels with outliers in more than a quarter of the bands are another
    material, not wrong, and have none.

    Args:
        whitened, basis, missing, power: as in ``fit_incomplete``.
        threshold: (bands,) deviations beyond which a band is an outlier.

    Returns:
        (bands, pixels) bool, ``missing`` not included.
    """
    complete = fit_incomplete(whitened, basis, missing, power)
    suspects = suspicious(complete, basis @ (basis.T @ complete), basis, threshold)
    found = torch.zeros_like(missing)
    found[:, suspects] = _huber(complete[:, suspects], basis, missing[:, suspects], threshold)
    return found


def suspicious(whitened: Tensor, fitted: Tensor, basis: Tensor, threshold: Tensor) -> Tensor:
    """Pixels that may have outliers, by what a plain fit leaves of them."""
    free = 1 - basis.square().sum(1)
    beyond = (whitened - fitted).abs() > (_SUSPECT * free * threshold)[:, None]
    return torch.nonzero(beyond.any(0))[:, 0]


def _huber(complete: Tensor, basis: Tensor, missing: Tensor, threshold: Tensor) -> Tensor:
    drawn, residual = complete, torch.zeros_like(complete)
    for _ in range(_ITERATIONS):
        fitted = basis @ (basis.T @ drawn)
        residual = torch.where(missing, 0.0, complete - fitted)
        if bool((residual.abs() <= _HUBER).all()):
            break
        drawn = fitted + residual.clamp(-_HUBER, _HUBER)
    found = residual.abs() > threshold[:, None]
    found[:, found.sum(0) > _MAJORITY * len(basis)] = False
    return found
