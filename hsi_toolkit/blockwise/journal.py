"""Finished blocks kept beside an output, so that an interrupted run goes on from them.

A journal is one file to which each finished block is appended: its number, its length, checksums, and its
arrays as safetensors. Whatever interrupts a run, every record before the last one is whole; a last one that
was cut off, and any that a disk has damaged, are computed again.
"""

import json
import os
import platform
import shutil
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import psutil
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from hsi_toolkit.errors import OutputError
from hsi_toolkit.files import temporary_pattern

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Arrays = dict[str, NDArray[np.generic]]

MAGIC = b"\x89HSIJ1\r\n"
_RECORD = struct.Struct("<IQI")
_CHECK = struct.Struct("<I")
"""A record begins with its block's number, the length and CRC-32 of what follows, and the CRC-32 of these."""

_HEAD = _RECORD.size + _CHECK.size
_RUN = 0xFFFFFFFF
"""The number of records that say what run this is, and which process writes what follows."""


class _Place(NamedTuple):
    """Where a block's arrays lie in the file."""

    start: int
    length: int
    checksum: int


class _Process(NamedTuple):
    """A process that wrote blocks."""

    host: str
    number: int


def journal_path(output: str | Path) -> Path:
    """Where the journal of an output lies: ``map.tif`` has ``map.part.journal`` beside it."""
    target = Path(output)
    return target.with_name(f"{target.stem}.part.journal")


class BlockJournal:
    """The journal at ``path``, for the length of a ``with`` block.

    Entered, it knows the blocks of the same run that was interrupted, if there was one. Left without an error
    it is removed, since its output is then whole; left with one it stays, unless no block was finished.

    Args:
        path: the file; only one process at a time can have it.
        identity: the same for the same run: what is read, what is made of it, and how.
        keep: leave the file there when all went well; whoever asks for that removes it.

    Raises:
        OutputError: another process has it, or it cannot be written.
    """

    def __init__(self, path: str | Path, identity: Mapping[str, Json], *, keep: bool = False) -> None:
        self.path = Path(path)
        self._run, self._keep = dict(identity), keep
        self._lock = FileLock(f"{self.path}.lock", timeout=0)
        self._file = -1
        self._end = 0
        self._places: dict[int, _Place] = {}
        self.note = ""
        """A sentence on what was there when it was entered; empty where nothing was."""

    @classmethod
    def run_at(cls, path: str | Path) -> Mapping[str, Json]:
        """What run the journal at ``path`` is of; empty where there is none or it is damaged."""
        journal = cls(path, {})
        with suppress(OSError):
            journal._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        if journal._file < 0:
            return {}
        try:
            run = journal._scan()[0]
        except OSError:
            run = None
        finally:
            os.close(journal._file)
        return run if isinstance(run, dict) else {}

    def __enter__(self) -> Self:
        try:
            self._lock.acquire()
        except Timeout as error:
            raise OutputError(
                f"Another process is writing the output of {self.path}.", "Wait for it, or end it."
            ) from error
        except OSError as error:
            raise self._failure(error) from error
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            self._take_over()
        except OSError as error:
            self._close()
            raise error if isinstance(error, OutputError) else self._failure(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(remove=not self._places if kind is not None else not self._keep)

    @property
    def finished(self) -> frozenset[int]:
        """Numbers of the blocks it holds."""
        return frozenset(self._places)

    def add(self, number: int, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Append a finished block.

        Raises:
            OutputError: the disk is full or gone; the blocks before stay.
        """
        self._places[number] = self._append(
            number, save({name: np.ascontiguousarray(values) for name, values in arrays.items()})
        )

    def read(self, number: int) -> Arrays | None:
        """The arrays of a finished block; None where it is not there, or damaged.

        Raises:
            OutputError: the file cannot be read.
        """
        place = self._places.get(number)
        if place is None:
            return None
        try:
            payload = self._read(place.start, place.length)
        except OSError as error:
            raise self._failure(error) from error
        if len(payload) == place.length and zlib.crc32(payload) == place.checksum:
            with suppress(SafetensorError):
                return dict(load(payload))
        del self._places[number]
        return None

    def _take_over(self) -> None:
        """Find the blocks of the run that was interrupted, or begin anew."""
        fresh = os.fstat(self._file).st_size == 0
        run, processes = self._scan()
        for process in processes:
            _remove_left_behind(self.path.parent, process)
        if run == self._run:
            self.note = f"Going on from {len(self._places)} blocks that are finished."
            os.truncate(self._file, self._end)
        else:
            if not fresh:
                why = "is damaged" if run is None else "is of another run"
                self.note = f"{self.path} {why}, so that its blocks are not used."
            self._places.clear()
            os.truncate(self._file, 0)
            self._end = 0
            self._write(MAGIC)
        own: Json = {"run": self._run, "host": platform.node(), "process": os.getpid()}
        self._append(_RUN, json.dumps(own).encode())

    def _scan(self) -> tuple[Json, list[_Process]]:
        """Note all records up to the first whose beginning is damaged.

        Returns:
            The run they are of, None where that cannot be read, and the processes that wrote them: these are
            dead, or one of them would have the lock.
        """
        size = os.fstat(self._file).st_size
        run: Json = None
        processes: list[_Process] = []
        if self._read(0, len(MAGIC)) != MAGIC:
            return run, processes
        self._end = len(MAGIC)
        while self._end + _HEAD <= size:
            head = self._read(self._end, _HEAD)
            number, length, checksum = _RECORD.unpack_from(head)
            place = _Place(self._end + _HEAD, length, checksum)
            whole = _CHECK.unpack_from(head, _RECORD.size)[0] == zlib.crc32(head[: _RECORD.size])
            if not whole or place.start + length > size:
                break
            if number == _RUN:
                text = self._read(place.start, length)
                if zlib.crc32(text) != checksum:
                    break
                said = json.loads(text)
                run = said["run"]
                processes.append(_Process(said["host"], said["process"]))
            else:
                self._places[number] = place
            self._end = place.start + length
        return run, processes

    def _append(self, number: int, payload: bytes) -> _Place:
        start, checksum = self._end + _HEAD, zlib.crc32(payload)
        head = _RECORD.pack(number, len(payload), checksum)
        self._write(head + _CHECK.pack(zlib.crc32(head)) + payload)
        return _Place(start, len(payload), checksum)

    def _write(self, data: bytes) -> None:
        try:
            os.lseek(self._file, self._end, os.SEEK_SET)
            left = memoryview(data)
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            with suppress(OSError):
                os.truncate(self._file, self._end)
            raise self._failure(error) from error
        self._end += len(data)

    def _read(self, start: int, length: int) -> bytes:
        os.lseek(self._file, start, os.SEEK_SET)
        parts = []
        while length > 0 and (part := os.read(self._file, length)):
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def _close(self, *, remove: bool = False) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        # Before the lock is given back: the next process may begin at once.
        if remove:
            self.path.unlink(missing_ok=True)
        with suppress(OSError):
            Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

    def _failure(self, error: OSError) -> OutputError:
        return OutputError(
            f"Writing the finished blocks to {self.path} failed: {error.strerror or error}.",
            "Check the free space and permissions; started again, the run goes on from what is finished.",
        )


def _remove_left_behind(folder: Path, process: _Process) -> None:
    """Remove the temporary files of a process of this machine that was killed."""
    if process.host != platform.node() or psutil.pid_exists(process.number):
        return
    for path in folder.glob(temporary_pattern(process.number)):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
