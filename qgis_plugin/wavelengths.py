"""The wavelengths of a raster layer's bands, and which bands its file calls bad, without the engine.

The rules are those of the core's readers: the same places in the same order, the same units and guesses.
Where QGIS sees none (HDF5 products), the engine's ``info`` knows more; ``store_bands`` keeps what it found
with the layer.
"""

import math
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Dict, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from qgis.core import Qgis, QgsRasterLayer

from .band_tags import BandTags, envi_header, layer_path, read_tags, sidecars, split_list
from .corrections import corrections_files, read_corrections
from .product_metadata import metadata_file, stated_bands

#: Custom properties of a layer: wavelengths in nm and bad bands (from zero), joined by commas.
WAVELENGTHS_PROPERTY = "hsi_toolkit/wavelengths"
BAD_BANDS_PROPERTY = "hsi_toolkit/bad_bands"

WAVELENGTH_KEYS = (
    "wavelength", "wavelengths", "wl", "center_wavelength", "centre_wavelength", "central_wavelength",
    "center_wavelengths",
)  # fmt: skip
UNIT_KEYS = ("wavelength_units", "wavelength_unit", "wavelengths_units", "wlu", "wavelength_unts")
BAD_BAND_KEYS = ("bbl", "bad_band_multiplier", "bad_band_list", "bad_band")

#: Wavelengths without a unit are micrometres when all lie below the first; the second (nm) must hold them.
MICROMETRES_BELOW, PLAUSIBLE_NM = 100.0, (100.0, 1e6)
#: IMAGERY is often rounded to whole nanometres; another place that agrees to this is more exact.
ROUNDING_NM = 1.0
SPEED_OF_LIGHT = 299_792_458.0

_LENGTHS_NM = {
    "nanometer": 1.0, "nanometre": 1.0, "nm": 1.0, "micrometer": 1e3, "micrometre": 1e3, "micron": 1e3,
    "um": 1e3, "millimeter": 1e6, "millimetre": 1e6, "mm": 1e6, "centimeter": 1e7, "centimetre": 1e7,
    "cm": 1e7, "meter": 1e9, "metre": 1e9, "m": 1e9, "angstrom": 0.1, "ångström": 0.1, "å": 0.1,
}  # fmt: skip
_RECIPROCALS_NM = {
    "wavenumber": 1e7, "cm-1": 1e7, "1/cm": 1e7, "ghz": SPEED_OF_LIGHT, "mhz": SPEED_OF_LIGHT * 1e3,
}  # fmt: skip
_NO_SPECTRUM = ("index", "year", "date", "time", "doy", "day")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_LENGTH_WORDS = r"nanomet(?:er|re)s?|nm|micromet(?:er|re)s?|microns?|[uµμ]m|angstroms?"
_NUMBER_WITH_UNIT = re.compile(rf"({_NUMBER})\s*({_LENGTH_WORDS})\b", re.IGNORECASE)
_NUMBER_IN_BRACKETS = re.compile(rf"[(\[]\s*({_NUMBER})\s*[)\]]\s*$")
_NAMED_BY_NANOMETRES = re.compile(r"^band[_ ](\d{3,4})$", re.IGNORECASE)

_CACHE_SIZE = 64
_cache: "OrderedDict[Tuple[object, ...], Bands]" = OrderedDict()


@dataclass(frozen=True)
class Bands:
    """What is known of a layer's bands: centres in nm (or None), bad ones (from zero), and the quantity.

    ``quantity`` is "reflectance", "radiance" or "" (unknown); QGIS's values times ``scale`` are in it.
    """

    wavelengths: Optional[Tuple[float, ...]] = None
    bad: FrozenSet[int] = frozenset()
    quantity: str = ""
    scale: float = 1.0


def layer_wavelengths(layer: QgsRasterLayer) -> Optional[List[float]]:
    """Centres of all bands in nanometres, None where nothing says them."""
    found = layer_bands(layer).wavelengths
    return None if found is None else list(found)


def layer_bad_bands(layer: QgsRasterLayer) -> Set[int]:
    """The bands, counted from zero, that the file or a person calls bad."""
    return set(layer_bands(layer).bad)


def layer_bands(layer: QgsRasterLayer) -> Bands:
    """All that is known of the bands, read once until one of the layer's files changes."""
    key = _cache_key(layer)
    bands = _cache.get(key)
    if bands is None:
        bands = _corrected(_interpret(read_tags(layer), layer), layer) if layer.isValid() else Bands()
        _cache[key] = bands
        while len(_cache) > _CACHE_SIZE:
            _cache.popitem(last=False)
    return _with_stored(bands, layer)


def store_bands(layer: QgsRasterLayer, wavelengths: Sequence[float], bad: Sequence[int]) -> None:
    """Keep wavelengths (nm) and bad bands (from zero) with the layer, and so with the project."""
    layer.setCustomProperty(WAVELENGTHS_PROPERTY, ",".join(f"{value:.6g}" for value in wavelengths))
    layer.setCustomProperty(BAD_BANDS_PROPERTY, ",".join(str(band) for band in sorted(bad)))


def to_nanometres(values: Sequence[float], unit: Optional[str]) -> Optional[List[float]]:
    """Band centres in nanometres; None where the numbers are no wavelengths.

    A unit that is missing or unknown is guessed: all values below 100 are micrometres, others nanometres.
    """
    if not values or not all(math.isfinite(value) and value > 0 for value in values):
        return None
    word = _normalise_unit(unit)
    if word in _LENGTHS_NM:
        return [value * _LENGTHS_NM[word] for value in values]
    if word in _RECIPROCALS_NM:
        return [_RECIPROCALS_NM[word] / value for value in values]
    if word is not None and any(name in word for name in _NO_SPECTRUM):
        return None
    guess = [value * 1e3 for value in values] if max(values) < MICROMETRES_BELOW else list(values)
    return guess if PLAUSIBLE_NM[0] <= min(guess) and max(guess) <= PLAUSIBLE_NM[1] else None


def wavelengths_in_names(names: Sequence[str]) -> Optional[List[float]]:
    """Band centres in nanometres found in band names, None unless every name has one."""
    with_unit = [_NUMBER_WITH_UNIT.search(name) for name in names]
    if names and all(with_unit):
        single = [to_nanometres([float(hit[1])], hit[2]) for hit in with_unit if hit]
        return None if None in single else [value[0] for value in single if value]
    in_brackets = [_NUMBER_IN_BRACKETS.search(name) for name in names]
    if names and all(in_brackets):
        numbers = [float(hit[1]) for hit in in_brackets if hit]
        counts = max(numbers) < MICROMETRES_BELOW and all(number == round(number) for number in numbers)
        return None if counts or len(set(numbers)) < len(numbers) else to_nanometres(numbers, None)
    by_name = [_NAMED_BY_NANOMETRES.match(name.strip()) for name in names]
    if names and all(by_name):
        return _from_named_bands([float(hit[1]) for hit in by_name if hit])
    return None


def _cache_key(layer: QgsRasterLayer) -> Tuple[object, ...]:
    path = layer_path(layer)
    times = []
    metadata = metadata_file(path) if path else None
    kept = corrections_files(path, envi_header(path)) if path else []
    for each in [*sidecars(path), *kept, *([metadata] if metadata else [])] if path else []:
        try:
            times.append(each.stat().st_mtime_ns)
        except OSError:
            times.append(0)
    return (layer.providerType(), layer.source(), layer.bandCount(), *times)


def _corrected(bands: Bands, layer: QgsRasterLayer) -> Bands:
    """What a check, or a person, has written beside the file goes before what the file says."""
    path = layer_path(layer)
    if path is None:
        return bands
    found = read_corrections(path, envi_header(path), layer.bandCount())
    return Bands(
        bands.wavelengths if found.wavelengths is None else found.wavelengths,
        bands.bad if found.bad is None else frozenset(found.bad),
        bands.quantity if found.quantity is None else found.quantity,
        bands.scale if found.scale is None else bands.scale * found.scale,
    )


def _with_stored(bands: Bands, layer: QgsRasterLayer) -> Bands:
    """What a person, or the engine, has stored with the layer goes before what was read."""
    centres = _numbers(split_list(str(layer.customProperty(WAVELENGTHS_PROPERTY) or "")))
    wavelengths = to_nanometres(centres, "nm") if centres and len(centres) == layer.bandCount() else None
    bad = layer.customProperty(BAD_BANDS_PROPERTY)
    if wavelengths is None and bad is None:
        return bands
    stored = bands.bad
    if bad is not None:
        stored = frozenset(int(band) for band in split_list(str(bad)) if band.isdecimal())
    return Bands(
        bands.wavelengths if wavelengths is None else tuple(wavelengths), stored, bands.quantity, bands.scale
    )


def _interpret(tags: BandTags, layer: QgsRasterLayer) -> Bands:
    path = layer_path(layer)
    stated = stated_bands(path, tags.count) if path is not None else None
    centres = to_nanometres(stated.wavelengths, "nm") if stated is not None else None
    if stated is not None and centres is not None:
        reflectance = stated.level == "L2A"
        scale = 1e-4 if reflectance and layer.dataProvider().bandScale(1) == 1 else 1.0
        return Bands(tuple(centres), frozenset(stated.dead), "reflectance" if reflectance else "", scale)
    wavelengths = _envi_wavelengths(tags) if tags.envi else _wavelengths(tags)
    quantity, scale = _quantity(tags, layer)
    return Bands(None if wavelengths is None else tuple(wavelengths), _bad(tags), quantity, scale)


def _envi_wavelengths(tags: BandTags) -> Optional[List[float]]:
    texts = split_list(tags.envi.get("wavelength", ""))
    if not texts:
        return wavelengths_in_names(split_list(tags.envi.get("band_names", ""))[: tags.count])
    numbers = _numbers(texts)
    if numbers is None or len(numbers) != tags.count:
        return None
    if _looks_like_years(numbers, tags.envi.get("description", "")):
        return None
    return to_nanometres(numbers, _first(tags.envi, UNIT_KEYS))


def _wavelengths(tags: BandTags) -> Optional[List[float]]:
    description = " ".join(value for each in tags.whole.values() for value in each.values())[:10_000]
    places = [found for found in _places(tags) if not _looks_like_years(found, description)]
    if not places:
        return None
    agree = (
        place for place in places[1:] if all(abs(a - b) <= ROUNDING_NM for a, b in zip(place, places[0]))
    )
    return next(agree, places[0])


def _places(tags: BandTags) -> Iterator[List[float]]:
    """Every place that gives a wavelength for all bands, the most trusted first."""
    imagery = [band.get("IMAGERY", {}).get("central_wavelength_um") for band in tags.bands]
    yield from _from_texts(imagery, "um")
    domains: Dict[str, None] = OrderedDict((name, None) for band in tags.bands for name in band)
    for domain in domains:
        each = [band.get(domain, {}) for band in tags.bands]
        units = {_first(band, UNIT_KEYS) for band in each}
        if domain != "IMAGERY" and len(units) == 1:
            yield from _from_texts([_first(band, WAVELENGTH_KEYS) for band in each], units.pop())
    for domain in sorted(tags.whole, key=lambda name: name != "ENVI"):
        centres = split_list(_first(tags.whole[domain], WAVELENGTH_KEYS) or "")
        if len(centres) == tags.count:
            yield from _from_texts(centres, _first(tags.whole[domain], UNIT_KEYS))
    if len(tags.stac) == tags.count:
        yield from _from_texts([str(band.get("center_wavelength", "")) for band in tags.stac], "um")
    described = wavelengths_in_names(tags.descriptions)
    if described is not None:
        yield described


def _from_texts(texts: Sequence[Optional[str]], unit: Optional[str]) -> Iterator[List[float]]:
    numbers = _numbers(texts)
    wavelengths = None if numbers is None else to_nanometres(numbers, unit)
    if wavelengths is not None:
        yield wavelengths


def _bad(tags: BandTags) -> FrozenSet[int]:
    candidates: List[Sequence[Optional[str]]] = [split_list(tags.envi.get("bbl", ""))]
    domains: Dict[str, None] = OrderedDict((name, None) for band in tags.bands for name in band)
    candidates += [[_first(band.get(name, {}), BAD_BAND_KEYS) for band in tags.bands] for name in domains]
    candidates += [split_list(_first(each, BAD_BAND_KEYS) or "") for each in tags.whole.values()]
    candidates.append([str(band.get("enmapbox:bad_band_multiplier", "")) for band in tags.stac])
    for texts in candidates:
        flags = _numbers(texts) if len(texts) == tags.count else None
        if flags is not None:
            return frozenset(band for band, flag in enumerate(flags) if not flag > 0)
    return frozenset()


def _quantity(tags: BandTags, layer: QgsRasterLayer) -> Tuple[str, float]:
    """The quantity the file states, and the factor to it where GDAL does not apply one itself."""
    provider = layer.dataProvider()
    if math.isclose(provider.bandScale(1), 1e-4, rel_tol=1e-6):
        return "reflectance", 1.0
    envi = tags.envi or tags.whole.get("ENVI", {})
    factor = _number(envi.get("reflectance_scale_factor", "").strip("{} "))
    if factor is not None and math.isfinite(factor) and factor > 0 and provider.bandScale(1) == 1:
        return "reflectance", 1 / factor
    words = " ".join(envi.values()).lower()
    if provider.sourceDataType(1) in (Qgis.DataType.Float32, Qgis.DataType.Float64):
        return next((word for word in ("reflectance", "radiance") if word in words), ""), 1.0
    return "", 1.0


def _first(tags: Mapping[str, str], keys: Sequence[str]) -> Optional[str]:
    return next((tags[key] for key in keys if tags.get(key, "").strip()), None)


def _numbers(texts: Sequence[Optional[str]]) -> Optional[List[float]]:
    """The number that each text starts with, None unless all have one."""
    parsed = [_number(text) if text else None for text in texts]
    found = [number for number in parsed if number is not None]
    return found if found and len(found) == len(texts) else None


def _number(text: str) -> Optional[float]:
    hit = re.match(rf"\s*({_NUMBER}|[-+]?nan|[-+]?inf(?:inity)?)(?![\w.])", text, re.IGNORECASE)
    return float(hit[1]) if hit else None


def _normalise_unit(unit: Optional[str]) -> Optional[str]:
    """The unit in lower case and singular, None where the file leaves it open."""
    if unit is None:
        return None
    word = unit.strip().strip("{}\"'").strip().lower().replace("µ", "u").replace("μ", "u")
    if word.endswith("s") and (word[:-1] in _LENGTHS_NM or word[:-1] in _RECIPROCALS_NM):
        word = word[:-1]
    return None if word in ("", "unknown", "none", "n/a") else word


def _looks_like_years(values: Sequence[float], description: str) -> bool:
    """Whether "wavelengths" are the decimal years of a FORCE time series."""
    return "force" in description.lower() and all(1984 <= value <= 2100 for value in values)


def _from_named_bands(numbers: List[float]) -> Optional[List[float]]:
    """Numbers of names like ``Band_503``: nanometres unless they merely count the bands."""
    steps = sorted(numbers[index + 1] - numbers[index] for index in range(len(numbers) - 1))
    middle = len(steps) // 2
    median = (steps[middle] + steps[~middle]) / 2 if steps else 2.0
    counts = bool(steps) and (steps[0] <= 0 or median < 2)
    return None if counts or numbers[0] < 300 else numbers
