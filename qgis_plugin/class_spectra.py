"""Mean spectra of the classes of a training layer, from a bounded sample of their pixels."""

import math
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Set, Tuple

from qgis.core import (
    QgsCoordinateTransform,
    QgsFeatureRequest,
    QgsFeedback,
    QgsGeometry,
    QgsPoint,
    QgsPointXY,
    QgsProject,
    QgsRasterDataProvider,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
    QgsVectorLayerFeatureSource,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QRandomGenerator

from .colours import class_colours
from .legends import Category, class_text, legend
from .spectrum_axes import Spectrum

#: Pixels a class at most, and the places within its polygons' boxes that are looked at to find them.
PIXELS, CANDIDATES = 300, 20_000
SEED = 20

Pixel = Tuple[int, int]


@dataclass(frozen=True)
class Grid:
    """The pixels of a raster layer, (column, row) from the upper left."""

    extent: QgsRectangle
    columns: int
    rows: int

    @classmethod
    def of(cls, layer: QgsRasterLayer) -> "Grid":
        return cls(layer.extent(), layer.width(), layer.height())

    @property
    def size(self) -> Tuple[float, float]:
        """Width and height of a pixel."""
        return self.extent.width() / self.columns, self.extent.height() / self.rows

    def pixel(self, point: QgsPointXY) -> Optional[Pixel]:
        """The pixel that holds a point, None outside the raster."""
        width, height = self.size
        column = math.floor((point.x() - self.extent.xMinimum()) / width)
        row = math.floor((self.extent.yMaximum() - point.y()) / height)
        return (column, row) if 0 <= column < self.columns and 0 <= row < self.rows else None

    def centre(self, pixel: Pixel) -> QgsPointXY:
        """The point in the middle of a pixel."""
        width, height = self.size
        x = self.extent.xMinimum() + (pixel[0] + 0.5) * width
        return QgsPointXY(x, self.extent.yMaximum() - (pixel[1] + 0.5) * height)


class Cancelled(Exception):
    """The user has cancelled."""


class NoClassPixels(Exception):
    """A sentence for the user on why there are no class means."""


class ClassSampler:
    """What a thread needs to read the classes' pixels; made in the main thread.

    The layer's features come with those that are not saved yet. QGIS's values are averaged, times ``scale``.
    """

    def __init__(self, scene: QgsRasterLayer, training: QgsVectorLayer, field: str, scale: float) -> None:
        self._provider: QgsRasterDataProvider = scene.dataProvider().clone()
        self._grid, self._scale, self._bands = Grid.of(scene), scale, scene.bandCount()
        self._features = QgsVectorLayerFeatureSource(training)
        self._field = training.fields().lookupField(field)
        self._to_scene = QgsCoordinateTransform(
            training.crs(), scene.crs(), QgsProject.instance().transformContext()
        )
        self._legend = {category.value: category for category in legend(training, field)}
        self._feedback = QgsFeedback()

    def read(self, feedback: QgsFeedback) -> List[Spectrum]:
        """Mean and standard deviation of each class, in the legend's order; from any thread.

        Raises:
            NoClassPixels: no feature with a class lies on data of the scene.
            Cancelled: ``feedback`` was cancelled.
        """
        self._feedback = feedback
        classes = self._geometries()
        known = [value for value in self._legend if value in classes]
        values = known + sorted(value for value in classes if value not in self._legend)
        found = [self._legend.get(value, Category(value, value, "")) for value in values]
        names = [category.label for category in found]
        colours = class_colours(names, [category.colour or None for category in found])
        spectra = []
        for number, (value, name, colour) in enumerate(zip(values, names, colours)):
            pixels = choose(self._pixels(classes[value]), PIXELS, SEED)
            means = self._means(pixels)
            if means is not None:
                spectra.append(Spectrum(name, colour, *means))
            feedback.setProgress(100 * (number + 1) / len(values))
        if not spectra:
            raise NoClassPixels(
                "No feature with a class lies on data of the scene. Choose another layer or field."
            )
        return spectra

    def _geometries(self) -> Dict[str, List[QgsGeometry]]:
        """The geometries of each class on the scene, in its coordinates; those without one are left out."""
        request = QgsFeatureRequest().setSubsetOfAttributes([self._field])
        classes: Dict[str, List[QgsGeometry]] = {}
        for feature in self._features.getFeatures(request):
            self._check()
            value = class_text(feature.attribute(self._field))
            geometry = QgsGeometry(feature.geometry())
            if value and not geometry.isEmpty():
                geometry.transform(self._to_scene)
                if geometry.boundingBox().intersects(self._grid.extent):
                    classes.setdefault(value, []).append(geometry)
        return classes

    def _pixels(self, geometries: Sequence[QgsGeometry]) -> Set[Pixel]:
        """Pixels whose centres lie in the polygons, every n-th row and column where there are very many."""
        boxes = [self._box(geometry) for geometry in geometries]
        total = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
        step = max(1, math.ceil(math.sqrt(total / CANDIDATES)))
        pixels: Set[Pixel] = set()
        for geometry, (left, top, right, bottom) in zip(geometries, boxes):
            if geometry.type() != QgsWkbTypes.GeometryType.PolygonGeometry:
                found = [self._grid.pixel(QgsPointXY(vertex)) for vertex in geometry.vertices()]
                pixels.update(pixel for pixel in found if pixel is not None)
                continue
            engine = QgsGeometry.createGeometryEngine(geometry.constGet())
            engine.prepareGeometry()
            # Multiples of the step, so that neighbouring polygons are thinned alike.
            for row in range(-(-top // step) * step, bottom, step):
                self._check()
                for column in range(-(-left // step) * step, right, step):
                    if engine.contains(QgsPoint(self._grid.centre((column, row)))):
                        pixels.add((column, row))
        return pixels or self._inner_pixels(geometries)

    def _inner_pixels(self, geometries: Sequence[QgsGeometry]) -> Set[Pixel]:
        """A pixel of each polygon, for those too small to hold the centre of one."""
        points = (geometry.pointOnSurface() for geometry in geometries[:PIXELS])
        found = (self._grid.pixel(point.asPoint()) for point in points if not point.isEmpty())
        return {pixel for pixel in found if pixel is not None}

    def _box(self, geometry: QgsGeometry) -> Tuple[int, int, int, int]:
        """First and past-the-last columns and rows of a geometry's box on the scene."""
        box = geometry.boundingBox()
        extent, (width, height) = self._grid.extent, self._grid.size
        left = max(0, math.floor((box.xMinimum() - extent.xMinimum()) / width))
        right = min(self._grid.columns, math.ceil((box.xMaximum() - extent.xMinimum()) / width))
        top = max(0, math.floor((extent.yMaximum() - box.yMaximum()) / height))
        bottom = min(self._grid.rows, math.ceil((extent.yMaximum() - box.yMinimum()) / height))
        return left, top, max(left, right), max(top, bottom)

    def _means(
        self, pixels: Sequence[Pixel]
    ) -> Optional[Tuple[Tuple[Optional[float], ...], Tuple[Optional[float], ...], int]]:
        """Mean and standard deviation of each band, and how many pixels have values; None if none has."""
        columns: List[List[float]] = [[] for _ in range(self._bands)]
        counted = 0
        for pixel in pixels:
            self._check()
            found = read_pixel(self._provider, self._grid.centre(pixel), self._bands, self._scale)
            counted += any(value is not None for value in found)
            for band, value in enumerate(found):
                if value is not None:
                    columns[band].append(value)
        if not counted:
            return None
        both = [_mean_and_deviation(column) for column in columns]
        return tuple(mean for mean, _ in both), tuple(deviation for _, deviation in both), counted

    def _check(self) -> None:
        if self._feedback.isCanceled():
            raise Cancelled


def read_pixel(
    provider: QgsRasterDataProvider, point: QgsPointXY, bands: int, scale: float
) -> List[Optional[float]]:
    """The value of each band at a point of the layer, None without data."""
    values: List[Optional[float]] = []
    for band in range(1, bands + 1):
        value, valid = provider.sample(point, band)
        values.append(value * scale if valid and math.isfinite(value) else None)
    return values


def choose(pixels: Set[Pixel], count: int, seed: int) -> List[Pixel]:
    """``count`` of the pixels at random, always the same for a seed, row by row for the sake of the disk."""
    rest = sorted(pixels)
    generator = QRandomGenerator(seed)
    for index in range(min(count, len(rest))):
        other = index + generator.bounded(len(rest) - index)
        rest[index], rest[other] = rest[other], rest[index]
    return sorted(rest[:count], key=lambda pixel: (pixel[1], pixel[0]))


def _mean_and_deviation(values: Sequence[float]) -> Tuple[Optional[float], Optional[float]]:
    if not values:
        return None, None
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, 0.0
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
