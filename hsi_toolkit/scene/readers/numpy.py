"""NumPy ``.npy`` and ``.npz`` files; arrays of Python objects, which could run code, are refused."""

import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import xarray as xr
from numpy.lib import format as npy
from numpy.typing import NDArray

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.contract import check_shape, make_scene
from hsi_toolkit.scene.metadata import to_nanometres
from hsi_toolkit.scene.raw import Container, PlainFile, RawSource
from hsi_toolkit.scene.readers import first_bytes
from hsi_toolkit.scene.readers.choosing import (
    Array,
    band_axis_by_length,
    choose,
    is_wavelength_vector,
    layout_with_bands_at,
    split_request,
)
from hsi_toolkit.scene.spool import MAX_DEFLATE_RATIO, SpooledFile

NPY = npy.MAGIC_PREFIX
ZIP = b"PK\x03\x04"
MAX_VECTOR_BYTES = 1 << 20


@dataclass(frozen=True)
class _Header:
    """An ``.npy`` header: the array, whether it is stored columns first, and where its numbers start."""

    array: Array
    fortran: bool
    offset: int


@dataclass(frozen=True)
class MemberStream:
    """The decompressed bytes of one member of an archive."""

    path: Path
    member: str

    def open_stream(self) -> IO[bytes]:
        """The member from its start; closing it closes the archive."""
        with zipfile.ZipFile(self.path) as archive:
            return archive.open(self.member)


def sniff(path: Path) -> bool:
    """Whether ``path`` is an ``.npy`` file, or an archive named ``.npz``."""
    start = first_bytes(path, 8)
    return start.startswith(NPY) or (path.suffix.lower() == ".npz" and path.is_file())


def open(path: Path, variable: str | None) -> xr.DataArray:
    """Open the cube of a NumPy file; values as stored, because their scale is not. Raises SceneError.

    In an ``.npz`` the cube is the array named by ``variable``, or found as ``choosing.choose`` says. The
    order of the axes is the one ``variable`` states (``":byx"``). Otherwise the band axis is the only one as
    long as a vector of wavelengths in the archive, else the first if the other two are equal
    (202 x 128 x 128), else the last.
    """
    name, layout = split_request(variable, path)
    if first_bytes(path, 8).startswith(NPY):
        with path.open("rb") as file:
            header = _read_header(file, path, path.stem)
        cube = choose([header.array], None, path)
        container: Container = PlainFile(path)
        needed = header.offset + cube.size * cube.dtype.itemsize
        if path.stat().st_size < needed:
            raise SceneError(
                f"{path} has {path.stat().st_size} bytes of the {needed} it promises.", "Copy it again."
            )
        return _scene(container, header, layout or _layout(cube, []), path, None)
    headers = _read_archive(path)
    arrays = [header.array for header in headers]
    cube = choose(arrays, name, path)
    header = next(header for header in headers if header.array is cube)
    member = SpooledFile(
        MemberStream(path, _member(cube.name)), header.offset + cube.size * cube.dtype.itemsize
    )
    order = layout or _layout(cube, arrays)
    bands = cube.shape[order.index("b")]
    vector = next((header for header in headers if is_wavelength_vector(header.array, bands)), None)
    return _scene(member, header, order, path, None if vector is None else _read_vector(path, vector.array))


def _scene(
    container: Container, header: _Header, order: str, path: Path, vector: NDArray[np.float64] | None
) -> xr.DataArray:
    sizes = dict(zip(order, header.array.shape, strict=True))
    shape = (sizes["b"], sizes["y"], sizes["x"])
    check_shape(shape, path)
    in_file = order[::-1] if header.fortran else order
    source = RawSource(container, header.offset, header.array.dtype, in_file, shape)
    return make_scene(source, path=path, wavelength=None if vector is None else to_nanometres(vector, None))


def _layout(cube: Array, arrays: Sequence[Array]) -> str:
    axis = band_axis_by_length(cube.shape, arrays)
    if axis is None:
        first, second, third = cube.shape
        axis = 0 if second == third != first else 2
    return layout_with_bands_at(axis)


def _read_header(file: IO[bytes], path: Path, name: str) -> _Header:
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read is None:
            raise ValueError(f"version {version}")
        shape, fortran, dtype = read(file)
    except (ValueError, TypeError, EOFError, SyntaxError, tokenize.TokenError) as error:
        raise SceneError(
            f"'{name}' in {path} is no intact NumPy array: {error}.", "Save or copy it again."
        ) from error
    return _Header(Array(name, shape, dtype), fortran, file.tell())


def _read_archive(path: Path) -> list[_Header]:
    headers = []
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.filename.endswith(".npy"):
                    continue
                with archive.open(info) as file:
                    header = _read_header(file, path, info.filename.removesuffix(".npy"))
                needed = header.offset + header.array.size * header.array.dtype.itemsize
                if header.array.real and (
                    info.file_size < needed or info.file_size > info.compress_size * MAX_DEFLATE_RATIO
                ):
                    raise SceneError(
                        f"'{header.array.name}' in {path} has {info.compress_size} bytes, too few for it.",
                        "The file is damaged; save or copy it again.",
                    )
                headers.append(header)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise SceneError(f"{path} is no intact .npz file: {error}.", "Save or copy it again.") from error
    return headers


def _read_vector(path: Path, array: Array) -> NDArray[np.float64]:
    if array.size * array.dtype.itemsize > MAX_VECTOR_BYTES:
        raise SceneError(f"'{array.name}' in {path} is too long for wavelengths.", "Rename it.")
    with np.load(path, allow_pickle=False) as archive:
        return np.asarray(archive[array.name], dtype=np.float64).reshape(-1)


def _member(name: str) -> str:
    return f"{name}.npy"
