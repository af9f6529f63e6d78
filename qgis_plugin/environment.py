"""The Python environment that the worker runs in: found, checked, created."""

import os
from pathlib import Path
from typing import Optional

from .settings import Settings

ROOT = Path(__file__).resolve().parents[1]


def find_interpreter() -> Optional[Path]:
    """The interpreter to start the worker with, None where no environment has been set up.

    In this order: ``HSI_PYTHON`` of the process's environment, the one set on the options page, the one the
    plugin created in the profile, and the ``.venv`` of a clone.
    """
    for candidate in (os.environ.get("HSI_PYTHON"), Settings.load().interpreter):
        if candidate:
            return Path(candidate)
    clone = ROOT / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return clone if clone.exists() else None
