"""Folders and archives as they are delivered, with one scene in a file in them."""

from contextlib import suppress
from pathlib import Path

import xarray as xr

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.readers import find_reader
from hsi_toolkit.scene.readers.archives import Member, is_archive, list_members

SUFFIXES = (".he5", ".h5", ".nc", ".hdr")

COMPANIONS = ("_MASK_", "_RFLUNCERT_", "_OBS_", "_UNC_")
"""Parts of the names of files that come with a scene and are none."""


def sniff(path: Path) -> bool:
    """Whether ``path`` is a folder or archive that holds a file of a kind that is read by itself."""
    with suppress(SceneError, OSError):
        return (path.is_dir() or is_archive(path)) and bool(_scenes(path))
    return False


def open(path: Path, variable: str | None) -> xr.DataArray:
    """Open the only scene in a folder; masks and uncertainties beside it do not count.

    Raises:
        SceneError: there are several, or it lies in an archive, where no window of it could be read.
    """
    scenes = _scenes(path)
    if len(scenes) != 1:
        shown = ", ".join(scene.name for scene in scenes[:5]) + (", ..." if len(scenes) > 5 else "")
        raise SceneError(f"{path} holds {len(scenes)} scenes: {shown}.", "Open one of them.")
    scene = scenes[0]
    if not path.is_dir():
        raise SceneError(
            f"{path} holds {scene.name}, which can only be read in pieces outside of an archive.",
            "Unpack it and open that file.",
        )
    reader = find_reader(scene.source)
    if reader is None:
        raise SceneError(f"{scene.source} is no raster of a known kind.", "Open another file of the folder.")
    return reader.open(scene.source, variable)


def _scenes(path: Path) -> list[Member]:
    files = [member for member in list_members(path) if member.name.lower().endswith(SUFFIXES)]
    scenes = [file for file in files if not any(part in file.name.upper() for part in COMPANIONS)]
    return scenes or files
