"""Compressed cubes: decompressed once into an unnamed temporary file, then read at any position.

A compressed stream can only be read from its start, and a window of a band-sequential cube lies in as many
places as it has bands: reading it from the stream would decompress everything for every window. The first
read therefore decompresses to a file in the system's folder for temporary files, with bounded memory and
never more than the cube needs; the file has no name, so nothing is left behind however the process ends.
"""

import os
import shutil
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.raw import OpenFile, Storage

COPY_BYTES = 1 << 20

MAX_DEFLATE_RATIO = 1032
"""No DEFLATE stream expands more than this (the zlib manual), so a header that needs more is wrong."""


class Decompressor(Protocol):
    """Opens the decompressed bytes of a file as a stream. Picklable."""

    @property
    def path(self) -> Path: ...

    def open_stream(self) -> IO[bytes]: ...


class SpooledFile:
    """The first ``length`` decompressed bytes of a stream, as a container for ``RawSource``."""

    def __init__(self, stream: Decompressor, length: int) -> None:
        self._stream = stream
        self._length = length
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None

    @property
    def path(self) -> Path:
        return self._stream.path

    @contextmanager
    def open(self) -> Iterator[Storage]:
        """The decompressed bytes; the first call decompresses them."""
        with self._lock:
            if self._file is None:
                self._file = self._decompress()
            file = self._file
        yield OpenFile(file.fileno())

    def __getstate__(self) -> tuple[Decompressor, int]:
        return self._stream, self._length

    def __setstate__(self, state: tuple[Decompressor, int]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def _decompress(self) -> IO[bytes]:
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        if free < self._length:
            raise SceneError(
                f"Decompressing {self.path} needs {self._length / 1e9:.1f} GB in {folder}, "
                f"which has {free / 1e9:.1f} GB.",
                "Free some space, or set TMPDIR to another disk.",
            )
        spool: IO[bytes] = tempfile.TemporaryFile(prefix="hsi-")  # noqa: SIM115  kept as long as the scene
        try:
            with self._stream.open_stream() as stream:
                self._copy(stream, spool)
        except (EOFError, zlib.error, zipfile.BadZipFile, OSError) as error:
            spool.close()
            if isinstance(error, SceneError):
                raise
            raise SceneError(
                f"{self.path} cannot be decompressed: {error}.",
                "The file is damaged; copy or download it again.",
            ) from error
        except BaseException:
            spool.close()
            raise
        return spool

    def _copy(self, stream: IO[bytes], spool: IO[bytes]) -> None:
        left = self._length
        while left:
            part = stream.read(min(COPY_BYTES, left))
            if not part:
                raise SceneError(
                    f"{self.path} holds {left} bytes less than its header says.",
                    "The file was cut short or the header belongs to another one.",
                )
            spool.write(part)
            left -= len(part)
        spool.flush()


def check_expansion(path: Path, length: int) -> None:
    """Refuse a decompressed ``length`` beyond what the file at ``path`` can hold. Raises SceneError."""
    stored = os.path.getsize(path)
    if length > stored * MAX_DEFLATE_RATIO:
        raise SceneError(
            f"{path} has {stored} compressed bytes, too few for the {length} its header promises.",
            "The file was cut short or the header belongs to another one.",
        )
