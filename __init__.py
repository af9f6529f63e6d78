"""The QGIS plugin; a clone of the repository linked into a profile's plugin folder is the plugin.

Nothing but the standard library is imported until QGIS asks for the plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .qgis_plugin.plugin import Plugin


def classFactory(iface: Any) -> Plugin:
    """The plugin; ``iface`` is None under ``qgis_process``."""
    from .qgis_plugin.plugin import Plugin

    return Plugin(iface)
