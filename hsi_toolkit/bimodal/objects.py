"""Objects: the polygons of a layer, one label each."""

from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import pyogrio
import pyproj
import shapely
from numpy.typing import NDArray

from hsi_toolkit.bimodal.pairs import NO_CLASSES, Classes
from hsi_toolkit.errors import LabelError
from hsi_toolkit.training.label_vector import Layer, class_legend, class_values, open_layer

_SOLID = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


@dataclass(frozen=True, eq=False)
class Objects:
    """Single polygons, each an object.

    Attributes:
        outlines: (n,) polygons in the layer's coordinates.
        rows: (n,) the row of the layer's table that each comes from, from 0; parts of a multipolygon share
            it.
        crs: of the layer, None where it states none.
        labels: (n,) class numbers, None without a class field.
        warnings: sentences on what was left out.
    """

    outlines: NDArray[np.object_]
    rows: NDArray[np.int64]
    crs: pyproj.CRS | None
    labels: NDArray[np.int64] | None = None
    classes: Classes = NO_CLASSES
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.outlines)

    def called(self) -> list[str]:
        """Each object by the number of its feature, from 1, and of its part where the feature has several."""
        starts = np.searchsorted(self.rows, self.rows)
        parts = np.arange(len(self)) - starts + 1
        several = np.bincount(self.rows)[self.rows] > 1 if len(self) else np.empty(0, bool)
        numbered = zip(self.rows + 1, parts, several, strict=True)
        return [f"{row}, part {part}" if many else str(row) for row, part, many in numbered]


def read_objects(path: str, field: str | None, layer: str | None = None) -> Objects:
    """The polygons of a vector layer, with their classes where ``field`` names them.

    Features without a class are left out; every part of a multipolygon is an object of its own.

    Raises:
        LabelError: the layer cannot be used, has no polygons or other geometries, or the field no classes.
    """
    source = open_layer(path, field, layer)
    frame = pyogrio.read_dataframe(source.path, layer=source.name, columns=_columns(source), force_2d=True)
    outlines, rows = polygons_of(frame, source.name)
    if not field:
        return Objects(outlines, rows, source.crs)
    values = class_values(frame[field].tolist(), field)
    known = np.array([value is not None for value in values], bool)[rows]
    if not known.any():
        raise LabelError(
            f"The field {field!r} is empty in all polygons of {source.path.name}.", "Choose the class field."
        )
    warnings = []
    if not known.all():
        without = len(np.unique(rows[~known]))
        warnings.append(f"{without} features without a class in {field!r} were left out.")
    outlines, rows = outlines[known], rows[known]
    labelled = [value for value in (values[row] for row in rows) if value is not None]
    hexes = frame[source.colour_field].tolist() if source.colour_field else []
    legend = class_legend(source, labelled, [hexes[row] for row in rows] if hexes else [])
    number = {value: index for index, value in enumerate(legend.values)}
    labels = np.array([number[value] for value in labelled], np.int64)
    classes = Classes(legend.names, legend.values, legend.colours)
    return Objects(outlines, rows, source.crs, labels, classes, (*warnings, *legend.warnings))


def polygons_of(frame: gpd.GeoDataFrame, layer: str) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """The single polygons of a table, and the row that each comes from.

    Raises:
        LabelError: there are other geometries, or none.
    """
    geometries = np.asarray(frame.geometry.array, dtype=object)
    present = np.flatnonzero(~(shapely.is_missing(geometries) | shapely.is_empty(geometries)))
    wrong = [index for index in present if shapely.get_type_id(geometries[index]) not in _SOLID]
    if wrong:
        kind = geometries[wrong[0]].geom_type
        raise LabelError(
            f"Feature {wrong[0] + 1} of {layer} is a {kind}, which bounds no object.",
            "Give polygons; buffer points or lines to make some.",
        )
    if not len(present):
        raise LabelError(f"The layer {layer} holds no polygons.", "Draw one around each object.")
    parts, parents = shapely.get_parts(geometries[present], return_index=True)
    solid = ~shapely.is_empty(parts)
    return np.asarray(parts[solid], dtype=object), present[parents[solid]].astype(np.int64)


def _columns(source: Layer) -> list[str]:
    return [each for each in (source.field, source.colour_field) if each]
