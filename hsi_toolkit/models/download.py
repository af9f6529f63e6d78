"""Downloading one large file over HTTP: resumed where it stopped, cancelled at once, never mistaken."""

import http.client
import json
import queue
import shutil
import ssl
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, TypeVar

from hsi_toolkit import __version__
from hsi_toolkit.errors import ModelError, OutputError
from hsi_toolkit.progress import Progress

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 30.0
"""Without a byte for so long a connection counts as lost."""

RECONNECTS = 5
"""A lost connection is taken up again that often by itself, as long as each one brought something."""

SPARE_BYTES = 64 << 20
"""What a download leaves free on the disk."""

# How soon a cancelled download ends, however long the network keeps silent.
_POLL_SECONDS = 0.2

_AGAIN = "Run the same command again: it continues where it stopped."


T = TypeVar("T")


class _Lost(Exception):
    """The connection ended before the file did."""


@dataclass(frozen=True)
class _Answer:
    """Status, headers and final address of a response."""

    status: int
    headers: Message
    url: str

    @property
    def validator(self) -> str | None:
        """What proves, on resuming, that the file is still the same one (RFC 9110, 13.1.5)."""
        tag = self.headers.get("ETag")
        if tag and not tag.startswith("W/"):
            return tag
        return self.headers.get("Last-Modified")


def download(url: str, target: Path, progress: Progress) -> Path:
    """Fetch ``url`` into ``target.part`` and return that file, complete, for the caller to check and rename.

    A part left by an earlier attempt is continued if the server says that its file is the same one. A
    small ``target.part.json`` beside it remembers which.

    Raises:
        ModelError: the server cannot be reached, refuses, or sends a web page or a changed file.
        OutputError: the disk is full or the folder cannot be written.
        Cancelled: ``progress`` said so; the part stays.
    """
    part = target.with_name(f"{target.name}.part")
    note = target.with_name(f"{target.name}.part.json")
    reconnects = 0
    while True:
        start = _resumable(part, note, url)
        try:
            _transfer(url, part, note, start, progress)
        except _Lost as error:
            length = part.stat().st_size if part.is_file() else 0
            # Less than before: the server's file is another one now, and the next round begins anew.
            if length != start and reconnects < RECONNECTS:
                reconnects += 1
                continue
            raise ModelError(f"The download of {url} broke off: {error}.", _AGAIN) from error
        except OSError as error:
            if isinstance(error, ModelError | OutputError):
                raise
            raise OutputError(
                f"Writing {part} failed: {error.strerror or error}.", "Check the free space and permissions."
            ) from error
        note.unlink(missing_ok=True)
        return part


def _transfer(url: str, part: Path, note: Path, start: int, progress: Progress) -> None:
    """One request: append to ``part`` from ``start`` on, or write it anew if the server begins anew."""
    connection = _Connection(url, start, _remembered(note).get("validator") if start else None)
    try:
        answer = connection.answer(progress)
        total = _total(answer)
        if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            # The part is complete already, or the file has become another one.
            if total != start:
                part.unlink()
                raise _Lost("the file on the server has changed")
            return
        _refuse_page(answer, url)
        if answer.status != HTTPStatus.PARTIAL_CONTENT or _range_start(answer) != start:
            start = 0
            part.unlink(missing_ok=True)
        _check_space(part.parent, (total or 0) - start)
        note.write_text(json.dumps({"url": url, "validator": answer.validator}), encoding="utf-8")
        with part.open("ab") as file:
            done = _copy(connection, file, start, total, url, progress)
        if total is not None and done != total:
            raise _Lost(f"{_megabytes(done)} of {_megabytes(total)} came")
    finally:
        connection.stop()


def _copy(
    connection: "_Connection", file: BinaryIO, done: int, total: int | None, url: str, progress: Progress
) -> int:
    """Append the body's chunks to ``file`` and return how long it is then."""
    while chunk := connection.chunk(progress):
        if done == 0:
            _refuse_text(chunk, url)
        file.write(chunk)
        done += len(chunk)
        size = f"{_megabytes(done)} of {_megabytes(total)}" if total else _megabytes(done)
        progress.report(done / total if total else 0.0, f"Downloading {size}")
    return done


class _Connection:
    """A request whose answer and chunks are read by a thread, so that waiting for them can be cancelled."""

    def __init__(self, url: str, start: int, validator: str | None) -> None:
        self._request = urllib.request.Request(url, headers={"User-Agent": f"hsi_toolkit/{__version__}"})
        if start:
            self._request.add_header("Range", f"bytes={start}-")
            if validator:
                self._request.add_header("If-Range", validator)
        self._answer: queue.Queue[_Answer | Exception] = queue.Queue()
        self._chunks: queue.Queue[bytes | Exception] = queue.Queue(maxsize=4)
        self._stopped = threading.Event()
        threading.Thread(target=self._read, daemon=True, name="download").start()

    def answer(self, progress: Progress) -> _Answer:
        """What the server answered.

        Raises:
            Cancelled: the user asked to stop.
            ModelError: the request failed for good.
            _Lost: the connection broke.
        """
        return self._next(self._answer, progress)

    def chunk(self, progress: Progress) -> bytes:
        """The next bytes of the body, none at its end; raises as ``answer``."""
        return self._next(self._chunks, progress)

    def _next(self, items: "queue.Queue[T | Exception]", progress: Progress) -> T:
        while True:
            progress.check()
            try:
                item = items.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if isinstance(item, Exception):
                raise _as_user_error(item, self._request.full_url) from item
            return item

    def stop(self) -> None:
        """Let the thread end; it does so at its next chunk or time-out."""
        self._stopped.set()

    def _read(self) -> None:
        try:
            with urllib.request.urlopen(self._request, timeout=TIMEOUT_SECONDS) as response:
                self._answer.put(_Answer(response.status, response.headers, response.url))
                self._read_body(response)
        except urllib.error.HTTPError as error:
            error.close()
            past_the_end = error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            self._answer.put(_Answer(error.code, error.headers, error.url) if past_the_end else error)
        except Exception as error:  # whatever ends the thread has to reach the caller
            self._answer.put(error)

    def _read_body(self, response: http.client.HTTPResponse) -> None:
        last: bytes | Exception = b""
        try:
            while (chunk := response.read(CHUNK_BYTES)) and self._put(chunk):
                pass
        except Exception as error:
            last = error
        self._put(last)

    def _put(self, item: bytes | Exception) -> bool:
        """Hand ``item`` over when there is room; False if nobody waits for it any more."""
        while not self._stopped.is_set():
            try:
                self._chunks.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False


def _as_user_error(error: Exception, url: str) -> Exception:
    """What a failed request means to the user."""
    if isinstance(error, urllib.error.HTTPError):
        if error.code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            return ModelError(
                f"There is no file at {url} any more (HTTP {error.code}).",
                "Look for it on the publisher's page and import it with 'hsi models import'.",
            )
        return ModelError(
            f"The server refused {url} (HTTP {error.code} {error.reason}).",
            "Try again later, or download the file in a browser and use 'hsi models import'.",
        )
    if isinstance(error, urllib.error.URLError):
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            return ModelError(
                f"The certificate of {url} cannot be verified: {error.reason.verify_message}.",
                "Install the system's certificates or set SSL_CERT_FILE.",
            )
        return ModelError(
            f"{url} cannot be reached: {error.reason}.",
            "Check the network connection and the proxy settings (HTTPS_PROXY).",
        )
    if isinstance(error, http.client.HTTPException | OSError):
        return _Lost(str(error) or type(error).__name__)
    return error


def _resumable(part: Path, note: Path, url: str) -> int:
    """How many bytes of ``part`` can be kept; it is removed if none can."""
    remembered = _remembered(note)
    if part.is_file() and remembered.get("url") == url and remembered.get("validator"):
        return part.stat().st_size
    part.unlink(missing_ok=True)
    return 0


def _remembered(note: Path) -> dict[str, str]:
    try:
        value = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _total(answer: _Answer) -> int | None:
    """Length of the whole file as the answer states it."""
    text = answer.headers.get("Content-Range", "").rpartition("/")[2]
    if answer.status == HTTPStatus.OK:
        text = answer.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _range_start(answer: _Answer) -> int | None:
    unit, _, span = answer.headers.get("Content-Range", "").partition(" ")
    first = span.partition("-")[0]
    return int(first) if unit == "bytes" and first.isascii() and first.isdigit() else None


def _refuse_page(answer: _Answer, url: str) -> None:
    if url.startswith("https:") and not answer.url.startswith("https:"):
        raise ModelError(
            f"{url} leads to the unencrypted {answer.url}.", "Nothing was downloaded; report this, please."
        )
    if answer.headers.get_content_type() == "text/html":
        raise _not_a_model(url)


def _refuse_text(start: bytes, url: str) -> None:
    """Refuse web pages sent as files, and the pointers that large-file storage leaves in their place."""
    beginning = start[:64].lstrip().lower()
    if beginning.startswith((b"<!doctype html", b"<html", b"version https://git-lfs")):
        raise _not_a_model(url)


def _not_a_model(url: str) -> ModelError:
    return ModelError(
        f"{url} gives a web page instead of a file: a login, an error or a quota.",
        "Open it in a browser, download the file there and use 'hsi models import'.",
    )


def _check_space(folder: Path, missing: int) -> None:
    free = shutil.disk_usage(folder).free
    if missing + SPARE_BYTES > free:
        raise OutputError(
            f"It takes {_megabytes(missing + SPARE_BYTES)}, and {folder} has {_megabytes(free)} free.",
            "Free some space, or set HSI_MODELS to a folder on another disk.",
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
