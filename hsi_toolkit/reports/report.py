"""The report of a training or evaluation: one HTML file that needs nothing else, and a JSON beside it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit import __version__
from hsi_toolkit.errors import OutputError
from hsi_toolkit.files import atomic_path, check_output, write_json
from hsi_toolkit.reports.accuracy import AccuracyReport
from hsi_toolkit.reports.pages import data_uri, page_template, plain
from hsi_toolkit.reports.plots import ClassSpectra, TrainingCurve, curve_svg, spectra_svg
from hsi_toolkit.scene.class_map import ClassEntry
from hsi_toolkit.training.palette import ink

#: A cell's tint is strongest where a class's pixels are all in it.
_RIGHT, _WRONG = (11, 110, 117), (196, 84, 20)
_WEAKEST, _STRONGEST = 0.08, 0.85


@dataclass(frozen=True)
class KeyFigure:
    """A number for the top of the report: what it is, its value as text, and a line below it."""

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True, eq=False)
class ReportContent:
    """What a report says; parts left out do not show.

    Attributes:
        title: its headline, such as "Land cover of Potsdam".
        kind: what happened, such as "Training" or "Evaluation".
        created: when, ISO 8601.
        summary: one or two sentences.
        facts: scene, sensor, date, model, labels, … by name, in this order.
        legend: the map's classes.
        accuracy: the figures.
        figures: numbers besides those of ``accuracy``.
        warnings: sentences the reader must see.
        spectra, curve: drawn as charts.
        map_png: the map's picture (``map_preview_png``), or another one.
        map_title: what it shows.
        model_card: what the model says about itself.
        reproduction: seed, versions, parameters: all it takes to run it again.
    """

    title: str
    kind: str
    created: str
    summary: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    legend: Sequence[ClassEntry] = ()
    accuracy: AccuracyReport | None = None
    figures: Sequence[KeyFigure] = ()
    warnings: Sequence[str] = ()
    spectra: ClassSpectra | None = None
    curve: TrainingCurve | None = None
    map_png: bytes | None = None
    map_title: str = "Map"
    model_card: Mapping[str, object] = field(default_factory=dict)
    reproduction: Mapping[str, object] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Everything but the pictures, JSON-able and without NaN."""
        return {
            "title": self.title,
            "kind": self.kind,
            "created": self.created,
            "version": __version__,
            "summary": self.summary,
            "facts": dict(self.facts),
            "classes": [
                {"value": each.value, "name": each.name, "colour": each.hex_colour} for each in self.legend
            ],
            "figures": [vars(each) for each in self.figures],
            "accuracy": None if self.accuracy is None else self.accuracy.to_dict(),
            "warnings": list(self.warnings),
            "spectra": None if self.spectra is None else _spectra_dict(self.spectra),
            "curve": None if self.curve is None else plain(vars(self.curve)),
            "model_card": plain(self.model_card),
            "reproduction": plain(self.reproduction),
        }


def write_report(content: ReportContent, path: str | Path, *, overwrite: bool = False) -> tuple[Path, Path]:
    """Write the HTML to ``path`` and the JSON beside it; both whole or not at all.

    Returns:
        The paths of both.

    Raises:
        OutputError: the name does not end in .html, a file exists and ``overwrite`` is false, or they
            cannot be written.
    """
    html_path = Path(path)
    if html_path.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"The report {path} does not end in .html.", "Name it so.")
    json_path = html_path.with_suffix(".json")
    for target in (html_path, json_path):
        check_output(target, overwrite=overwrite)
    html = render_html(content)
    with atomic_path(html_path, overwrite=overwrite) as temporary:
        temporary.write_text(html, encoding="utf-8")
        write_json(json_path, content.to_dict(), overwrite=overwrite)
    return html_path, json_path


def render_html(content: ReportContent) -> str:
    """The report as HTML: pictures inline, no script, nothing loaded from elsewhere."""
    accuracy, spectra, curve = content.accuracy, content.spectra, content.curve
    return page_template("report.html.j2").render(
        content=content,
        accuracy=accuracy,
        colours={entry.name: entry.hex_colour for entry in content.legend},
        cells=None if accuracy is None else _cells(accuracy.matrix),
        map_uri=data_uri(content.map_png, "image/png"),
        spectra_uri=data_uri(None if spectra is None else spectra_svg(spectra), "image/svg+xml"),
        curve_uri=data_uri(None if curve is None else curve_svg(curve), "image/svg+xml"),
        version=__version__,
        ink=ink,
    )


@dataclass(frozen=True)
class _Cell:
    """A cell of the error matrix: its count, ground and text colour."""

    count: int
    ground: str
    text: str


def _cells(matrix: NDArray[np.int64]) -> list[list[_Cell]]:
    """The cells, tinted by the share of the reference class (column) that is in them."""
    shares = matrix / np.maximum(matrix.sum(axis=0), 1)
    return [
        [_cell(int(matrix[i, j]), float(shares[i, j]), i == j) for j in range(matrix.shape[1])]
        for i in range(matrix.shape[0])
    ]


def _cell(count: int, share: float, right: bool) -> _Cell:
    if not count:
        return _Cell(0, "#ffffff", "#a9b2bb")
    strength = _WEAKEST + (_STRONGEST - _WEAKEST) * math.sqrt(share)
    tint = [round(255 + strength * (channel - 255)) for channel in (_RIGHT if right else _WRONG)]
    ground = "#" + bytes(tint).hex()
    return _Cell(count, ground, ink(ground))


def _spectra_dict(spectra: ClassSpectra) -> dict[str, object]:
    return {
        "quantity": spectra.quantity,
        "wavelength_nm": None if spectra.wavelength is None else plain(spectra.wavelength),
        "good": plain(spectra.good),
        "classes": [
            {"name": name, "pixels": int(count), "mean": plain(mean), "standard_deviation": plain(spread)}
            for name, count, mean, spread in zip(
                spectra.names, spectra.counts, spectra.mean, spectra.deviation, strict=True
            )
        ],
    }
