"""The report of a scene check: one HTML file that needs nothing else, and a JSON beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hsi_toolkit import __version__
from hsi_toolkit.checking.findings import Finding
from hsi_toolkit.errors import OutputError
from hsi_toolkit.files import atomic_path, check_output, write_json
from hsi_toolkit.reports.pages import data_uri, page_template, plain
from hsi_toolkit.reports.report import KeyFigure


@dataclass(frozen=True)
class Fact:
    """A fact of the scene's metadata: its name, its value as text, and where it was found."""

    name: str
    value: str
    place: str


@dataclass(frozen=True)
class Picture:
    """A picture of the page: bytes of PNG or SVG, a heading and a sentence on how to read it.

    One that is not ``wide`` takes no more than its share of the page's height.
    """

    heading: str
    caption: str
    data: bytes
    kind: str = "image/svg+xml"
    wide: bool = True


@dataclass(frozen=True)
class BandRow:
    """A row of the table of bands; numbers that are unknown are None."""

    number: int
    wavelength: float | None
    fwhm: float | None
    snr: float | None
    mean: float | None
    missing: float | None
    marked: bool
    reasons: Sequence[str]

    @property
    def bad(self) -> bool:
        """Whether it is bad, by the file or by measurement."""
        return self.marked or bool(self.reasons)


@dataclass(frozen=True, eq=False)
class SceneCheckContent:
    """What the page says."""

    title: str
    created: str
    summary: str
    figures: Sequence[KeyFigure]
    findings: Sequence[Finding]
    facts: Sequence[Fact]
    bands: Sequence[BandRow]
    pictures: Sequence[Picture]
    reproduction: Mapping[str, object] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Everything but the pictures, JSON-able and without NaN."""
        return {
            "title": self.title,
            "created": self.created,
            "version": __version__,
            "summary": self.summary,
            "findings": [vars(each) for each in self.findings],
            "found": [vars(each) for each in self.facts],
            "bands": [plain({**vars(each), "bad": each.bad}) for each in self.bands],
            "reproduction": plain(self.reproduction),
        }


def write_scene_check(
    content: SceneCheckContent, path: str | Path, *, overwrite: bool = False
) -> tuple[Path, Path]:
    """Write the HTML to ``path`` and the JSON beside it; both whole or not at all.

    Raises:
        OutputError: the name does not end in .html, a file exists and ``overwrite`` is false, or they cannot
            be written.
    """
    html_path = Path(path)
    if html_path.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"The report {path} does not end in .html.", "Name it so.")
    json_path = html_path.with_suffix(".json")
    for target in (html_path, json_path):
        check_output(target, overwrite=overwrite)
    pictures = [(each, data_uri(each.data, each.kind)) for each in content.pictures]
    html = page_template("check.html.j2").render(content=content, pictures=pictures, version=__version__)
    with atomic_path(html_path, overwrite=overwrite) as temporary:
        temporary.write_text(html, encoding="utf-8")
        write_json(json_path, content.to_dict(), overwrite=overwrite)
    return html_path, json_path
