"""What QGIS loads: the provider, the options page and the dock."""

from typing import TYPE_CHECKING, Optional

from qgis.core import QgsApplication

from . import client
from .provider import Provider

if TYPE_CHECKING:
    from qgis.gui import QgisInterface

    from .options import OptionsFactory
    from .profile_dock import InstalledDock


class Plugin:
    """The plugin; ``iface`` is None under ``qgis_process``, which asks for the provider alone."""

    def __init__(self, iface: "Optional[QgisInterface]") -> None:
        self.iface = iface
        self.provider: Optional[Provider] = None
        self._options: "Optional[OptionsFactory]" = None
        self._dock: "Optional[InstalledDock]" = None

    def initProcessing(self) -> None:
        """Register the provider."""
        if self.provider is None:
            self.provider = Provider()
            QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self) -> None:
        """Register the provider, the options page and the dock."""
        self.initProcessing()
        if self.iface is None:
            return
        from . import profile_dock
        from .options import OptionsFactory, offer_setup

        self._options = OptionsFactory()
        self.iface.registerOptionsWidgetFactory(self._options)
        self._dock = profile_dock.install(self.iface)
        offer_setup(self.iface)

    def unload(self) -> None:
        """Remove everything and end the engine."""
        if self._dock is not None:
            self._dock.remove()
            self._dock = None
        if self._options is not None:
            from .background import cancel_all

            cancel_all()
            self.iface.unregisterOptionsWidgetFactory(self._options)
            self._options = None
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
            self.provider = None
        client.stop()
