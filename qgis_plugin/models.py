"""What a model file says about itself, read from its header with the standard library alone.

Format: an unsigned 64-bit little-endian length n, n bytes of JSON, then the tensors (docs/models.md).
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Optional, Tuple

_LENGTH = struct.Struct("<Q")
_LARGEST_HEADER = 100_000_000


class ModelFileError(ValueError):
    """The file is no model; the text is the sentence that says why."""


@dataclass(frozen=True)
class ModelFile:
    """Kind, name and bands of a model; ``wavelengths`` are nanometres, None when it knows none."""

    name: str
    kind: str
    classes: Tuple[str, ...]
    scene_bands: Optional[int]
    used_bands: int
    wavelengths: Optional[Tuple[float, ...]]


def read_model(path: Path) -> ModelFile:
    """What the model file says.

    Raises:
        ModelFileError: it is no model bundle, or damaged.
    """
    try:
        text = _header(path)
        described = json.loads(json.loads(text)["__metadata__"]["hsi_toolkit"])
        return _model(described)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ModelFileError(
            f"{path} is no model of hsi_toolkit, or damaged. Choose a file that Train a classifier wrote."
        ) from None


def _header(path: Path) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(_LENGTH.size)
        length = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else 0
        if not 0 < length <= min(_LARGEST_HEADER, size - _LENGTH.size):
            raise ValueError("the header's length is wrong")
        return stream.read(length)


def _model(described: Mapping[str, Any]) -> ModelFile:
    preprocessing = described.get("preprocessing")
    bands = preprocessing["bands"] if preprocessing else {}
    wavelengths = bands.get("wavelength")
    return ModelFile(
        name=str(described["name"]),
        kind=str(described["kind"]),
        classes=tuple(str(entry["name"]) for entry in described.get("classes", [])),
        scene_bands=int(bands["scene_bands"]) if bands else None,
        used_bands=len(bands.get("used", [])),
        wavelengths=tuple(float(each) for each in wavelengths) if wavelengths else None,
    )
