"""The predictor: each band from earlier bands of the same pixel and from all bands of its coded neighbours.

Least squares that learn from what was coded, recomputed between chunks by coder and decoder alike (recursive
least squares with forgetting, in blocks; compare Li and Zhu, doi 10.3745/JIPS.02.0219). Nothing is sent but
the residuals, hence both sides must arrive at the very same numbers on any processor:

- products are summed only over whole numbers below 2**53, exact in any order, so that any BLAS will do;
- equations are solved by element-wise operations alone, which IEEE 754 defines to the last bit;
- coefficients are rounded to multiples of a power of two, which makes predictions exact sums again.
"""

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

GROUP = 8
"""Bands that share their regressors; each also has the earlier bands of its group. Part of the format, as
are all constants here."""

BEFORE = 24
"""Bands before the group that predict it."""

AROUND = 8
"""Bands before the group whose means over the neighbours predict it, beside those of the group itself."""

RIDGE = 4.0
"""Variance of the residuals over that of the coefficients, a priori, in a basis of spectral differences."""

FORGET = 0.5
"""Weight of what was learnt from one chunk to the next, whose neighbours are nearer."""

SMALLEST_PIVOT = 2.0**-40
COEFFICIENT_UNIT = 2.0**-16
INTERCEPT_UNIT = 2.0**-12
LARGEST_COEFFICIENT = 16.0

_NEAR = AROUND + GROUP
_FAR = BEFORE + GROUP
_ALL = _NEAR + _FAR
_GIVEN = _ALL - GROUP
_LAST = _NEAR + BEFORE - 1
"""Place among the regressors of the band before the group."""


class Predictor:
    """Least-squares prediction of groups of bands.

    Values are handed over in two arrays of whole numbers below 2**17 in magnitude, whose first rows are zero:
    ``bands`` (BEFORE + groups * GROUP, n) and ``sums`` (AROUND + groups * GROUP, n), the sums over the four
    neighbours, zero where there are none.

    Args:
        groups: of ``GROUP`` bands.
    """

    def __init__(self, groups: int) -> None:
        self.groups = groups
        # Moments (regressor, regressor, group), the last regressor being one.
        self._moments = np.zeros((_ALL + 1, _ALL + 1, groups))
        self._weights = np.zeros((groups, GROUP, _ALL))
        self._intercepts = np.zeros((groups, GROUP))
        self._near = False

    def start(self, steps: Float64) -> None:
        """Predict each band by the one before plus its step, (groups * GROUP,) whole numbers."""
        target = np.arange(GROUP)
        self._weights[:] = 0
        self._weights[:, target, _LAST + target] = 1
        self._intercepts[:] = steps.reshape(self.groups, GROUP)

    def learn(self, bands: Float64, sums: Float64, residual_variance: Float64, *, near: bool) -> None:
        """Take a coded chunk into account.

        Args:
            bands, sums: of the chunk.
            residual_variance: (groups,), which weighs the chunk against what is likely.
            near: whether the chunk has neighbours; the first that has makes what came before forgotten.
        """
        self._moments *= FORGET if near == self._near else 0
        self._near = near
        self._moments += self._moments_of(bands, sums)
        self._solve(residual_variance)

    def predict_group(self, group: int, bands: Float64, sums: Float64) -> Float64:
        """What earlier bands and the neighbours say about a group, (GROUP, n): see ``predict_band``."""
        near = sums[group * GROUP : group * GROUP + _NEAR]
        far = bands[group * GROUP : group * GROUP + BEFORE]
        weights = self._weights[group]
        said: Float64 = weights[:, :_NEAR] @ near
        said += weights[:, _NEAR:_GIVEN] @ far
        said += self._intercepts[group][:, None]
        return said

    def predict_known(self, group: int, bands: Float64, sums: Float64) -> Float64:
        """The predictions of a group whose bands are all known, (GROUP, n), not rounded."""
        said = self.predict_group(group, bands, sums)
        start = BEFORE + group * GROUP
        said += self._weights[group, :, _GIVEN:] @ bands[start : start + GROUP]
        return said

    def predict_band(self, group: int, member: int, said: Float64, bands: Float64) -> Float64:
        """The prediction of one band, (n,) whole numbers, once its predecessors in ``bands`` are known."""
        if not member:
            first: Float64 = np.rint(said[0])
            return first
        start = BEFORE + group * GROUP
        inside: Float64 = (
            self._weights[group, member, _GIVEN : _GIVEN + member] @ bands[start : start + member]
        )
        inside += said[member]
        return np.rint(inside, out=inside)

    def _moments_of(self, bands: Float64, sums: Float64) -> Float64:
        far, near = _windows(bands, _FAR, self.groups), _windows(sums, _NEAR, self.groups)
        moments = np.empty((self.groups, _ALL + 1, _ALL + 1))
        np.matmul(near, near.transpose(0, 2, 1), out=moments[:, :_NEAR, :_NEAR])
        np.matmul(near, far.transpose(0, 2, 1), out=moments[:, :_NEAR, _NEAR:_ALL])
        np.matmul(far, far.transpose(0, 2, 1), out=moments[:, _NEAR:_ALL, _NEAR:_ALL])
        moments[:, _NEAR:_ALL, :_NEAR] = moments[:, :_NEAR, _NEAR:_ALL].transpose(0, 2, 1)
        moments[:, :_NEAR, _ALL] = near.sum(axis=2)
        moments[:, _NEAR:_ALL, _ALL] = far.sum(axis=2)
        moments[:, _ALL, :_ALL] = moments[:, :_ALL, _ALL]
        moments[:, _ALL, _ALL] = bands.shape[1]
        return moments.transpose(1, 2, 0)

    def _solve(self, residual_variance: Float64) -> None:
        moments = self._moments
        mean = moments[:_ALL, _ALL] / moments[_ALL, _ALL]
        system = moments[:_ALL, :_ALL] - moments[:_ALL, _ALL, None] * mean[None]
        # From sums over four neighbours to their means.
        system[:_NEAR] *= 0.25
        system[:, :_NEAR] *= 0.25
        system = _differences(_differences(system).transpose(1, 0, 2))
        if not self._near:
            system[0] = system[:, 0] = 0
        every = np.arange(_ALL)
        system[every, every] += RIDGE * residual_variance + 1e-3
        weights = _from_differences(_regress(system))
        weights[:, :_NEAR] *= 0.25
        target = np.arange(GROUP)
        weights[target, _LAST + target] += 1
        np.nan_to_num(weights, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        np.clip(weights, -LARGEST_COEFFICIENT, LARGEST_COEFFICIENT, out=weights)
        weights = np.rint(weights / COEFFICIENT_UNIT) * COEFFICIENT_UNIT
        intercepts = mean[_GIVEN:].copy()
        for regressor in range(_ALL):
            intercepts -= weights[:, regressor] * mean[regressor]
        self._weights = np.ascontiguousarray(weights.transpose(2, 0, 1))
        self._intercepts = (np.rint(intercepts / INTERCEPT_UNIT) * INTERCEPT_UNIT).T.copy()


def _windows(values: Float64, height: int, groups: int) -> Float64:
    """Overlapping views (groups, height, n), one for each group."""
    down, right = values.strides
    return as_strided(values, (groups, height, values.shape[1]), (GROUP * down, down, right), writeable=False)


def _differences(rows: Float64) -> Float64:
    """Change of basis along the first axis: steps from band to band, but for two levels.

    The levels are the last band before the group, and its difference from the mean of the neighbours. In
    this basis small coefficients are likely ones.
    """
    out = np.empty_like(rows)
    np.subtract(rows[1:_NEAR], rows[: _NEAR - 1], out=out[1:_NEAR])
    np.subtract(rows[_NEAR + 1 :], rows[_NEAR:-1], out=out[_NEAR + 1 :])
    out[_NEAR] = rows[_LAST]
    np.subtract(rows[_LAST], rows[AROUND - 1], out=out[0])
    return out


def _from_differences(weights: Float64) -> Float64:
    """Coefficients (GROUP, regressor, groups) of the basis of ``_differences`` as those of the values."""
    out = np.zeros_like(weights)
    out[:, 1:_NEAR] += weights[:, 1:_NEAR]
    out[:, : _NEAR - 1] -= weights[:, 1:_NEAR]
    out[:, _NEAR + 1 :] += weights[:, _NEAR + 1 :]
    out[:, _NEAR:-1] -= weights[:, _NEAR + 1 :]
    out[:, _LAST] += weights[:, _NEAR] + weights[:, 0]
    out[:, AROUND - 1] -= weights[:, 0]
    return out


def _regress(system: Float64) -> Float64:
    """The last ``GROUP`` variables each from all before it, (GROUP, regressor, groups).

    Args:
        system: (variable, variable, group) symmetric and positive; overwritten. Factored as L D Lᵀ.
    """
    lower = np.zeros_like(system)
    # Bands that repeat others leave nothing but rounding, which must not be divided by.
    every = np.arange(_ALL)
    least = np.maximum(system[every, every] * SMALLEST_PIVOT, 1e-3)
    scratch = np.empty_like(system)
    for pivot in range(_ALL - 1):
        rest = system[pivot + 1 :, pivot + 1 :]
        divisor = np.maximum(system[pivot, pivot], least[pivot])
        factor = np.divide(system[pivot + 1 :, pivot], divisor, out=lower[pivot + 1 :, pivot])
        product = scratch[pivot + 1 :, pivot + 1 :]
        np.multiply(factor[:, None], system[pivot, pivot + 1 :][None], out=product)
        rest -= product
    weights = lower[_GIVEN:].copy()
    for regressor in range(_ALL - 1, 0, -1):
        weights[:, :regressor] -= weights[:, regressor, None] * lower[regressor, :regressor][None]
    return weights
