"""The corrections that the engine's check keeps beside a scene (``NAME.hsi.json``), as far as QGIS needs.

A file that is damaged or for another scene counts as none here; the engine says what is wrong with it.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Optional, Tuple

SUFFIX = ".hsi.json"
FORMAT, VERSION = "hsi_toolkit scene corrections", 1
LARGEST = 16 << 20


@dataclass(frozen=True)
class Corrections:
    """Centres in nanometres, numbers of bad bands (from zero), quantity and scale; None where they stay."""

    wavelengths: Optional[Tuple[float, ...]] = None
    bad: Optional[Tuple[int, ...]] = None
    quantity: Optional[str] = None
    scale: Optional[float] = None


def corrections_files(path: Path, header: Optional[Path]) -> List[Path]:
    """Where the corrections of a scene may lie, its own first, then those of its ENVI header."""
    return [each.with_name(each.name + SUFFIX) for each in (path, header) if each is not None]


def read_corrections(path: Path, header: Optional[Path], count: int) -> Corrections:
    """The corrections of a scene of ``count`` bands, none where there are no usable ones."""
    found = next((each for each in corrections_files(path, header) if each.is_file()), None)
    if found is None:
        return Corrections()
    try:
        content = (
            json.loads(found.read_text(encoding="utf-8-sig")) if found.stat().st_size <= LARGEST else None
        )
    except (OSError, ValueError, RecursionError):
        return Corrections()
    fits = isinstance(content, dict) and content.get("format") == FORMAT and content.get("version") == VERSION
    if not fits or content.get("bands") not in (None, count):
        return Corrections()
    centres, bad = _numbers(content.get("wavelengths_nm")), _numbers(content.get("bad_bands"))
    scale, quantity = content.get("scale"), content.get("quantity")
    return Corrections(
        wavelengths=tuple(centres) if centres is not None and len(centres) == count else None,
        bad=None if bad is None else tuple(int(number) - 1 for number in bad if 1 <= number <= count),
        quantity=quantity if quantity in ("reflectance", "radiance") else "" if quantity == "dn" else None,
        scale=float(scale) if _is_number(scale) else None,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(values: Any) -> Optional[List[float]]:
    if not isinstance(values, list) or not all(_is_number(value) and value > 0 for value in values):
        return None
    return [float(value) for value in values]
