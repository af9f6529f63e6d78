"""Writing files whole or not at all."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from hsi_toolkit.errors import OutputError

_unfinished: set[Path] = set()


def check_output(path: str | Path, *, overwrite: bool) -> Path:
    """The output path, once it is sure that it may and can be written.

    Raises:
        OutputError: the file exists and ``overwrite`` is false, or its folder is missing or read-only.
    """
    target = Path(path)
    if target.is_dir():
        raise OutputError(f"The output {target} is a folder.", "Give the name of a file in it.")
    if target.exists() and not target.is_file():
        # A device would be replaced by a file of its name.
        raise OutputError(f"The output {target} is a device.", "Give the name of a file.")
    if target.exists() and not overwrite:
        raise OutputError(f"The output {target} exists already.", "Choose another name or allow overwriting.")
    folder = target.parent
    if not folder.is_dir():
        raise OutputError(f"The output folder {folder} does not exist.", "Create it or choose another one.")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"The output folder {folder} cannot be written.", "Choose another one.")
    return target


@contextmanager
def atomic_path(path: str | Path, *, overwrite: bool = True) -> Iterator[Path]:
    """A temporary name beside ``path`` that becomes ``path`` when the block ends without an error.

    The temporary file keeps the suffix, because writers choose their format by it. On any error,
    cancellation included, it is removed and what stood at ``path`` before stays as it was. Its name
    matches ``temporary_pattern`` of this process, so that whoever kills the process can remove it.

    Raises:
        OutputError: see ``check_output``.
    """
    target = check_output(path, overwrite=overwrite)
    handle, name = tempfile.mkstemp(
        prefix=f".{target.stem}.{os.getpid()}-", suffix=f".part{target.suffix}", dir=target.parent
    )
    os.close(handle)
    temporary = Path(name)
    _unfinished.add(temporary)
    try:
        yield temporary
        _apply_default_mode(temporary)
        os.replace(temporary, target)
    except OSError as error:
        if isinstance(error, OutputError) or error.errno is None:
            raise
        raise OutputError(
            f"Writing {target} failed: {error.strerror or error}.", "Check the free space and permissions."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
        _unfinished.discard(temporary)


@contextmanager
def atomic_folder(path: str | Path, *, overwrite: bool = False, replaceable: str = "") -> Iterator[Path]:
    """A temporary folder beside ``path`` that becomes ``path`` when the block ends without an error.

    A folder that stands there is replaced only with ``overwrite``, and only if it holds an entry named
    ``replaceable``, which tells that it is of the kind that is written.

    Raises:
        OutputError: the folder exists and may not be replaced, or cannot be written.
    """
    target = Path(path)
    if target.is_dir():
        if not overwrite:
            raise OutputError(
                f"The output {target} exists already.", "Choose another name or allow overwriting."
            )
        if not replaceable or not (target / replaceable).exists():
            raise OutputError(f"The output {target} is a folder of other files.", "Choose another name.")
    else:
        check_output(target, overwrite=overwrite)
    prefix = f".{target.stem}.{os.getpid()}-"
    temporary = Path(tempfile.mkdtemp(prefix=prefix, suffix=f".part{target.suffix}", dir=target.parent))
    aside = temporary.with_name(f"{temporary.name}.part")
    _unfinished.add(temporary)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        if target.is_dir():
            os.replace(target, aside)
        os.replace(temporary, target)
    except OSError as error:
        if aside.exists() and not target.exists():
            os.replace(aside, target)
        if isinstance(error, OutputError) or error.errno is None:
            raise
        raise OutputError(
            f"Writing {target} failed: {error.strerror or error}.", "Check the free space and permissions."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)
        _unfinished.discard(temporary)


@contextmanager
def staged_folder(folder: str | Path) -> Iterator[Path]:
    """A temporary folder inside ``folder``, whose files move there when the block ends without an error.

    For results of several files that belong together: on any error, cancellation included, none of them
    is replaced. Files of ``folder`` that the block did not make stay.

    Raises:
        OutputError: a file cannot be moved.
    """
    target = Path(folder)
    staging = Path(tempfile.mkdtemp(prefix=f".results.{os.getpid()}-", suffix=".part", dir=target))
    _unfinished.add(staging)
    try:
        yield staging
        for made in sorted(staging.iterdir()):
            os.replace(made, target / made.name)
    except OSError as error:
        if isinstance(error, OutputError) or error.errno is None:
            raise
        raise OutputError(
            f"Writing into {target} failed: {error.strerror or error}.",
            "Check the free space and permissions.",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        _unfinished.discard(staging)


def make_sure_it_is_stored(path: Path, reserve: int = 1 << 20) -> None:
    """Raise ``OSError`` if the disk could not take the file just written.

    Libraries may drop the error of their last write. What is left of a full disk is less than ``reserve``
    bytes, so that these cannot be appended.
    """
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size)
        file.write(bytes(reserve))
        file.flush()
        os.fsync(file.fileno())
        file.truncate(size)


def temporary_pattern(pid: int) -> str:
    """The glob pattern of what that process, when killed, leaves beside its outputs: files and folders."""
    return f".*.{pid}-*.part*"


def remove_unfinished() -> None:
    """Remove this process's temporary files: for an end that runs no ``finally``."""
    for path in tuple(_unfinished):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
            continue
        # On Windows a file that is open cannot be removed.
        with suppress(OSError):
            path.unlink(missing_ok=True)


def write_json(path: str | Path, value: Mapping[str, object], *, overwrite: bool = True) -> None:
    """Write ``value`` as readable UTF-8 JSON, whole or not at all."""
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _apply_default_mode(path: Path) -> None:
    """Give the file the mode any new file would get; ``mkstemp`` makes it private."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)
