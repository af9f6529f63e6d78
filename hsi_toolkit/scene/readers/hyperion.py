"""EO-1 Hyperion (USGS): L1T and L1Gst, one GeoTIFF a band, from the folder, the zip or tar, or the MTL file.

Of the 242 bands 198 are calibrated; the others hold nothing of meaning, are never read, count as not good and
give NaN. Wavelengths and widths are not in the product: they are the fixed table of USGS. The spectrometers
overlap between 852 and 1058 nm, so in ascending order of wavelength VNIR and SWIR bands interleave; ``band``
is the band's number in the product.

The products mark no missing data. A pixel has none of a spectrometer where all its reference bands, which are
bright in any light, are zero: single zeros elsewhere are dark ground.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import xarray as xr
from rasterio.windows import Window

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.contract import line_chunks, make_scene
from hsi_toolkit.scene.lazy import BandIndex, Float32
from hsi_toolkit.scene.metadata import parse_number, parse_time
from hsi_toolkit.scene.readers import refuse_variable
from hsi_toolkit.scene.readers.archives import Member
from hsi_toolkit.scene.readers.band_tables import HYPERION_CENTRES, HYPERION_WIDTHS
from hsi_toolkit.scene.readers.member_dataset import MemberDataset
from hsi_toolkit.scene.readers.product import (
    Header,
    Product,
    belongs,
    find_product,
    read_header,
)

ANCHOR = re.compile(r"(EO1H\d{14}.*?)_MTL(?:_L1\w+)?\.TXT$", re.IGNORECASE)
BAND = re.compile(r"_B(\d{1,3})_(L1\w+)\.TIFF?$", re.IGNORECASE)
SCENE_ID = re.compile(r"EO1H\d{6}(\d{4})(\d{3})", re.IGNORECASE)
SENSOR_FILE = re.compile(r"EO1H\d{14}.*\.L1R$", re.IGNORECASE)

BANDS = 242
LAST_VNIR = 70
CALIBRATED = frozenset([*range(8, 58), *range(77, 225)])

REFERENCE = {"vnir": (20, 30, 40), "swir": (90, 110, 150, 205)}
"""Bands in atmospheric windows (549, 651, 752; 1044, 1245, 1649, 2204 nm) that tell missing from dark."""

SCALING = {"vnir": ("SCALING_FACTOR_VNIR", 40.0), "swir": ("SCALING_FACTOR_SWIR", 80.0)}
"""Keys of the divisors from stored numbers to W/m2/sr/um, and their values where the MTL lacks them."""


@dataclass(frozen=True, eq=False)
class BandFiles:
    """The calibrated bands as a source of 242 (see ``RasterSource``); ``divisor`` is by detector.

    A file is open for the length of a read, because as many as there are bands would be too many.
    """

    files: Mapping[int, Member]
    shape: tuple[int, int, int]
    divisor: Mapping[str, float]

    def read(self, bands: BandIndex, rows: slice, columns: slice) -> Float32:
        """See ``RasterSource.read``; the wanted bands and the reference bands of their detectors are read."""
        window = Window.from_slices(rows, columns)
        wanted = (np.arange(BANDS)[bands] + 1).tolist()
        out = np.full((len(wanted), rows.stop - rows.start, columns.stop - columns.start), np.nan, np.float32)
        for name in REFERENCE:
            here = {
                band: at for at, band in enumerate(wanted) if band in CALIBRATED and _detector(band) == name
            }
            if not here:
                continue
            empty = np.ones(out.shape[1:], bool)
            for band in sorted({*here, *REFERENCE[name]}):
                stored = self._stored(band, window)
                if band in REFERENCE[name]:
                    empty &= stored == 0
                if band in here:
                    np.divide(stored, np.float32(self.divisor[name]), out=out[here[band]])
            for at in here.values():
                out[at][empty] = np.nan
        return out

    def _stored(self, band: int, window: Window) -> np.ndarray[tuple[int, int], np.dtype[np.number]]:
        holder = MemberDataset(self.files[band])
        with holder.use() as dataset:
            if dataset.shape != self.shape[1:] or dataset.count != 1:
                raise SceneError(
                    f"{holder.path} has {dataset.height} x {dataset.width} pixels in {dataset.count} bands, "
                    f"unlike the other bands with {self.shape[1]} x {self.shape[2]}.",
                    "Get the whole product again.",
                )
            stored: np.ndarray[tuple[int, int], np.dtype[np.number]] = dataset.read(1, window=window)
            dataset.close()
        return stored


def sniff(path: Path) -> bool:
    """Whether ``path`` is a Hyperion product, its MTL file, or a file of level 1R."""
    return belongs(path, ANCHOR, ANCHOR) or SENSOR_FILE.match(path.name) is not None


def open(path: Path, variable: str | None) -> xr.DataArray:
    """Open a product. Raises SceneError."""
    refuse_variable(path, variable)
    if SENSOR_FILE.match(path.name):
        raise SceneError(
            f"{path} is Hyperion level 1R in HDF4, which is not supported.",
            "Use level 1T or 1Gst, which come as GeoTIFF, or convert the file to ENVI.",
        )
    product = find_product(path, ANCHOR, "Hyperion")
    metadata = next(member for part, member in product.parts.items() if part.startswith("_MTL"))
    entries = read_mtl(metadata)
    files = _band_files(product)
    header = read_header(files[min(CALIBRATED)])
    if header.shape[0] != 1 or header.dtype.kind not in "iu":
        raise SceneError(
            f"{header.dataset.path} holds {header.shape[0]} bands of {header.dtype} numbers, not one of "
            "whole numbers.",
            "Get the whole product again.",
        )
    _check_size(header, entries, metadata)
    shape = (BANDS, *header.shape[1:])
    numbers = range(1, BANDS + 1)
    return make_scene(
        BandFiles(files, shape, {name: _divisor(entries, name, metadata) for name in SCALING}),
        path=path,
        wavelength=np.array(HYPERION_CENTRES),
        fwhm=np.array(HYPERION_WIDTHS),
        good=np.array([number in CALIBRATED for number in numbers]),
        crs=header.crs,
        transform=header.transform,
        nodata=0.0,
        quantity="radiance",
        sensor="Hyperion",
        acquired=_acquired(entries, product.name),
        units="W/m2/sr/um",
        detector=[_detector(number) for number in numbers],
        chunks=line_chunks(shape, header.tile_height),
        stored_rows=header.stored_rows,
        found={
            "wavelength": "table of Hyperion's bands (USGS); the product states none",
            "fwhm": "table of Hyperion's bands (USGS); the product states none",
            "good": "table of Hyperion's bands (USGS): 198 are calibrated",
            "scale": "SCALING_FACTOR_VNIR and SCALING_FACTOR_SWIR of the MTL file",
            "quantity": "the product's definition",
            "units": "the product's definition",
            "sensor": "the product's name",
            "acquired": "ACQUISITION_DATE and START_TIME of the MTL file",
            "nodata": "zero in all reference bands",
            "crs": "GeoTIFF georeference of the first calibrated band",
            "transform": "GeoTIFF georeference of the first calibrated band",
        },
    )


def read_mtl(metadata: Member) -> dict[str, str]:
    """The entries of an MTL file, whatever their group. Raises SceneError when it has none."""
    text = metadata.read().decode("latin-1")
    entries = re.findall(r"^\s*(\w+)\s*=\s*\"?([^\"\r\n]*?)\"?\s*$", text, re.MULTILINE)
    if not entries:
        raise SceneError(
            f"{metadata.shown} is no metadata file of a product.", "Get the whole product again."
        )
    return {key.upper(): value for key, value in entries}


def _band_files(product: Product) -> dict[int, Member]:
    """The file of each band. Raises SceneError when one of a calibrated band is missing."""
    files = {
        int(found[1]): member
        for part, member in product.parts.items()
        if (found := BAND.match(part)) and member.size
    }
    missing = sorted(CALIBRATED - set(files))
    if missing:
        named = ", ".join(f"B{number:03d}" for number in missing[:6]) + (", ..." if len(missing) > 6 else "")
        raise SceneError(
            f"{product.path} lacks the files of {len(missing)} calibrated bands: {named}.",
            "Get the whole product: the folder or archive with all its files.",
        )
    return files


def _detector(band: int) -> str:
    return "vnir" if band <= LAST_VNIR else "swir"


def _check_size(header: Header, entries: Mapping[str, str], metadata: Member) -> None:
    stated = [parse_number(entries.get(key, "")) for key in ("PRODUCT_LINES", "PRODUCT_SAMPLES")]
    if any(said not in (None, size) for said, size in zip(stated, header.shape[1:], strict=True)):
        raise SceneError(
            f"{header.dataset.path} has {header.shape[1]} x {header.shape[2]} pixels, but {metadata.name} "
            f"says {entries.get('PRODUCT_LINES')} x {entries.get('PRODUCT_SAMPLES')}.",
            "The files belong to different products: get the whole product again.",
        )


def _divisor(entries: Mapping[str, str], detector: str, metadata: Member) -> float:
    key, usual = SCALING[detector]
    if key not in entries:
        return usual
    value = parse_number(entries[key])
    if value is None or not np.isfinite(value) or value <= 0:
        raise SceneError(
            f"{key} in {metadata.shown} is '{entries[key][:40]}', not a positive number.",
            "Get the product again.",
        )
    return value


def _acquired(entries: Mapping[str, str], name: str) -> str | None:
    """The time at the start ("2010 129 00:52:11" or a clock alone); midnight where only a date is known."""
    clock = re.search(r"(\d\d:\d\d:\d\d)", entries.get("START_TIME", ""))
    day = re.match(r"(\d{4})[ -](\d{3})\s", entries.get("START_TIME", "") + " ") or SCENE_ID.match(name)
    date = re.match(r"\d{4}-\d\d-\d\d$", entries.get("ACQUISITION_DATE", ""))
    if date is not None:
        return parse_time(f"{date[0]}T{clock[1] if clock else '00:00:00'}")
    if day is None or not 1 <= int(day[2]) <= 366 or int(day[1]) < 1:
        return None
    start = datetime(int(day[1]), 1, 1) + timedelta(days=int(day[2]) - 1)
    return parse_time(f"{start:%Y-%m-%d}T{clock[1] if clock else '00:00:00'}")
