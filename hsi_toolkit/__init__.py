"""Hyperspectral intelligence for QGIS, shells and notebooks.

Importing the package needs the standard library alone: public names load on first use (PEP 562),
so that QGIS can read the task declarations with its own Python.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import HsiError
    from .models.bundle import ModelBundle
    from .progress import Progress
    from .scene import open_scene
    from .spectral import GroupwisePCA, MultiScalePCA

__version__ = "0.1.0"

_HOMES = {
    "GroupwisePCA": ".spectral",
    "HsiError": ".errors",
    "ModelBundle": ".models.bundle",
    "MultiScalePCA": ".spectral",
    "Progress": ".progress",
    "open_scene": ".scene",
}

__all__ = [
    "GroupwisePCA",
    "HsiError",
    "ModelBundle",
    "MultiScalePCA",
    "Progress",
    "__version__",
    "open_scene",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
