"""EnMAP (DLR): L1B, L1C and L2A, from the folder, the zip or tar, the METADATA.XML or the spectral image.

L1C and L2A lie on one map grid and hold both detectors, VNIR and SWIR, in ascending order of wavelength.
Between 900 and 1000 nm both measure, and their bands interleave; all are kept, because leaving some out loses
data and mixing them invents some. ``variable`` chooses otherwise: ``"vnir"`` or ``"swir"`` for one detector,
and ``"prefer-vnir"`` or ``"prefer-swir"`` for one detector where both measure, so that no spectrum steps up
and down between them.

L1B holds the detectors on two grids of the sensor that do not lie on each other, so a scene is one of them:
``variable`` ``"vnir"`` (taken when nothing is said) or ``"swir"``, or the image that was named. Their
georeference is a fit of the corners and is left out; the corners stay in ``attrs``.

``variable`` ``"errors"`` opens the pixel mask instead: a code for each band and pixel, 0 where all is well.
Values that it marks stay as they are in the scene.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from rasterio.rpc import RPC

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.contract import Quantity, line_chunks, make_scene
from hsi_toolkit.scene.lazy import Calibration
from hsi_toolkit.scene.metadata import parse_time
from hsi_toolkit.scene.readers.archives import Member
from hsi_toolkit.scene.readers.product import (
    Array,
    Layer,
    Product,
    belongs,
    check_bands,
    check_size,
    corners,
    error_codes,
    find_product,
    numbers,
    quality_layers,
    read_header,
    read_xml,
    spectral,
)

PREFIX = r"(ENMAP\d\d-_*L(?:1B|1C|2A)-.+?)"
ANCHOR = re.compile(rf"{PREFIX}-METADATA\.XML$", re.IGNORECASE)
PARTS = re.compile(
    rf"{PREFIX}-(METADATA\.XML|SPECTRAL_IMAGE(_VNIR|_SWIR)?(_COG)?\.(TIFF?|GEOTIFF|JP2|JPEG2000))$",
    re.IGNORECASE,
)
METADATA = ("-METADATA", (".XML",))

NEVER_READ = ("navigation", "calibration", "time")
"""Orbit, attitude and RPCs, nine tenths of the metadata."""

NODATA = {"L1B": 0.0, "L1C": 0.0, "L2A": -32768.0}
"""Where the image does not say; the metadata's backgroundValue is 0 even for L2A."""

DEAD_MEAN = -1_000_000.0
"""The mean that the metadata give a band without any data."""

UNITS = {"reflectance": "1", "radiance": "W/m2/sr/nm"}

DETECTORS = ("vnir", "swir")
CHOICES = ("vnir", "swir", "prefer-vnir", "prefer-swir", "errors")

QUALITY = {
    "-QL_QUALITY_CLASSES": (Layer("classes", flags=()),),
    "-QL_QUALITY_CLOUD": (Layer("cloud"),),
    "-QL_QUALITY_CLOUDSHADOW": (Layer("cloud_shadow"),),
    "-QL_QUALITY_CIRRUS": (Layer("cirrus", flags=(1, 2, 3)),),
    "-QL_QUALITY_HAZE": (Layer("haze"),),
    "-QL_QUALITY_SNOW": (Layer("snow"),),
}
"""Masks, and the codes of classes: 1 land, 2 water, 3 background. Cirrus is 1 thin, 2 medium or 3 thick."""


@dataclass(frozen=True)
class Bands:
    """What the metadata say of the bands, (bands,) each, in the order of the metadata.

    ``detector`` is None where the lists of the detectors' bands are missing or do not fit.
    """

    wavelength: Array
    fwhm: Array
    gain: Array
    offset: Array
    good: NDArray[np.bool_]
    detector: NDArray[np.str_] | None

    def part(self, index: NDArray[np.intp]) -> "Bands":
        """Some of the bands."""
        detector = None if self.detector is None else self.detector[index]
        return Bands(
            self.wavelength[index],
            self.fwhm[index],
            self.gain[index],
            self.offset[index],
            self.good[index],
            detector,
        )


def sniff(path: Path) -> bool:
    """Whether ``path`` is an EnMAP product or a file that stands for one."""
    return belongs(path, ANCHOR, PARTS)


def open(path: Path, variable: str | None) -> xr.DataArray:
    """Open a product; see the module for ``variable``. Raises SceneError.

    Coordinates (y, x), read on use: those of ``QUALITY`` that the product has.
    """
    choice = _choice(path, variable)
    product = find_product(path, ANCHOR, "EnMAP")
    metadata = product.need(*METADATA)
    root = read_xml(metadata, NEVER_READ)
    level = (root.findtext("base/level") or "").strip().upper()
    if level not in NODATA:
        raise SceneError(
            f"{metadata.shown} is of level '{level[:20]}', not one of {', '.join(NODATA)}.",
            "Give an EnMAP product of such a level.",
        )
    bands = read_bands(root, metadata, level)
    if level == "L1B":
        detector = next((word for word in (choice, _named_detector(path)) if word in DETECTORS), "vnir")
        if choice is not None and choice.startswith("prefer"):
            raise SceneError(
                f"{path} is L1B: its VNIR and SWIR images do not lie on each other.",
                "Give 'vnir' or 'swir' as the variable, or use the L1C product.",
            )
        scene = _sensor_scene(product, root, metadata, bands, detector)
    else:
        detector = ""
        scene = _map_scene(product, root, metadata, bands, level)
    if choice == "errors":
        return error_codes(scene, product, f"-QL_PIXELMASK{'_' * bool(detector)}{detector.upper()}")
    if choice is None or detector:
        return scene
    return scene.isel(band=_chosen(scene, choice))


def read_bands(root: Element, metadata: Member, level: str) -> Bands:
    """What the metadata say of the bands. Raises SceneError."""
    elements = root.findall("specific/bandCharacterisation/bandID")
    wavelength, fwhm = spectral(elements, "wavelengthCenterOfBand", "FWHMOfBand", metadata)
    gain, offset = numbers(elements, "GainOfBand", metadata), numbers(elements, "OffsetOfBand", metadata)
    statistics = root.findall("product/bandStatistics/bandID")
    good = np.ones(len(elements), bool)
    if len(statistics) == len(elements):
        good = ~np.array([_dead(each) for each in statistics])
    return Bands(wavelength, fwhm, gain, offset, good, _detectors(root, wavelength, level))


def read_rpcs(path: Path) -> list[RPC]:
    """The rational polynomials of each band, in the order of the metadata; [] where there are none.

    Args:
        path: a product, as for ``open``; those of L1B list the bands of VNIR first, then those of SWIR.

    Raises:
        SceneError: there is no product or a coefficient is no number.
    """
    product = find_product(path, ANCHOR, "EnMAP")
    metadata = product.need(*METADATA)
    root = read_xml(metadata, ("calibration", "time"))
    found = []
    for element in root.findall("product/navigation/RPC/bandID"):
        values = {child.tag: child.text or "" for child in element}
        try:
            found.append(_rpc(values))
        except (KeyError, ValueError) as error:
            raise SceneError(
                f"{metadata.shown} has an incomplete RPC: {error}.",
                "Get the product from its provider again.",
            ) from error
    return found


def _named_detector(path: Path) -> str | None:
    """The detector whose image ``path`` names, for L1B has an image each."""
    named = PARTS.match(path.name)
    return named[3].lower().strip("_") if named and named[3] else None


def _choice(path: Path, variable: str | None) -> str | None:
    """The variable in lower case. Raises SceneError for one that there is not."""
    if variable is not None and variable.lower() not in CHOICES:
        raise SceneError(
            f"{path} is an EnMAP product and has no '{variable}'.",
            f"Leave the variable out, or give one of {', '.join(CHOICES)}.",
        )
    return None if variable is None else variable.lower()


def _map_scene(product: Product, root: Element, metadata: Member, bands: Bands, level: str) -> xr.DataArray:
    header = read_header(product.need("-SPECTRAL_IMAGE"))
    check_bands(header, len(bands.wavelength), metadata)
    size = root.find("product/image/merge/dimension")
    if size is not None:
        check_size(header, size.findtext("rows"), size.findtext("columns"), metadata)
    nodata = NODATA[level] if header.nodata is None else header.nodata
    quantity: Quantity = "reflectance" if level == "L2A" else "radiance"
    return make_scene(
        header.source(Calibration(bands.gain, bands.offset, nodata)),
        path=product.path,
        wavelength=bands.wavelength,
        fwhm=bands.fwhm,
        good=bands.good,
        crs=header.crs,
        transform=header.transform,
        nodata=nodata,
        quantity=quantity,
        sensor="EnMAP",
        acquired=_acquired(root),
        units=UNITS[quantity],
        detector=None if bands.detector is None else bands.detector.tolist(),
        layers=quality_layers(product, QUALITY, header.shape[1:]),
        chunks=line_chunks(header.shape, header.tile_height),
        stored_rows=header.stored_rows,
        found=_found(header.nodata is not None),
    )


def _sensor_scene(
    product: Product, root: Element, metadata: Member, bands: Bands, detector: str
) -> xr.DataArray:
    header = read_header(product.need(f"-SPECTRAL_IMAGE_{detector.upper()}"))
    if bands.detector is None:
        raise SceneError(
            f"{metadata.shown} does not say which bands are VNIR.", "Get the product from its provider again."
        )
    index = np.flatnonzero(bands.detector == detector)
    check_bands(header, len(index), metadata)
    size = root.find(f"product/image/{detector}/dimension")
    if size is not None:
        check_size(header, size.findtext("rows"), size.findtext("columns"), metadata)
    here = bands.part(index)
    nodata = NODATA["L1B"] if header.nodata is None else header.nodata
    scene = make_scene(
        header.source(Calibration(here.gain, here.offset, nodata)),
        path=product.path,
        wavelength=here.wavelength,
        fwhm=here.fwhm,
        good=here.good,
        nodata=nodata,
        quantity="radiance",
        sensor="EnMAP",
        acquired=_acquired(root),
        units=UNITS["radiance"],
        detector=[detector] * len(index),
        # The layers of L1B are made on the grid of the VNIR image.
        layers=quality_layers(product, QUALITY, header.shape[1:]) if detector == "vnir" else None,
        chunks=line_chunks(header.shape, header.tile_height),
        stored_rows=header.stored_rows,
        found=_found(header.nodata is not None),
    )
    scene.attrs |= corners(root)
    return scene


def _chosen(scene: xr.DataArray, choice: str) -> NDArray[np.intp]:
    """Positions of the bands of one detector, or of one and what the other sees beyond it."""
    if "detector" not in scene.coords:
        raise SceneError(
            f"{scene.attrs['source']} does not say which detector took which band.",
            "Leave the variable out to get all bands.",
        )
    preferred = choice.removeprefix("prefer-")
    ours = scene["detector"].to_numpy() == preferred
    if choice in DETECTORS:
        return np.flatnonzero(ours)
    centres = scene["wavelength"].to_numpy()
    beyond = (centres < centres[ours].min()) | (centres > centres[ours].max())
    return np.flatnonzero(ours | beyond)


def _detectors(root: Element, wavelength: Array, level: str) -> NDArray[np.str_] | None:
    """The detector of each band.

    L1B lists its bands VNIR first. L1C and L2A number those of each detector, in the order of the bands.
    """
    count = len(wavelength)
    detector = np.full(count, "swir")
    if level == "L1B":
        vnir = (root.findtext("specific/numberOfVNIRBands") or "").strip()
        if not vnir.isdecimal() or not 0 < int(vnir) < count:
            return None
        detector[: int(vnir)] = "vnir"
        return detector
    listed = {
        name: _band_list(root.findtext(f"specific/{name}ProductQuality/expectedChannelsList"))
        for name in DETECTORS
    }
    if sorted(listed["vnir"] + listed["swir"]) != list(range(1, count + 1)) or not listed["vnir"]:
        return None
    detector[np.array(listed["vnir"]) - 1] = "vnir"
    return detector


def _band_list(text: str | None) -> list[int]:
    entries = [entry.strip() for entry in (text or "").split(",")]
    return [int(entry) for entry in entries] if all(re.fullmatch(r"\d{1,4}", e) for e in entries) else []


def _dead(statistics: Element) -> bool:
    """Whether a band holds nothing but nodata."""
    try:
        mean = float(statistics.findtext("mean") or "nan")
        deviation = float(statistics.findtext("stdDeviation") or "nan")
    except ValueError:
        return False
    return mean == DEAD_MEAN and deviation == 0


def _acquired(root: Element) -> str | None:
    return parse_time(root.findtext("base/temporalCoverage/startTime"))


def _found(stated_nodata: bool) -> Mapping[str, str]:
    """Where each fact comes from (see ``make_scene``)."""
    bands = "bandCharacterisation in METADATA.XML"
    return {
        "wavelength": f"wavelengthCenterOfBand of {bands}, in nanometers",
        "fwhm": f"FWHMOfBand of {bands}, in nanometers",
        "scale": f"GainOfBand and OffsetOfBand of {bands}",
        "good": "bandStatistics in METADATA.XML",
        "detector": "expectedChannelsList of both detectors in METADATA.XML",
        "quantity": "level in METADATA.XML",
        "units": "the product's level",
        "sensor": "the product's name",
        "acquired": "startTime in METADATA.XML",
        "nodata": "GDAL nodata of the bands" if stated_nodata else "the product's level",
        "crs": "GeoTIFF georeference",
        "transform": "GeoTIFF georeference",
    }


def _rpc(values: Mapping[str, str]) -> RPC:
    def coefficients(name: str) -> list[float]:
        return [float(values[f"{name}_{term:02d}"]) for term in range(1, 21)]

    return RPC(
        height_off=float(values["HEIGHT_OFF"]),
        height_scale=float(values["HEIGHT_SCALE"]),
        lat_off=float(values["LAT_OFF"]),
        lat_scale=float(values["LAT_SCALE"]),
        line_den_coeff=coefficients("ROW_DEN"),
        line_num_coeff=coefficients("ROW_NUM"),
        line_off=float(values["ROW_OFF"]),
        line_scale=float(values["ROW_SCALE"]),
        long_off=float(values["LONG_OFF"]),
        long_scale=float(values["LONG_SCALE"]),
        samp_den_coeff=coefficients("COL_DEN"),
        samp_num_coeff=coefficients("COL_NUM"),
        samp_off=float(values["COL_OFF"]),
        samp_scale=float(values["COL_SCALE"]),
    )
