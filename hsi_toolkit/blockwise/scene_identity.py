"""What tells a scene from another one, and from itself after it was changed."""

import hashlib
from pathlib import Path

import numpy as np
import xarray as xr

from hsi_toolkit.scene.blocks import values_of


def scene_identity(scene: xr.DataArray) -> str:
    """A digest of where a scene lies, its size and time, its shape, its bands, and three of its lines.

    The lines tell what other files beside the named one hold: the data file of a header, corrections.

    Raises:
        SceneError: a line cannot be read.
    """
    digest = hashlib.sha256()
    source = Path(str(scene.attrs.get("source", "")))
    digest.update(str(source.absolute()).encode())
    if source.is_file():
        status = source.stat()
        digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
    digest.update(str(dict(scene.sizes)).encode())
    for name in ("wavelength", "fwhm", "good"):
        if name in scene.coords:
            digest.update(np.ascontiguousarray(scene[name].to_numpy()).tobytes())
    height = scene.sizes["y"]
    for row in sorted({0, height // 2, height - 1}):
        digest.update(values_of(scene.isel(y=slice(row, row + 1))).tobytes())
    return digest.hexdigest()
