"""Labelled pixels: what training and evaluation start from, wherever the labels were drawn."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hsi_toolkit.errors import LabelError
from hsi_toolkit.scene.class_map import ClassEntry
from hsi_toolkit.tasks.palette import customary_colour
from hsi_toolkit.training.palette import palette, rgb

ClassValue = int | str

#: Class maps are written as bytes with 0 for "no class", so there can be this many classes.
MOST_CLASSES = 255


@dataclass(frozen=True, eq=False)
class Labels:
    """Labelled pixels of one grid, each once, sorted by row and column.

    ``rows``, ``cols``, ``classes`` (0 to K-1) and ``groups`` are int64 arrays of shape (n,). A group is
    what must not be divided between training and test: a polygon (each part of a multipolygon is
    one), a point, or a connected patch of a class raster. ``names``, ``values`` (as the source has
    them) and ``colours`` (``#rrggbb``) have one entry a class. ``geometry`` is ``"polygon"``, ``"point"`` or
    ``"raster"``; ``shape`` the grid's rows and columns; ``warnings`` are sentences for the report.
    """

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    classes: NDArray[np.int64]
    groups: NDArray[np.int64]
    names: tuple[str, ...]
    values: tuple[ClassValue, ...]
    colours: tuple[str, ...]
    geometry: str
    shape: tuple[int, int]
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Labelled pixels of each class, shape (K,)."""
        return np.bincount(self.classes, minlength=len(self.names))

    @property
    def group_counts(self) -> NDArray[np.int64]:
        """Polygons, points or patches of each class, shape (K,)."""
        _, first = np.unique(self.groups, return_index=True)
        return np.bincount(self.classes[first], minlength=len(self.names))

    def legend(self) -> tuple[ClassEntry, ...]:
        """The legend of a map of these classes: their own numbers where they are 1 to 255, else 1 to K."""
        own = [value for value in self.values if isinstance(value, int) and 1 <= value <= MOST_CLASSES]
        numbers = own if len(own) == len(self.values) else range(1, len(self.values) + 1)
        each = zip(numbers, self.names, self.colours, strict=True)
        return tuple(ClassEntry(number, name, rgb(colour)) for number, name, colour in each)

    def select(self, pixels: NDArray[np.int64] | NDArray[np.bool_]) -> "Labels":
        """Only these pixels (indices or a mask); classes keep their numbers."""
        return replace(
            self,
            rows=self.rows[pixels],
            cols=self.cols[pixels],
            classes=self.classes[pixels],
            groups=self.groups[pixels],
        )

    def summary(self) -> dict[str, object]:
        """Classes with their colours, pixels and groups, and the warnings, as JSON-able values."""
        each = zip(self.names, self.values, self.colours, self.counts, self.group_counts, strict=True)
        return {
            "geometry": self.geometry,
            "pixels": len(self),
            "classes": [
                {"name": name, "value": value, "colour": colour, "pixels": int(pixels), "groups": int(groups)}
                for name, value, colour, pixels, groups in each
            ],
            "warnings": list(self.warnings),
        }


def labels_from_array(
    array: NDArray[np.generic],
    names: Mapping[int, str] | None = None,
    colours: Mapping[int, str] | None = None,
    *,
    ignore: Sequence[int] = (0,),
) -> Labels:
    """Labels from a plane of class numbers; groups are its connected patches of one class.

    Args:
        array: (rows, cols), whole numbers of any dtype; NaN is no label.
        names, colours: by class number; missing ones become the number and a palette colour.
        ignore: numbers that mean "not labelled".

    Raises:
        LabelError: the array is no plane, holds decimals, no label or more than 255 classes.
    """
    if array.ndim != 2:
        raise LabelError(
            f"The class array has the shape {array.shape}.", "Give one plane of rows and columns."
        )
    rows, cols = np.nonzero(np.isfinite(array) & ~np.isin(array, list(ignore)))
    return labels_from_pixels(rows, cols, array[rows, cols], array.shape, names or {}, colours or {})


def labels_from_pixels(
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    values: NDArray[np.generic],
    shape: tuple[int, ...],
    names: Mapping[int, str],
    colours: Mapping[int, str],
) -> Labels:
    """Labels from the labelled pixels of a class raster, ``values`` being their class numbers.

    Raises:
        LabelError: no pixel, decimal numbers or more than 255 classes.
    """
    if not len(values):
        raise LabelError(
            "The class raster holds no labelled pixel.",
            "Give one with class numbers other than 0 and nodata.",
        )
    decimals = values[values != np.round(values.astype(np.float64))]
    if len(decimals):
        raise LabelError(
            f"The class raster holds decimal numbers such as {decimals[0]}.",
            "Give a raster of whole class numbers.",
        )
    present, classes = np.unique(values.astype(np.int64), return_inverse=True)
    check_class_count(len(present), "The class raster")
    numbers = [int(value) for value in present]
    called = unique_names([names.get(number) or str(number) for number in numbers], numbers)
    order = np.lexsort((cols, rows))
    rows, cols, classes = rows[order], cols[order], classes[order]
    return Labels(
        rows=rows,
        cols=cols,
        classes=classes,
        groups=connected_patches(rows, cols, classes, shape[1]),
        names=called,
        values=tuple(numbers),
        colours=complete_colours([colours.get(number) for number in numbers], called),
        geometry="raster",
        shape=(shape[0], shape[1]),
    )


def connected_patches(
    rows: NDArray[np.int64], cols: NDArray[np.int64], classes: NDArray[np.int64], width: int
) -> NDArray[np.int64]:
    """The number of the 8-connected patch of one class that each pixel is in, shape (n,).

    Works on the labelled pixels alone (sorted by row and column), so memory is theirs and not the grid's.
    """
    keys = rows * width + cols
    starts, stops = [], []
    for row_step, col_step in ((0, 1), (1, -1), (1, 0), (1, 1)):
        inside = (cols + col_step >= 0) & (cols + col_step < width)
        wanted = keys + row_step * width + col_step
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        joined = np.flatnonzero(inside & (keys[found] == wanted) & (classes[found] == classes))
        starts.append(joined)
        stops.append(found[joined])
    start, stop = np.concatenate(starts), np.concatenate(stops)
    links = sparse.coo_matrix((np.ones(len(start), bool), (start, stop)), shape=(len(keys), len(keys)))
    _, patches = sparse.csgraph.connected_components(links, directed=False)
    return np.asarray(patches, np.int64)


def require_trainable(labels: Labels) -> None:
    """Make sure that a classifier can be trained and held to account with these labels.

    Raises:
        LabelError: there is one class only, or a class with a single pixel.
    """
    present = np.flatnonzero(labels.counts)
    if len(present) < 2:
        raise LabelError(
            f"The labels hold one class only, {labels.names[present[0]]!r}."
            if len(present)
            else "There is no labelled pixel.",
            "Give polygons of at least two classes inside the scene.",
        )
    for index in present:
        if labels.counts[index] == 1:
            raise LabelError(
                f"The class {labels.names[index]!r} has one pixel only.",
                "Draw more of it, two polygons at least, or leave the class out.",
            )


def drop_nodata(labels: Labels, valid: NDArray[np.bool_]) -> Labels:
    """The labels whose pixel has data; how many were left out is added to the warnings.

    A class that loses all its pixels is left out, too, so that classes are renumbered.

    Args:
        valid: (n,), whether each labelled pixel has data, or the whole grid's mask (rows, cols).

    Raises:
        LabelError: no labelled pixel has data.
    """
    if valid.shape == labels.shape and valid.ndim == 2:
        valid = valid[labels.rows, labels.cols]
    dropped = int(np.count_nonzero(~valid))
    if dropped == len(labels):
        raise LabelError(
            f"All {dropped} labelled pixels are without data in the scene.",
            "Check that scene and labels belong together.",
        )
    if not dropped:
        return labels
    kept = labels.select(valid)
    warnings = [
        f"{dropped} of {len(labels)} labelled pixels have no data in the scene and were left out.",
        *(
            f"The class {name!r} has no pixel with data in the scene and was left out."
            for name, after in zip(labels.names, kept.counts, strict=True)
            if not after
        ),
    ]
    return replace(_without_empty_classes(kept), warnings=(*labels.warnings, *warnings))


def _without_empty_classes(labels: Labels) -> Labels:
    """Classes renumbered so that each has a pixel."""
    present = np.flatnonzero(labels.counts)
    number = np.full(len(labels.names), -1)
    number[present] = np.arange(len(present))
    return replace(
        labels,
        classes=number[labels.classes],
        names=tuple(labels.names[i] for i in present),
        values=tuple(labels.values[i] for i in present),
        colours=tuple(labels.colours[i] for i in present),
    )


def complete_colours(colours: Sequence[str | None], names: Sequence[str]) -> tuple[str, ...]:
    """``colours`` where they are given, else the cover's customary one, else one of the palette.

    Added colours stay apart from those before them.
    """
    chosen = list(colours)
    for index, name in enumerate(names):
        usual = customary_colour(name)
        if not chosen[index] and usual and usual not in chosen:
            chosen[index] = usual
    taken = [colour for colour in chosen if colour]
    fresh = iter(palette(len(chosen) - len(taken), taken))
    return tuple(colour or next(fresh) for colour in chosen)


def unique_names(names: Sequence[str], values: Sequence[ClassValue]) -> tuple[str, ...]:
    """``names``, with the value added to those that several classes share."""
    often = Counter(names)
    return tuple(
        f"{name} ({value})" if often[name] > 1 else name for name, value in zip(names, values, strict=True)
    )


def check_class_count(count: int, source: str) -> None:
    """Refuse more classes than a class map can hold.

    Raises:
        LabelError: there are more than 255.
    """
    if count > MOST_CLASSES:
        raise LabelError(
            f"{source} holds {count} different classes, more than the {MOST_CLASSES} a class map can have.",
            "Choose the field or raster of classes, not of identifiers or measurements.",
        )
