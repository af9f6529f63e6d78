"""Spectral libraries: named spectra from ENVI libraries, CSV tables and text files of ECOSTRESS and USGS."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.errors import ParameterError, SceneError
from hsi_toolkit.files import atomic_path
from hsi_toolkit.scene.metadata import parse_number, split_list, to_nanometres, widths_to_nanometres
from hsi_toolkit.scene.readers.envi_header import EnviHeader, read_header, read_layout
from hsi_toolkit.scene.sampling import read_pixels
from hsi_toolkit.spectral.resample import CoverageError, resampling_matrix
from hsi_toolkit.spectral.text_spectra import read_text_spectrum
from hsi_toolkit.training.labels import Labels

Float64 = NDArray[np.float64]

MOST_PIXELS_A_GROUP = 2000
"""Pixels of a polygon or class that its mean is taken from."""

_UNIT_IN_HEADING = re.compile(r"[\[(_\s]([a-zA-Zµμ]+)[\])]?$")


@dataclass(frozen=True, eq=False)
class SpectralLibrary:
    """Named spectra on common bands.

    Attributes:
        spectra: (spectra, bands) float64, in the units of whoever measured them.
        names: one for each spectrum.
        wavelength, fwhm: (bands,) nanometres, None when unknown.
    """

    spectra: Float64
    names: tuple[str, ...]
    wavelength: Float64 | None = None
    fwhm: Float64 | None = None

    def __post_init__(self) -> None:
        rows, bands = self.spectra.shape
        if rows == 0 or rows != len(self.names):
            raise ParameterError(
                f"A library of {rows} spectra has {len(self.names)} names.", "Give a name for each spectrum."
            )
        for what, values in (("wavelengths", self.wavelength), ("widths", self.fwhm)):
            if values is not None and len(values) != bands:
                raise ParameterError(
                    f"A library of {bands} bands has {len(values)} {what}.", "Give one for each band."
                )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def classes(self) -> tuple[str, ...]:
        """What each spectrum is one of: its name without a number at the end ("tree 3", "tree_3", "tree")."""
        return tuple(re.sub(r"[\s_\-#.]*\d+$", "", name).strip() or name for name in self.names)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """A library from an ENVI library (.sli or .hdr), a CSV table or a text file of ECOSTRESS or USGS.

        A table is either long, as ``write`` makes it, or wide: a row for each spectrum under headings that
        are wavelengths in nanometres, its first column being the names.

        Raises:
            SceneError: it cannot be read or is no library.
        """
        path = Path(path)
        if not path.is_file():
            raise SceneError(f"There is no file {path}.", "Check the path of the spectral library.")
        suffix = path.suffix.lower()
        if suffix == ".txt":
            spectrum = read_text_spectrum(path)
            return cls(spectrum.values[None], (spectrum.name,), spectrum.wavelength)
        return cls._read_csv(path) if suffix == ".csv" else cls._read_envi(path)

    @classmethod
    def of_labels(cls, scene: xr.DataArray, labels: Labels, *, by_group: bool = False, seed: int = 0) -> Self:
        """The mean spectrum of each class of ``labels``, or of each polygon, over the scene's bands.

        Raises:
            SceneError: no labelled pixel of a class has data.
        """
        keys = labels.groups if by_group else labels.classes
        generator = np.random.default_rng(seed)
        members = [
            generator.permutation(np.flatnonzero(keys == key))[:MOST_PIXELS_A_GROUP]
            for key in np.unique(keys)
        ]
        every = np.concatenate(members)
        values = read_pixels(scene, labels.rows[every], labels.cols[every]).astype(np.float64)
        parts = np.split(values, np.cumsum([len(each) for each in members])[:-1])
        spectra, names = [], []
        for part, which in zip(parts, members, strict=True):
            whole = part[np.isfinite(part).all(axis=1)]
            if len(whole):
                spectra.append(whole.mean(axis=0))
                names.append(str(labels.names[labels.classes[which[0]]]))
        lost = set(labels.names) - set(names)
        if lost:
            raise SceneError(
                f"None of the pixels labelled {sorted(lost)[0]!r} has data in all bands.",
                "Draw the polygons where the scene has data.",
            )
        wavelength, fwhm = (_coordinate(scene, name) for name in ("wavelength", "fwhm"))
        return cls(np.stack(spectra), tuple(_numbered(names)), wavelength, fwhm)

    def resampled_to(self, scene: xr.DataArray) -> Self:
        """The spectra on the scene's bands.

        Raises:
            SceneError: they do not cover them, or wavelengths are missing and the band counts differ.
        """
        bands, centres = scene.sizes["band"], _coordinate(scene, "wavelength")
        if self.wavelength is None or centres is None:
            if self.spectra.shape[1] == bands:
                return type(self)(self.spectra, self.names, centres, _coordinate(scene, "fwhm"))
            which = "scene" if centres is None else "library"
            raise SceneError(
                f"The library has {self.spectra.shape[1]} bands, the scene {bands}, and the {which} has no "
                "wavelengths to match them by.",
                "Add the wavelengths, or give a library with the scene's bands.",
            )
        fwhm = _coordinate(scene, "fwhm")
        if len(self.wavelength) == bands and np.allclose(self.wavelength, centres, rtol=0, atol=0.5):
            return type(self)(self.spectra, self.names, centres, fwhm)
        whole = np.isfinite(self.spectra).all(axis=0)
        source_fwhm = None if self.fwhm is None else self.fwhm[whole]
        try:
            matrix = resampling_matrix(self.wavelength[whole], centres, fwhm, source_fwhm=source_fwhm)
        except CoverageError as error:
            raise CoverageError(
                f"The library ({self.wavelength.min():.0f} to {self.wavelength.max():.0f} nm) does not cover "
                f"the scene's bands ({centres.min():.0f} to {centres.max():.0f} nm): {error.ranges} "
                "are missing.",
                "Use another library, or mark the scene's bands there as bad.",
                error.missing,
            ) from error
        return type(self)(self.spectra[:, whole] @ matrix.astype(np.float64), self.names, centres, fwhm)

    def write(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a CSV table or an ENVI library (.sli with .hdr), by the suffix; whole or not at all.

        The table has a row for each band; its first column holds the wavelength in nanometres
        (``wavelength_nm``) or, where that is unknown, the number of the band (``band``), and each further
        column a spectrum under its name.

        Raises:
            OutputError: a file exists and ``overwrite`` is false, or it cannot be written.
            ParameterError: the suffix is another one.
        """
        path = Path(path)
        if path.suffix.lower() == ".csv":
            with atomic_path(path, overwrite=overwrite) as temporary:
                temporary.write_text(self._csv_text(), encoding="utf-8", newline="")
        elif path.suffix.lower() == ".sli":
            with (
                atomic_path(path.with_suffix(".hdr"), overwrite=overwrite) as header,
                atomic_path(path, overwrite=overwrite) as temporary,
            ):
                temporary.write_bytes(self.spectra.astype("<f4").tobytes())
                header.write_text(self._envi_text(), encoding="utf-8")
        else:
            raise ParameterError(
                f"Spectra cannot be written to {path.name}.", "Give a name that ends in .csv or .sli."
            )

    def _csv_text(self) -> str:
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        known = self.wavelength is not None
        writer.writerow(["wavelength_nm" if known else "band", *self.names])
        first = np.arange(1, self.spectra.shape[1] + 1) if self.wavelength is None else self.wavelength
        for position, values in zip(first, self.spectra.T, strict=True):
            writer.writerow([f"{position:.10g}", *(f"{value:.9g}" for value in values)])
        return buffer.getvalue()

    def _envi_text(self) -> str:
        names = ", ".join(re.sub(r"[{},]", " ", name) for name in self.names)
        rows, bands = self.spectra.shape
        lines = [
            "ENVI",
            f"samples = {bands}\nlines = {rows}\nbands = 1\nheader offset = 0",
            "file type = ENVI Spectral Library\ndata type = 4\ninterleave = bsq\nbyte order = 0",
            f"spectra names = {{{names}}}",
        ]
        for key, values in (("wavelength", self.wavelength), ("fwhm", self.fwhm)):
            if values is not None:
                lines.append(f"{key} = {{{', '.join(f'{value:.10g}' for value in values)}}}")
        if self.wavelength is not None:
            lines.append("wavelength units = Nanometers")
        return "\n".join(lines) + "\n"

    @classmethod
    def _read_csv(cls, path: Path) -> Self:
        try:
            rows = [row for row in csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"))) if row]
        except (UnicodeDecodeError, csv.Error) as error:
            raise SceneError(f"{path} is no table of text: {error}.", "Save it as CSV in UTF-8.") from error
        width = len(rows[0]) if rows else 0
        if len(rows) < 2 or width < 2 or any(len(row) != width for row in rows):
            raise SceneError(
                f"{path} is no table with a heading and a row for each band.",
                "Put the wavelengths in the first column and a spectrum in each further one.",
            )
        places = [place for place, text in enumerate(rows[0]) if parse_number(text) is not None]
        if len(places) > 1 and places == list(range(places[0], width)) and places[0] > 0:
            return cls._of_wide_table(path, rows, places[0])
        parsed = [[_cell(text) for text in row] for row in rows[1:]]
        for number, row in enumerate(parsed, start=2):
            if None in row:
                text = rows[number - 1][row.index(None)]
                raise SceneError(
                    f"Line {number} of {path} holds {text!r}, which is no number.",
                    "Correct the table; separate columns by commas.",
                )
        table = np.array(parsed, np.float64)
        heading = rows[0][0].strip()
        wavelength = None
        if heading.lower() not in ("band", "bands", "channel", "index"):
            unit = _UNIT_IN_HEADING.search(heading)
            wavelength = to_nanometres(table[:, 0], unit[1] if unit else None)
        return cls(table[:, 1:].T, tuple(name.strip() for name in rows[0][1:]), wavelength)

    @classmethod
    def _of_wide_table(cls, path: Path, rows: list[list[str]], first: int) -> Self:
        """A row for each spectrum; the columns from ``first`` on are headed by their wavelengths."""
        wavelength = np.array([parse_number(text) for text in rows[0][first:]], np.float64)
        cells = [[_cell(text) for text in row[first:]] for row in rows[1:]]
        for number, row in enumerate(cells, start=2):
            if None in row:
                raise SceneError(f"Line {number} of {path} holds what is no number.", "Correct the table.")
        spectra = np.array(cells, np.float64)
        names = tuple(row[0].strip() for row in rows[1:])
        return cls(spectra, names, to_nanometres(wavelength, None))

    @classmethod
    def _read_envi(cls, path: Path) -> Self:
        header_path = path if path.suffix.lower() == ".hdr" else _header_beside(path)
        header = read_header(header_path)
        if "spectral library" not in (header.text("file type") or "").lower():
            raise SceneError(f"{header_path} describes no spectral library.", "Give an ENVI library (.sli).")
        data = path if path != header_path else _data_beside(header_path)
        spectra = _envi_values(header, data)
        unit = header.text("wavelength units")
        bands = spectra.shape[1]
        centres, widths = header.numbers("wavelength", bands), header.numbers("fwhm", bands)
        names = split_list(header.entries.get("spectra names", ""))
        if len(names) != len(spectra):
            names = [f"spectrum {number}" for number in range(1, len(spectra) + 1)]
        if centres is None:
            return cls(spectra, tuple(names))
        fwhm = None if widths is None else widths_to_nanometres(widths, centres, unit)
        return cls(spectra, tuple(names), to_nanometres(centres, unit), fwhm)


def _envi_values(header: EnviHeader, data: Path) -> Float64:
    """(spectra, bands) with the header's scale applied and its ignore value as NaN. Raises SceneError."""
    layout = read_layout(header)
    planes, rows, bands = layout.shape
    if planes != 1 or data.stat().st_size < layout.offset + layout.nbytes:
        raise SceneError(
            f"{data} does not hold the {rows} spectra of {bands} bands that {header.path.name} states.",
            "Give the header that belongs to it.",
        )
    stored = np.fromfile(data, layout.dtype, rows * bands, offset=layout.offset).reshape(rows, bands)
    values = stored.astype(np.float64)
    ignore, scale = header.number("data ignore value"), header.number("reflectance scale factor")
    if ignore is not None:
        values[stored == ignore] = np.nan
    return values / scale if scale else values


def _header_beside(data: Path) -> Path:
    for candidate in (data.with_suffix(".hdr"), data.with_name(data.name + ".hdr")):
        if candidate.is_file():
            return candidate
    raise SceneError(f"There is no header {data.with_suffix('.hdr')}.", "Keep it beside the library.")


def _data_beside(header: Path) -> Path:
    for suffix in (".sli", ".esl", ""):
        if (candidate := header.with_suffix(suffix)).is_file():
            return candidate
    raise SceneError(f"There is no library beside {header}.", "Give the .sli file.")


def _cell(text: str) -> float | None:
    return np.nan if not text.strip() else parse_number(text)


def _numbered(names: Sequence[str]) -> list[str]:
    """Names that repeat get a number."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(f"{name} {seen[name]}" if names.count(name) > 1 else name)
    return found


def _coordinate(scene: xr.DataArray, name: str) -> Float64 | None:
    return np.atleast_1d(scene[name].to_numpy()).astype(np.float64) if name in scene.coords else None
