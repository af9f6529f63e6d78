"""Endmembers without pure pixels: the smallest simplex that holds the pixels but for their noise."""

import numpy as np
import torch
from numpy.typing import NDArray

from hsi_toolkit.progress import Progress
from hsi_toolkit.unmixing.abundances import AbundanceSolver
from hsi_toolkit.unmixing.archetypes import find_archetypes

Float64 = NDArray[np.float64]

_MOST_ROUNDS = 300
_TOLERANCE = 1e-5
"""Rounds end when no corner moves by more than this part of the simplex."""

_DARKEST = 0.02
"""Pixels darker than this part of the median have no usable direction."""

_WARMING_ROUNDS, _COOLEST = 60, 0.01
"""The penalty starts at this part of its weight and grows to all of it in so many rounds: first the simplex
grows until it holds the pixels, then it gives up what only noise reaches."""

_LEAST_VOLUME = 0.05
"""Part of the first volume below which a simplex has given an endmember up to the noise."""


def minimum_volume(
    pixels: Float64, count: int, *, seed: int = 0, progress: Progress | None = None
) -> Float64:
    """Endmembers (count, bands), in the scene's units, whose simplex is small and explains the pixels.

    Pixels are brought to the same mean, which keeps mixtures mixtures and takes uneven light out, and weigh
    as much as they are bright. Minimised is the negative log-likelihood of pixels spread evenly over a
    simplex with white noise: squared residuals over twice the noise variance plus the logarithm of the
    volume. (The criterion of MVC-NMF, Miao and Qi 2007, doi:10.1109/TGRS.2006.888466, with the weight that
    statistics gives it: Nascimento and Bioucas-Dias 2012, doi:10.1109/TGRS.2011.2163941.) The noise variance
    is the mean of the directions left out. Starts from the archetypes, so that the seed hardly matters.

    Raises:
        SceneError: too few pixels hold values.
    """
    progress = progress or Progress()
    start = find_archetypes(pixels, count, seed=seed, progress=progress.part(0.0, 0.5)).spectra
    means = pixels.mean(axis=1)
    lit = means > _DARKEST * np.median(means)
    correlation = pixels[lit].T @ pixels[lit] / np.count_nonzero(lit)
    values, vectors = np.linalg.eigh(correlation)
    basis = vectors[:, ::-1][:, :count]
    noise = float(values[:-count].mean()) if len(values) > count else 0.0
    inside = pixels[lit] @ basis @ basis.T
    brightness = inside.mean(axis=1)
    shapes = inside / brightness[:, None]
    weights = brightness**2 / (brightness**2).sum()
    centre = weights @ shapes
    _, _, axes = np.linalg.svd(np.sqrt(weights)[:, None] * (shapes - centre), full_matrices=False)
    axes = axes[: count - 1]
    points = (shapes - centre) @ axes.T
    corners = (start / start.mean(axis=1, keepdims=True) - centre) @ axes.T
    penalty = noise / float((brightness**2).mean())
    corners = _shrink(points, weights, corners, penalty, progress.part(0.5, 1.0))
    found: Float64 = np.maximum(corners @ axes + centre, 0.0) * start.mean(axis=1, keepdims=True)
    return found


def _shrink(
    points: Float64, weights: Float64, corners: Float64, penalty: float, progress: Progress
) -> Float64:
    """Alternate exact abundances and corners; the logarithm of the volume is majorised by a quadratic."""
    count, dimensions = corners.shape
    lifted = torch.from_numpy(np.column_stack([points, np.ones(len(points))]))
    centring = np.eye(count) - 1 / count
    least = _log_volume(corners) + np.log(_LEAST_VOLUME)
    for turn in range(_MOST_ROUNDS):
        progress.check()
        progress.report(turn / _MOST_ROUNDS, "Shrinking the simplex")
        ends = torch.from_numpy(np.column_stack([corners, np.ones(count)]))
        solver = AbundanceSolver(ends, "fcls", dependent=True)
        shares = solver(lifted).numpy()
        gram = shares.T @ (weights[:, None] * shares)
        cross = shares.T @ (weights[:, None] * points)
        spread = corners.T @ centring @ corners
        stiffness, turn_axes = np.linalg.eigh(np.linalg.inv(spread))
        rotated, target = corners @ turn_axes, cross @ turn_axes
        weight = penalty * _COOLEST ** max(0.0, 1 - turn / _WARMING_ROUNDS)
        damping = 1e-9 * np.trace(gram)
        moved = np.empty_like(rotated)
        for axis in range(dimensions):
            system = gram + weight * stiffness[axis] * centring + damping * np.eye(count)
            moved[:, axis] = np.linalg.solve(system, target[:, axis] + damping * rotated[:, axis])
        following = moved @ turn_axes.T
        if not np.isfinite(following).all() or _log_volume(following) < least:
            break
        step = np.abs(following - corners).max() / np.abs(corners).max()
        corners = following
        if turn > _WARMING_ROUNDS and step < _TOLERANCE:
            break
    return corners


def _log_volume(corners: Float64) -> float:
    """Logarithm of the simplex's volume but for a constant."""
    sign, logarithm = np.linalg.slogdet(corners[1:] - corners[:1])
    return float(logarithm) if sign else -np.inf
