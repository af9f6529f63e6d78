"""Checksums of files, and the list in the model folder of those that no publisher states."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from hsi_toolkit.errors import ModelError
from hsi_toolkit.files import write_json
from hsi_toolkit.progress import Progress

_BLOCK_BYTES = 1 << 20


def sha256(path: Path, progress: Progress) -> str:
    """The checksum of a file, in hexadecimal."""
    digest, done, size = hashlib.sha256(), 0, max(path.stat().st_size, 1)
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            progress.check()
            digest.update(block)
            done += len(block)
            progress.report(done / size, f"Checking {path.name}")
    return digest.hexdigest()


@dataclass(frozen=True)
class ChecksumList:
    """The JSON file at ``path``: the checksum each file had when it was first fetched, and from where."""

    path: Path

    def get(self, name: str) -> str | None:
        """The checksum recorded for the file called ``name``.

        Raises:
            ModelError: the list is damaged.
        """
        return self._read().get(name, {}).get("sha256")

    def record(self, name: str, digest: str, url: str) -> None:
        """Remember ``digest`` as the one that counts for ``name`` from now on."""
        with FileLock(self.path.with_suffix(".lock")):
            entry = {
                "sha256": digest,
                "url": url,
                "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            write_json(self.path, {"format_version": 1, "files": {**self._read(), name: entry}})

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            files = json.loads(self.path.read_text(encoding="utf-8"))["files"]
            return {str(name): _strings(entry) for name, entry in files.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"The list of checksums {self.path} cannot be read.",
                "Restore it, or delete it to have the checksums recorded anew.",
            ) from error


def _strings(entry: Mapping[str, object]) -> dict[str, str]:
    return {str(key): str(value) for key, value in entry.items()}
