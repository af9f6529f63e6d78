"""Layers as files that the engine can read; what is no such file is written out first.

Made in the main thread, where layers and their styles may be looked at; the files are made by the thread that
runs the algorithm.
"""

import re
from pathlib import Path
from typing import List, Optional, Sequence

from qgis.core import (
    QgsCoordinateTransformContext,
    QgsFeature,
    QgsFeatureRequest,
    QgsFeatureSink,
    QgsFields,
    QgsGeometry,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSource,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingFeedback,
    QgsProcessingUtils,
    QgsProperty,
    QgsProviderRegistry,
    QgsRasterBlockFeedback,
    QgsRasterDataProvider,
    QgsRasterFileWriter,
    QgsRasterLayer,
    QgsRasterPipe,
    QgsVectorFileWriter,
    QgsVectorLayer,
    QgsWkbTypes,
)

from .band_tags import envi_header, layer_path
from .legends import Category, legend, write_legend
from .wavelengths import Bands, layer_bands
from .xml_files import XmlFile

#: Suffixes of the rasters that the engine opens itself; ENVI's data files go by any name.
RASTER_SUFFIXES = (
    ".tif", ".tiff", ".img", ".ers", ".bil", ".bip", ".bsq", ".jp2", ".ntf", ".nitf", ".png", ".jpg", ".jpeg",
    ".rst", ".sdat", ".map", ".asc", ".npy",
)  # fmt: skip
#: Suffixes of products and files that the engine opens by their path; QGIS knows less of them, or nothing.
PRODUCT_SUFFIXES = (
    ".xml", ".zip", ".tar", ".txt", ".hdr", ".he5", ".h5", ".hdf5", ".nc", ".mat", ".npy", ".npz",
    ".hsz",
)  # fmt: skip
#: Columns that the engine takes class colours from, where the layer has no style to take them from.
COLOUR_COLUMNS = ("color", "colour", "farbe", "couleur", "hex")


class RasterInput:
    """A raster layer: the file it is, or what it takes to write one."""

    def __init__(self, layer: QgsRasterLayer, transforms: QgsCoordinateTransformContext) -> None:
        self.name = layer.name()
        self.own_file = own_file(layer)
        self._crs, self._extent = layer.crs(), layer.extent()
        self._size = (layer.width(), layer.height())
        self._transforms = transforms
        self._provider: Optional[QgsRasterDataProvider] = None
        self._bands = Bands()
        if self.own_file is None:
            self._provider = layer.dataProvider().clone()
            self._bands = layer_bands(layer)

    def file(self, folder: Path, feedback: QgsProcessingFeedback) -> str:
        """The path of the layer's own file, or of a GeoTIFF of its raw values in ``folder``.

        Raises:
            QgsProcessingException: the layer cannot be written out.
        """
        if self.own_file is not None:
            return str(self.own_file)
        feedback.pushInfo(f"The layer {self.name} is no file that the engine opens: it is written out first.")
        path = folder / f"{file_name(self.name)}.tif"
        self._write(path, feedback)
        _write_band_tags(path, self._bands, self._provider.bandCount())
        return str(path)

    def _write(self, path: Path, feedback: QgsProcessingFeedback) -> None:
        pipe = QgsRasterPipe()
        pipe.set(self._provider.clone())
        writer = QgsRasterFileWriter(str(path))
        writer.setOutputFormat("GTiff")
        writer.setCreateOptions(["BIGTIFF=IF_SAFER", "TILED=YES"])
        if not all(self._size):
            raise QgsProcessingException(
                f"The layer {self.name} has no pixels of its own. Save it as a GeoTIFF at the resolution you "
                "want and use that."
            )
        blocks = QgsRasterBlockFeedback()
        feedback.canceled.connect(blocks.cancel)
        error = writer.writeRaster(pipe, *self._size, self._extent, self._crs, self._transforms, blocks)
        if feedback.isCanceled():
            raise QgsProcessingException("Cancelled.")
        if error != QgsRasterFileWriter.WriterError.NoError:
            raise QgsProcessingException(
                f"The layer {self.name} could not be written out. Save it as a GeoTIFF and use that."
            )


class ProductInput:
    """A scene given by a path that the engine opens itself: a product's folder, archive or metadata file."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path

    def file(self, folder: Path, feedback: QgsProcessingFeedback) -> str:
        """The path as it was given."""
        return str(self._path)


class VectorInput:
    """The features of a layer, or those selected, with the field and colours of their classes.

    Without a ``field`` the outlines go alone, or with ``every_field``.
    """

    def __init__(
        self,
        source: QgsProcessingFeatureSource,
        layer: Optional[QgsVectorLayer],
        field: Optional[str],
        transforms: QgsCoordinateTransformContext,
        every_field: bool = False,
    ) -> None:
        self.name = source.sourceName()
        self._source, self._field, self._every_field = source, field, every_field
        self._transforms = transforms
        self._legend = _legend(layer, field) if layer is not None and field else []

    def file(self, folder: Path, feedback: QgsProcessingFeedback) -> str:
        """The path of a GeoPackage in ``folder``, its colours as a style beside it.

        Raises:
            QgsProcessingException: there are no features, or they cannot be written.
        """
        path = folder / f"{file_name(self.name)}.gpkg"
        written = self._write(path, self._columns(), feedback)
        if feedback.isCanceled():
            raise QgsProcessingException("Cancelled.")
        if not written:
            raise QgsProcessingException(
                f"The layer {self.name} has no features to work with. Draw some, or look whether only "
                "selected features are to be used."
            )
        if self._field and self._legend:
            write_legend(path.with_suffix(".qml"), self._field, self._legend)
        return str(path)

    def _columns(self) -> List[int]:
        """The class field, and a column of colours where no style has them."""
        fields = self._source.fields()
        if not self._field:
            return list(range(fields.count())) if self._every_field else []
        index = fields.indexOf(self._field)
        if index < 0:
            raise QgsProcessingException(
                f"The layer {self.name} has no field {self._field}. It has {', '.join(fields.names())}."
            )
        columns = [index]
        if not any(category.colour for category in self._legend):
            names = [name.casefold() for name in fields.names()]
            columns += [at for at, name in enumerate(names) if name in COLOUR_COLUMNS and at != index]
        return columns

    def _write(self, path: Path, columns: Sequence[int], feedback: QgsProcessingFeedback) -> int:
        fields, written = QgsFields(), 0
        for index in columns:
            fields.append(self._source.fields().at(index))
        writer = self._writer(path, fields)
        # The engine repairs outlines that cross themselves; here they would end the run.
        unchecked = QgsProcessingFeatureSource.Flag.FlagSkipGeometryValidityChecks
        # In one order always: which polygons are held out for judging depends on it.
        request = QgsFeatureRequest().setSubsetOfAttributes(list(columns)).addOrderBy("$id")
        for feature in self._source.getFeatures(request, unchecked):
            if feedback.isCanceled():
                break
            if not feature.hasGeometry():
                continue
            plain = QgsFeature(fields)
            plain.setGeometry(plain_geometry(feature.geometry()))
            plain.setAttributes([feature.attribute(index) for index in columns])
            if not writer.addFeature(plain, QgsFeatureSink.Flag.FastInsert):
                break
            written += 1
        self._require_no_error(writer)
        del writer
        return written

    def _writer(self, path: Path, fields: QgsFields) -> QgsVectorFileWriter:
        options = QgsVectorFileWriter.SaveVectorOptions()
        options.driverName = "GPKG"
        options.layerName = path.stem
        taken = [name.casefold() for name in fields.names()]
        own = (("FID", "fid"), ("GEOMETRY_NAME", "geom"))
        options.layerOptions = [f"{option}={_free(name, taken)}" for option, name in own]
        writer = QgsVectorFileWriter.create(
            str(path),
            fields,
            _written_type(self._source),
            self._source.sourceCrs(),
            self._transforms,
            options,
        )
        self._require_no_error(writer)
        return writer

    def _require_no_error(self, writer: QgsVectorFileWriter) -> None:
        if writer.hasError() != QgsVectorFileWriter.WriterError.NoError:
            raise QgsProcessingException(
                f"The layer {self.name} could not be written out: {writer.errorMessage()}."
            )


def source_layer(value: object, context: QgsProcessingContext) -> Optional[QgsVectorLayer]:
    """The layer behind the value of a feature source, whose style is wanted; None where there is none."""
    if isinstance(value, QgsProcessingFeatureSourceDefinition):
        value = value.source
    if isinstance(value, QgsProperty):
        value = value.valueAsString(context.expressionContext())[0]
    if isinstance(value, str):
        value = QgsProcessingUtils.mapLayerFromString(value, context)
    return value if isinstance(value, QgsVectorLayer) else None


def product_path(value: object, context: QgsProcessingContext) -> Optional[Path]:
    """The path that a raster parameter's value is, if it is one for ``ProductInput``; None for layers."""
    if isinstance(value, QgsProperty):
        value = value.valueAsString(context.expressionContext())[0]
    if not isinstance(value, str):
        return None
    path = Path(value)
    if not path.is_absolute():
        # Names and identifiers of layers are no paths, whatever lies in the current folder.
        return None
    known = path.suffix.lower() in PRODUCT_SUFFIXES and path.is_file()
    return path if known or path.is_dir() else None


def own_file(layer: QgsRasterLayer) -> Optional[Path]:
    """The file that the engine can open in the layer's place, None where there is none.

    That is a file of a kind the engine reads, not a part of it, and with the coordinate system that the layer
    has in QGIS.
    """
    if layer.providerType() != "gdal":
        return None
    parts = QgsProviderRegistry.instance().decodeUri("gdal", layer.source())
    path = layer_path(layer)
    if path is None or parts.get("layerName") or parts.get("openOptions"):
        return None
    if layer.crs().isValid() and layer.crs() != layer.dataProvider().crs():
        return None
    known = path.suffix.lower() in RASTER_SUFFIXES or envi_header(path) is not None
    return path.absolute() if known else None


def _legend(layer: QgsVectorLayer, field: str) -> List[Category]:
    """The layer's legend; that of the style its file brings along, where the layer shows no classes."""
    shown = legend(layer, field)
    if not any(category.colour for category in shown):
        # Processing opens a layer that is given by its path without the style.
        styled = layer.clone()
        styled.loadDefaultStyle()
        shown = legend(styled, field)
    return shown


def plain_geometry(geometry: QgsGeometry) -> QgsGeometry:
    """The geometry as a flat multi-geometry without curves: what every reader understands."""
    plain = QgsGeometry(geometry)
    if QgsWkbTypes.isCurvedType(plain.wkbType()):
        plain = QgsGeometry(plain.constGet().segmentize())
    plain.get().dropZValue()
    plain.get().dropMValue()
    plain.convertToMultiType()
    return plain


def file_name(name: str) -> str:
    """The name of a layer as that of a file."""
    return re.sub(r'[\x00-\x1f<>:"/\\|?*]+', "_", name).strip(" .")[:80] or "layer"


def _written_type(source: QgsProcessingFeatureSource) -> QgsWkbTypes.Type:
    types = QgsWkbTypes.Type
    flat = QgsWkbTypes.multiType(QgsWkbTypes.flatType(source.wkbType()))
    if flat in (types.MultiSurface, types.MultiPolygon):
        return types.MultiPolygon
    return types.MultiPoint if flat == types.MultiPoint else types.Unknown


def _free(name: str, taken: Sequence[str]) -> str:
    """The name, lengthened until no field has it."""
    while name.casefold() in taken:
        name = f"_{name}"
    return name


def _write_band_tags(path: Path, bands: Bands, count: int) -> None:
    """Keep wavelengths, bad bands and scale of a raster beside it, where GDAL and so the engine looks."""
    if bands == Bands():
        return
    with XmlFile(path.with_name(path.name + ".aux.xml")) as xml, xml.element("PAMDataset"):
        for index in range(count):
            with xml.element("PAMRasterBand", {"band": str(index + 1)}):
                if bands.scale != 1.0:
                    xml.leaf("Scale", text=repr(bands.scale))
                with xml.element("Metadata"):
                    if bands.wavelengths is not None:
                        xml.leaf("MDI", {"key": "wavelength"}, f"{bands.wavelengths[index]:.10g}")
                        xml.leaf("MDI", {"key": "wavelength_units"}, "Nanometers")
                    xml.leaf("MDI", {"key": "bbl"}, str(int(index not in bands.bad)))
