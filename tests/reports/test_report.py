"""The report: complete by itself, true to its figures, and it never calls training pixels accuracy."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from hsi_toolkit.errors import OutputError
from hsi_toolkit.reports.accuracy import AccuracyReport, Basis, assess
from hsi_toolkit.reports.map_preview import map_preview_png
from hsi_toolkit.reports.plots import ClassSpectra, TrainingCurve
from hsi_toolkit.reports.report import KeyFigure, ReportContent, render_html, write_report
from hsi_toolkit.scene.class_map import ClassEntry

LEGEND = (
    ClassEntry(1, "wood & water", (10, 110, 60)),
    ClassEntry(2, "<b>soil</b>", (200, 160, 110)),
    ClassEntry(3, "roof", (180, 40, 40)),
)
NAMES = [entry.name for entry in LEGEND]


def accuracy(basis: Basis | None = None) -> AccuracyReport:
    rng = np.random.default_rng(0)
    reference = np.repeat([0, 1, 2], 60)
    mapped = np.where(rng.random(180) < 0.8, reference, (reference + 1) % 3)
    groups = np.arange(180) // 10
    return assess(
        mapped, reference, NAMES, basis or Basis(True, ("Held out as whole polygons.",)),
        groups=groups, mapped_pixels=[5000, 3000, 2000], pixel_area=0.09, unit="ha",
    )  # fmt: skip


@pytest.fixture(scope="module")
def content() -> ReportContent:
    rng = np.random.default_rng(1)
    classes = np.repeat([0, 1, 2], 20)
    spectra = rng.random((60, 30)) + classes[:, None]
    spectra[:, 7] = np.nan
    good = np.ones(30, bool)
    good[12:15] = False
    plane = np.kron(np.array([[1, 2], [3, 0]]), np.ones((20, 20), int))
    return ReportContent(
        title="Land cover <of> a test",
        kind="Training",
        created="2025-01-01 12:00 UTC",
        summary="A sentence.",
        facts={"Scene": "scene.tif", "Labels": "labels.gpkg"},
        legend=LEGEND,
        accuracy=accuracy(),
        figures=[KeyFigure("Duration", "3 s", "2 cores")],
        warnings=["Something was left out."],
        spectra=ClassSpectra.of(spectra, classes, LEGEND, wavelength=np.linspace(400, 2400, 30), good=good),
        curve=TrainingCurve({"training": [2.0, 1.0, float("nan")]}, {"overall": [0.5, 0.7, 0.6]}, best=2),
        map_png=map_preview_png(plane, LEGEND),
        model_card={"Architecture": "small", "Bands": 30},
        reproduction={"Seed": np.int64(3), "Parameters": {"window": 9, "balanced": True}},
    )


class _Page(HTMLParser):
    """Tags, and the addresses a page refers to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "action")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_but_itself(content: ReportContent) -> None:
    html = render_html(content)
    page = _Page(html)
    assert page.open == []
    assert page.tags.count("img") == 3
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in html
    assert "@import" not in html


def test_names_from_files_are_text_not_markup(content: ReportContent) -> None:
    html = render_html(content)
    assert "<b>soil</b>" not in html
    assert "&lt;b&gt;soil&lt;/b&gt;" in html
    assert "Land cover &lt;of&gt; a test" in html


def test_the_matrix_of_the_page_is_the_matrix_of_the_figures(content: ReportContent) -> None:
    """An asymmetric one: the first row is the map's first class."""
    found = assess(
        np.repeat([0, 0, 1, 2], [7, 5, 3, 2]), np.repeat([0, 1, 1, 2], [7, 5, 3, 2]), NAMES, Basis(True, ())
    )
    html = render_html(replace(content, accuracy=found))
    table = html[html.index('class="matrix"') :]
    rows = re.findall(r"<tr>(.*?)</tr>", table[: table.index("</table>")], re.DOTALL)
    cells = [[re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<td.*?</td>", row)] for row in rows]
    assert cells[2][:4] == ["7", "5", "·", "12"]
    assert cells[3][:4] == ["·", "3", "·", "3"]
    assert cells[5][:4] == ["7", "8", "2", "17"]
    assert "Rows are the map, columns the reference" in html


def test_intervals_and_areas_are_shown(content: ReportContent) -> None:
    html = render_html(content)
    assert content.accuracy is not None
    overall = content.accuracy.overall
    assert overall.value is not None
    assert overall.low is not None
    assert f"{100 * overall.value:.1f}\N{NO-BREAK SPACE}%" in html
    assert f"{100 * overall.low:.1f} – " in html
    assert "Estimated (ha)" in html
    assert "Olofsson et al. 2014" in html
    assert "Held out as whole polygons." in html


def test_figures_from_training_pixels_are_never_called_accuracy(content: ReportContent) -> None:
    trained = replace(content, accuracy=accuracy(Basis.trained_on()), curve=None)
    html = render_html(trained)
    assert "accuracy" not in html.lower()
    assert html.count("Agreement with the training data") >= 2
    assert "nothing about the rest of the map" in html
    assert "accuracy" not in json.dumps(trained.to_dict()["accuracy"]).lower()


def test_a_report_on_objects_speaks_of_objects() -> None:
    reference = np.repeat([0, 1, 2], 20)
    mapped = np.where(np.arange(60) % 4 == 0, 0, reference)
    found = assess(mapped, reference, NAMES, Basis(True, ("Some were held out.",)), counted="objects")
    html = render_html(ReportContent("t", "Training", "now", legend=LEGEND, accuracy=found))
    text = html[html.index("<body>") :]
    assert "pixel" not in text.lower()
    assert re.search(r"\bmap", text, re.IGNORECASE) is None
    assert "Reference objects" in text
    assert "of the objects that the classifier gives this class" in text
    assert '<div class="value">60</div><div class="detail">objects</div>' in text


@pytest.mark.parametrize(
    ("created", "read"),
    [
        ("2025-01-31T12:00:05+00:00", "2025-01-31 12:00:05 UTC"),
        ("2025-01-31T12:00:05", "2025-01-31 12:00:05"),
        ("last Tuesday, UTC", "last Tuesday, UTC"),
    ],
)
def test_times_are_read_by_people(created: str, read: str) -> None:
    html = render_html(ReportContent(title="t", kind="Evaluation", created=created))
    assert f"<dt>Created</dt><dd>{read}</dd>" in html


def test_parts_that_are_not_there_do_not_show() -> None:
    html = render_html(ReportContent(title="t", kind="Evaluation", created="now"))
    assert "<h2>" not in html
    assert "<img" not in html
    assert "None" not in html


def test_the_json_beside_it_holds_the_figures(content: ReportContent, tmp_path: Path) -> None:
    html, stored = write_report(content, tmp_path / "r.html")
    assert (html.name, stored.name) == ("r.html", "r.json")
    assert html.read_text(encoding="utf-8") == render_html(content)
    found = json.loads(stored.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert content.accuracy is not None
    assert found["accuracy"]["matrix"]["counts"] == content.accuracy.matrix.tolist()
    assert found["spectra"]["classes"][0]["mean"][7] is None
    assert found["curve"]["losses"]["training"] == [2.0, 1.0, None]
    assert found["reproduction"] == {"Seed": 3, "Parameters": {"window": 9, "balanced": True}}
    assert found["classes"][2] == {"value": 3, "name": "roof", "colour": "#b42828"}


def test_nothing_is_overwritten_unasked(content: ReportContent, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("mine")
    with pytest.raises(OutputError, match=r"r\.json exists already"):
        write_report(content, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()
    assert (tmp_path / "r.json").read_text() == "mine"
    write_report(content, tmp_path / "r.html", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.html", "r.json"]
    with pytest.raises(OutputError, match=r"does not end in \.html"):
        write_report(content, tmp_path / "r.pdf")


def test_the_same_content_gives_the_same_page(content: ReportContent) -> None:
    assert render_html(content) == render_html(content)
