"""The published protocol of HSIMAE: windows, and the random split of labelled pixels its tables rest on.

Training and test pixels of this split are neighbours, so its accuracies flatter: use it to compare with
published figures, and whole polygons or spatial blocks for everything else.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from hsi_toolkit.errors import LabelError, SceneError

Cube = npt.NDArray[np.float32 | np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PaperSplit:
    """Raster indices of the labelled pixels drawn, and the reference that is left for testing.

    ``train`` and ``validation`` are the halves of ``drawn``, each in its own random order; ``test_labels``
    (H, W) is the reference with all drawn pixels set to 0.
    """

    drawn: Indices
    train: Indices
    validation: Indices
    test_labels: Indices


def window_starts(length: int, window: int, step: int) -> list[int]:
    """Start positions of windows along ``length`` pixels: every ``step``, the last one flush with the end.

    Raises:
        SceneError: the length is smaller than a window.
    """
    if length < window:
        raise SceneError(
            f"The scene is {length} pixels wide or high, less than a window of {window}.",
            "Use a larger scene.",
        )
    last = length - window
    return [*range(0, last, step), last]


def pixel_windows(cube: Cube, window: int) -> Cube:
    """A view (H, W, window, window, bands) of the windows around each pixel of ``cube`` (H, W, bands).

    Beyond the edges the cube is mirrored with the edge pixel repeated (numpy's "symmetric").
    """
    margin = window // 2
    padded = np.pad(cube, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
    return sliding_window_view(padded, (window, window), axis=(0, 1)).transpose(0, 1, 3, 4, 2)


def unlabelled_windows(cube: Cube, window: int, step: int | None = None) -> Cube:
    """Windows (n, window, window, bands) of ``cube`` (H, W, bands) without padding, in raster order.

    They do not overlap unless ``step`` says so, apart from the last of a row or column, which is flush with
    the edge.

    Raises:
        SceneError: the cube is smaller than a window.
    """
    rows = window_starts(cube.shape[0], window, step or window)
    columns = window_starts(cube.shape[1], window, step or window)
    views = sliding_window_view(cube, (window, window), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    return views[np.ix_(rows, columns)].reshape(-1, window, window, cube.shape[2])


def paper_split(labels: npt.NDArray[np.integer], per_class: int, seed: int) -> PaperSplit:
    """Draw ``per_class`` pixels of every class of ``labels`` (H, W): half for training, half for validation.

    Label 0 is background. Random numbers are numpy's legacy stream, drawn as the published code does, so that
    a seed gives the published split. A class of exactly 40 pixels gives 35 where 40 are asked for, so that
    some are left for testing.

    Raises:
        LabelError: no pixel is labelled.
    """
    flat = labels.ravel().astype(np.int64)
    if not flat.any():
        raise LabelError("No pixel has a label.", "Check the label raster: 0 means unlabelled.")
    random = np.random.RandomState(seed)
    classes, counts = np.unique(flat[flat > 0], return_counts=True)
    quota = {int(c): 35 if n == per_class == 40 else per_class for c, n in zip(classes, counts, strict=True)}
    drawn = _walk(random.permutation(flat.size), flat, quota)
    labels_drawn = flat[drawn]
    half = {int(c): int((labels_drawn == c).sum()) // 2 for c in classes}
    order = random.permutation(len(drawn))
    chosen = _walk(order, labels_drawn, half)
    rest = order[~np.isin(order, chosen)]
    test = flat.copy()
    test[drawn] = 0
    return PaperSplit(drawn, drawn[rest], drawn[chosen], test.reshape(labels.shape))


def _walk(order: Indices, labels: Indices, quota: dict[int, int]) -> Indices:
    """The first positions of ``order`` of each class, up to its quota, in walking order."""
    rank = np.zeros(len(order), dtype=np.int64)
    walked = labels[order]
    limit = np.zeros(len(order), dtype=np.int64)
    for label, count in quota.items():
        members = np.flatnonzero(walked == label)
        rank[members] = np.arange(len(members))
        limit[members] = count
    return order[rank < limit]
