"""The files of a product in a folder, a zip or a tar, found by name and read where they are.

Metadata come out of an archive through a bounded read, rasters through GDAL's virtual file systems. The names
in an archive choose its members and are never used as paths of this machine.
"""

import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.readers import first_bytes

MAX_DEPTH = 3
"""Folders within folders that are looked into; archives like to wrap a product's folder in another."""

MAX_ENTRIES = 20_000
"""Entries of a folder or archive that are looked at; products have ten, or 250 with a file for each band."""

MAX_DIRECTORY_BYTES = 16 << 20
"""Largest list of contents that a zip may have: it is read into memory at once."""

MAX_METADATA_BYTES = 64 << 20
"""Largest metadata file: those of EnMAP have about four megabytes."""

SUSPICIOUS_RATIO = 50
SUSPICIOUS_BYTES = 256 << 20
"""A member that shrank more than this and has more bytes than that is refused: no raster is like that."""

ZIP = (b"PK\x03\x04", b"PK\x05\x06")
TAR_MAGIC, TAR_MAGIC_AT = b"ustar", 257
TAR_BLOCK = 512
MAX_TAR_EXTENSION = 64 << 10
COMPRESSED_TAR = re.compile(r"\.(tar\.(gz|bz2|xz|zst)|tgz|tbz2?|txz)$", re.IGNORECASE)


@dataclass(frozen=True)
class Member:
    """A file of a product.

    Attributes:
        name: without folders.
        folder: where it lies in the folder or archive, with ``/`` between the parts; "" at the top.
        size: in bytes, uncompressed.
        source: the folder's file or the archive.
        location: what GDAL opens.
        start: where the bytes begin in a tar, None elsewhere.
        entry: the name within a zip, None elsewhere.
        packed: whether the bytes are compressed, so that reading at a place means reading all before it.
    """

    name: str
    folder: str
    size: int
    source: Path
    location: str
    start: int | None = None
    entry: str | None = None
    packed: bool = False

    @property
    def shown(self) -> Path:
        """The path for messages."""
        within = self.start is not None or self.entry is not None
        return self.source / self.folder / self.name if within else self.source

    def read(self, limit: int = MAX_METADATA_BYTES) -> bytes:
        """All bytes. Raises SceneError when there are more than ``limit``, or they cannot be read."""
        if self.size > limit:
            raise SceneError(f"{self.shown} has {self.size} bytes, too many for metadata.", DAMAGED)
        with self.open_stream() as file:
            return file.read(self.size)

    @contextmanager
    def open_stream(self) -> Iterator[IO[bytes]]:
        """The bytes from the first to, in a tar, beyond the last. Raises SceneError, in the block as well."""
        try:
            with self._open() as file:
                yield file
        except SceneError:
            raise
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
            OSError,
        ) as error:
            raise SceneError(f"{self.shown} cannot be read: {error}.", DAMAGED) from error

    def _open(self) -> IO[bytes]:
        if self.entry is not None:
            with zipfile.ZipFile(self.source) as archive:
                return archive.open(self.entry)
        file = self.source.open("rb")
        if self.start is not None:
            file.seek(self.start)
        return file


DAMAGED = "The file may be damaged; copy or download it again."


def is_archive(path: Path) -> bool:
    """Whether ``path`` is a zip or tar file, compressed or not, by its first bytes and its name."""
    start = first_bytes(path)
    if start.startswith(ZIP):
        return path.suffix.lower() != ".npz"
    if start[TAR_MAGIC_AT:].startswith(TAR_MAGIC):
        return True
    return path.is_file() and COMPRESSED_TAR.search(path.name) is not None


def list_members(path: Path) -> list[Member]:
    """The files in a folder (and those it holds, three deep) or archive, by name; links are not followed.

    Raises:
        SceneError: the archive is damaged, encrypted, or compressed as a whole.
    """
    if path.is_dir():
        members = _in_folder(path)
    elif first_bytes(path).startswith(ZIP):
        members = _in_zip(path)
    elif first_bytes(path)[TAR_MAGIC_AT:].startswith(TAR_MAGIC):
        members = _in_tar(path)
    else:
        raise SceneError(
            f"{path} is a compressed tar, which can only be read from its start to its end.",
            "Unpack it and give the folder.",
        )
    return sorted(members, key=lambda member: (member.folder, member.name))


def list_beside(path: Path) -> list[Member]:
    """The files in the folder of ``path``, which is one of them."""
    return _in_folder(path.parent, depth=1)


def _in_folder(folder: Path, depth: int = MAX_DEPTH) -> list[Member]:
    found: list[Member] = []
    waiting = [(folder, "", 1)]
    seen = 0
    while waiting:
        here, inside, level = waiting.pop()
        with os.scandir(here) as entries:
            for entry in entries:
                seen += 1
                if seen > MAX_ENTRIES:
                    return found
                if entry.is_dir(follow_symlinks=False):
                    if level < depth and os.access(entry.path, os.R_OK | os.X_OK):
                        waiting.append((Path(entry.path), f"{inside}{entry.name}/", level + 1))
                elif _is_file(entry):
                    file = Path(entry.path)
                    size = entry.stat().st_size
                    found.append(Member(entry.name, inside.rstrip("/"), size, file, str(file.absolute())))
    return found


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file or a link to one; links that lead in a circle are none."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _in_zip(path: Path) -> list[Member]:
    absolute = path.absolute().as_posix()
    try:
        if _directory_bytes(path) > MAX_DIRECTORY_BYTES:
            raise SceneError(f"{path} holds more files than any product.", "Unpack it and give the folder.")
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, struct.error) as error:
        if isinstance(error, SceneError):
            raise
        raise SceneError(f"{path} is no complete zip archive: {error}.", DAMAGED) from error
    found = []
    for entry in entries:
        place = _place(entry.filename)
        if entry.is_dir() or place is None:
            continue
        folder, name = place
        if entry.flag_bits & 1:
            raise SceneError(f"{path} is encrypted.", "Unpack it with its password and give the folder.")
        bomb = entry.file_size > SUSPICIOUS_BYTES
        if bomb and entry.file_size > SUSPICIOUS_RATIO * max(entry.compress_size, 1):
            raise SceneError(
                f"{name} in {path} is said to unpack to {entry.file_size / 1e9:.1f} GB from "
                f"{entry.compress_size / 1e6:.1f} MB, which no image does.",
                "Get the product from its provider again.",
            )
        location = f"/vsizip/{{{absolute}}}/{entry.filename}"
        packed = entry.compress_type != zipfile.ZIP_STORED
        found.append(
            Member(name, folder, entry.file_size, path, location, entry=entry.filename, packed=packed)
        )
    return found


def _directory_bytes(path: Path) -> int:
    """Length of a zip's list of contents, from its last record (APPNOTE 4.3.14 to 4.3.16)."""
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - (1 << 16) - 22 - 20))
        tail = file.read()
        at = tail.rfind(b"PK\x05\x06")
        if at < 0:
            raise zipfile.BadZipFile("its end is missing")
        (size,) = struct.unpack_from("<I", tail, at + 12)
        locator = tail.rfind(b"PK\x06\x07", 0, at)
        if size == 0xFFFFFFFF and locator >= 0:
            (where,) = struct.unpack_from("<Q", tail, locator + 8)
            file.seek(min(where, length))
            (size,) = struct.unpack_from("<Q", file.read(56), 40)
    return int(size)


def _in_tar(path: Path) -> list[Member]:
    length = path.stat().st_size
    absolute = path.absolute().as_posix()
    found: list[Member] = []
    with path.open("rb") as file:
        for name, start, size in _tar_entries(file, path):
            if start + size > length:
                raise SceneError(f"{path} ends within {name}.", "The archive was cut short; get it again.")
            place = _place(name)
            if place is not None:
                location = f"/vsisubfile/{start}_{size},{absolute}"
                found.append(Member(place[1], place[0], size, path, location, start=start))
    return found


def _tar_entries(file: IO[bytes], path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, start and size of each regular file (POSIX ustar and pax, GNU long names)."""
    long_name = None
    for _ in range(MAX_ENTRIES):
        header = file.read(TAR_BLOCK)
        if len(header) < TAR_BLOCK or header == bytes(TAR_BLOCK):
            return
        kind, start = header[156:157], file.tell()
        try:
            size = _tar_number(header[124:136])
            _tar_number(header[148:156])
        except ValueError as error:
            raise SceneError(f"{path} is no complete tar archive.", DAMAGED) from error
        if kind in b"Lx" and kind:
            if size > MAX_TAR_EXTENSION:
                raise SceneError(f"{path} holds a name of {size} bytes.", DAMAGED)
            text = file.read(size).rstrip(b"\0")
            if kind == b"L":
                long_name = text.decode("utf-8", "replace")
            elif found := re.search(rb"(?:^|\n)\d+ path=([^\n]+)", text):
                long_name = found[1].decode("utf-8", "replace")
        else:
            if kind in (b"0", b"\0"):
                short, prefix = (
                    header[part].split(b"\0")[0].decode("utf-8", "replace")
                    for part in (slice(0, 100), slice(345, 500))
                )
                posix = header[257:263] == b"ustar\0"
                yield long_name or (f"{prefix}/{short}" if prefix and posix else short), start, size
            long_name = None
        file.seek(start + -(-size // TAR_BLOCK) * TAR_BLOCK)


def _tar_number(field: bytes) -> int:
    """An octal number, or a binary one where it is too large (GNU). Raises ValueError."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    return int(field.strip(b" \0") or b"0", 8)


def _place(name: str) -> tuple[str, str] | None:
    """Folder and name of an archive's member; None for names that lead out of it, or too deep."""
    parts = PurePosixPath(name).parts
    unsafe = not parts or name.startswith("/") or "\\" in name or ".." in parts or "\0" in name
    if unsafe or len(parts) > MAX_DEPTH + 1:
        return None
    return "/".join(parts[:-1]), parts[-1]
