"""The readers, one module a family of files; the order below is the order in which they are asked.

A reader is a module with two functions:

- ``sniff(path) -> bool``: whether the file or folder is its own, from the name and a few bytes;
- ``open(path, variable) -> xarray.DataArray``: the scene, lazily (see ``hsi_toolkit.scene.contract``).

Another sensor's product is another module, named in ``READERS`` before the general families.
"""

from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import xarray as xr

from hsi_toolkit.errors import SceneError

READERS = (
    "hyspecnet",
    "enmap",
    "desis",
    "hyperion",
    "prisma",
    "emit",
    "aviris",
    "neon",
    "contained",
    "hsz",
    "envi",
    "matlab",
    "numpy",
    "cf",
    "hdf5",
    "gdal",
)
"""Modules of this package, most specific first."""


class Reader(Protocol):
    """What a reader module offers."""

    def sniff(self, path: Path) -> bool:
        """Whether ``path`` looks like one of this reader's files; cheap, and never raises."""
        ...

    def open(self, path: Path, variable: str | None) -> xr.DataArray:
        """The scene at ``path``. Raises SceneError."""
        ...


def find_reader(path: Path) -> Reader | None:
    """The first reader that knows the file or folder, or None."""
    for name in READERS:
        reader = cast(Reader, import_module(f"{__name__}.{name}"))
        if reader.sniff(path):
            return reader
    return None


def refuse_variable(path: Path, variable: str | None) -> None:
    """For formats of one image a file: raise SceneError when a variable is asked for."""
    if variable is not None:
        raise SceneError(f"{path} holds one image and no array '{variable}'.", "Leave the variable out.")


def first_bytes(path: Path, count: int = 560) -> bytes:
    """The start of a file, empty for folders and unreadable files; what sniffing looks at."""
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""
