"""``xarray.open_dataset(path, engine="hsi")``."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import xarray as xr
from xarray.backends import AbstractDataStore, BackendEntrypoint

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.opening import open_scene
from hsi_toolkit.scene.readers import envi

if TYPE_CHECKING:
    from xarray.core.types import ReadBuffer


class HsiBackendEntrypoint(BackendEntrypoint):
    """Opens what ``open_scene`` opens as a data set with one variable, ``scene`` (band, y, x)."""

    description = "Hyperspectral scenes: ENVI, GeoTIFF with wavelengths, MATLAB, NumPy and sensors' products"
    open_dataset_parameters: ClassVar[tuple[str, ...]] = ("filename_or_obj", "drop_variables", "variable")

    def open_dataset(
        self,
        filename_or_obj: "str | os.PathLike[Any] | ReadBuffer[Any] | bytes | memoryview | AbstractDataStore",
        *,
        drop_variables: str | Iterable[str] | None = None,
        variable: str | None = None,
    ) -> xr.Dataset:
        """The scene at a path as a lazy data set; ``variable`` as in ``open_scene``.

        ``chunks={}`` gives Dask arrays in chunks that suit the file.

        Raises:
            SceneError: the file cannot be opened, or is no path.
        """
        if not isinstance(filename_or_obj, str | os.PathLike):
            raise SceneError(f"engine='hsi' cannot open a {type(filename_or_obj).__name__}.", "Give a path.")
        data = open_scene(filename_or_obj, variable).to_dataset()
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        return data.drop_vars(dropped, errors="ignore")

    def guess_can_open(
        self,
        filename_or_obj: "str | os.PathLike[Any] | ReadBuffer[Any] | bytes | memoryview | AbstractDataStore",
    ) -> bool:
        """Only ENVI is claimed unasked: the other formats have engines of their own."""
        return isinstance(filename_or_obj, str | os.PathLike) and envi.sniff(Path(filename_or_obj))
