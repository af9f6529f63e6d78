"""What GDAL's metadata say about the bands: the many places and spellings in use.

Places, in the order in which they are believed: the IMAGERY domain of each band (GDAL 3.10), the tags of each
band (EnMAP-Box, FORCE, Wyvern), lists of the whole file (ENVI domain and others), a STAC item beside the
file, the bands' descriptions. A list whose length is not the number of bands was copied from another file
and does not count.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

from hsi_toolkit.scene.contract import Quantity
from hsi_toolkit.scene.metadata import (
    looks_like_years,
    parse_number,
    parse_time,
    split_list,
    to_nanometres,
    wavelengths_in_names,
    widths_to_nanometres,
)

WAVELENGTH_KEYS = (
    "wavelength",
    "wavelengths",
    "wl",
    "center_wavelength",
    "centre_wavelength",
    "central_wavelength",
    "center_wavelengths",
)
UNIT_KEYS = ("wavelength_units", "wavelength_unit", "wavelengths_units", "wlu", "wavelength_unts")
WIDTH_KEYS = ("fwhm", "full_width_half_maximum", "full_width_half_max", "fwhms")
BAD_BAND_KEYS = ("bbl", "bad_band_multiplier", "bad_band_list", "bad_band")
TIME_KEYS = ("acquisitiondatetime", "start_time", "acquisition_time", "date_time", "tifftag_datetime")
SENSOR_KEYS = ("sensor_type", "sensor", "satelliteid")
UNITS_TAG = "value_units"
"""Our tag for the units of the values: GDAL's unit of a band says what quantity they are."""

IGNORED_DOMAINS = (
    "IMAGE_STRUCTURE",
    "DERIVED_SUBDATASETS",
    "SUBDATASETS",
    "RPC",
    "GEOLOCATION",
    "COLOR_PROFILE",
)

ROUNDING_NM = 1.0
"""IMAGERY is often rounded to whole nanometres; another place that agrees to this is more exact."""

MAX_SIDECAR_BYTES = 16 << 20

Array = NDArray[np.float64]
Tags = Mapping[str, str]


@dataclass(frozen=True)
class RasterMetadata:
    """What a raster says about its bands; arrays are (bands,), None means that it does not say."""

    wavelength: Array | None
    fwhm: Array | None
    good: NDArray[np.bool_] | None
    scale: Array | None
    offset: Array | None
    quantity: Quantity
    sensor: str | None
    acquired: str | None
    units: str | None
    found: Mapping[str, str]


@dataclass(frozen=True)
class _Spectrum:
    wavelength: Array
    fwhm: Array | None
    place: str


def read_metadata(dataset: rasterio.DatasetReader, path: Path) -> RasterMetadata:
    """Collect what the data set and the files beside it say; contradictions and nonsense are left out."""
    whole = {_domain(ns): _clean(dataset.tags(ns=ns) if ns else dataset.tags()) for ns in _domains(dataset)}
    per_band = [
        {
            _domain(ns): _clean(dataset.tags(band, ns=ns) if ns else dataset.tags(band))
            for ns in _domains(dataset, band)
        }
        for band in dataset.indexes
    ]
    stac = _stac(path)
    spectrum = _spectrum(dataset, whole, per_band, stac)
    scale, offset, quantity = _calibration(dataset, whole, per_band)
    good, good_place = _good(dataset.count, whole, per_band, stac)
    everything = [*whole.values(), *(per_band[0].values())]
    times = ((key, parse_time(tags.get(key))) for key in TIME_KEYS for tags in everything)
    sensors = (
        (key, tags[key])
        for key in SENSOR_KEYS
        for tags in everything
        if tags.get(key, "").lower() not in ("", "unknown")
    )
    sensor_key, sensor = next(sensors, ("", None))
    time_key, acquired = next(((key, time) for key, time in times if time), ("", None))
    places = {
        "wavelength": spectrum.place if spectrum else "",
        "fwhm": spectrum.place if spectrum and spectrum.fwhm is not None else "",
        "good": good_place,
        "scale": "the bands' scale and offset" if scale is not None or offset is not None else "",
        "quantity": "scale and units of the bands" if quantity != "dn" else "",
        "sensor": f"tag '{sensor_key}'" if sensor_key else "",
        "acquired": f"tag '{time_key}'" if time_key else "",
    }
    return RasterMetadata(
        wavelength=spectrum.wavelength if spectrum else None,
        fwhm=spectrum.fwhm if spectrum else None,
        good=good,
        scale=scale,
        offset=offset,
        quantity=quantity,
        sensor=sensor,
        acquired=acquired,
        units=whole.get("", {}).get(UNITS_TAG) or ("1" if quantity == "reflectance" else None),
        found={fact: place for fact, place in places.items() if place},
    )


def _domains(dataset: rasterio.DatasetReader, band: int = 0) -> list[str | None]:
    """Metadata domains worth reading, the default one (None) included."""
    named = [
        ns
        for ns in dataset.tag_namespaces(band)
        if ns and ns not in IGNORED_DOMAINS and not ns.startswith("xml:")
    ]
    return [None, *named]


def _domain(name: str | None) -> str:
    return name or ""


def _clean(tags: Tags) -> dict[str, str]:
    """Tags with their keys in one spelling: lower case, words joined by underscores."""
    return {re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_"): value for key, value in tags.items()}


def _first(tags: Tags, keys: Sequence[str]) -> str | None:
    return next((tags[key] for key in keys if tags.get(key, "").strip()), None)


def _spectrum(
    dataset: rasterio.DatasetReader,
    whole: Mapping[str, Tags],
    per_band: Sequence[Mapping[str, Tags]],
    stac: Sequence[Mapping[str, object]],
) -> _Spectrum | None:
    description = " ".join(value for tags in whole.values() for value in tags.values())[:10_000]
    places = [
        found
        for found in _places(dataset, whole, per_band, stac)
        if not looks_like_years(found.wavelength, description)
    ]
    if not places:
        return None
    first = places[0]
    exact = next((place for place in places[1:] if _agree(first, place)), first)
    widths = exact.fwhm if exact.fwhm is not None else first.fwhm
    if widths is None:
        widths = next(
            (place.fwhm for place in places if place.fwhm is not None and _agree(first, place)), None
        )
    return _Spectrum(exact.wavelength, widths, exact.place)


def _places(
    dataset: rasterio.DatasetReader,
    whole: Mapping[str, Tags],
    per_band: Sequence[Mapping[str, Tags]],
    stac: Sequence[Mapping[str, object]],
) -> Iterator[_Spectrum]:
    """Every place that gives a wavelength for all bands, the most trusted first."""
    imagery = [tags.get("IMAGERY", {}) for tags in per_band]
    yield from _from_texts(
        [tags.get("central_wavelength_um") for tags in imagery],
        [tags.get("fwhm_um") for tags in imagery],
        "um",
        "the bands' IMAGERY tags",
    )
    for domain in dict.fromkeys(name for tags in per_band for name in tags if name != "IMAGERY"):
        tags = [band.get(domain, {}) for band in per_band]
        units = {_first(band, UNIT_KEYS) for band in tags}
        if len(units) == 1:
            centres = [_first(band, WAVELENGTH_KEYS) for band in tags]
            yield from _from_texts(
                centres, [_first(band, WIDTH_KEYS) for band in tags], units.pop(), "the bands' tags"
            )
    for domain in sorted(whole, key=lambda name: name != "ENVI"):
        shared = whole[domain]
        centres = list(split_list(_first(shared, WAVELENGTH_KEYS) or ""))
        widths = list(split_list(_first(shared, WIDTH_KEYS) or ""))
        if len(centres) == dataset.count:
            unit = _first(shared, UNIT_KEYS)
            yield from _from_texts(
                centres,
                widths if len(widths) == len(centres) else [None] * len(centres),
                unit,
                f"the list in the file's {domain} tags" if domain else "the list in the file's tags",
            )
    if len(stac) == dataset.count:
        yield from _from_texts(
            [str(band.get("center_wavelength", "")) for band in stac],
            [str(band.get("full_width_half_max", "")) for band in stac],
            "um",
            "the STAC item beside the file",
        )
    described = wavelengths_in_names(dataset.descriptions)
    if described is not None:
        yield _Spectrum(described, None, "the bands' descriptions")


def _from_texts(
    centres: Sequence[str | None], widths: Sequence[str | None], unit: str | None, place: str
) -> Iterator[_Spectrum]:
    """The spectrum of one place, if every band has a wavelength there."""
    numbers = _numbers(centres)
    wavelength = None if numbers is None else to_nanometres(numbers, unit)
    if numbers is None or wavelength is None:
        return
    width = _numbers(widths)
    yield _Spectrum(wavelength, None if width is None else widths_to_nanometres(width, numbers, unit), place)


def _numbers(texts: Sequence[str | None]) -> Array | None:
    parsed = [parse_number(text) if text else None for text in texts]
    found = [number for number in parsed if number is not None]
    return np.array(found) if found and len(found) == len(texts) else None


def _agree(one: _Spectrum, other: _Spectrum) -> bool:
    return bool(np.allclose(one.wavelength, other.wavelength, rtol=0, atol=ROUNDING_NM))


def _good(
    count: int,
    whole: Mapping[str, Tags],
    per_band: Sequence[Mapping[str, Tags]],
    stac: Sequence[Mapping[str, object]],
) -> tuple[NDArray[np.bool_] | None, str]:
    """Which bands are good, and where that was found."""
    candidates: list[tuple[list[str | None], str]] = [
        ([_first(band.get(domain, {}), BAD_BAND_KEYS) for band in per_band], "the bands' tags")
        for domain in dict.fromkeys(name for tags in per_band for name in tags)
    ]
    candidates += [
        (list(split_list(_first(tags, BAD_BAND_KEYS) or "")), "the list in the file's tags")
        for tags in whole.values()
    ]
    multipliers: list[str | None] = [str(band.get("enmapbox:bad_band_multiplier", "")) for band in stac]
    candidates.append((multipliers, "the STAC item beside the file"))
    for texts, place in candidates:
        flags = _numbers(texts) if len(texts) == count else None
        if flags is not None:
            return flags > 0, place
    return None, ""


def _calibration(
    dataset: rasterio.DatasetReader, whole: Mapping[str, Tags], per_band: Sequence[Mapping[str, Tags]]
) -> tuple[Array | None, Array | None, Quantity]:
    """Scale and offset: GDAL's own, else per-band tags, else the ENVI domain's lists or scale factor."""
    count = dataset.count
    scale, offset = np.array(dataset.scales, float), np.array(dataset.offsets, float)
    to_reflectance = False
    if np.all(scale == 1) and np.all(offset == 0):
        envi = whole.get("ENVI", {})
        default = [tags.get("", {}) for tags in per_band]
        factor = parse_number(envi.get("reflectance_scale_factor", ""))
        gains = _numbers([tags.get("data_gain") for tags in default])
        shifts = _numbers([tags.get("data_offset") for tags in default])
        if gains is None and shifts is None:
            gains = _numbers(split_list(envi.get("data_gain_values", "")))
            shifts = _numbers(split_list(envi.get("data_offset_values", "")))
        scale = gains if gains is not None and len(gains) == count else scale
        offset = shifts if shifts is not None and len(shifts) == count else offset
        if np.all(scale == 1) and factor is not None and np.isfinite(factor) and factor > 0:
            scale = np.full(count, 1 / factor)
            to_reflectance = True
    usable = np.all(np.isfinite(scale)) and np.all(scale != 0) and np.all(np.isfinite(offset))
    if not usable:
        scale, offset = np.ones(count), np.zeros(count)
    words = " ".join([*(unit or "" for unit in dataset.units), *whole.get("ENVI", {}).values()]).lower()
    quantity: Quantity = "dn"
    if to_reflectance or np.allclose(scale, 1e-4, rtol=1e-6) or "reflectance" in words:
        quantity = "reflectance"
    elif "radiance" in words or re.search(r"w[ /]*m.{0,4}sr", words):
        quantity = "radiance"
    return scale if np.any(scale != 1) else None, offset if np.any(offset != 0) else None, quantity


def _stac(path: Path) -> list[Mapping[str, object]]:
    """The bands of a STAC item beside the file (``name.stac.json``), [] when there is none."""
    for sidecar in (path.with_name(path.name + ".stac.json"), path.with_suffix(".stac.json")):
        try:
            if sidecar.stat().st_size > MAX_SIDECAR_BYTES:
                continue
            item = json.loads(sidecar.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        properties = item.get("properties") if isinstance(item, dict) else None
        bands = properties.get("eo:bands") if isinstance(properties, dict) else None
        if isinstance(bands, list) and all(isinstance(band, dict) for band in bands):
            return bands
    return []
