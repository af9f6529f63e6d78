"""MATLAB ``.mat`` files: versions 5 to 7.2 through SciPy, 7.3 (HDF5) window by window."""

import threading
from collections.abc import Sequence
from math import prod
from pathlib import Path

import h5py
import numpy as np
import scipy.io
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.errors import OutOfMemoryError, SceneError
from hsi_toolkit.scene.contract import check_shape, make_scene
from hsi_toolkit.scene.hdf5 import cube_source, open_hdf5, own_dataset, own_datasets
from hsi_toolkit.scene.lazy import BandIndex, Float32, RasterSource, Stored
from hsi_toolkit.scene.metadata import to_nanometres
from hsi_toolkit.scene.readers import first_bytes
from hsi_toolkit.scene.readers.choosing import (
    Array,
    band_axis_by_length,
    choose,
    is_wavelength_vector,
    layout_with_bands_at,
    split_request,
    stated_grid,
)
from hsi_toolkit.scene.readers.mat5 import is_mat5, list_arrays

HDF5_AT_512 = b"\x89HDF\r\n\x1a\n"
PIXELS_BY_COLUMN = "bxy"
"""Tables of bands x pixels run down the columns of the image, as MATLAB stores it."""


class Mat5Source:
    """An array of a MATLAB 5 to 7.2 file, loaded whole on first use: it has 2 GB at most and no windows."""

    def __init__(self, path: Path, name: str, stored_shape: tuple[int, int, int], order: str) -> None:
        self.path, self.name, self.order = path, name, order
        self.stored_shape = stored_shape
        sizes = dict(zip(order, stored_shape, strict=True))
        self.shape = (sizes["b"], sizes["y"], sizes["x"])
        self._lock = threading.Lock()
        self._values: Stored | None = None

    def read(self, bands: BandIndex, rows: slice, columns: slice) -> Float32:
        """See ``RasterSource.read``."""
        cube = self._load().reshape(self.stored_shape)
        window = cube.transpose([self.order.index(name) for name in "byx"])[bands, rows, columns]
        return np.ascontiguousarray(window, dtype=np.float32)

    @property
    def stored_dtype(self) -> np.dtype[np.number]:
        """The type of the stored numbers, which have to be loaded for it."""
        return self._load().dtype

    def _load(self) -> Stored:
        with self._lock:
            if self._values is None:
                self._values = _load(self.path, self.name)
            return self._values

    def __reduce__(self) -> tuple[type["Mat5Source"], tuple[Path, str, tuple[int, int, int], str]]:
        return Mat5Source, (self.path, self.name, self.stored_shape, self.order)


def sniff(path: Path) -> bool:
    """Whether ``path`` is a MATLAB file of version 5 or later, or claims to be one by its name."""
    start = first_bytes(path)
    return is_mat5(start) or _is_mat73(start) or (path.suffix.lower() == ".mat" and path.is_file())


def open(path: Path, variable: str | None) -> xr.DataArray:
    """Open the cube of a MATLAB file; values as stored, because their scale is not. Raises SceneError.

    The cube is the array named by ``variable``, or found as ``choosing.choose`` says. Its last axis (MATLAB's
    rows x columns x bands) is the bands, unless a vector of wavelengths in the file matches another one alone
    or ``variable`` states the order (``"data:byx"``). A matrix of bands x pixels is unfolded, pixels column
    by column, when scalars in the file state rows and columns.
    """
    start = first_bytes(path)
    if _is_mat73(start):
        return _open_73(path, variable)
    if is_mat5(start):
        return _open_5(path, variable)
    raise SceneError(f"{path} is no MATLAB file of version 5 or later.", "Save it again in MATLAB.")


def _open_5(path: Path, variable: str | None) -> xr.DataArray:
    arrays = list_arrays(path)
    name, layout = split_request(variable, path)
    grid = stated_grid({array.name: float(_load(path, array.name).flat[0]) for array in _scalars(arrays)})
    cube = choose(arrays, name, path, grid)
    if len(cube.shape) == 2 and grid is not None:
        shape, order = (cube.shape[0], grid[1], grid[0]), PIXELS_BY_COLUMN
    else:
        shape, order = (cube.shape[0], cube.shape[1], cube.shape[2]), layout or _layout(cube, arrays)
    source = Mat5Source(path, cube.name, shape, order)
    vector = _wavelength_vector(arrays, source.shape[0])
    return _scene(source, path, None if vector is None else _load(path, vector.name))


def _open_73(path: Path, variable: str | None) -> xr.DataArray:
    with open_hdf5(path) as file:
        arrays = [
            Array(name, dataset.shape[::-1], dataset.dtype)
            for name, dataset in own_datasets(file)
            if not name.startswith("#") and dataset.shape and _is_number(dataset)
        ]
        name, layout = split_request(variable, path)
        cube = choose(arrays, name, path)
        order = (layout or _layout(cube, arrays))[::-1]
        source = cube_source(file, cube.name, order, path)
        vector = _wavelength_vector(arrays, source.shape[0])
        chunks = own_dataset(file, cube.name).chunks
        values = None if vector is None else own_dataset(file, vector.name)[()]
    return _scene(source, path, values, chunks[order.index("y")] if chunks else 1)


def _scene(
    source: RasterSource, path: Path, wavelengths: Stored | None, stored_rows: int = 1
) -> xr.DataArray:
    check_shape(source.shape, path)
    centres: NDArray[np.float64] | None = None
    if wavelengths is not None:
        centres = to_nanometres(wavelengths.astype(np.float64).reshape(-1), None)
    return make_scene(source, path=path, wavelength=centres, stored_rows=min(stored_rows, source.shape[1]))


def _is_number(dataset: h5py.Dataset) -> bool:
    """Whether MATLAB calls a data set a number: text, flags and cells are stored as numbers too."""
    kind = dataset.attrs.get("MATLAB_class", b"double")
    name = kind.decode("ascii", "replace") if isinstance(kind, bytes) else str(kind)
    return name in ("double", "single") or "int" in name


def _is_mat73(start: bytes) -> bool:
    return start[:10] == b"MATLAB 7.3" or start[512:520] == HDF5_AT_512


def _scalars(arrays: Sequence[Array]) -> list[Array]:
    return [array for array in arrays if array.real and array.size == 1]


def _layout(cube: Array, arrays: Sequence[Array]) -> str:
    axis = band_axis_by_length(cube.shape, arrays)
    return layout_with_bands_at(2 if axis is None else axis)


def _wavelength_vector(arrays: Sequence[Array], bands: int) -> Array | None:
    return next((array for array in arrays if is_wavelength_vector(array, bands)), None)


def _load(path: Path, name: str) -> Stored:
    """One array of a version 5 file. SciPy answers damage with errors of many kinds."""
    try:
        values = scipy.io.loadmat(path, variable_names=[name])[name]
    except MemoryError as error:
        raise OutOfMemoryError(
            f"'{name}' in {path} does not fit into memory.", "Save it as version 7.3."
        ) from error
    except Exception as error:
        raise SceneError(
            f"'{name}' in {path} cannot be read: {error}.", "The file is damaged; copy it again."
        ) from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf" or prod(values.shape) == 0:
        raise SceneError(f"'{name}' in {path} holds no real numbers.", "Name another array.")
    return values
