"""What files say about their bands, brought to one form: nanometres, booleans, UTC."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

SPEED_OF_LIGHT = 299_792_458.0
"""Metres per second."""

MICROMETRES_BELOW = 100.0
"""Wavelengths without a unit count as micrometres when all are below this, else as nanometres."""

PLAUSIBLE_NM = (100.0, 1e6)
"""Wavelengths that are guessed (unit or place not stated) must lie in here to be believed."""

_LENGTHS_NM = {
    "nanometer": 1.0,
    "nanometre": 1.0,
    "nm": 1.0,
    "micrometer": 1e3,
    "micrometre": 1e3,
    "micron": 1e3,
    "um": 1e3,
    "millimeter": 1e6,
    "millimetre": 1e6,
    "mm": 1e6,
    "centimeter": 1e7,
    "centimetre": 1e7,
    "cm": 1e7,
    "meter": 1e9,
    "metre": 1e9,
    "m": 1e9,
    "angstrom": 0.1,
    "ångström": 0.1,
    "å": 0.1,
}
_RECIPROCALS_NM = {
    "wavenumber": 1e7,
    "cm-1": 1e7,
    "1/cm": 1e7,
    "ghz": SPEED_OF_LIGHT,
    "mhz": SPEED_OF_LIGHT * 1e3,
}
_NO_SPECTRUM = ("index", "year", "date", "time", "doy", "day")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_LENGTH_WORDS = r"nanomet(?:er|re)s?|nm|micromet(?:er|re)s?|microns?|[uµμ]m|angstroms?"
_NUMBER_WITH_UNIT = re.compile(rf"({_NUMBER})\s*({_LENGTH_WORDS})\b", re.IGNORECASE)
_NUMBER_IN_BRACKETS = re.compile(rf"[(\[]\s*({_NUMBER})\s*[)\]]\s*$")
_NAMED_BY_NANOMETRES = re.compile(r"^band[_ ](\d{3,4})$", re.IGNORECASE)


def normalise_unit(unit: str | None) -> str | None:
    """The unit in lower case and singular, or None where the file leaves it open (absent, "Unknown")."""
    if unit is None:
        return None
    word = unit.strip().strip("{}\"'").strip().lower().replace("µ", "u").replace("μ", "u")
    if word.endswith("s") and word[:-1] in _LENGTHS_NM | _RECIPROCALS_NM:
        word = word[:-1]
    return None if word in ("", "unknown", "none", "n/a") else word


def to_nanometres(
    values: Sequence[float] | NDArray[np.float64], unit: str | None
) -> NDArray[np.float64] | None:
    """Band centres in nanometres, (bands,) float64; None where the numbers are no wavelengths.

    A missing, unknown or misspelt unit is guessed: all values below 100 are micrometres, others
    nanometres (the rule of EnMAP-Box). Units such as "Index" or "decimal year" make no spectrum.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0 or not np.all(np.isfinite(numbers)) or np.any(numbers <= 0):
        return None
    word = normalise_unit(unit)
    if word in _LENGTHS_NM:
        return numbers * _LENGTHS_NM[word]
    if word in _RECIPROCALS_NM:
        return _RECIPROCALS_NM[word] / numbers
    if word is not None and any(name in word for name in _NO_SPECTRUM):
        return None
    guess = numbers * 1e3 if numbers.max() < MICROMETRES_BELOW else numbers
    return guess if _plausible(guess) else None


def widths_to_nanometres(
    widths: Sequence[float] | NDArray[np.float64],
    centres: Sequence[float] | NDArray[np.float64],
    unit: str | None,
) -> NDArray[np.float64] | None:
    """Full widths at half maximum in nanometres, given in the unit of the band ``centres``.

    In reciprocal units (wavenumber, frequency) the width is that of the interval in wavelength,
    Δλ = λ · Δν / ν to first order. None where a width is missing, negative or not finite.
    """
    width = np.asarray(widths, dtype=np.float64)
    centre = np.asarray(centres, dtype=np.float64)
    nanometres = to_nanometres(centre, unit)
    if (
        nanometres is None
        or width.shape != centre.shape
        or not np.all(np.isfinite(width))
        or np.any(width < 0)
    ):
        return None
    return width * nanometres / centre


def wavelengths_in_names(names: Iterable[str | None]) -> NDArray[np.float64] | None:
    """Band centres in nanometres found in band names, or None unless every name has one.

    Understood: ``376.44 Nanometers``, ``band 1 (0.46 Micrometers)``, ``Resize (Band 1:x) (426.82)``
    and ``Band_503``; numbers without a unit only when they are distinct and plausible as wavelengths.
    """
    texts = [name or "" for name in names]
    if not texts:
        return None
    with_unit = [_NUMBER_WITH_UNIT.search(text) for text in texts]
    if all(with_unit):
        single = [to_nanometres([float(hit[1])], hit[2]) for hit in with_unit if hit]
        return (
            None
            if any(value is None for value in single)
            else np.array([v[0] for v in single if v is not None])
        )
    in_brackets = [_NUMBER_IN_BRACKETS.search(text) for text in texts]
    if all(in_brackets):
        numbers = np.array([float(hit[1]) for hit in in_brackets if hit])
        counts = numbers.max() < MICROMETRES_BELOW and bool(np.all(numbers == np.rint(numbers)))
        return None if counts or len(set(numbers)) < len(numbers) else to_nanometres(numbers, None)
    by_name = [_NAMED_BY_NANOMETRES.match(text.strip()) for text in texts]
    if all(by_name):
        return _from_named_bands(np.array([float(hit[1]) for hit in by_name if hit]))
    return None


def parse_number(text: str) -> float | None:
    """The number a text starts with ("2284.74 Nanometers" gives 2284.74), or None."""
    hit = re.match(rf"\s*({_NUMBER}|[-+]?nan|[-+]?inf(?:inity)?)(?![\w.])", text, re.IGNORECASE)
    return float(hit[1]) if hit else None


def split_list(text: str) -> list[str]:
    """The entries of an ENVI list, ``{a, b, c}`` with or without its braces."""
    inside = text.strip().removeprefix("{").removesuffix("}")
    return [entry.strip() for entry in inside.split(",")] if inside.strip() else []


def parse_time(text: str | None) -> str | None:
    """A time as ISO 8601 in UTC to the second ("2020-05-06T10:11:12Z"); None if it is none.

    Times without a zone count as UTC; ``+0000`` suffixes and TIFF's ``2020:05:06 10:11:12`` are understood.
    """
    if not text:
        return None
    cleaned = text.strip().strip("{}\"'").strip()
    cleaned = re.sub(r"^(\d{4}):(\d\d):(\d\d)(?=[ T])", r"\1-\2-\3", cleaned)
    cleaned = re.sub(r"\s*(UTC|GMT)$", "Z", cleaned)
    try:
        moment = datetime.fromisoformat(cleaned)
    except ValueError:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def looks_like_years(values: NDArray[np.float64], description: str) -> bool:
    """Whether "wavelengths" are the decimal years of a FORCE time series (1984 to 2100)."""
    return "force" in description.lower() and bool(np.all((values >= 1984) & (values <= 2100)))


def _from_named_bands(numbers: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Numbers of names like ``Band_503``: nanometres unless they merely count the bands."""
    steps = np.diff(numbers)
    counts = bool(np.any(steps <= 0)) or (steps.size > 0 and float(np.median(steps)) < 2)
    return None if counts or numbers[0] < 300 else numbers


def _plausible(nanometres: NDArray[np.float64]) -> bool:
    return bool(nanometres.min() >= PLAUSIBLE_NM[0] and nanometres.max() <= PLAUSIBLE_NM[1])
