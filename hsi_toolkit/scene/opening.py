"""Opening any supported file as a scene."""

import os
from pathlib import Path

import xarray as xr

from hsi_toolkit.errors import HsiError, SceneError
from hsi_toolkit.scene.contract import in_wavelength_order
from hsi_toolkit.scene.readers import find_reader
from hsi_toolkit.scene.sidecar import Corrections, find_sidecar


def open_scene(
    path: str | os.PathLike[str],
    variable: str | None = None,
    *,
    sidecar: bool | str | os.PathLike[str] = True,
) -> xr.DataArray:
    """Open a raster as a scene; only headers are read, and nothing is written beside the file.

    Args:
        path: a sensor's product (see ``docs/formats.md``), an ENVI header or data file, a GeoTIFF or another
            raster GDAL reads, an HDF5 or netCDF-4 file, a MATLAB ``.mat`` (v5 to v7.3), a NumPy ``.npy``
            or ``.npz``, or a compressed scene (``.hsz``).
        variable: which array of a file that holds several; ``name:layout`` also states the order of its
            axes, for instance ``"data:byx"`` (y rows, x columns, b bands), ``":yxb"`` for the only array.
            Products have names of their own, such as "swath" for EMIT's image without its map grid.
        sidecar: whether corrections beside the file (``<name>.hsi.json``) are applied, or those to apply.

    Returns:
        DataArray, dims (band, y, x), float32 in physical units with NaN for nodata, read on use: see
        ``hsi_toolkit.scene.contract.make_scene`` for its coordinates and attributes.

    Raises:
        SceneError: the file is missing, damaged or of no known kind; the message says what to do.
    """
    location = Path(path)
    if not location.exists():
        raise SceneError(f"There is no file {location}.", "Check the path.")
    reader = find_reader(location)
    if reader is None:
        raise SceneError(
            f"{location} is no raster of a known kind.",
            "Give a sensor's product, an ENVI header or data file, a GeoTIFF, an HDF5, MATLAB or NumPy file.",
        )
    try:
        scene = reader.open(location, variable)
    except HsiError:
        raise
    except OSError as error:
        raise SceneError(
            f"{location} cannot be read: {error.strerror or error}.", "Check the file."
        ) from error
    corrections = find_sidecar(location) if sidecar is True else Path(sidecar) if sidecar else None
    if corrections is None:
        return scene
    return in_wavelength_order(Corrections.read(corrections).apply(scene, corrections))
