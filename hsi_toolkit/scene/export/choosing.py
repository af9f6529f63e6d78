"""The writer that a file's suffix asks for."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.scene.export.cf import variable_name
from hsi_toolkit.scene.export.envi import EnviWriter, Interleave
from hsi_toolkit.scene.export.netcdf import NetcdfWriter
from hsi_toolkit.scene.export.storage import Storage
from hsi_toolkit.scene.export.zarr import ZarrWriter
from hsi_toolkit.scene.writer import RasterWriter, bands_of

SUFFIXES = (".tif", ".hdr", ".nc", ".zarr")


class SceneWriter(Protocol):
    """What takes a scene's values from top to bottom; the file appears when its ``with`` block ends well."""

    def write(self, data: NDArray[np.float32], y0: int) -> None:
        """Write rows from ``y0`` on, (bands, rows, columns) float32, NaN where there is no data."""
        ...


def open_writer(
    path: str | Path,
    scene: xr.DataArray,
    *,
    integers: bool = False,
    interleave: Interleave = "bsq",
    overwrite: bool = False,
) -> AbstractContextManager[SceneWriter]:
    """A writer for ``scene`` (band, y, x) in the format of ``path``: .tif, .hdr, .nc or .zarr.

    Args:
        scene: what will be written; its coordinates and attributes go into the file.
        integers: store reflectance times 10,000 as 16-bit integers instead of 32-bit floats.
        interleave: the order of an ENVI file.
        overwrite: whether an existing file may be replaced.

    Raises:
        ParameterError: the suffix is another one, or ``integers`` is asked for what is no reflectance.
        OutputError: the file exists or cannot be written.
    """
    target = Path(path)
    if integers and scene.attrs.get("quantity") != "reflectance":
        raise ParameterError(
            f"The scene holds {scene.attrs.get('quantity', 'dn')}, which 16-bit integers may not hold.",
            "Export it as floating-point numbers.",
        )
    storage = Storage.integers() if integers else Storage()
    makers: dict[str, Callable[[], AbstractContextManager[SceneWriter]]] = {
        ".tif": lambda: GeotiffWriter(target, scene, storage, overwrite=overwrite),
        ".hdr": lambda: EnviWriter(target, scene, storage, interleave=interleave, overwrite=overwrite),
        ".nc": lambda: NetcdfWriter(target, scene, storage, overwrite=overwrite),
        ".zarr": lambda: ZarrWriter(target, scene, storage, overwrite=overwrite),
    }
    maker = makers.get(target.suffix.lower().replace(".tiff", ".tif"))
    if maker is None:
        raise ParameterError(
            f"{target.name} does not end in {', '.join(SUFFIXES)}.", "The suffix chooses the format."
        )
    return maker()


def gdal_name(path: str | Path, scene: xr.DataArray) -> str:
    """What GDAL, and so QGIS, opens: an ENVI header's data file, the array within a Zarr store, the path."""
    target = Path(path)
    if target.suffix.lower() == ".hdr":
        return str(EnviWriter.data_path(target))
    if target.suffix.lower() == ".zarr":
        return f'ZARR:"{target.absolute()}":/{variable_name(scene)}'
    return str(target)


class GeotiffWriter(RasterWriter):
    """A GeoTIFF of a whole scene, its numbers stored as ``storage`` says."""

    def __init__(self, path: Path, scene: xr.DataArray, storage: Storage, *, overwrite: bool = False) -> None:
        self._storage = storage
        super().__init__(
            path,
            like=scene,
            dtype=storage.dtype,
            nodata=None if storage.scale is None else storage.fill,
            scale=storage.scale,
            overwrite=overwrite,
            **bands_of(scene),
        )

    def write(self, data: ArrayLike, y0: int, x0: int = 0) -> None:
        """See ``SceneWriter.write``."""
        super().write(self._storage.stored(np.asarray(data, np.float32)), y0, x0)
