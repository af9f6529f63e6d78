"""Corrections to a scene's metadata, kept in a small JSON file beside it that every reader honours.

``scene.hdr`` and ``scene.img`` share ``scene.hdr.hsi.json`` or ``scene.img.hsi.json``; any other file has its
own name with ``.hsi.json`` appended. The file itself is never touched. See ``docs/check.md`` for the format.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self, cast, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.errors import SceneError
from hsi_toolkit.files import write_json
from hsi_toolkit.scene.blocks import values_of
from hsi_toolkit.scene.contract import SCENE_NAME, Quantity
from hsi_toolkit.scene.lazy import BandIndex, Float32, lazy_variable
from hsi_toolkit.scene.metadata import parse_time

SUFFIX = ".hsi.json"
FORMAT, VERSION = "hsi_toolkit scene corrections", 1
MAX_BYTES = 16 << 20

Numbers = tuple[float, ...]

_SUFFIXES_OF_PAIRS = ("", ".img", ".dat", ".raw", ".bsq", ".bil", ".bip", ".bin", ".hdr")


@dataclass(frozen=True)
class Corrections:
    """What replaces a scene's own metadata; None leaves it as the file has it.

    Attributes:
        bands: number of bands of the scene that this is for.
        wavelengths_nm, fwhm_nm: one for each band, nanometres, in the order of the bands' numbers.
        bad_bands: numbers of the bad bands as the file counts them, from 1; all others are good.
        scale, offset: what the values are multiplied by and what is added then, one number or one for each
            band. They apply to the values as they would be read without this file.
        nodata: the value, as it would be read without this file, that means "no data".
        quantity: "reflectance", "radiance" or "dn".
        sensor, acquired: name and time (ISO 8601).
        note: for people.
    """

    bands: int | None = None
    wavelengths_nm: Numbers | None = None
    fwhm_nm: Numbers | None = None
    bad_bands: tuple[int, ...] | None = None
    scale: float | Numbers | None = None
    offset: float | Numbers | None = None
    nodata: float | None = None
    quantity: Quantity | None = None
    sensor: str | None = None
    acquired: str | None = None
    note: str | None = field(default=None, compare=False)

    def __bool__(self) -> bool:
        return any(
            getattr(self, each.name) is not None
            for each in fields(self)
            if each.name not in ("bands", "note")
        )

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The corrections in a file. Raises SceneError, naming the entry that is wrong."""
        location = Path(path)
        try:
            if location.stat().st_size > MAX_BYTES:
                raise SceneError(
                    f"{location} has {location.stat().st_size} bytes, too many for corrections.",
                    "Remove it or write it anew with 'hsi check'.",
                )
            content = json.loads(location.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise SceneError(
                f"{location} is no JSON text: {error}.", "Correct or remove the file beside the scene."
            ) from error
        except OSError as error:
            if isinstance(error, SceneError):
                raise
            raise SceneError(
                f"{location} cannot be read: {error.strerror or error}.", "Check the file."
            ) from error
        return cls._parsed(content, location)

    @classmethod
    def _parsed(cls, content: object, path: Path) -> Self:
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise SceneError(
                f"{path} is no file of scene corrections.", f'It has to hold "format": "{FORMAT}".'
            )
        version = content.get("version")
        if version != VERSION or isinstance(version, bool):
            raise SceneError(
                f"{path} is of version {version!r}, this program reads version {VERSION}.",
                "Update the program or write the file anew with 'hsi check'.",
            )
        known = {each.name for each in fields(cls)}
        unknown = sorted(set(content) - known - {"format", "version"})
        if unknown:
            raise SceneError(
                f"{path} has an entry {unknown[0]!r}.", f"It may have {', '.join(sorted(known))}."
            )
        values = {name: value for name, value in content.items() if name in known and value is not None}
        return cls(**{name: _CHECKS[name](value, name, path) for name, value in values.items()})

    def write(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write them, without the entries that are None. Raises OutputError."""
        entries = {each.name: getattr(self, each.name) for each in fields(self)}
        kept = {name: value for name, value in entries.items() if value is not None}
        write_json(path, {"format": FORMAT, "version": VERSION, **kept}, overwrite=overwrite)

    def apply(self, scene: xr.DataArray, path: Path) -> xr.DataArray:
        """The scene with these corrections, as lazy as before; ``path`` is this file, for messages.

        Raises:
            SceneError: a list is not as long as the scene has bands.
        """
        numbers = scene["band"].to_numpy()
        self._check_counts(numbers, path)
        place = f"the corrections in {path.name}"
        found = dict(scene.encoding.get("found", {}))
        corrected = scene
        if any(each is not None for each in (self.scale, self.offset, self.nodata)):
            corrected = self._with_values(scene)
        for name, values in (("wavelength", self.wavelengths_nm), ("fwhm", self.fwhm_nm)):
            if values is not None:
                in_order = np.array(values)[_ranks(numbers)]
                corrected = corrected.assign_coords({name: ("band", in_order, {"units": "nm"})})
                found[name] = place
        if self.bad_bands is not None:
            corrected = corrected.assign_coords(good=("band", ~np.isin(numbers, self.bad_bands)))
            found["good"] = place
        if self.quantity is not None:
            corrected.attrs.pop("units", None)
            if self.quantity == "reflectance":
                corrected.attrs["units"] = "1"
        for name in ("quantity", "sensor", "acquired"):
            if (value := getattr(self, name)) is not None:
                corrected.attrs[name] = value
                found[name] = place
        found |= {name: place for name in ("scale", "nodata") if getattr(self, name) is not None}
        if self.offset is not None:
            found["scale"] = place
        corrected.encoding["found"] = found
        return corrected

    def factors(self, scene: xr.DataArray) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
        """``scale`` and ``offset`` for the bands of a scene, (bands,) or (1,) float32 each, or None."""
        ranks = _ranks(scene["band"].to_numpy())
        made = (_array(values) for values in (self.scale, self.offset))
        scale, offset = (values if values is None or values.size == 1 else values[ranks] for values in made)
        return scale, offset

    def _check_counts(self, numbers: NDArray[np.integer], path: Path) -> None:
        count = len(numbers)
        listed = {
            name: len(value)
            for name in ("wavelengths_nm", "fwhm_nm", "scale", "offset")
            if isinstance(value := getattr(self, name), tuple)
        }
        for name, length in listed.items():
            if length != count:
                raise SceneError(
                    f"'{name}' in {path} has {length} entries, the scene {count} bands.",
                    "Give one for each band.",
                )
        strange = sorted(set(self.bad_bands or ()) - set(numbers.tolist()))
        if strange:
            raise SceneError(
                f"'bad_bands' in {path} names band {strange[0]}, which the scene lacks: its bands are "
                f"{numbers.min()} to {numbers.max()}.",
                "Correct the list.",
            )
        if self.bands is not None and self.bands != count:
            raise SceneError(
                f"{path} is for a scene of {self.bands} bands, this one has {count}.",
                "Remove it or write it anew with 'hsi check'.",
            )

    def _with_values(self, scene: xr.DataArray) -> xr.DataArray:
        source = _Corrected(scene, *self.factors(scene), self.nodata)
        corrected = xr.DataArray(
            lazy_variable(source), coords=scene.coords, attrs=dict(scene.attrs), name=scene.name or SCENE_NAME
        )
        corrected.encoding = dict(scene.encoding)
        # Numbers are no longer those of the file.
        corrected.encoding.pop("_FillValue", None)
        return corrected


class _Corrected:
    """A scene's values with corrections to them (see ``RasterSource``)."""

    def __init__(
        self,
        scene: xr.DataArray,
        scale: NDArray[np.float32] | None,
        offset: NDArray[np.float32] | None,
        nodata: float | None,
    ) -> None:
        self.scene, self.scale, self.offset, self.nodata = scene, scale, offset, nodata
        bands, height, width = scene.shape
        self.shape = (bands, height, width)

    def read(self, bands: BandIndex, rows: slice, columns: slice) -> Float32:
        """See ``RasterSource.read``."""
        values = values_of(self.scene.isel(band=bands, y=rows, x=columns))
        missing = None if self.nodata is None else values == np.float32(self.nodata)
        for operation, factors in ((np.multiply, self.scale), (np.add, self.offset)):
            if factors is not None:
                each = factors if factors.size == 1 else factors[bands]
                operation(values, each[:, None, None], out=values)
        if missing is not None:
            values[missing] = np.nan
        return values


def sidecar_path(path: str | os.PathLike[str]) -> Path:
    """Where the corrections of a scene are written."""
    location = Path(path)
    return location.with_name(location.name + SUFFIX)


def find_sidecar(path: Path) -> Path | None:
    """The corrections beside a scene, those of the other file of an ENVI pair included; None without any."""
    own = sidecar_path(path)
    if own.is_file():
        return own
    for partner in _partners(path):
        if (beside := sidecar_path(partner)).is_file():
            return beside
    return None


def _partners(path: Path) -> list[Path]:
    """The header of a data file, the data files that a header may have."""
    if path.suffix.lower() == ".hdr":
        return [path.with_suffix(suffix) for suffix in _SUFFIXES_OF_PAIRS[:-1]]
    headers = [path.with_name(f"{path.name}.hdr"), path.with_suffix(".hdr")]
    # A GeoTIFF beside an ENVI pair of the same name is another scene.
    return headers if path.suffix.lower() in _SUFFIXES_OF_PAIRS else []


def _ranks(numbers: NDArray[np.integer]) -> NDArray[np.intp]:
    """For each band its place in the order of the bands' numbers."""
    return np.argsort(np.argsort(numbers, kind="stable"), kind="stable")


def _array(values: float | Numbers | None) -> NDArray[np.float32] | None:
    return None if values is None else np.atleast_1d(np.asarray(values, np.float32))


def _wrong(name: str, path: Path, value: object, wanted: str) -> SceneError:
    return SceneError(f"'{name}' in {path} holds {str(value)[:60]!r}.", f"Give {wanted}.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e300


def _number(value: object, name: str, path: Path) -> float:
    if not _is_number(value) or (name == "scale" and value == 0):
        raise _wrong(name, path, value, "a number other than zero" if name == "scale" else "a number")
    return float(cast(float, value))


def _numbers(value: object, name: str, path: Path) -> Numbers:
    entries = value if isinstance(value, list) else [value]
    positive = name in ("wavelengths_nm", "fwhm_nm")
    for entry in entries:
        if not _is_number(entry) or (positive and not 0 < cast(float, entry) < 1e6):
            raise _wrong(name, path, entry, "positive numbers of nanometres" if positive else "numbers")
    if positive and not isinstance(value, list):
        raise _wrong(name, path, value, "a list")
    return tuple(float(cast(float, entry)) for entry in entries)


def _number_or_numbers(value: object, name: str, path: Path) -> float | Numbers:
    if not isinstance(value, list):
        return _number(value, name, path)
    return tuple(_number(entry, name, path) for entry in value)


def _band_numbers(value: object, name: str, path: Path) -> tuple[int, ...]:
    entries: Sequence[object] = value if isinstance(value, list) else [value]
    for entry in entries:
        if not isinstance(entry, int) or isinstance(entry, bool) or entry < 1:
            raise _wrong(name, path, entry, "a list of band numbers, the first band being 1")
    return tuple(sorted({cast(int, entry) for entry in entries}))


def _count(value: object, name: str, path: Path) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _wrong(name, path, value, "the number of bands")
    return value


def _text(value: object, name: str, path: Path) -> str:
    if not isinstance(value, str):
        raise _wrong(name, path, value, "a text")
    return value


def _quantity(value: object, name: str, path: Path) -> Quantity:
    if value not in get_args(Quantity):
        raise _wrong(name, path, value, "reflectance, radiance or dn")
    return cast(Quantity, value)


def _time(value: object, name: str, path: Path) -> str:
    moment = parse_time(value) if isinstance(value, str) else None
    if moment is None:
        raise _wrong(name, path, value, "a time such as 2024-06-14T10:21:33Z")
    return moment


_CHECKS: Mapping[str, Callable[[object, str, Path], Any]] = {
    "bands": _count,
    "wavelengths_nm": _numbers,
    "fwhm_nm": _numbers,
    "bad_bands": _band_numbers,
    "scale": _number_or_numbers,
    "offset": _number_or_numbers,
    "nodata": _number,
    "quantity": _quantity,
    "sensor": _text,
    "acquired": _time,
    "note": _text,
}
