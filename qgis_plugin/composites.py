"""Colour pictures of a scene, their bands chosen by wavelength."""

import math
from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

from qgis.core import (
    QgsContrastEnhancement,
    QgsMultiBandColorRenderer,
    QgsRasterDataProvider,
    QgsRasterLayer,
    QgsRectangle,
)

from .wavelengths import Bands, layer_bands

#: The stretch is measured on this many rows and columns at most, as the core does.
STRETCH_SIDE = 512
#: What becomes black and full brightness, in percent of the pixels.
PERCENTILES = (2.0, 98.0)


@dataclass(frozen=True)
class Composite:
    """Three wavelengths (nm) to show as red, green and blue; bands further off than ``reach`` do not do.

    ``keeps_grey`` stretches reflectance alike in all channels.
    """

    title: str
    wavelengths: Tuple[float, float, float]
    reach: float
    help: str
    keeps_grey: bool = False


COMPOSITES: Dict[str, Composite] = {
    "natural": Composite("Natural colour", (660.0, 550.0, 470.0), 60.0, "As the eye sees it", True),
    "infrared": Composite("False colour", (860.0, 660.0, 550.0), 60.0, "Near infrared in red: plants glow"),
    "swir": Composite(
        "Short-wave infrared", (2200.0, 1650.0, 860.0), 100.0, "Soils, minerals, moisture and burnt areas"
    ),
}


class CompositeError(Exception):
    """A sentence for the user on why the picture cannot be made, and what to do."""


def show_composite(layer: QgsRasterLayer, name: str) -> Tuple[int, int, int]:
    """Show ``COMPOSITES[name]``; returns the bands in red, green and blue, counted from one.

    Natural colours of reflectance are stretched alike in all channels, so that grey stays grey. Others are
    stretched channel by channel: blue light and the sensor's gains would tint everything, and beside the near
    infrared of plants all else would be dark.

    Raises:
        CompositeError: the layer has no wavelengths, or none near the ones wanted.
    """
    composite = COMPOSITES[name]
    bands = layer_bands(layer)
    chosen = choose_bands(bands, composite, layer.name())
    provider = layer.dataProvider()
    samples = [_sample(provider, layer.extent(), band) for band in chosen]
    if bands.quantity == "reflectance" and composite.keeps_grey:
        limits = [_limits([value for sample in samples for value in sample])] * 3
    else:
        limits = [_limits(sample) for sample in samples]
    renderer = QgsMultiBandColorRenderer(provider, *chosen)
    setters = (
        renderer.setRedContrastEnhancement,
        renderer.setGreenContrastEnhancement,
        renderer.setBlueContrastEnhancement,
    )
    for setter, band, (low, high) in zip(setters, chosen, limits):
        stretch = QgsContrastEnhancement(provider.dataType(band))
        stretch.setContrastEnhancementAlgorithm(
            QgsContrastEnhancement.ContrastEnhancementAlgorithm.StretchToMinimumMaximum
        )
        stretch.setMinimumValue(low)
        stretch.setMaximumValue(high)
        setter(stretch)
    layer.setRenderer(renderer)
    layer.triggerRepaint()
    layer.emitStyleChanged()
    return chosen


def choose_bands(bands: Bands, composite: Composite, name: str) -> Tuple[int, int, int]:
    """The good bands nearest to the composite's wavelengths, counted from one. Raises CompositeError."""
    if bands.wavelengths is None:
        raise CompositeError(
            f"{name} has no wavelengths, so its colours cannot be chosen. Add them to its header, or choose "
            "bands under Properties → Symbology."
        )
    usable = [band for band in range(len(bands.wavelengths)) if band not in bands.bad]
    usable = usable or list(range(len(bands.wavelengths)))
    chosen: List[int] = []
    for wanted in composite.wavelengths:
        nearest = min(usable, key=lambda band: abs(bands.wavelengths[band] - wanted))
        if abs(bands.wavelengths[nearest] - wanted) > composite.reach:
            raise CompositeError(
                f"{name} has no good band within {composite.reach:g} nm of {wanted:g} nm, which "
                f"{composite.title.lower()} needs; the nearest is {bands.wavelengths[nearest]:g} nm."
            )
        chosen.append(nearest + 1)
    return chosen[0], chosen[1], chosen[2]


def _sample(provider: QgsRasterDataProvider, extent: QgsRectangle, band: int) -> List[float]:
    """The band's values on a thinned grid, without pixels that have none."""
    step = max(1, -(-max(provider.xSize(), provider.ySize()) // STRETCH_SIDE))
    width, height = max(1, provider.xSize() // step), max(1, provider.ySize() // step)
    block = provider.block(band, extent, width, height)
    values = (block.value(index) for index in range(width * height) if not block.isNoData(index))
    return [value for value in values if math.isfinite(value)]


def _limits(values: Sequence[float]) -> Tuple[float, float]:
    """The percentiles of the values, never the same number twice."""
    if not values:
        return 0.0, 1.0
    ordered = sorted(values)
    low, high = (ordered[round(percent / 100 * (len(ordered) - 1))] for percent in PERCENTILES)
    return low, high if high > low else low + 1.0
