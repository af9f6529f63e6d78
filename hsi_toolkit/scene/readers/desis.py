"""DESIS (DLR, Teledyne Brown): L1B, L1C and L2A, from the folder, the zip or tar, the metadata or the image.

L1C and L2A lie on a map grid. L1B is as the sensor saw it, without a georeference; its corners stay in
``attrs`` where the metadata name them. ``variable`` ``"errors"`` opens the codes of each band and pixel.
"""

import re
from pathlib import Path

import numpy as np
import xarray as xr

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.contract import Quantity, line_chunks, make_scene
from hsi_toolkit.scene.lazy import Calibration
from hsi_toolkit.scene.metadata import parse_time
from hsi_toolkit.scene.readers import refuse_variable
from hsi_toolkit.scene.readers.product import (
    Layer,
    belongs,
    check_bands,
    corners,
    error_codes,
    find_product,
    numbers,
    quality_layers,
    read_header,
    read_xml,
    spectral,
)

PREFIX = r"(DESIS-HSI-L(?:1B|1C|2A)-.+?)"
ANCHOR = re.compile(rf"{PREFIX}-METADATA\.xml$", re.IGNORECASE)
PARTS = re.compile(
    rf"{PREFIX}-(METADATA\.xml|SPECTRAL_IMAGE(_COG)?\.(tiff?|hdr|jp2))$",
    re.IGNORECASE,
)
"""The header beside the image lists the bands, but it does not describe the bytes of the image."""

LEVELS = ("L1B", "L1C", "L2A")
NODATA = -32768.0
UNITS = {"reflectance": "1", "radiance": "mW/cm2/sr/um"}

MASKS = ("shadow", "land", "snow", "haze_land", "haze_water", "cloud_land", "cloud_water", "water")

QUALITY = {
    "-QL_QUALITY-2": (
        *map(Layer, MASKS),
        Layer("aerosol_x100", flags=()),
        Layer("water_vapour", flags=()),
    )
}
"""The bands of the L2A quality raster: masks, aerosol optical thickness at 550 nm times 100, water vapour."""


def sniff(path: Path) -> bool:
    """Whether ``path`` is a DESIS product or a file that stands for one."""
    return belongs(path, ANCHOR, PARTS)


def open(path: Path, variable: str | None) -> xr.DataArray:
    """Open a product. Raises SceneError.

    Coordinates (y, x), read on use: those of ``QUALITY``, for L2A.
    """
    if variable != "errors":
        refuse_variable(path, variable)
    product = find_product(path, ANCHOR, "DESIS")
    metadata = product.need("-METADATA", (".XML",))
    root = read_xml(metadata)
    level = (root.findtext("base/level") or product.name.split("-")[2]).strip().upper()
    if level not in LEVELS:
        raise SceneError(
            f"{metadata.shown} is of level '{level[:20]}', not one of {', '.join(LEVELS)}.",
            "Give a DESIS product of such a level.",
        )
    # Bands of that name also occur under interiorOrientation.
    elements = root.findall("specific/bandCharacterisation/band")
    wavelength, fwhm = spectral(elements, "wavelengthCenterOfBand", "wavelengthWidthOfBand", metadata)
    gain, offset = numbers(elements, "gainOfBand", metadata), numbers(elements, "offsetOfBand", metadata)
    header = read_header(product.need("-SPECTRAL_IMAGE"))
    check_bands(header, len(elements), metadata)
    nodata = NODATA if header.nodata is None else header.nodata
    quantity: Quantity = "reflectance" if level == "L2A" else "radiance"
    on_map = level != "L1B"
    scene = make_scene(
        header.source(Calibration(gain, offset, nodata)),
        path=path,
        wavelength=wavelength,
        fwhm=fwhm,
        good=np.ones(len(elements), bool),
        crs=header.crs if on_map else None,
        transform=header.transform if on_map else None,
        nodata=nodata,
        quantity=quantity,
        sensor="DESIS",
        acquired=parse_time(root.findtext("base/temporalCoverage/startTime")),
        units=UNITS[quantity],
        layers=quality_layers(product, QUALITY, header.shape[1:]),
        chunks=line_chunks(header.shape, header.tile_height),
        stored_rows=header.stored_rows,
        found={
            "wavelength": "wavelengthCenterOfBand of bandCharacterisation in METADATA.xml, in nanometers",
            "fwhm": "wavelengthWidthOfBand of bandCharacterisation in METADATA.xml, in nanometers",
            "scale": "gainOfBand and offsetOfBand of bandCharacterisation in METADATA.xml",
            "quantity": "level in METADATA.xml",
            "units": "the product's level",
            "sensor": "the product's name",
            "acquired": "startTime in METADATA.xml",
            "nodata": "GDAL nodata of the bands" if header.nodata is not None else "the product's definition",
            "crs": "GeoTIFF georeference",
            "transform": "GeoTIFF georeference",
        },
    )
    if not on_map:
        scene.attrs |= corners(root)
    return error_codes(scene, product, "-QL_QUALITY") if variable == "errors" else scene
