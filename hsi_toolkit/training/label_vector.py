"""Reading a vector layer: the layer that holds the classes, its features, their classes and colours."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import geopandas as gpd
import numpy as np
import pyogrio
import pyproj
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError

from hsi_toolkit.errors import LabelError
from hsi_toolkit.training.grid import Grid
from hsi_toolkit.training.labelled_pixels import ClassValue, check_class_count, complete_colours, unique_names
from hsi_toolkit.training.styles import COLOUR_COLUMNS, parse_colour, same_value, vector_style

#: Descriptions that make OGR open something else: virtual layers, services, processing chains.
_REDIRECTIONS = (b"<ogrvrt", b"<ogrwfs", b"<ogrcsw", b"<gmlas", b"gdal_streamed_alg")
_POLYGONS = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)
_POINTS = (shapely.GeometryType.POINT, shapely.GeometryType.MULTIPOINT)
_NO_GEOMETRY = (None, "None", "")


@dataclass(frozen=True)
class Layer:
    """Which layer of which file holds the classes, as its header says."""

    path: Path
    name: str
    field: str
    features: int
    crs: pyproj.CRS | None
    bounds: tuple[float, float, float, float] | None
    colour_field: str | None


@dataclass(frozen=True)
class Features:
    """Single polygons and points in the grid's fractional columns and rows, with their classes.

    ``classes`` numbers the ``values``; a part of a multipolygon or multipoint is an entry of its own, and
    ``parents`` numbers the feature it belongs to. ``read`` features may touch the grid.
    """

    shapes: NDArray[np.object_]
    classes: NDArray[np.int64]
    parents: NDArray[np.int64]
    read: int
    values: tuple[ClassValue, ...]
    names: tuple[str, ...]
    colours: tuple[str, ...]
    warnings: tuple[str, ...]


class Legend(NamedTuple):
    """The classes of a layer in order: the field's values, what they are called, their colours #rrggbb."""

    values: tuple[ClassValue, ...]
    names: tuple[str, ...]
    colours: tuple[str, ...]
    warnings: tuple[str, ...]


def open_layer(path: str | Path, field: str | None, layer: str | None = None) -> Layer:
    """The layer named, or the only one with geometries and the class field; reads headers alone.

    Without a field it is a layer of which the geometries alone matter.

    Raises:
        LabelError: the file is missing or no vector file, the layer or field is not there, or
            several layers could be meant.
    """
    path = Path(path)
    _require_plain_file(path)
    try:
        listed = pyogrio.list_layers(path)
        spatial = [str(name) for name, geometry in listed if geometry not in _NO_GEOMETRY]
        if layer is not None and layer not in [str(name) for name in listed[:, 0]]:
            raise LabelError(f"{path.name} has no layer {layer!r}.", "It has " + _quoted(spatial) + ".")
        if not spatial or (layer is not None and layer not in spatial):
            raise LabelError(
                f"{path.name} holds no geometries{f' in layer {layer!r}' if layer else ''}.",
                "Give a layer of polygons or points.",
            )
        described = {name: pyogrio.read_info(path, layer=name) for name in ([layer] if layer else spatial)}
        name = _choose(path, field, {key: list(info["fields"]) for key, info in described.items()})
        info = pyogrio.read_info(path, layer=name, force_feature_count=True, force_total_bounds=True)
    except (DataSourceError, DataLayerError) as error:
        raise LabelError(
            f"The labels {path} cannot be read: {error}.", "Give a vector file such as GeoPackage or GeoJSON."
        ) from error
    fields = [str(each) for each in info["fields"]]
    colour_field = next(
        (each for each in fields if each.casefold() in COLOUR_COLUMNS and each != field), None
    )
    bounds = None
    if info["total_bounds"] is not None and all(np.isfinite(info["total_bounds"])):
        left, bottom, right, top = (float(each) for each in info["total_bounds"])
        bounds = (left, bottom, right, top)
    return Layer(
        path=path,
        name=name,
        field=field or "",
        features=int(info["features"]),
        crs=_stated_crs(info["crs"]),
        bounds=bounds,
        colour_field=colour_field,
    )


def read_features(layer: Layer, grid: Grid) -> Features:
    """The features that may touch the grid, in its pixel coordinates, with their classes.

    Raises:
        LabelError: none touches the grid, the field holds no classes, there are lines, or coordinate
            systems do not meet.
    """
    if not layer.features:
        raise LabelError(
            f"The layer {layer.name!r} of {layer.path.name} is empty.", "Draw polygons or points."
        )
    warnings = list(_reconcile_crs(layer, grid))
    columns = [layer.field, *([layer.colour_field] if layer.colour_field else [])]
    frame = pyogrio.read_dataframe(
        layer.path, layer=layer.name, columns=columns, bbox=_search_box(layer, grid), force_2d=True
    )
    read = len(frame)
    present = ~(frame.geometry.isna() | frame.geometry.is_empty).to_numpy(bool)
    if not present.any():
        raise outside_scene(layer, grid)
    frame = frame[present]
    _require_areas_or_points(layer, np.asarray(frame.geometry.array))
    values = class_values(frame[layer.field].tolist(), layer.field)
    labelled = [value for value in values if value is not None]
    if not labelled:
        raise LabelError(
            f"The field {layer.field!r} is empty in all features inside the scene.", "Choose the class field."
        )
    if len(labelled) < len(values):
        unlabelled = len(values) - len(labelled)
        warnings.append(f"{unlabelled} features without a class in {layer.field!r} were left out.")
    frame = frame[[value is not None for value in values]]
    hexes = frame[layer.colour_field].tolist() if layer.colour_field else []
    legend = class_legend(layer, labelled, hexes)
    number = {value: index for index, value in enumerate(legend.values)}
    shapes, parents = _valid_parts(_in_pixels(frame, layer, grid))
    classes = np.array([number[value] for value in labelled], np.int64)[parents]
    return Features(shapes, classes, parents, read, *legend[:3], warnings=(*warnings, *legend.warnings))


def read_outlines(layer: Layer, grid: Grid) -> NDArray[np.object_]:
    """The polygons and points that may touch the grid, in its fractional columns and rows; may be none.

    Raises:
        LabelError: there are lines, or coordinate systems do not meet.
    """
    _reconcile_crs(layer, grid)
    frame = pyogrio.read_dataframe(
        layer.path, layer=layer.name, columns=[], bbox=_search_box(layer, grid), force_2d=True
    )
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty).to_numpy(bool)]
    if not len(frame):
        return np.empty(0, dtype=object)
    _require_areas_or_points(layer, np.asarray(frame.geometry.array))
    shapes, _ = _valid_parts(_in_pixels(frame, layer, grid))
    return shapes


def class_values(raw: Sequence[object], field: str) -> list[ClassValue | None]:
    """Texts without surrounding blanks, or whole numbers; None for null, NaN and empty text.

    Raises:
        LabelError: a value is neither, such as a decimal number or a date.
    """
    values: list[ClassValue | None] = []
    for value in raw:
        if isinstance(value, str):
            values.append(value.strip() or None)
        elif value is None or value != value:
            values.append(None)
        elif isinstance(value, bool | int | float) and float(value).is_integer():
            values.append(int(value))
        else:
            raise LabelError(
                f"The field {field!r} holds {value!r}, which is no class.",
                "Choose a field of text or whole numbers.",
            )
    return values


def class_legend(layer: Layer, values: Sequence[ClassValue], hexes: Sequence[object]) -> Legend:
    """The classes among ``values``, one a feature; ``hexes`` are the features' own colours or empty.

    Whole numbers are in ascending order; texts in the order of the layer's own legend, then sorted. Colours
    are the features' own, else those of the layer's style, else of the palette.

    Raises:
        LabelError: there are more than 255.
    """
    present = set(values)
    check_class_count(len(present), f"The field {layer.field!r}")
    entries = {same_value(entry.value): entry for entry in vector_style(layer.path, layer.name, layer.field)}
    place = {written: index for index, written in enumerate(entries)}
    numeric = all(isinstance(value, int) for value in present)
    order = sorted(present, key=lambda value: (_natural(value), str(value)))
    if not numeric:
        order.sort(key=lambda value: place.get(same_value(str(value)), len(place)))
    styled = [entries.get(same_value(str(value))) for value in order]
    labels = [
        entry.label if entry and isinstance(value, int) else str(value)
        for value, entry in zip(order, styled, strict=True)
    ]
    own = _most_frequent_colours(values, hexes)
    colours = [
        own.get(value) or (entry.colour if entry else None)
        for value, entry in zip(order, styled, strict=True)
    ]
    spelt = Counter(label.casefold() for label in labels)
    warnings = [
        "Classes that differ in upper and lower case only are kept apart: "
        + _quoted([label for label in labels if label.casefold() == folded])
        + "."
        for folded, often in spelt.items()
        if often > 1
    ]
    return Legend(
        tuple(order), unique_names(labels, order), complete_colours(colours, labels), tuple(warnings)
    )


def outside_scene(layer: Layer, grid: Grid) -> LabelError:
    """The error that says where the labels and the scene lie."""
    left, bottom, right, top = grid.bounds
    scene = f"x {left:.8g} to {right:.8g}, y {bottom:.8g} to {top:.8g}"
    where = (
        ""
        if layer.bounds is None
        else "; the labels span x {0:.8g} to {2:.8g}, y {1:.8g} to {3:.8g}".format(*layer.bounds)
    )
    systems = [crs.name if crs else "no coordinate system" for crs in (layer.crs, _crs(grid))]
    return LabelError(
        f"All {layer.features} features of {layer.path.name} lie outside the scene, which spans {scene} "
        f"({systems[1]}){where} ({systems[0]}).",
        "Check that scene and labels belong together and that both coordinate systems are right.",
    )


def _require_plain_file(path: Path) -> None:
    if not path.exists():
        raise LabelError(f"There is no file {path}.", "Check the path of the labels.")
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(4096).lower()
        if any(mark in head for mark in _REDIRECTIONS):
            raise LabelError(
                f"{path.name} only refers to data elsewhere.",
                "Save the labels as a GeoPackage and give that.",
            )


def _choose(path: Path, field: str | None, fields: dict[str, list[str]]) -> str:
    """The only layer with the field, or the only one at all."""
    fitting = [name for name, existing in fields.items() if field is None or field in existing]
    if len(fitting) == 1:
        return fitting[0]
    if field is None:
        raise LabelError(f"{path.name} has several layers: {_quoted(fitting)}.", "Name the layer to use.")
    if fitting:
        raise LabelError(
            f"{len(fitting)} layers of {path.name} have a field {field!r}: {_quoted(fitting)}.",
            "Name the layer to use.",
        )
    if len(fields) == 1:
        ((name, existing),) = fields.items()
        raise LabelError(
            f"The layer {name!r} has no field {field!r}.",
            "It has " + (_quoted(existing) if existing else "no fields at all") + ".",
        )
    raise LabelError(
        f"No layer of {path.name} has a field {field!r}.",
        "Its layers are "
        + "; ".join(f"{name!r} with {_quoted(each) or 'none'}" for name, each in fields.items())
        + ".",
    )


def _quoted(names: Sequence[str], most: int = 20) -> str:
    shown = ", ".join(repr(str(name)) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _stated_crs(text: str | None) -> pyproj.CRS | None:
    """The coordinate system, None for GeoPackage's "undefined Cartesian" one."""
    crs = pyproj.CRS.from_user_input(text) if text else None
    return None if crs is None or crs.type_name == "Engineering CRS" else crs


def _crs(grid: Grid) -> pyproj.CRS | None:
    return None if grid.crs is None else pyproj.CRS.from_wkt(grid.crs.to_wkt())


def _reconcile_crs(layer: Layer, grid: Grid) -> Sequence[str]:
    """Warnings about the coordinate systems.

    Raises:
        LabelError: the layer has one and the scene none, so that they cannot be brought together.
    """
    if grid.crs is None and layer.crs is not None:
        raise LabelError(
            f"The scene has no coordinate system, but the labels are in {layer.crs.name}.",
            "Georeference the scene, or draw the labels on it and save them as a GeoPackage without a "
            "coordinate system (GeoJSON always has one).",
        )
    if grid.crs is not None and layer.crs is None:
        return ("The labels state no coordinate system and are taken to be in the scene's.",)
    return ()


def _search_box(layer: Layer, grid: Grid) -> tuple[float, float, float, float] | None:
    """The grid's rectangle in the layer's coordinates; None to read everything."""
    if grid.crs is None or layer.crs is None:
        return None
    try:
        transformer = pyproj.Transformer.from_crs(_crs(grid), layer.crs, always_xy=True)
        box = transformer.transform_bounds(*grid.bounds)
    except pyproj.exceptions.ProjError:
        return None
    return box if all(np.isfinite(box)) and box[0] < box[2] else None


def _require_areas_or_points(layer: Layer, shapes: NDArray[np.object_]) -> None:
    kinds = shapely.get_type_id(shapes)
    wrong = kinds[~np.isin(kinds, (*_POLYGONS, *_POINTS))]
    if len(wrong):
        kind = shapely.GeometryType(int(wrong[0])).name.title()
        raise LabelError(
            f"The layer {layer.name!r} holds a geometry of the kind {kind}.",
            "Give polygons or points; a line covers no pixels (buffer it to make polygons).",
        )


def _in_pixels(frame: gpd.GeoDataFrame, layer: Layer, grid: Grid) -> NDArray[np.object_]:
    """The geometries as fractional columns and rows."""
    shapes = frame.geometry
    if layer.crs is not None and grid.crs is not None:
        shapes = shapes.to_crs(_crs(grid))
    geometries = np.asarray(shapes.array)
    if not grid.georeferenced:
        # QGIS draws a raster without georeference from y = 0 downwards to minus its height.
        sign = -1.0 if layer.bounds is not None and layer.bounds[1] < 0 and layer.bounds[3] <= 0 else 1.0
        geometries = shapely.transform(geometries, lambda xy: xy * (1.0, sign))
    return np.asarray(shapely.transform(geometries, lambda xy: grid.locate(xy[:, 0], xy[:, 1])), dtype=object)


def _valid_parts(geometries: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Single polygons and points, repaired where an outline crosses itself, and whose parts they are.

    Parts are repaired one by one: repaired together, overlapping parts would cut holes into each other.
    """
    parts, parents = shapely.get_parts(geometries, return_index=True)
    broken = ~shapely.is_valid(parts)
    parts[broken] = shapely.make_valid(parts[broken], method="structure", keep_collapsed=False)
    parts, owners = shapely.get_parts(parts, return_index=True)
    solid = np.isin(shapely.get_type_id(parts), (shapely.GeometryType.POLYGON, shapely.GeometryType.POINT))
    solid &= ~shapely.is_empty(parts)
    return parts[solid], parents[owners[solid]]


def _natural(value: ClassValue) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts whole numbers by size and ``class 2`` before ``class 10``."""
    pieces = re.split(r"(\d+)", str(value).casefold()) if isinstance(value, str) else []
    if not pieces:
        return ((0, int(value), ""),)
    return tuple((0, int(piece), "") if piece.isdigit() else (1, 0, piece) for piece in pieces if piece)


def _most_frequent_colours(values: Sequence[ClassValue], hexes: Sequence[object]) -> dict[ClassValue, str]:
    found: dict[ClassValue, Counter[str]] = {}
    for value, text in zip(values, hexes, strict=False):
        colour = parse_colour(text) if isinstance(text, str) else None
        if colour:
            found.setdefault(value, Counter())[colour] += 1
    return {value: counts.most_common(1)[0][0] for value, counts in found.items()}
