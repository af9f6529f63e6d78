"""HDF5 and netCDF-4 files of no known product: the cube in them, values as stored."""

from pathlib import Path

import numpy as np
import xarray as xr

from hsi_toolkit.scene.contract import make_scene
from hsi_toolkit.scene.hdf5 import (
    SIGNATURE,
    attribute_number,
    chunk_rows,
    cube_source,
    open_hdf5,
    own_dataset,
    own_datasets,
    read_vector,
)
from hsi_toolkit.scene.lazy import Calibration
from hsi_toolkit.scene.metadata import to_nanometres
from hsi_toolkit.scene.readers import first_bytes
from hsi_toolkit.scene.readers.choosing import (
    Array,
    band_axis_by_length,
    choose,
    is_wavelength_vector,
    layout_with_bands_at,
    split_request,
)

SUFFIXES = (".h5", ".he5", ".hdf5", ".nc", ".nc4")
MAX_ARRAYS = 1000


def sniff(path: Path) -> bool:
    """Whether ``path`` is an HDF5 file, or says so by its name."""
    by_name = path.suffix.lower() in SUFFIXES and path.is_file() and first_bytes(path, 3) != b"CDF"
    return first_bytes(path, 8).startswith(SIGNATURE) or by_name


def open(path: Path, variable: str | None) -> xr.DataArray:
    """Open the cube of an HDF5 file, found as ``choosing.choose`` says or named by its path in the file.

    The order of the axes is the one ``variable`` states (``"group/data:byx"``). Otherwise the band axis is
    the only one as long as a vector of wavelengths in the file, else the first if it is the shortest, else
    the last. Values are as stored, but for a ``_FillValue``. Raises SceneError.
    """
    with open_hdf5(path) as file:
        arrays = []
        for name, dataset in own_datasets(file):
            if dataset.shape and dataset.dtype.kind in "iuf":
                arrays.append(Array(name, dataset.shape, dataset.dtype))
            if len(arrays) == MAX_ARRAYS:
                break
        wanted, layout = split_request(variable, path)
        cube = choose(arrays, None if wanted is None else wanted.strip("/"), path)
        order = layout or _layout(cube, arrays)
        dataset = own_dataset(file, cube.name)
        fill = attribute_number(dataset, "_FillValue")
        source = cube_source(file, cube.name, order, path, Calibration(nodata=fill))
        vector = next((array for array in arrays if is_wavelength_vector(array, source.shape[0])), None)
        centres = None if vector is None else read_vector(file, vector.name)
        wavelength = None if centres is None else to_nanometres(centres, None)
        return make_scene(
            source,
            path=path,
            wavelength=wavelength,
            nodata=fill,
            stored_rows=min(chunk_rows(dataset, order), source.shape[1]),
            found={} if wavelength is None or vector is None else {"wavelength": f"'{vector.name}'"},
        )


def _layout(cube: Array, arrays: list[Array]) -> str:
    axis = band_axis_by_length(cube.shape, arrays)
    if axis is None:
        axis = 0 if int(np.argmin(cube.shape)) == 0 else 2
    return layout_with_bands_at(axis)
