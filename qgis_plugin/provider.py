"""The Processing provider."""

from pathlib import Path
from typing import List

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtCore import QCoreApplication
from qgis.PyQt.QtGui import QIcon

from ..hsi_toolkit import __version__
from ..processing_algorithms import ALGORITHMS

ICONS = Path(__file__).parent / "icons"


class Provider(QgsProcessingProvider):
    """Shows the algorithms, whether or not the engine is there to run them."""

    def id(self) -> str:
        return "hsi"

    def name(self) -> str:
        return QCoreApplication.translate("hsi_toolkit", "Hyperspectral")

    def longName(self) -> str:
        return QCoreApplication.translate("hsi_toolkit", "Hyperspectral intelligence (hsi_toolkit)")

    def versionInfo(self) -> str:
        return __version__

    def icon(self) -> QIcon:
        return QIcon(self.svgIconPath())

    def svgIconPath(self) -> str:
        return str(ICONS / "hsi.svg")

    def loadAlgorithms(self) -> None:
        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm())

    # What the engine writes, and nothing else: GeoTIFF and GeoPackage, both of them files.

    def supportedOutputRasterLayerExtensions(self) -> List[str]:
        return ["tif"]

    def defaultRasterFileExtension(self) -> str:
        return "tif"

    def supportedOutputVectorLayerExtensions(self) -> List[str]:
        return ["gpkg"]

    def defaultVectorFileExtension(self, hasGeometry: bool = True) -> str:
        return "gpkg"

    def supportsNonFileBasedOutput(self) -> bool:
        return False
