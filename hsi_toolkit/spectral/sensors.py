"""The bands of a sensor: from a header, a table of centres and widths, response functions or a scene."""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.errors import ParameterError, SceneError
from hsi_toolkit.scene.metadata import parse_number, to_nanometres, widths_to_nanometres
from hsi_toolkit.scene.opening import open_scene
from hsi_toolkit.scene.readers import first_bytes
from hsi_toolkit.scene.readers.envi import UNIT_KEYS
from hsi_toolkit.scene.readers.envi_header import is_envi_header, read_header
from hsi_toolkit.spectral.resample import Matrix, covered, resampling_matrix, response_matrix

Float64 = NDArray[np.float64]

MAX_TABLE_BYTES = 64 << 20
HALF = 0.5

_UNIT = re.compile(r"[\[(_\s]([a-zA-Zµμ]+)[\])]?\s*$")
_WIDTH = re.compile(r"fwhm|width|half.?max|bandpass", re.IGNORECASE)
_NUMBERING = re.compile(r"^(band|bands|channel|number|no|nr|id|index|#)\W*$", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Responses:
    """Response functions (points, bands) at ascending wavelengths (points,) in nanometres."""

    grid: Float64
    values: Float64


@dataclass(frozen=True, eq=False)
class Sensor:
    """The bands of a sensor.

    Attributes:
        name: of the file or sensor.
        wavelength: (bands,) centres in nanometres.
        fwhm: (bands,) full widths at half maximum in nanometres, None where unknown.
        responses: the response functions themselves, where these are known.
        names: of the bands, empty where they have none.
        good: (bands,) false for bands that are called bad, None when all are good.
    """

    name: str
    wavelength: Float64
    fwhm: Float64 | None = None
    responses: Responses | None = None
    names: tuple[str, ...] = ()
    good: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.wavelength)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The bands that a file states: an ENVI header, a table, or a scene of that sensor.

        A table (.csv, .txt) has a heading. Either its columns are centres and, if known, widths
        (``wavelength_nm,fwhm_nm``), a row for each band; or the first column holds wavelengths and each
        further one the response of a band there.

        Raises:
            SceneError: there is no such file, or it states no wavelengths.
        """
        location = Path(path)
        if not location.exists():
            raise SceneError(
                f"There is no file {location} to take bands from.",
                "Give an ENVI header, a table of wavelengths or a scene of the sensor.",
            )
        if location.suffix.lower() in (".csv", ".txt") and location.is_file():
            return cls._read_table(location)
        if is_envi_header(first_bytes(location)):
            return cls._read_header(location)
        return cls.of_scene(open_scene(location), location.name)

    @classmethod
    def of_scene(cls, scene: xr.DataArray, name: str) -> Self:
        """The bands of a scene, in the order of their numbers. Raises SceneError without wavelengths."""
        if "wavelength" not in scene.coords:
            raise SceneError(f"{name} has no wavelengths.", "Give a file that states them.")
        order = np.argsort(scene["band"].to_numpy(), kind="stable")
        widths = scene["fwhm"].to_numpy()[order] if "fwhm" in scene.coords else None
        return cls(name, scene["wavelength"].to_numpy()[order], widths, good=scene["good"].to_numpy()[order])

    @classmethod
    def _read_header(cls, path: Path) -> Self:
        header = read_header(path)
        entries = header.entries.get("wavelength", "")
        centres = header.numbers("wavelength", entries.count(",") + 1) if entries else None
        if centres is None:
            raise SceneError(f"{path} has no 'wavelength'.", "Give a header that lists them.")
        unit = next((text for key in UNIT_KEYS if (text := header.text(key))), None)
        wavelength = to_nanometres(centres, unit)
        if wavelength is None:
            raise SceneError(f"'wavelength' of {path} holds no wavelengths.", "Correct the header.")
        widths = header.numbers("fwhm", len(centres))
        fwhm = None if widths is None else widths_to_nanometres(widths, centres, unit)
        flags = header.numbers("bbl", len(centres))
        return cls(path.name, wavelength, fwhm, good=None if flags is None else flags > 0)

    @classmethod
    def _read_table(cls, path: Path) -> Self:
        heading, table = _table(path)
        unit = _UNIT.search(heading[0])
        wavelength = to_nanometres(table[:, 0], unit[1] if unit else None)
        if wavelength is None:
            raise SceneError(
                f"The first column of {path} holds no wavelengths.",
                "Put wavelengths there, in nanometres or with their unit in the heading.",
            )
        if table.shape[1] == 1:
            return cls(path.name, wavelength)
        if _WIDTH.search(heading[1]):
            stated = _UNIT.search(heading[1])
            own = to_nanometres([1.0], stated[1]) if stated else None
            scale = float(own[0]) if own is not None else wavelength[0] / table[0, 0]
            widths = table[:, 1] * scale
            if not np.isfinite(widths).all() or (widths <= 0).any():
                raise SceneError(f"A width in {path} is no positive number.", "Correct the second column.")
            return cls(path.name, wavelength, widths)
        return cls._of_responses(path, wavelength, table[:, 1:], heading[1:])

    @classmethod
    def _of_responses(cls, path: Path, grid: Float64, values: Float64, names: list[str]) -> Self:
        values = np.nan_to_num(values)
        if (
            len(grid) < 2
            or (np.diff(grid) <= 0).any()
            or (values < 0).any()
            or (values.max(axis=0) <= 0).any()
        ):
            raise SceneError(
                f"{path} holds no response functions.",
                "Wavelengths must ascend, and every band have responses of zero or more.",
            )
        centres = (grid[:, None] * values).sum(axis=0) / values.sum(axis=0)
        fwhm = np.array([_half_width(grid, column) for column in values.T])
        return cls(path.name, centres, fwhm, Responses(grid, values), tuple(names))

    def resampled_from(
        self, source_nm: Float64, source_fwhm: Float64 | None = None, *, partial: bool = False
    ) -> tuple[Self, Matrix]:
        """This sensor's good bands and the matrix (source bands, bands) that gives them.

        Args:
            source_nm, source_fwhm: (source bands,) nanometres.
            partial: leave out the bands that the source does not cover.

        Raises:
            CoverageError: it does not cover all, and ``partial`` is false; or it covers none.
        """
        sensor = self if self.good is None else self._only(self.good)
        if partial:
            sensor = sensor._only(covered(source_nm, *sensor._reach()))
        if sensor.responses is not None:
            return sensor, response_matrix(source_nm, sensor.responses.grid, sensor.responses.values)
        matrix = resampling_matrix(source_nm, sensor.wavelength, sensor.fwhm, source_fwhm=source_fwhm)
        return sensor, matrix

    def _reach(self) -> tuple[Float64, Float64]:
        if self.responses is None:
            return self.wavelength, self.wavelength
        mattering = self.responses.values > 0.02 * self.responses.values.max(axis=0)
        grid = self.responses.grid
        return (
            np.array([grid[column].min() for column in mattering.T]),
            np.array([grid[column].max() for column in mattering.T]),
        )

    def _only(self, kept: NDArray[np.bool_]) -> Self:
        if not kept.any():
            raise ParameterError(
                f"None of the {len(self)} bands of {self.name} is left.", "Choose another sensor or scene."
            )
        responses = self.responses and Responses(self.responses.grid, self.responses.values[:, kept])
        names = tuple(np.array(self.names)[kept].tolist()) if self.names else ()
        fwhm = None if self.fwhm is None else self.fwhm[kept]
        return type(self)(self.name, self.wavelength[kept], fwhm, responses, names)


def _table(path: Path) -> tuple[list[str], Float64]:
    """Heading and numbers of a table; separators are commas, semicolons, tabs or blanks."""
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise SceneError(f"{path} is too large for a table of bands.", "Give another file.")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SceneError(f"{path} is no table of text.", "Save it as CSV in UTF-8.") from error
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    separator = next((mark for mark in (",", ";", "\t") if lines and mark in lines[0]), None)
    rows = (
        [line.split() for line in lines]
        if separator is None
        else list(csv.reader(io.StringIO("\n".join(lines)), delimiter=separator))
    )
    heading = ["wavelength"] if not rows else [cell.strip() for cell in rows[0]]
    if rows and parse_number(heading[0]) is not None:
        heading = ["wavelength", "fwhm", *(f"band {number}" for number in range(2, len(rows[0])))][
            : len(rows[0])
        ]
    else:
        rows = rows[1:]
    if rows and _NUMBERING.match(heading[0]) and len(heading) > 1:
        heading, rows = heading[1:], [row[1:] for row in rows]
    numbers = [[parse_number(cell) if cell.strip() else float("nan") for cell in row] for row in rows]
    wrong = [number for number, row in enumerate(numbers, 1) if None in row or len(row) != len(heading)]
    if not numbers or wrong:
        where = f"row {wrong[0]} below the heading" if wrong else "it"
        raise SceneError(
            f"{path} is no table of bands: {where} holds no {len(heading)} numbers.",
            "Give a row for each band with its wavelength and width, or response functions.",
        )
    return heading, np.array(numbers, np.float64)


def _half_width(grid: Float64, response: Float64) -> float:
    """Full width at half maximum of a response function, its outermost crossings counting."""
    half = HALF * response.max()
    above = np.flatnonzero(response >= half)
    first, last = above[0], above[-1]
    left, right = grid[first], grid[last]
    if first > 0:
        share = (half - response[first - 1]) / (response[first] - response[first - 1])
        left = grid[first - 1] + share * (grid[first] - grid[first - 1])
    if last < len(grid) - 1:
        share = (response[last] - half) / (response[last] - response[last + 1])
        right = grid[last] + share * (grid[last + 1] - grid[last])
    return float(right - left)
