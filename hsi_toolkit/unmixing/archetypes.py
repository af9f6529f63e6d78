"""Endmembers as archetypes: mixtures of the scene's own spectra that leave the least of it unexplained.

Every pixel is modelled as ``y = psi * (a' S)``: a brightness ``psi`` of its own times a mixture of endmember
shapes ``S`` with fractions ``a``. The shapes are convex combinations of the pixels' directions (archetypal
analysis: Cutler and Breiman 1994, doi:10.1080/00401706.1994.10485840; on normalised pixels: Zouaoui et al.
2023), and the residual is counted in the scene's own units. Three things follow:

- light and shadow cost nothing, because every pixel has its brightness;
- dark pixels, whose direction is mostly noise, count as little as the light they hold, so that they neither
  pose as materials of their own nor hide one; a dark material that covers many pixels still is one;
- a stray spectrum is no endmember: unlike the corners of the largest simplex, archetypes must serve many
  pixels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hsi_toolkit.errors import SceneError
from hsi_toolkit.progress import Progress
from hsi_toolkit.unmixing.abundances import AbundanceSolver

Float64 = NDArray[np.float64]
Index = NDArray[np.intp]

RESTARTS = 8
"""Starts that are compared after a few rounds; the best one is finished."""

_TRIAL_ROUNDS, _TRIAL_PIXELS, _MOST_ROUNDS = 15, 2000, 200
_TOLERANCE = 1e-5
"""Rounds end when one lowers the residual by less than this part of it."""

_DIMENSIONS = 30
"""Principal directions that are kept, at least: what is beyond holds noise and would only cost time."""

_CANDIDATES = 500
"""Pixels that a start chooses its first archetypes from."""

_BRIGHTEST = 99.0
"""Pixels brighter than this percentile count as if they were as bright: glints and saturated pixels."""

_HULL_STEPS = 20

_COUNTING_RESTARTS, _WORTHWHILE = 3, 0.8


@dataclass(frozen=True, eq=False)
class Archetypes:
    """Endmembers found in a sample of pixels.

    Attributes:
        spectra: (endmembers, bands) in the scene's units: the shape times the brightness of the pixels that
            make the archetype up.
        residual: root mean square of what they leave unexplained in the sample, scene units.
        restart_residuals: (restarts,) of every start after its trial rounds, the best one's being 1.
    """

    spectra: Float64
    residual: float
    restart_residuals: Float64


def find_archetypes(
    pixels: Float64,
    count: int,
    *,
    even: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Archetypes:
    """The ``count`` archetypes of ``pixels`` (n, bands), finite.

    Args:
        even: whether all pixels are lit alike; then archetypes are convex combinations of the pixels
            themselves, and a pixel half as bright holds something dark.

    Raises:
        SceneError: fewer pixels than endmembers hold any light.
    """
    progress = progress or Progress()
    norms = np.linalg.norm(pixels, axis=1)
    lit = norms > 1e-6 * norms.max(initial=0.0)
    if np.count_nonzero(lit) <= count:
        raise SceneError(
            f"Only {np.count_nonzero(lit)} sampled pixels hold values, too few for {count} endmembers.",
            "Ask for fewer endmembers or check the scene's nodata value.",
        )
    if even:
        norms = np.ones_like(norms)
    problem = _Problem.of(pixels[lit], norms[lit], max(_DIMENSIONS, 2 * count), even=even)
    generator = np.random.default_rng(seed)
    subset = np.sort(generator.permutation(len(problem.pixels))[:_TRIAL_PIXELS])
    trials = _trials(problem.take(subset), count, RESTARTS, generator, progress.part(0.0, 0.4))
    residuals = np.array([trial.residual for trial in trials])
    best = trials[int(residuals.argmin())]
    best.members = [subset[members] for members in best.members]
    progress.report(0.4, "Refining the endmembers")
    best.residual = np.inf
    best = _improve(problem, best, _MOST_ROUNDS, progress)
    progress.report(1.0, "Refining the endmembers")
    spectra = [weights @ pixels[lit][members] for members, weights in best.parts_in_units(norms[lit])]
    values = len(problem.pixels) * pixels.shape[1]
    return Archetypes(
        spectra=np.stack(spectra),
        residual=float(np.sqrt((best.residual + problem.discarded) / values)),
        restart_residuals=np.sqrt(residuals / residuals.min()),
    )


def count_archetypes(pixels: Float64, most: int, *, seed: int = 0, progress: Progress | None = None) -> int:
    """How many archetypes ``pixels`` (n, bands) call for, from 2 to ``most``.

    One more is taken as long as it explains a fifth of what the others leave unexplained (root mean square).
    """
    progress = progress or Progress()
    norms = np.linalg.norm(pixels, axis=1)
    lit = norms > 1e-6 * norms.max(initial=0.0)
    generator = np.random.default_rng(seed)
    subset = np.sort(generator.permutation(np.flatnonzero(lit))[:_TRIAL_PIXELS])
    problem = _Problem.of(pixels[subset], norms[subset], max(_DIMENSIONS, 2 * most))
    before = np.inf
    for count in range(2, most + 1):
        progress.report((count - 2) / most, "Counting endmembers")
        trials = _trials(problem, count, _COUNTING_RESTARTS, generator, Progress())
        progress.check()
        after = np.sqrt(min(trial.residual for trial in trials) + problem.discarded)
        if after > _WORTHWHILE * before:
            return count - 1
        before = after
    return max(2, most)


def _trials(
    problem: "_Problem", count: int, starts: int, generator: np.random.Generator, progress: Progress
) -> list["_Hull"]:
    """A few rounds from each of several random starts."""
    trials = []
    for start in range(starts):
        progress.report(start / starts, "Looking for endmembers")
        first = _spread_pixels(problem.directions, count, generator)
        trials.append(_improve(problem, _Hull.at(problem.directions, first), _TRIAL_ROUNDS, progress))
    return trials


@dataclass(frozen=True, eq=False)
class _Problem:
    """Pixels in their principal directions, and the same with unit length; energy left out by either."""

    pixels: Float64
    directions: Float64
    brightness: Float64
    energy: float
    discarded: float

    @classmethod
    def of(cls, pixels: Float64, norms: Float64, dimensions: int, *, even: bool = False) -> "_Problem":
        limit = np.percentile(norms, _BRIGHTEST)
        bounded = pixels if even else pixels * np.minimum(1.0, limit / norms)[:, None]
        _, vectors = np.linalg.eigh(bounded.T @ bounded)
        reduced = bounded @ vectors[:, ::-1][:, :dimensions]
        energy = float((reduced**2).sum())
        length = np.ones((len(reduced), 1)) if even else np.linalg.norm(reduced, axis=1, keepdims=True)
        return cls(
            reduced, reduced / length, length[:, 0], energy, max(0.0, float((bounded**2).sum()) - energy)
        )

    def take(self, subset: Index) -> "_Problem":
        """The problem of some of the pixels."""
        pixels = self.pixels[subset]
        energy = float((pixels**2).sum())
        discarded = self.discarded * len(subset) / len(self.pixels)
        return _Problem(pixels, self.directions[subset], self.brightness[subset], energy, discarded)


@dataclass(eq=False)
class _Hull:
    """Archetypes as convex combinations of directions: the members and weights of each."""

    spectra: Float64
    members: list[Index]
    weights: list[Float64]
    residual: float = np.inf

    @classmethod
    def at(cls, directions: Float64, first: Index) -> "_Hull":
        return cls(directions[first], [np.array([index]) for index in first], [np.ones(1) for _ in first])

    def parts_in_units(self, norms: Float64) -> list[tuple[Index, Float64]]:
        """Members and what their spectra in scene units are multiplied by, for each archetype."""
        parts = []
        for members, weights in zip(self.members, self.weights, strict=True):
            brightness = float(weights @ norms[members])
            parts.append((members, weights * brightness / norms[members]))
        return parts


def _spread_pixels(directions: Float64, count: int, generator: np.random.Generator) -> Index:
    """Pixels far apart from each other, from a random subset (Mørup and Hansen's FurthestSum, 2012)."""
    subset = generator.permutation(len(directions))[: max(_CANDIDATES, 2 * count)]
    points = directions[subset]
    chosen = [int(generator.integers(len(points)))]
    distances = np.linalg.norm(points - points[chosen[0]], axis=1)
    for _ in range(2 * count):
        if len(chosen) >= count:
            distances = distances - np.linalg.norm(points - points[chosen.pop(0)], axis=1)
        distances[chosen] = -np.inf
        chosen.append(int(distances.argmax()))
        distances = np.linalg.norm(points[:, None] - points[chosen], axis=2).sum(1)
    spread: Index = subset[np.array(chosen[-count:])]
    return spread


def _improve(problem: _Problem, hull: _Hull, rounds: int, progress: Progress) -> _Hull:
    """Fractions and archetypes in turn, until the residual stays."""
    directions = torch.from_numpy(problem.directions)
    for turn in range(rounds):
        progress.check()
        solver = AbundanceSolver(torch.from_numpy(hull.spectra), "fcls", dependent=True)
        shares = solver(directions).numpy()
        light = shares * problem.brightness[:, None]
        gram, cross = light.T @ light, light.T @ problem.pixels
        residual = problem.energy - 2 * float((cross * hull.spectra).sum())
        residual += float((gram * (hull.spectra @ hull.spectra.T)).sum())
        done = hull.residual - residual <= _TOLERANCE * residual and turn > 0
        hull.residual = residual
        if done:
            break
        for index in range(len(hull.members)):
            if gram[index, index] <= 0:
                continue
            others = gram[index] @ hull.spectra - gram[index, index] * hull.spectra[index]
            target = (cross[index] - others) / gram[index, index]
            members, weights = nearest_in_hull(
                target, problem.directions, hull.members[index], hull.weights[index]
            )
            hull.members[index], hull.weights[index] = members, weights
            hull.spectra[index] = weights @ problem.directions[members]
    return hull


def nearest_in_hull(
    target: Float64, points: Float64, members: Index, weights: Float64
) -> tuple[Index, Float64]:
    """A point of the convex hull of ``points`` nearer to ``target``, in a few active-set steps from a start.

    Args:
        target: (dimensions,); points: (n, dimensions).
        members, weights: the start: indices into ``points`` and their positive weights with a sum of one.

    Returns:
        The same for the point found; the nearest of all, if the steps sufficed (Wolfe 1976).
    """
    for _ in range(_HULL_STEPS):
        corner: Float64 = points[members]
        trial = _affine_fit(target, corner)
        while (trial <= 0).any():
            shrinking = trial <= 0
            steps = weights[shrinking] / (weights[shrinking] - trial[shrinking])
            weights = weights + float(min(1.0, steps.min())) * (trial - weights)
            keep = weights > 1e-12
            members, weights = members[keep], weights[keep] / weights[keep].sum()
            corner = points[members]
            trial = _affine_fit(target, corner)
        weights = trial
        apart = weights @ corner - target
        slopes = points @ apart
        entering = int(slopes.argmin())
        gain = float(apart @ (weights @ corner)) - slopes[entering]
        if gain <= 1e-9 * float(target @ target) or entering in members:
            break
        members, weights = np.append(members, entering), np.append(weights, 0.0)
    keep = weights > 0
    return members[keep], weights[keep] / weights[keep].sum()


def _affine_fit(target: Float64, corner: Float64) -> Float64:
    """Weights with a sum of one, of either sign, that bring ``corner`` (m, dimensions) nearest to target."""
    count = len(corner)
    if count == 1:
        return np.ones(1)
    apart = corner - target
    gram = apart @ apart.T
    gram[np.diag_indices(count)] += 1e-12 * np.trace(gram) + 1e-300
    solved = np.linalg.solve(gram, np.ones(count))
    weights: Float64 = solved / solved.sum()
    return weights
