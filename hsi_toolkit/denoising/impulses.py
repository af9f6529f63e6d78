"""Impulse noise: values that have nothing to do with their pixel, in single bands."""

from dataclasses import dataclass

import numpy as np
import torch

from hsi_toolkit.denoising.statistics import Flags, Float32, Float64
from hsi_toolkit.denoising.subspace import SignalSubspace
from hsi_toolkit.progress import Progress

_DEVIATIONS = 5.0  # Gaussian noise is that far off once in two million values
_SPREAD_SHARE = 0.03  # an impulse is also no small matter compared with what the band shows
_PRESENT = 1e-3  # share of a band's values that must be impulses
_ROUNDS = 4
_LEAST_FREEDOM = 0.3
_COUNTED = 4096  # pixels of the sample that thresholds are taken from
_NORMAL_MEDIAN = 0.6745  # of the absolute value of a standard normal variable


@dataclass(frozen=True, eq=False)
class Impulses:
    """How to tell impulses, and how many there are.

    Attributes:
        threshold: (bands,) deviations of the noise beyond which a value is an impulse.
        share: (bands,) share of such values in the sample.
    """

    threshold: Float64
    share: Float64

    @property
    def present(self) -> bool:
        """Whether there are more than noise and rare materials explain."""
        return bool(self.share.max() > _PRESENT)


def find_impulses(sample: Float32, missing: Flags, subspace: SignalSubspace) -> Impulses:
    """Count values that their own pixel's other bands contradict.

    Args:
        sample: (bands, pixels) finite.
        missing: (bands, pixels) values to leave out.
        subspace: of the scene, however much it was disturbed by the impulses.
    """
    thin = max(1, sample.shape[1] // _COUNTED)
    sample, missing = np.ascontiguousarray(sample[:, ::thin]), np.ascontiguousarray(missing[:, ::thin])
    wide = np.subtract(*np.percentile(sample, (95, 5), axis=1))
    tensors = subspace.tensors(torch.device("cpu"))
    whitened = tensors.whiten(torch.from_numpy(sample))
    gone = torch.from_numpy(missing)
    complete = tensors.complete(whitened, gone)
    residual = (complete - tensors.basis @ (tensors.basis.T @ complete)).abs()
    # Impulses have swollen the noise that was measured; the median has not noticed them.
    typical = residual.median(dim=1).values.numpy().astype(np.float64) / _NORMAL_MEDIAN
    sharper = subspace.sigma * np.clip(typical, 0.05, 1)
    threshold = np.maximum(_DEVIATIONS * sharper, _SPREAD_SHARE * wide) / subspace.sigma
    found = tensors.outliers(whitened, gone, torch.as_tensor(threshold, dtype=torch.float32))
    return Impulses(threshold, found.numpy().mean(axis=1))


def refit(
    sample: Float32,
    missing: Flags,
    subspace: SignalSubspace,
    *,
    impulses: bool,
    progress: Progress | None = None,
) -> tuple[SignalSubspace, Impulses]:
    """Signal and noise of a sample without its missing values and, if asked for, its impulses.

    Each round fits every pixel by the values believed so far and measures the signal anew, and with impulses
    the noise: these had swollen it.

    Args:
        sample, missing, subspace: as in ``find_impulses``.
        impulses: whether to look for them.
        progress: asked for cancellation.
    """
    progress = progress or Progress()
    bands, pixels = sample.shape
    gone = torch.from_numpy(missing)
    found = Impulses(np.full(bands, np.inf), np.zeros(bands))
    for _ in range(_ROUNDS):
        progress.check()
        tensors = subspace.tensors(torch.device("cpu"))
        whitened = tensors.whiten(torch.from_numpy(sample))
        wrong = gone
        if impulses:
            found = find_impulses(sample, missing, subspace)
            threshold = torch.as_tensor(found.threshold, dtype=torch.float32)
            wrong = gone | tensors.outliers(whitened, gone, threshold)
        complete = tensors.complete(whitened, wrong)
        residual = complete - tensors.basis @ (tensors.basis.T @ complete)
        believed = (~wrong).sum(1).clamp_min(1).numpy()
        sigma = subspace.sigma
        if impulses:
            freedom = 1 - tensors.basis.square().sum(1).numpy().astype(np.float64)
            variance = torch.where(wrong, 0.0, residual).square().sum(1).numpy() / believed
            # A band that decides the fit alone leaves no residual to measure its noise by.
            measurable = freedom > _LEAST_FREEDOM
            ratio = np.where(measurable, variance / np.where(measurable, freedom, 1), 1)
            sigma = sigma * np.sqrt(np.clip(ratio, 0.1, 2))
        spectra = complete.numpy().astype(np.float64) * subspace.sigma[:, None]
        centre = spectra.mean(axis=1)
        covariance = np.cov(spectra)
        # Values that were filled in hold no noise of their own.
        covariance[np.diag_indices(bands)] += sigma**2 * (1 - believed / pixels)
        subspace = SignalSubspace.fit(covariance, subspace.mean + centre, sigma, pixels)
    return subspace, found
