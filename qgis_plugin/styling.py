"""How results look: styles that travel with the file, names, and a group for each run.

The style lies beside the raster as ``.qml``, so that batch, modeler, ``qgis_process`` and the next project
show it too; a layer that is loaded right away takes it from there.
"""

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, ClassVar, Optional, Sequence, Set

from qgis.core import (
    QgsContrastEnhancement,
    QgsGradientColorRamp,
    QgsGradientStop,
    QgsLayerTreeGroup,
    QgsLayerTreeLayer,
    QgsMapLayer,
    QgsMultiBandColorRenderer,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsProject,
    QgsRasterLayer,
    QgsRasterMinMaxOrigin,
    QgsReadWriteContext,
    QgsSingleBandPseudoColorRenderer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QIODevice, QSaveFile
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtXml import QDomDocument

from .composites import CompositeError, show_composite

#: Custom properties of the layer tree: which run a group belongs to, and the place of a layer in it.
RUN_PROPERTY, PLACE_PROPERTY = "hsi_toolkit/run", "hsi_toolkit/place"

#: Colours at equal steps: certain is white and unsure dark; likely and high are bright.
CERTAIN_TO_UNSURE = ("#ffffff", "#fddc9e", "#f8765c", "#b63679", "#5f187f", "#14062d")
UNLIKELY_TO_LIKELY = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")
LOW_TO_HIGH = ("#000004", "#420a68", "#932667", "#dd513a", "#fca50a", "#fcffa4")

#: Pixels that a stretch is measured on.
SAMPLE = 250_000


@dataclass(frozen=True)
class Look:
    """What an output layer is called, and what styles it; the engine does where ``make`` is None."""

    title: str
    make: Optional[Callable[[QgsRasterLayer], None]] = None


def uncertainty(layer: QgsRasterLayer) -> None:
    """From white, certain, to nearly black, undecided."""
    _pseudocolour(layer, CERTAIN_TO_UNSURE, 0.0, 1.0)


def shares(layer: QgsRasterLayer) -> None:
    """The first band, a probability or a fraction, from 0 to 1."""
    _pseudocolour(layer, UNLIKELY_TO_LIKELY, 0.0, 1.0)


def fractions(layer: QgsRasterLayer) -> None:
    """The first three fractions in red, green and blue, from 0 to 1; of fewer, the first alone."""
    if layer.bandCount() < 3:
        shares(layer)
        return
    renderer = QgsMultiBandColorRenderer(layer.dataProvider(), 1, 2, 3)
    setters = (
        renderer.setRedContrastEnhancement,
        renderer.setGreenContrastEnhancement,
        renderer.setBlueContrastEnhancement,
    )
    for band, setter in enumerate(setters, start=1):
        stretch = QgsContrastEnhancement(layer.dataProvider().dataType(band))
        stretch.setContrastEnhancementAlgorithm(
            QgsContrastEnhancement.ContrastEnhancementAlgorithm.StretchToMinimumMaximum
        )
        stretch.setMinimumValue(0.0)
        stretch.setMaximumValue(1.0)
        setter(stretch)
    layer.setRenderer(renderer)


def scores(layer: QgsRasterLayer) -> None:
    """The first band from low to high, without its most extreme two percent at either end."""
    low, high = layer.dataProvider().cumulativeCut(1, 0.02, 0.98)
    if not high > low:
        # All alike, or none at all.
        low, high = 0.0, 1.0
    _pseudocolour(layer, LOW_TO_HIGH, low, high)


def first_three(layer: QgsRasterLayer) -> None:
    """The first three bands in red, green and blue, each stretched between its 2nd and 98th percentile."""
    if layer.bandCount() < 3:
        scores(layer)
        return
    layer.setRenderer(QgsMultiBandColorRenderer(layer.dataProvider(), 1, 2, 3))
    stretch = QgsContrastEnhancement.ContrastEnhancementAlgorithm.StretchToMinimumMaximum
    limits = QgsRasterMinMaxOrigin.Limits.CumulativeCut
    layer.setContrastEnhancement(stretch, limits, layer.extent(), SAMPLE)


def natural(layer: QgsRasterLayer) -> None:
    """Natural colours by wavelength; the first three bands where the raster has none."""
    try:
        show_composite(layer, "natural")
    except CompositeError:
        first_three(layer)


def write_style(path: Path, make: Callable[[QgsRasterLayer], None]) -> None:
    """Style the raster and write the style beside it, where QGIS looks for it; from any thread.

    Raises:
        OSError: it cannot be written; what was there before is as it was.
    """
    layer = QgsRasterLayer(str(path), path.stem, "gdal")
    if not layer.isValid():
        return
    make(layer)
    document = QDomDocument()
    symbology = QgsMapLayer.StyleCategory.Symbology
    layer.exportNamedStyle(document, QgsReadWriteContext(), symbology)
    style, content = QSaveFile(str(path.with_suffix(".qml"))), document.toByteArray(1)
    written = style.open(QIODevice.OpenModeFlag.WriteOnly) and style.write(content) == content.size()
    if not (written and style.commit()):
        raise OSError(errno.EIO, style.errorString())


@dataclass(frozen=True)
class Run:
    """The run that layers come from: layers of one run share a group of this name."""

    id: str
    name: str


class Dresser(QgsProcessingLayerPostProcessorInterface):
    """Gives a layer that has been loaded its style and name, and puts it into the group of its run."""

    # QGIS keeps a pointer and no reference, and the algorithm is gone when the layer is loaded.
    _waiting: ClassVar[Set["Dresser"]] = set()

    def __init__(self, name: str, place: int, run: Optional[Run]) -> None:
        super().__init__()
        self._name, self._place, self._run = name, place, run
        self._waiting.add(self)

    def postProcessLayer(
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        """See the class; called in the main thread."""
        style = Path(layer.source().split("|")[0]).with_suffix(".qml")
        if style.is_file():
            layer.loadNamedStyle(str(style))
        elif isinstance(layer, QgsVectorLayer):
            layer.loadDefaultStyle()
        if self._name:
            layer.setName(self._name)
        node = (context.project() or QgsProject.instance()).layerTreeRoot().findLayer(layer.id())
        if self._run is not None and node is not None:
            _move(node, _group(node.parent(), self._run), self._place)
        layer.triggerRepaint()
        self._waiting.discard(self)


def _group(parent: QgsLayerTreeGroup, run: Run) -> QgsLayerTreeGroup:
    """The group of the run, made where the layer is when there is none."""
    for child in (parent, *parent.children()):
        if child.customProperty(RUN_PROPERTY) == run.id:
            return child
    group = parent.insertGroup(0, run.name)
    group.setCustomProperty(RUN_PROPERTY, run.id)
    return group


def _move(node: QgsLayerTreeLayer, group: QgsLayerTreeGroup, place: int) -> None:
    before = [child for child in group.children() if int(child.customProperty(PLACE_PROPERTY, 0)) <= place]
    moved = node.clone()
    moved.setCustomProperty(PLACE_PROPERTY, place)
    group.insertChildNode(len(before), moved)
    node.parent().removeChildNode(node)


def _pseudocolour(layer: QgsRasterLayer, colours: Sequence[str], low: float, high: float) -> None:
    renderer = QgsSingleBandPseudoColorRenderer(layer.dataProvider(), 1)
    renderer.setClassificationMin(low)
    renderer.setClassificationMax(high)
    renderer.createShader(_ramp(colours))
    layer.setRenderer(renderer)


def _ramp(colours: Sequence[str]) -> QgsGradientColorRamp:
    last = len(colours) - 1
    stops = [QgsGradientStop(at / last, QColor(colour)) for at, colour in enumerate(colours)][1:-1]
    return QgsGradientColorRamp(QColor(colours[0]), QColor(colours[-1]), False, stops)
