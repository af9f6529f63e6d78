"""The class map as a picture: its legend, the scene beside it, the pixels trained and tested on."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray

from hsi_toolkit.reports.plots import FAINT, INK, LEGEND_COLUMN, styled
from hsi_toolkit.scene.class_map import ClassEntry

#: What the map does not cover.
_EMPTY = "#eef0f3"
_TRAINING, _TEST = "#ffffff", "#ffb000"


@dataclass(frozen=True, eq=False)
class Pixels:
    """Pixels to outline on a map: rows and columns, (n,) each."""

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]

    def thinned(self, step: int) -> "Pixels":
        """The pixels as they lie on a map of every ``step``-th row and column."""
        places = np.unique(np.column_stack([self.rows // step, self.cols // step]), axis=0)
        return Pixels(places[:, 0], places[:, 1])


def map_preview_png(
    classes: NDArray[np.integer],
    legend: Sequence[ClassEntry],
    *,
    rgb: NDArray[np.uint8] | None = None,
    training: Pixels | None = None,
    test: Pixels | None = None,
    metres_per_pixel: float | None = None,
    title: str = "",
) -> bytes:
    """A class map with its legend, the scene's colours beside it, as PNG.

    Args:
        classes: (rows, cols) numbers of ``legend``; others, 0 among them, are shown as empty.
        rgb: (rows, cols, 3) picture of the scene on the same pixels, drawn with the outlines of
            ``training`` and ``test`` pixels.
        metres_per_pixel: for a scale bar; None leaves it out.
    """
    height, width = classes.shape
    panels = 1 if rgb is None else 2
    side_by_side = panels == 1 or height * 1.15 >= width
    inches = _panel_inches(height, width, panels, side_by_side)
    columns = -(-len(legend) // LEGEND_COLUMN)
    with styled():
        layout = _Layout(inches, panels, side_by_side, columns, title=bool(title))
        figure = layout.figure
        if title:
            figure.text(
                layout.margin / layout.width,
                1 - 0.18 / layout.height,
                title,
                va="top",
                size=12,
                weight="bold",
            )
        map_axes = layout.panel(panels - 1)
        outlines: list[Patch] = []
        if rgb is not None:
            scene_axes = layout.panel(0)
            scene_axes.imshow(_without_black(rgb, classes, legend), interpolation="nearest", aspect="auto")
            _caption(scene_axes, "Scene")
            outlined = ((training, _TRAINING, "training pixels"), (test, _TEST, "held-out pixels"))
            outlines = [
                _outline(scene_axes, pixels, colour, name, inches[0] / width)
                for pixels, colour, name in outlined
                if pixels is not None and len(pixels.rows)
            ]
        _draw_classes(map_axes, classes, legend)
        _caption(map_axes, "Class map")
        if metres_per_pixel:
            _scale_bar(map_axes, width, metres_per_pixel)
        _draw_legend(layout.legend(), classes, legend, outlines, columns)
        return _png(figure)


class _Layout:
    """Places panels of exact size and a legend on a figure; all lengths in inches."""

    margin, gap, caption = 0.2, 0.25, 0.3

    def __init__(
        self, panel: tuple[float, float], panels: int, side_by_side: bool, columns: int, *, title: bool
    ) -> None:
        self.panel_width, self.panel_height = panel
        self.side_by_side = side_by_side
        across, down = (panels, 1) if side_by_side else (1, panels)
        self.legend_width = 1.75 * columns
        self.head = 0.36 if title else 0.05
        self.width = (
            2 * self.margin
            + across * self.panel_width
            + (across - 1) * self.gap
            + self.gap
            + self.legend_width
        )
        body = down * (self.panel_height + self.caption)
        self.height = self.head + max(body, 0.2 * min(LEGEND_COLUMN, 6)) + self.margin
        self.figure = Figure(figsize=(self.width, self.height), facecolor="white")
        FigureCanvasAgg(self.figure)

    def panel(self, index: int) -> Axes:
        """The axes of one picture, with room for a caption above."""
        right = index if self.side_by_side else 0
        below = 0 if self.side_by_side else index
        left = self.margin + right * (self.panel_width + self.gap)
        top = self.head + below * (self.panel_height + self.caption) + self.caption
        return self._axes(left, top, self.panel_width, self.panel_height)

    def legend(self) -> Axes:
        """The axes at the right, as high as the figure's body."""
        top = self.head + self.caption
        left = self.width - self.margin - self.legend_width
        return self._axes(left, top, self.legend_width, self.height - top - self.margin)

    def _axes(self, left: float, top: float, width: float, height: float) -> Axes:
        bottom = self.height - top - height
        axes = self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height)
        )
        axes.set_xticks([])
        axes.set_yticks([])
        return axes


def _panel_inches(height: int, width: int, panels: int, side_by_side: bool) -> tuple[float, float]:
    """The size of a picture: as wide as fits a page beside its neighbour, and not higher than it."""
    widest = 4.2 if panels == 2 and side_by_side else 6.5
    highest = 5.5 if side_by_side else 3.2
    scale = min(widest / width, highest / height)
    return max(width * scale, 0.5), max(height * scale, 0.5)


def _draw_classes(axes: Axes, classes: NDArray[np.integer], legend: Sequence[ClassEntry]) -> None:
    values = np.array([entry.value for entry in legend])
    order = np.argsort(values)
    place = np.searchsorted(values[order], classes).clip(0, len(values) - 1)
    known = values[order][place] == classes
    shown = np.where(known, order[place] + 1, 0)
    colours = ListedColormap([_EMPTY, *(entry.hex_colour for entry in legend)])
    axes.imshow(
        shown, cmap=colours, vmin=-0.5, vmax=len(legend) + 0.5, interpolation="nearest", aspect="auto"
    )


def _without_black(
    rgb: NDArray[np.uint8], classes: NDArray[np.integer], legend: Sequence[ClassEntry]
) -> NDArray[np.uint8]:
    """The picture with the same empty colour as the map where neither has data."""
    empty = (rgb == 0).all(axis=2) & ~np.isin(classes, [entry.value for entry in legend])
    return np.where(empty[:, :, None], np.frombuffer(bytes.fromhex(_EMPTY[1:]), np.uint8), rgb)


def _draw_legend(
    axes: Axes,
    classes: NDArray[np.integer],
    legend: Sequence[ClassEntry],
    outlines: Sequence[Patch],
    columns: int,
) -> None:
    axes.axis("off")
    counts = np.array([np.count_nonzero(classes == entry.value) for entry in legend])
    shares = counts / max(counts.sum(), 1)
    handles = [
        Patch(
            facecolor=entry.hex_colour, edgecolor="#00000055", linewidth=0.5, label=_entry_text(entry, share)
        )
        for entry, share in zip(legend, shares, strict=True)
    ]
    if counts.sum() < classes.size:
        handles.append(Patch(facecolor=_EMPTY, edgecolor="#00000055", linewidth=0.5, label="no class"))
    handles += outlines
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0, 1), borderaxespad=0, frameon=False,
        ncols=columns, fontsize=8.5, handlelength=1.3, handleheight=1.1, labelspacing=0.45,
    )  # fmt: skip


def _entry_text(entry: ClassEntry, share: float) -> str:
    name = entry.name if len(entry.name) <= 22 else entry.name[:21] + "…"
    return f"{name}  {share:.1%}" if share else f"{name}  –"


def _outline(axes: Axes, pixels: Pixels, colour: str, name: str, inches_per_pixel: float) -> Patch:
    """Draw the outline of a set of pixels, dark-cased so that it shows on any ground; its legend entry."""
    width = float(np.clip(72 * inches_per_pixel * 0.3, 0.6, 1.4))
    casing = [Stroke(linewidth=width + 1.0, foreground="#000000b0"), Normal()]
    axes.add_collection(
        LineCollection(
            list(outline_segments(pixels)),
            colors=colour,
            linewidths=width,
            path_effects=casing,
            capstyle="projecting",
        )
    )
    return Patch(facecolor="#4b5763", edgecolor=colour, linewidth=1.6, label=name)


def outline_segments(pixels: Pixels) -> NDArray[np.float64]:
    """The pixel edges between the set and what is around it, (m, 2, 2) as x, y of pixel centres' frame."""
    rows, cols = pixels.rows.astype(np.int64), pixels.cols.astype(np.int64)
    span = int(cols.max(initial=0)) + 3
    keys = np.sort((rows + 1) * span + cols + 1)
    sides = []
    for row_step, col_step, start, stop in (
        (-1, 0, (-0.5, -0.5), (0.5, -0.5)),
        (1, 0, (-0.5, 0.5), (0.5, 0.5)),
        (0, -1, (-0.5, -0.5), (-0.5, 0.5)),
        (0, 1, (0.5, -0.5), (0.5, 0.5)),
    ):
        neighbour = (rows + 1 + row_step) * span + cols + 1 + col_step
        open_side = ~np.isin(neighbour, keys)
        centre = np.column_stack([cols[open_side], rows[open_side]]).astype(np.float64)
        sides.append(np.stack([centre + start, centre + stop], axis=1))
    return np.concatenate(sides)


def _caption(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", size=9, color=FAINT, pad=4)


def _scale_bar(axes: Axes, width: int, metres_per_pixel: float) -> None:
    """A bar of a round length, at most a third of the map."""
    most = width * metres_per_pixel / 3
    power = 10.0 ** np.floor(np.log10(most))
    length = float(power * max(step for step in (1, 2, 5) if step * power <= most))
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    share = length / metres_per_pixel / width
    x, y = 0.03, 0.03
    casing = [Stroke(linewidth=4.5, foreground="white"), Normal()]
    axes.plot(
        [x, x + share], [y, y], transform=axes.transAxes, color=INK, linewidth=2.2, solid_capstyle="butt",
        path_effects=casing,
    )  # fmt: skip
    axes.text(
        x, y + 0.015, text, transform=axes.transAxes, size=8, va="bottom",
        path_effects=[Stroke(linewidth=2.5, foreground="white"), Normal()],
    )  # fmt: skip


def _png(figure: Figure) -> bytes:
    out = BytesIO()
    figure.savefig(out, format="png", dpi=200, metadata={"Software": None})
    return out.getvalue()
