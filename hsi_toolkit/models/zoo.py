"""The published weights of the four systems and the built-in ones: what there is, fetching and importing."""

import difflib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from hsi_toolkit.errors import ModelError, OutputError
from hsi_toolkit.models.bundle import ModelBundle, ModelMetadata, Provenance, parts
from hsi_toolkit.models.checksums import ChecksumList, sha256
from hsi_toolkit.models.download import download
from hsi_toolkit.models.importing import read_released
from hsi_toolkit.models.metadata import Json, plain_json
from hsi_toolkit.progress import Progress

CHECKSUMS = "checksums.json"
"""File of the model folder that remembers the checksums of what was fetched."""

_BUILT_IN = Path(__file__).parent / "weights"

# Part of the progress that the download has; the rest is checking.
_DOWNLOAD = 0.95


@dataclass(frozen=True)
class ZooEntry:
    """A published set of weights, or one that ships with this package.

    Attributes:
        id: what commands call it.
        system: HSIMAE, HyperSIGMA, HySpecNet-11k or BiMAE.
        title: what it is.
        file: its name in the model folder.
        url: where it is, None when it was never published.
        page: the publisher's page.
        revision: commit or branch that the URL names; None where the host has none.
        licence: of the weights, "not stated" where the publisher says nothing.
        size: bytes, rounded where the publisher rounds; None when unknown.
        sha256: checksum, None when unknown; then the one of the first download counts.
        notes: what else a user should know.
        built_in: whether it ships with this package, in ``models/weights``, so that nothing is fetched.
    """

    id: str
    system: str
    title: str
    file: str | None
    url: str | None
    page: str | None
    revision: str | None
    licence: str
    size: int | None
    sha256: str | None
    notes: str
    built_in: bool = False


def model_folder() -> Path:
    """The folder of fetched models: ``HSI_MODELS``, else the platform's place for a user's data."""
    chosen = os.environ.get("HSI_MODELS")
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_data_path("hsi_toolkit", appauthor=False) / "models"


@cache
def _catalogue() -> dict[str, ZooEntry]:
    text = files("hsi_toolkit.models").joinpath("zoo.json").read_text(encoding="utf-8")
    return {entry["id"]: ZooEntry(**entry) for entry in json.loads(text)["models"]}


def list_models() -> list[ZooEntry]:
    """Every set of weights: built-in ones, then published ones by system."""
    return list(_catalogue().values())


def find(name: str) -> ZooEntry:
    """The entry called ``name``.

    Raises:
        ModelError: there is none.
    """
    catalogue = _catalogue()
    if name not in catalogue:
        raise ModelError(f"There is no published model {name!r}.", _suggestion(name))
    return catalogue[name]


def show(name: str) -> dict[str, Json]:
    """The entry called ``name`` with where its file is (``path``, None when not fetched) as JSON values.

    ``sha256`` is the checksum that counts: the published one, else the one of the first download.

    Raises:
        ModelError: there is no such model, or the folder's list of checksums is damaged.
    """
    entry = find(name)
    path = _path(entry)
    described = {name: plain_json(value) for name, value in asdict(entry).items()}
    described["sha256"] = _expected(entry)
    described["path"] = str(path) if path and path.is_file() else None
    return described


def fetch(name: str, *, progress: Progress | None = None) -> Path:
    """The file of the model called ``name``, downloaded unless it is there, its checksum verified.

    An interrupted download is continued. The checksum of a file whose publisher states none is recorded on
    the first download and verified ever after.

    Raises:
        ModelError: there is no such model, it was never published, it cannot be downloaded, or it is not
            the file it was.
        OutputError: the model folder cannot be written, or its disk is full.
        Cancelled: ``progress`` said so; what has come stays and is continued next time.
    """
    return fetch_entry(find(name), progress or Progress())


def fetch_entry(entry: ZooEntry, progress: Progress) -> Path:
    """``fetch`` for an entry that is not in the list. Built-in weights are where they are."""
    path = _path(entry)
    if path is not None and entry.built_in:
        return path
    if path is None or entry.url is None:
        raise ModelError(f"{entry.id} cannot be fetched. {entry.notes}", "Train it on data of your own.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The model folder {path.parent} cannot be made: {error.strerror}.", "Set HSI_MODELS to another."
        ) from error
    with _locked(path):
        if path.is_file():
            _verify(entry, path, progress)
            return path
        part = download(entry.url, path, progress.part(0.0, _DOWNLOAD))
        try:
            _verify(entry, part, progress.part(_DOWNLOAD, 1.0))
        except ModelError:
            part.unlink()
            raise
        os.replace(part, path)
    progress.log(f"{entry.id} is in {path}.")
    return path


def resolve(name: str | Path, *, progress: Progress | None = None) -> Path:
    """The file a model argument means: a path, a bundle in the model folder, a built-in or fetched model.

    Bundles made by ``import_model`` without an output come before the published file of the same name.

    Raises:
        ModelError: there is none; the sentence says how to fetch it. Or it is not the file it was.
    """
    path = Path(name)
    if path.is_file():
        return path
    text = str(name)
    if not re.fullmatch(r"[\w.-]+", text) or path.suffix in (".safetensors", ".pkl", ".pth", ".pt", ".tar"):
        raise ModelError(
            f"There is no model file {path}.", "Check the path, or see 'hsi models list' for published ones."
        )
    imported = model_folder() / f"{text}.safetensors"
    if imported.is_file():
        return imported
    if text not in _catalogue():
        raise ModelError(
            f"There is neither a model file {text} nor a published model of that name.", _suggestion(text)
        )
    entry = find(text)
    fetched = _path(entry)
    if fetched is not None and entry.built_in:
        return fetched
    if fetched is None:
        raise ModelError(f"{entry.id} cannot be used. {entry.notes}", "Train it on data of your own.")
    if not fetched.is_file():
        raise ModelError(
            f"The model {entry.id} has not been fetched.", f"Run 'hsi models fetch {entry.id}' first."
        )
    _verify(entry, fetched, progress or Progress())
    return fetched


def import_model(
    source: str | Path,
    output: str | Path | None = None,
    *,
    name: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ModelBundle:
    """Convert released weights, a file or a fetched model, into a bundle and write it.

    Args:
        source: a checkpoint file, or the name of a fetched model.
        output: the bundle; by default ``<name>.safetensors`` in the model folder.
        name: what the bundle is called; by default as the published model, else as the file.

    Raises:
        ModelError: the file is missing, damaged, would run code, or of no system that is known.
        OutputError: the output exists already or cannot be written.
    """
    progress = progress or Progress()
    path = resolve(source, progress=progress.part(0.0, 0.3))
    entry = next((entry for entry in list_models() if path == _path(entry)), None)
    progress.report(0.3, f"Reading {path.name}")
    released = read_released(path)
    progress.check()
    called = name or (entry.id if entry else path.stem)
    digest = sha256(path, progress.part(0.4, 0.7))
    metadata = ModelMetadata(
        name=called,
        kind=released.kind,
        architecture=released.architecture,
        provenance=Provenance(
            source=f"{entry.url if entry else path.name}, sha256 {digest}",
            licence=entry.licence if entry else "not stated",
        ),
    )
    bundle = ModelBundle(metadata, parts(network=released.state_dict))
    if output is None:
        output = model_folder() / f"{called}.safetensors"
        output.parent.mkdir(parents=True, exist_ok=True)
    bundle.save(output, overwrite=overwrite)
    progress.report(1.0, f"Wrote {output}")
    return bundle


def _suggestion(name: str) -> str:
    near = difflib.get_close_matches(name, _catalogue(), n=1)
    return (f"Did you mean {near[0]}? " if near else "") + "'hsi models list' shows the published ones."


def _path(entry: ZooEntry) -> Path | None:
    folder = _BUILT_IN if entry.built_in else model_folder()
    return folder / entry.file if entry.file else None


def _checksums() -> ChecksumList:
    return ChecksumList(model_folder() / CHECKSUMS)


def _expected(entry: ZooEntry) -> str | None:
    """The published checksum, else the recorded one."""
    return entry.sha256 or _checksums().get(entry.file or "")


def _verify(entry: ZooEntry, path: Path, progress: Progress) -> None:
    """Hold ``path`` against the checksum of ``entry``, or record it as the one that counts from now on.

    Raises:
        ModelError: it is another file.
    """
    found = sha256(path, progress)
    expected = _expected(entry)
    if expected is None:
        _checksums().record(entry.file or path.name, found, entry.url or "")
        return
    if found == expected:
        return
    origin = "published" if entry.sha256 else f"recorded in {_checksums().path} when it was first fetched"
    if path == _path(entry):
        raise ModelError(
            f"{path} has changed: its sha256 is {found}, and {expected} was {origin}.",
            f"Delete it and run 'hsi models fetch {entry.id}'.",
        )
    raise ModelError(
        f"{entry.url} gave a file with sha256 {found}, and {expected} was {origin}; it was not kept.",
        "Try again; if it stays so, ask the publisher what has changed.",
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes from downloading the same file; two writers of one part would mix their bytes."""
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise ModelError(
            f"Another process is fetching {path.name}.", "Wait until it has finished."
        ) from error
    except OSError as error:
        raise OutputError(
            f"The model folder {path.parent} cannot be written: {error.strerror}.",
            "Set HSI_MODELS to another.",
        ) from error
    try:
        yield
    finally:
        lock.release()
