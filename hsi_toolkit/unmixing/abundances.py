"""Abundances of known endmembers by least squares, exact, for any number of pixels at once.

Four estimates of the fractions ``a`` in ``y = E' a + noise``, by what they ask of ``a``:

- ``"ucls"``: nothing (unconstrained);
- ``"scls"``: that they sum to one;
- ``"nnls"``: that none is negative;
- ``"fcls"``: both (fully constrained; Heinz and Chang 2001, doi:10.1109/36.911111).

The constrained ones are solved by an active-set method that carries all pixels along: in every round pixels
with the same set of non-negative endmembers share one factorisation. It ends when the Karush-Kuhn-Tucker
conditions hold, so the answer is the minimum itself, not an approximation to it. The method is Lawson and
Hanson's (Solving Least Squares Problems, 1974, chapter 23), started from the solution without bounds.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from hsi_toolkit.errors import ParameterError

Method = Literal["fcls", "nnls", "scls", "ucls"]

#: Pixels solved together: many share a support, while a matrix for each support stays in the cache.
_MOST_PIXELS, _FEWEST_PIXELS, _MATRIX_VALUES = 16_384, 1024, 1 << 20

#: A support is a whole number with a bit for each endmember.
MOST_ENDMEMBERS = 60

#: A multiplier counts as negative below this part of the largest product of the problem (float64).
_TOLERANCE = 1e-11

#: Singular values below this part of the largest count as none: their squares drown in float64.
_INDEPENDENT = 1e-7

#: With fewer pixels a support than this, products of gathered matrices beat a loop over the supports.
_LOOP_FROM = 8


def estimate_abundances(
    pixels: torch.Tensor, endmembers: torch.Tensor, method: Method = "fcls"
) -> torch.Tensor:
    """The abundances of every pixel, (n, endmembers) float64 on the pixels' device.

    Args:
        pixels: (n, bands), any floating dtype; a pixel with a value that is not finite comes out NaN.
        endmembers: (endmembers, bands), linearly independent.
        method: which constraints hold, see the module.

    Raises:
        ParameterError: the method is unknown, the bands do not agree, or the endmembers depend on each other.
    """
    if method not in get_args(Method):
        raise ParameterError(
            f"There is no method {method!r}.", "Choose one of " + ", ".join(get_args(Method)) + "."
        )
    if pixels.ndim != 2 or endmembers.ndim != 2 or pixels.shape[1] != endmembers.shape[1]:
        raise ParameterError(
            f"Pixels of shape {tuple(pixels.shape)} and endmembers of shape {tuple(endmembers.shape)} do not "
            "have the same bands.",
            "Resample the endmembers to the scene's bands.",
        )
    return AbundanceSolver(endmembers.to(pixels.device), method)(pixels)


class AbundanceSolver:
    """The least-squares problem of one set of endmembers, factored once.

    Args:
        endmembers: (endmembers, bands).
        method: which constraints hold.
        dependent: whether endmembers may depend on each other; the abundances are then one of many answers.

    Raises:
        ParameterError: the endmembers depend on each other and must not, or are too many.
    """

    def __init__(self, endmembers: torch.Tensor, method: Method = "fcls", *, dependent: bool = False) -> None:
        spectra = endmembers.to(torch.float64)
        self._sum_to_one = method in ("fcls", "scls")
        self._bounded = method in ("fcls", "nnls")
        # One scale for all keeps the sum-to-one constraint what it is and the numbers near one.
        self._scale = float(spectra.norm() / len(spectra) ** 0.5) or 1.0
        self._spectra = spectra / self._scale
        self._gram = self._spectra @ self._spectra.T
        if len(spectra) > MOST_ENDMEMBERS:
            raise ParameterError(
                f"{len(spectra)} endmembers are too many for this method.",
                f"Give at most {MOST_ENDMEMBERS}, or unmix sparsely.",
            )
        rank = int(torch.linalg.matrix_rank(self._spectra, rtol=_INDEPENDENT))
        if dependent:
            # Just enough for a factorisation; far below what is measured.
            self._gram.diagonal().add_(1e-12 * float(self._gram.trace()))
        elif rank < len(spectra):
            raise ParameterError(
                f"Only {rank} of the {len(spectra)} endmembers are independent of each other.",
                "Leave out spectra that repeat or mix others.",
            )
        self._full = self.operators(torch.ones((1, len(spectra)), dtype=torch.bool, device=spectra.device))

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, endmembers) float64 abundances of ``pixels`` (n, bands), NaN where a pixel is not finite."""
        count = len(self._spectra)
        step = min(_MOST_PIXELS, max(_FEWEST_PIXELS, _MATRIX_VALUES // count**2))
        found = [self._estimate(pixels[start : start + step]) for start in range(0, len(pixels), step)]
        return torch.cat(found) if found else self._spectra.new_zeros((0, count))

    def unit_covariance(self, noise: torch.Tensor) -> torch.Tensor:
        """Covariance (endmembers, endmembers) of the abundances without bounds, for noise (bands, bands)."""
        products = self._spectra @ noise.to(torch.float64) @ self._spectra.T / self._scale**2
        return self._full.matrix[0].T @ products @ self._full.matrix[0]

    def _estimate(self, pixels: torch.Tensor) -> torch.Tensor:
        products = (pixels.to(torch.float64) @ self._spectra.T) / self._scale
        abundances = products @ self._full.matrix[0] + self._full.offset[0]
        if not self._bounded:
            return abundances
        # Comparisons with NaN are false: pixels without data count as negative nowhere and stay NaN.
        open_ = (abundances < 0).any(1).nonzero()[:, 0]
        if len(open_):
            abundances[open_] = self._solve_bounded(products[open_], abundances[open_])
        return abundances

    def _solve_bounded(self, products: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        """The bounded minimum, from the solution without bounds, (n, endmembers)."""
        state = _State.begin(start)
        result = torch.empty_like(start)
        where = torch.arange(len(start), device=start.device)
        # Each round ends a pixel, drops an endmember or adds one that lowers the residual.
        for _ in range(10 * start.shape[1] + 10):
            trial = self._solve(products, state.support)
            state.move(trial)
            multipliers = state.abundances @ self._gram - products
            if self._sum_to_one:
                # On the support all are equal, and the abundances weigh them with a sum of one.
                multipliers = multipliers - (multipliers * state.abundances).sum(1, keepdim=True)
            limit = _TOLERANCE * (1 + products.abs().amax(1))
            ready = state.add(multipliers, limit)
            if ready.any():
                result[where[ready]] = state.abundances[ready]
                keep = ~ready
                where, products, state = where[keep], products[keep], state.select(keep)
            if not len(where):
                break
        result[where] = state.abundances
        return result

    def _solve(self, products: torch.Tensor, support: torch.Tensor) -> torch.Tensor:
        """The minimum over each pixel's support, without bounds; zero elsewhere."""
        count = support.shape[1]
        bits = 2 ** torch.arange(count, device=support.device)
        keys, group = torch.unique((support * bits).sum(1), return_inverse=True)
        unique = (keys[:, None] // bits) % 2 == 1
        if len(products) < _LOOP_FROM * len(keys):
            operators = self.operators(unique)
            solved = torch.bmm(products[:, None], operators.matrix[group])[:, 0]
            return solved + operators.offset[group]
        operators = self.operators(unique)
        order = group.argsort()
        sizes = torch.bincount(group, minlength=len(keys)).tolist()
        parts = [
            torch.addmm(operators.offset[index], part, operators.matrix[index])
            for index, part in enumerate(torch.split_with_sizes(products[order], sizes))
        ]
        solved = torch.empty_like(products)
        solved[order] = torch.cat(parts)
        return solved

    def operators(self, support: torch.Tensor) -> "Operators":
        """What turns products with the scaled endmembers into abundances, for each support.

        Args:
            support: (supports, endmembers) bool, which endmembers may differ from zero.
        """
        inside = support.to(torch.float64)
        both = inside[:, :, None] * inside[:, None]
        masked = self._gram * both + torch.diag_embed(1 - inside)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(masked)) * both
        if not self._sum_to_one:
            return Operators(inverse, torch.zeros_like(inside))
        ones = inverse.sum(2)
        offset = ones / ones.sum(1, keepdim=True)
        return Operators(inverse - ones[:, :, None] * offset[:, None], offset)


@dataclass(frozen=True)
class Operators:
    """``abundances = products @ matrix + offset`` for each support, (supports, endmembers, endmembers)."""

    matrix: torch.Tensor
    offset: torch.Tensor


@dataclass
class _State:
    """Where each pixel stands: its abundances, once they are feasible, and the endmembers that may differ
    from zero."""

    abundances: torch.Tensor
    support: torch.Tensor
    feasible: torch.Tensor
    added: torch.Tensor
    stationary: torch.Tensor

    @classmethod
    def begin(cls, start: torch.Tensor) -> "_State":
        n = len(start)
        return cls(
            abundances=start.clone(),
            support=start > 0,
            feasible=torch.zeros(n, dtype=torch.bool, device=start.device),
            added=torch.full((n,), -1, device=start.device),
            stationary=torch.zeros(n, dtype=torch.bool, device=start.device),
        )

    def select(self, keep: torch.Tensor) -> "_State":
        """The state of some of the pixels."""
        return _State(
            self.abundances[keep],
            self.support[keep],
            self.feasible[keep],
            self.added[keep],
            self.stationary[keep],
        )

    def move(self, trial: torch.Tensor) -> None:
        """Go to the trial where it is feasible, else as far as the bounds let; drop what meets zero."""
        negative = (trial <= 0) & self.support
        self.stationary = ~negative.any(1)
        # Before a feasible point is known, every endmember that came out negative is dropped at once.
        seeking = ~self.feasible & ~self.stationary
        length = torch.where(negative, self.abundances / (self.abundances - trial), torch.inf)
        step = length.amin(1, keepdim=True).clamp(max=1.0)
        moved = self.abundances + step * (trial - self.abundances)
        hits = negative & ((length <= step) | (moved <= 0))
        drop = torch.where(seeking[:, None], negative, hits)
        self.support = self.support & ~drop
        moved = torch.where(self.support, moved.clamp(min=0), 0.0)
        self.abundances = torch.where(
            self.stationary[:, None], trial, torch.where(seeking[:, None], self.abundances, moved)
        )
        self.feasible |= self.stationary

    def add(self, multipliers: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
        """Let in the endmember that lowers the residual most; returns which pixels are at their minimum."""
        outside = torch.where(self.support, torch.inf, multipliers)
        least, which = outside.min(1)
        # What was let in last and fell out again was let in by rounding alone.
        rounding = self.stationary & (which == self.added)
        ready = self.stationary & ((least >= -limit) | rounding)
        grow = self.stationary & ~ready
        self.support[grow, which[grow]] = True
        self.added = torch.where(grow, which, self.added)
        return ready
