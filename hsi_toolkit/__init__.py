"""Hyperspectral intelligence for QGIS, shells and notebooks.

Importing the package needs the standard library alone: public names load on first use (PEP 562),
so that QGIS can read the task declarations with its own Python.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hsi_toolkit.errors import HsiError
    from hsi_toolkit.models.bundle import ModelBundle
    from hsi_toolkit.progress import Progress
    from hsi_toolkit.scene import open_scene
    from hsi_toolkit.spectral import GroupwisePCA, MultiScalePCA

__version__ = "0.1.0"

_HOMES = {
    "GroupwisePCA": "hsi_toolkit.spectral",
    "HsiError": "hsi_toolkit.errors",
    "ModelBundle": "hsi_toolkit.models.bundle",
    "MultiScalePCA": "hsi_toolkit.spectral",
    "Progress": "hsi_toolkit.progress",
    "open_scene": "hsi_toolkit.scene",
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
    return getattr(import_module(_HOMES[name]), name)
