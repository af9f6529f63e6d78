"""A raster of a product as a data set of GDAL, in a folder or an archive."""

import os
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Mapping
from pathlib import Path

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.raw import THREADS
from hsi_toolkit.scene.readers.archives import DAMAGED, Member
from hsi_toolkit.scene.readers.gdal import Dataset

DRIVERS: Mapping[str, Mapping[str, str]] = {"GTiff": {"NUM_THREADS": str(THREADS)}, "JP2OpenJPEG": {}}
"""Those of the rasters of products, and their options."""

COPY_BYTES = 1 << 20


class MemberDataset(Dataset):
    """A raster where it lies; nothing beside it is looked at, for its metadata are elsewhere."""

    def __init__(self, member: Member) -> None:
        super().__init__(member.shown)
        self.member = member

    def _open(self) -> rasterio.DatasetReader:
        return self._open_at(self.member.location)

    def _open_at(self, location: str) -> rasterio.DatasetReader:
        with (
            rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
            warnings.catch_warnings(category=NotGeoreferencedWarning, action="ignore"),
        ):
            for driver, options in DRIVERS.items():
                try:
                    return rasterio.open(location, driver=driver, **options)
                except RasterioIOError:
                    continue
        raise SceneError(
            f"{self.path} is no GeoTIFF or JPEG 2000 image, or damaged.",
            "Copy or download the product again.",
        )

    def __reduce__(self) -> tuple[type["MemberDataset"], tuple[object, ...]]:
        return type(self), (self.member,)


class UnpackedDataset(MemberDataset):
    """A raster that a zip compresses, unpacked on first use into a temporary file that goes with the object.

    A compressed stream is read from its start, and the bands of a window lie all over an image.
    """

    def _open(self) -> rasterio.DatasetReader:
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        if free < self.member.size:
            raise SceneError(
                f"Unpacking {self.path} needs {self.member.size / 1e9:.1f} GB in {folder}, which has "
                f"{free / 1e9:.1f} GB.",
                "Free some space, set TMPDIR to another disk, or unpack the archive yourself.",
            )
        descriptor, name = tempfile.mkstemp(prefix="hsi-", suffix=".tif")
        weakref.finalize(self, _remove, Path(name))
        with os.fdopen(descriptor, "wb") as copy, self.member.open_stream() as stream:
            left = self.member.size
            while left:
                part = stream.read(min(COPY_BYTES, left))
                if not part:
                    raise SceneError(f"{self.path} is shorter than its archive says.", DAMAGED)
                copy.write(part)
                left -= len(part)
        dataset = self._open_at(name)
        if os.name == "posix":
            # The open file lives on without its name, however the process ends.
            _remove(Path(name))
        return dataset


def _remove(path: Path) -> None:
    """Delete a file that may be gone; one still open, on Windows, is left to the system's cleaning."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
