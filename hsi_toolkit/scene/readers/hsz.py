"""Compressed scenes (.hsz), read by tiles; see ``docs/compression.md``."""

from pathlib import Path

import numpy as np
import xarray as xr
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError

from hsi_toolkit.compression.container import MAGIC, Header, HszFile
from hsi_toolkit.compression.source import HszSource
from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.contract import Quantity, line_chunks, make_scene
from hsi_toolkit.scene.readers import first_bytes, refuse_variable

QUANTITIES: tuple[Quantity, ...] = ("reflectance", "radiance", "dn")


def sniff(path: Path) -> bool:
    """Whether ``path`` is such a file, or claims to be one by its name."""
    return first_bytes(path, len(MAGIC)) == MAGIC or (path.suffix.lower() == ".hsz" and path.is_file())


def open(path: Path, variable: str | None, *, skip_damaged: bool = False) -> xr.DataArray:
    """Open a compressed scene; with ``skip_damaged`` damaged tiles are no data. Raises SceneError."""
    refuse_variable(path, variable)
    return scene_of(HszSource(HszFile.open(path), skip_damaged=skip_damaged))


def scene_of(source: HszSource) -> xr.DataArray:
    """The lazy scene over a compressed file. Raises SceneError when its header makes no sense."""
    header, path = source.file.header, source.file.path
    tallest = -(-header.shape[1] // header.grid[0])
    wavelength, fwhm = (None if each is None else np.array(each) for each in (header.wavelength, header.fwhm))
    return make_scene(
        source,
        path=path,
        wavelength=wavelength,
        fwhm=fwhm,
        good=None if header.good is None else np.array(header.good),
        crs=_crs(header, path),
        transform=None if header.transform is None else Affine(*header.transform),
        nodata=header.nodata if isinstance(header.nodata, float) else None,
        quantity=next((each for each in QUANTITIES if each == header.quantity), "dn"),
        sensor=header.sensor,
        acquired=header.acquired,
        units=header.units,
        band_numbers=None if header.band_numbers is None else np.array(header.band_numbers),
        chunks=line_chunks(header.shape, tallest),
        stored_rows=tallest,
        found=dict.fromkeys(
            ("wavelength", "fwhm", "good", "crs", "transform", "nodata", "scale"), "its header"
        ),
    )


def _crs(header: Header, path: Path) -> CRS | None:
    if header.crs is None:
        return None
    try:
        return CRS.from_wkt(header.crs)
    except CRSError as error:
        raise SceneError(
            f"{path} is damaged: its coordinate system cannot be read.", "Copy or download it again."
        ) from error
