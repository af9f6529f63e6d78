"""Say what a scene is."""

from html import escape
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from qgis.core import QgsProcessingContext, QgsProcessingParameterFileDestination

from ..hsi_toolkit.tasks import TASKS
from ..qgis_plugin.algorithm import TaskAlgorithm
from ..qgis_plugin.parameters import file_filter
from ..qgis_plugin.results import Figure, fixed

_STYLE = "body{font-family:sans-serif} th{text-align:left} th,td{padding:2px 12px 2px 0}"


class SceneInformation(TaskAlgorithm):
    """See the task's declaration; what it says is a page, too."""

    task = TASKS["info"]
    when = "Before anything else: what the engine takes a file for is what every other algorithm works with."
    example = fixed(INPUT="scene.hdr", OUTPUT="scene.html")
    figures = (
        Figure("BANDS", "Number of bands", ("shape", 0)),
        Figure("ROWS", "Number of rows", ("shape", 1)),
        Figure("COLUMNS", "Number of columns", ("shape", 2)),
        Figure("SHORTEST", "Shortest wavelength in nm", ("wavelengths_nm",), min),
        Figure("LONGEST", "Longest wavelength in nm", ("wavelengths_nm",), max),
        Figure("BAD_BANDS", "Number of bad bands", ("bad_bands",), len),
    )

    def initAlgorithm(self, configuration: Optional[Mapping[str, Any]] = None) -> None:
        super().initAlgorithm(configuration)
        page = QgsProcessingParameterFileDestination("OUTPUT", "Page", file_filter((".html",)), None, True)
        page.setHelp("An HTML page with what was found, and a table of the bands.")
        self.addParameter(page)

    def further_outputs(
        self, result: Mapping[str, Any], parameters: Mapping[str, Any], context: QgsProcessingContext
    ) -> Dict[str, Any]:
        path = self.parameterAsFileOutput(parameters, "OUTPUT", context)
        if not path:
            return {}
        Path(path).write_text(_page(self.subject(), result), encoding="utf-8")
        return {"OUTPUT": path}


def _page(scene: str, result: Mapping[str, Any]) -> str:
    """What was found as a page that needs no other file."""
    facts = [_row([label], [text]) for label, text in result["facts"].items()]
    warnings = [f"<p>{escape(sentence)}</p>" for sentence in result["warnings"]]
    return "".join(
        [
            '<!doctype html><html><head><meta charset="utf-8">',
            f"<title>{escape(scene)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(scene)}</h1><p>{escape(result['summary'])}</p>",
            *warnings,
            "<table>",
            *facts,
            "</table>",
            *_band_table(result),
            "</body></html>",
        ]
    )


def _band_table(result: Mapping[str, Any]) -> List[str]:
    centres, widths = result["wavelengths_nm"], result["fwhm_nm"]
    if centres is None:
        return []
    bad = set(result["bad_bands"])
    rows = []
    for band, centre in enumerate(centres, start=1):
        width = "" if widths is None else f"{widths[band - 1]:.2f}"
        rows.append(_row([], [str(band), f"{centre:.2f}", width, "bad" if band in bad else ""]))
    heads = ["Band", "Wavelength (nm)", "Width (nm)", ""]
    return ["<h2>Bands</h2><table>", _row(heads, []), *rows, "</table>"]


def _row(heads: List[str], cells: List[str]) -> str:
    made = [f"<th>{escape(text)}</th>" for text in heads] + [f"<td>{escape(text)}</td>" for text in cells]
    return f"<tr>{''.join(made)}</tr>"
