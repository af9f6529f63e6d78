"""Single spectra as text: files of the ASTER and ECOSTRESS libraries, and of the USGS library of 2017."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.metadata import parse_number, to_nanometres

Float64 = NDArray[np.float64]

#: What the USGS library writes for channels that were deleted.
_DELETED = -1e30
_USGS_TITLE = re.compile(r"^\s*splib07\w*\s+Record=\d+:\s*(.+?)\s*$")
#: The last words of a USGS title: the spectrometer with its purity code, and the kind of measurement.
_USGS_CODES = re.compile(r"\s+(?P<spectrometer>[A-Z]{3,5}\w*)\s+(?:AREF|RREF|RTGC|TRAN)$")
_UNIT = re.compile(r"\(([^)]+)\)")


@dataclass(frozen=True, eq=False)
class TextSpectrum:
    """A named spectrum: reflectance (bands,), NaN where there is none, over nanometres (bands,) or None."""

    name: str
    values: Float64
    wavelength: Float64 | None


def read_text_spectrum(path: Path) -> TextSpectrum:
    """The spectrum of a text file of either library, by ascending wavelength.

    Raises:
        SceneError: it is of neither, or a line of it is no number.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise SceneError(f"{path} cannot be read: {error.strerror}.", "Check the file.") from error
    title = _USGS_TITLE.match(lines[0]) if lines else None
    spectrum = _usgs(path, title[1], lines[1:]) if title else _ecostress(path, lines)
    if spectrum.wavelength is None:
        return spectrum
    order = np.argsort(spectrum.wavelength, kind="stable")
    return TextSpectrum(spectrum.name, spectrum.values[order], spectrum.wavelength[order])


def _ecostress(path: Path, lines: list[str]) -> TextSpectrum:
    """``Key: value`` lines, then two columns; reflectance in percent becomes a share."""
    facts: dict[str, str] = {}
    rows: list[list[float]] = []
    for line in lines:
        numbers = [parse_number(part) for part in line.split()]
        row = [number for number in numbers if number is not None]
        if len(row) == len(numbers) == 2:
            rows.append(row)
        elif rows and line.strip():
            raise SceneError(f"{path} holds {line.strip()[:40]!r} among its numbers.", "Correct the file.")
        elif ":" in line:
            key, _, value = line.partition(":")
            facts.setdefault(key.strip().lower(), value.strip())
    if not rows or "x units" not in facts:
        raise SceneError(
            f"{path} is no spectrum of the ECOSTRESS or USGS library.", "Give such a file, a .sli or a .csv."
        )
    table = np.array(rows)
    unit = _UNIT.search(facts["x units"])
    percent = "percent" in facts.get("y units", "").lower()
    values = table[:, 1] / (100.0 if percent else 1.0)
    return TextSpectrum(facts.get("name") or path.stem, values, to_nanometres(table[:, 0], unit and unit[1]))


def _usgs(path: Path, title: str, lines: list[str]) -> TextSpectrum:
    """One value a line; the wavelengths are those of the spectrometer, in a file of their own."""
    values = _column(path, lines)
    codes = _USGS_CODES.search(title)
    name = re.sub(r"\s+", " ", title[: codes.start()] if codes else title).strip()
    wavelength = _usgs_wavelengths(path, codes["spectrometer"] if codes else "", len(values))
    return TextSpectrum(name, np.where(values < _DELETED, np.nan, values), wavelength)


def _usgs_wavelengths(path: Path, spectrometer: str, bands: int) -> Float64 | None:
    """The wavelengths of a spectrometer, from the file beside the library's folders; None without one."""
    for folder in (path.parent, *path.parents[:3]):
        for candidate in sorted(folder.glob("splib07*_Wavelengths_*.txt")):
            named = candidate.name.split("_Wavelengths_")[1].split("_")[0].upper()
            # Title codes run on: ASDFR, BECK, NIC4 and AVIRIS stand for ASD, BECK, NIC4 and AVIRIS files.
            if spectrometer.upper().startswith(named[:3]):
                microns = _column(candidate, candidate.read_text(encoding="utf-8").splitlines()[1:])
                if len(microns) == bands:
                    return microns * 1000.0
    return None


def _column(path: Path, lines: list[str]) -> Float64:
    numbers = [parse_number(line.strip()) for line in lines if line.strip()]
    if not numbers or None in numbers:
        raise SceneError(f"{path} holds a line that is no number.", "Correct the file.")
    return np.array(numbers, np.float64)
