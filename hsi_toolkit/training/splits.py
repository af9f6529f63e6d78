"""Dividing labelled pixels so that nothing is tested that training has seen, nor its neighbourhood.

A network that classifies windows sees ``radius`` pixels around each training pixel. A test pixel closer
than that has been looked at, so it counts neither as training nor as test here: every split keeps
test pixels more than ``radius`` away (in rows or in columns) from all training pixels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hsi_toolkit.errors import LabelError
from hsi_toolkit.training.labelled_pixels import Labels

METHODS = ("auto", "polygons", "blocks")

#: Random divisions tried, the best of which is taken; fewer where there are many pixels.
_DRAWS = 16
_PIXELS_TO_TRY = 2_000_000
#: How far a class's share of test pixels may exceed the one asked for.
_OVERSHOOT = 1.5


@dataclass(frozen=True, eq=False)
class Split:
    """Indices into the labels: ``train``, ``test``, and ``apart`` for those too close to be either.

    ``method`` is ``"polygons"`` or ``"blocks"``; ``block`` is the blocks' side in pixels, else 0. ``notes``
    are sentences for the report: what could not be held out as it should be.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    apart: NDArray[np.int64]
    method: str
    radius: int
    block: int = 0
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """How the test pixels were chosen, as a sentence."""
        units = (
            "whole polygons" if self.method == "polygons" else f"blocks of {self.block} × {self.block} pixels"
        )
        return (
            f"{len(self.test)} of {len(self.train) + len(self.test) + len(self.apart)} labelled pixels were "
            f"held out as {units}, all more than {self.radius} pixels away from every training pixel; "
            f"{len(self.apart)} pixels closer than that were used for neither."
        )


@dataclass(frozen=True, eq=False)
class _Units:
    """What goes to one side as a whole: the unit of each pixel, and units whose side is settled."""

    of_pixel: NDArray[np.int64]
    counts: NDArray[np.int64]
    test_only: NDArray[np.bool_]
    train_only: NDArray[np.bool_]
    method: str
    block: int
    notes: tuple[str, ...]


def hold_out(
    labels: Labels,
    *,
    fraction: float = 0.25,
    radius: int = 4,
    seed: int = 0,
    method: str = "auto",
    block: int | None = None,
) -> Split:
    """One division into training and test pixels, each class on both sides wherever it can be.

    Whole polygons are held out, a share of each class's pixels near ``fraction``, every class keeping at
    least one for training. Of a class with a single polygon, a part at one end of it is held out if
    it is long enough for the gap; else it is all used for training. Points, and polygons so dense
    that most held-out pixels would lie beside training pixels, are divided by square blocks instead.
    Both is said in ``notes``.

    Args:
        fraction: share of each class's pixels to test on, 0 to 1.
        radius: pixels around a training pixel that the classifier sees; half the window.
        method: ``"polygons"`` or ``"blocks"`` to have it that way.
        block: side of the blocks in pixels; by default three windows, less where classes need it.

    Raises:
        LabelError: nothing can be held out.
    """
    _check(fraction, method)
    best: tuple[tuple[int, float], Split] | None = None
    for units in _ways(labels, fraction, radius, seed, method, block):
        score, split = _best_draw(labels, units, fraction, radius, seed)
        if best is None or score > best[0]:
            best = score, split
        if score[0] == len(np.unique(labels.classes)) and len(split.test) >= len(split.apart):
            break
    assert best is not None
    if not len(best[1].test):
        raise LabelError(
            "No labelled pixel can be held out: all lie within "
            f"{radius} pixels of the few there are for training.",
            "Draw at least two polygons a class, farther apart, or take a smaller window.",
        )
    return best[1]


def k_folds(
    labels: Labels,
    *,
    folds: int = 5,
    radius: int = 4,
    seed: int = 0,
    method: str = "auto",
    block: int | None = None,
) -> list[Split]:
    """Divisions for cross-validation: each pixel is tested at most once, units stay whole.

    Training pixels too close to the test pixels are left out, except where a class would vanish from
    training; then it is the test pixels beside it. A class with a single unit is always trained on.

    Raises:
        LabelError: there are not enough polygons or blocks for two folds.
    """
    _check(0.5, method)
    trial = hold_out(labels, fraction=1 / folds, radius=radius, seed=seed, method=method, block=block)
    if trial.method == "polygons":
        units = _polygon_units(labels, 0.0, radius)
    else:
        units = _block_units(labels, trial.block, np.random.default_rng(seed))
    fold_of = _assign_folds(units, folds, np.random.default_rng(seed))
    splits = []
    for fold in range(folds):
        test = fold_of[units.of_pixel] == fold
        if test.any():
            splits.append(_buffered_fold(labels, test, units, radius))
    if len(splits) < 2:
        raise LabelError(
            f"The labels are too few for {folds} folds: they form {len(units.counts)} separate groups.",
            "Draw more polygons, farther apart.",
        )
    return splits


def near(
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    other_rows: NDArray[np.int64],
    other_cols: NDArray[np.int64],
    radius: int,
) -> NDArray[np.bool_]:
    """Which pixels lie at most ``radius`` rows and columns from any of the others; shape (n,)."""
    if not len(rows) or not len(other_rows):
        return np.zeros(len(rows), bool)
    tree = cKDTree(np.column_stack([other_rows, other_cols]), balanced_tree=False, compact_nodes=False)
    distance, _ = tree.query(
        np.column_stack([rows, cols]), p=np.inf, distance_upper_bound=radius + 0.5, eps=0
    )
    found: NDArray[np.bool_] = np.isfinite(distance)
    return found


def _check(fraction: float, method: str) -> None:
    if not 0 < fraction < 1:
        raise ValueError(f"fraction is {fraction}, not between 0 and 1")
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, not one of {METHODS}")


def _ways(
    labels: Labels, fraction: float, radius: int, seed: int, method: str, block: int | None
) -> Iterator[_Units]:
    """The ways to form units, the most trustworthy first."""
    if method == "polygons" or (method == "auto" and labels.geometry != "point"):
        yield _polygon_units(labels, fraction, radius)
    if method == "polygons":
        return
    window = max(9, 2 * radius + 1)
    for side in [block] if block else [3 * window, 2 * window, window]:
        yield _block_units(labels, side, np.random.default_rng(seed))


def _polygon_units(labels: Labels, fraction: float, radius: int) -> _Units:
    """One unit a polygon; that of a class with no other is cut, if ``fraction`` of it may be held out."""
    unit = np.unique(labels.groups, return_inverse=True)[1].astype(np.int64)
    test_only, train_only, notes = [], [], []
    for index in np.flatnonzero(labels.group_counts == 1):
        pixels = np.flatnonzero(labels.classes == index)
        train_only.append(unit[pixels[0]])
        end = _far_end(labels.rows[pixels], labels.cols[pixels], fraction, radius)
        name = labels.names[index]
        if end.any():
            unit[pixels[end]] = unit.max() + 1
            test_only.append(unit.max())
            notes.append(
                f"The class {name!r} has a single polygon; one end of it was held out, with a gap of "
                f"{radius} pixels, which flatters its figures."
            )
        else:
            notes.append(f"The class {name!r} has a single polygon, which is all used for training.")
    return _units(labels, unit, "polygons", 0, notes, test_only, train_only)


def _far_end(
    rows: NDArray[np.int64], cols: NDArray[np.int64], fraction: float, radius: int
) -> NDArray[np.bool_]:
    """The pixels at one end of a polygon's longer axis, if any would be left beyond the gap."""
    none = np.zeros(len(rows), bool)
    if fraction <= 0 or len(rows) < 2:
        return none
    centred = np.column_stack([rows - rows.mean(), cols - cols.mean()])
    _, axes = np.linalg.eigh(centred.T @ centred)
    along = centred @ axes[:, -1]
    end = along > np.quantile(along, 1 - fraction)
    beyond = end.copy()
    beyond[end] = ~near(rows[end], cols[end], rows[~end], cols[~end], radius)
    return end if beyond.any() else none


def _block_units(labels: Labels, side: int, rng: np.random.Generator) -> _Units:
    """One unit a square block of a lattice with a random origin."""
    row_shift, col_shift = rng.integers(0, side, 2)
    down, across = (labels.rows + row_shift) // side, (labels.cols + col_shift) // side
    unit = np.unique(down * (labels.shape[1] // side + 2) + across, return_inverse=True)[1]
    notes = []
    if labels.geometry != "point":
        notes.append("The labels lie too close together to hold out whole polygons; square blocks were.")
    return _units(labels, unit.astype(np.int64), "blocks", side, notes)


def _units(
    labels: Labels,
    unit: NDArray[np.int64],
    method: str,
    block: int,
    notes: Sequence[str],
    test_only: Sequence[int] = (),
    train_only: Sequence[int] = (),
) -> _Units:
    size, classes = int(unit.max()) + 1, len(labels.names)
    counts = np.bincount(unit * classes + labels.classes, minlength=size * classes).reshape(size, classes)
    settled = np.arange(size)
    return _Units(
        of_pixel=unit,
        counts=counts,
        test_only=np.isin(settled, test_only),
        train_only=np.isin(settled, train_only),
        method=method,
        block=block,
        notes=tuple(notes),
    )


def _best_draw(
    labels: Labels, units: _Units, fraction: float, radius: int, seed: int
) -> tuple[tuple[int, float], Split]:
    """The best of several random divisions: first the most classes tested, then the share asked for."""
    best: tuple[tuple[int, float], Split] | None = None
    for draw in range(int(np.clip(_PIXELS_TO_TRY // len(labels), 1, _DRAWS))):
        chosen = _draw(units, fraction, np.random.default_rng([seed, draw]))
        held = chosen[units.of_pixel]
        close = _close(labels, held, ~held, radius)
        split = _split(labels, ~held, held & ~close, units, radius)
        tested = np.bincount(labels.classes[split.test], minlength=len(labels.names))
        share = tested / np.maximum(labels.counts, 1)
        score = int(np.count_nonzero(tested)), -float(np.abs(share - fraction).sum())
        if best is None or score > best[0]:
            best = score, split
    assert best is not None
    return best


def _draw(units: _Units, fraction: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Units for testing: at random up to the share of each class, then one for classes without any."""
    total = units.counts.sum(axis=0)
    target = fraction * total
    chosen = units.test_only.copy()
    taken = units.counts[chosen].sum(axis=0)
    free = ~(units.test_only | units.train_only)
    for unit in rng.permutation(np.flatnonzero(free)):
        adds = units.counts[unit]
        after = taken + adds
        concerned = adds > 0
        fits = (after <= _OVERSHOOT * target)[concerned].all() and (after < total)[concerned].all()
        if fits and (taken < target)[concerned].any():
            chosen[unit], taken = True, after
    for index in np.flatnonzero((taken == 0) & (total > 0)):
        candidates = np.flatnonzero(free & ~chosen & (units.counts[:, index] > 0))
        after = taken + units.counts[candidates]
        possible = ((after < total) | (units.counts[candidates] == 0)).all(axis=1)
        if possible.any():
            excess = (np.maximum(after - target, 0) / np.maximum(total, 1)).max(axis=1)
            unit = candidates[possible][np.argmin(excess[possible])]
            chosen[unit], taken = True, taken + units.counts[unit]
    return chosen


def _assign_folds(units: _Units, folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The fold that tests each unit, -1 for those always trained on; each class spread evenly."""
    counts = units.counts
    lone = (counts > 0)[:, (counts > 0).sum(axis=0) == 1].any(axis=1)
    weight = counts / np.maximum(counts.sum(axis=0), 1)
    load = np.zeros((folds, counts.shape[1]))
    fold_of = np.full(len(counts), -1)
    shuffled = rng.permutation(np.flatnonzero(~(lone | units.train_only)))
    for unit in shuffled[np.argsort(-weight[shuffled].max(axis=1), kind="stable")]:
        # The fold where the unit's classes are rarest; among equals the one with least in all.
        fold = np.lexsort((load.sum(axis=1), load @ (weight[unit] > 0)))[0]
        fold_of[unit] = fold
        load[fold] += weight[unit]
    return fold_of


def _buffered_fold(labels: Labels, test: NDArray[np.bool_], units: _Units, radius: int) -> Split:
    train = ~test
    train[train] = ~_close(labels, train, test, radius)[train]
    lost = np.setdiff1d(labels.classes[~test], labels.classes[train])
    if len(lost):
        restored = ~test & np.isin(labels.classes, lost)
        train |= restored
        test = test & ~_close(labels, test, restored, radius)
    return _split(labels, train, test, units, radius)


def _close(
    labels: Labels, pixels: NDArray[np.bool_], others: NDArray[np.bool_], radius: int
) -> NDArray[np.bool_]:
    """Which of ``pixels`` lie within ``radius`` of ``others``, as a mask over all labelled pixels."""
    close = np.zeros(len(labels), bool)
    close[pixels] = near(
        labels.rows[pixels], labels.cols[pixels], labels.rows[others], labels.cols[others], radius
    )
    return close


def _split(
    labels: Labels, train: NDArray[np.bool_], test: NDArray[np.bool_], units: _Units, radius: int
) -> Split:
    tested = np.unique(labels.classes[test])
    noted = " ".join(units.notes)
    untested = [
        f"No pixel of the class {labels.names[index]!r} could be held out; its accuracy is unknown."
        for index in np.setdiff1d(labels.classes, tested)
        if repr(labels.names[index]) not in noted
    ]
    return Split(
        train=np.flatnonzero(train),
        test=np.flatnonzero(test),
        apart=np.flatnonzero(~train & ~test),
        method=units.method,
        radius=radius,
        block=units.block,
        notes=(*units.notes, *untested),
    )
