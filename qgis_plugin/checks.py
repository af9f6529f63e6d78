"""Cheap looks at the inputs before a run; each gives the sentence on what is wrong, or an empty one."""

import os
import re
import shutil
from pathlib import Path
from typing import Dict, Mapping, Optional, Sequence, Tuple

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCoordinateTransformContext,
    QgsCsException,
    QgsProcessingFeatureSource,
    QgsRasterLayer,
)

from .legends import class_text
from .models import ModelFileError, read_model
from .wavelengths import layer_bands

#: Places of a disk that keep this much free, in bytes.
RESERVE = 32 << 20


def scene(layer: QgsRasterLayer, least_bands: int) -> str:
    """Whether a layer is a raster of pixels with bands enough."""
    if not layer.isValid():
        return f"The layer {layer.name()} cannot be read. Check that its file is still there."
    if not layer.width() or not layer.height():
        return f"The layer {layer.name()} has no pixels of its own. Save it as a GeoTIFF and use that."
    count = layer.bandCount()
    usable = count - len(layer_bands(layer).bad)
    if usable < least_bands:
        bands = f"{count} band{'s' * (count != 1)}"
        if usable < count:
            bands += f", of which {usable} are good"
        return (
            f"The layer {layer.name()} has {bands}, and a scene of at least {least_bands} good bands is "
            "needed. Choose the scene itself, not a picture or a map of it."
        )
    return ""


def same_grid(first: QgsRasterLayer, second: QgsRasterLayer) -> str:
    """Whether two rasters have the same rows and columns."""
    sizes = [(layer.width(), layer.height()) for layer in (first, second)]
    if sizes[0] == sizes[1]:
        return ""
    said = [f"{columns} × {rows}" for columns, rows in sizes]
    return (
        f"{first.name()} has {said[0]} pixels and {second.name()} has {said[1]}. Bring both to the same grid "
        "first, with Warp for instance."
    )


def overlap(
    raster: QgsRasterLayer, source: QgsProcessingFeatureSource, transforms: QgsCoordinateTransformContext
) -> str:
    """Whether features lie where the raster does, as far as their rectangles tell."""
    if not source.featureCount():
        return (
            f"The layer {source.sourceName()} has no features to work with. Draw some, or look whether only "
            "selected features are to be used."
        )
    own, other = raster.crs(), source.sourceCrs()
    if other.isValid() and not own.isValid():
        return (
            f"The layer {raster.name()} has no coordinate system, but {source.sourceName()} is in "
            f"{_named(other)}. Set the raster's coordinate system in its layer properties."
        )
    extent = source.sourceExtent()
    if own.isValid() and other.isValid():
        try:
            extent = QgsCoordinateTransform(other, own, transforms).transformBoundingBox(extent)
        except QgsCsException:
            return (
                f"The coordinates of {source.sourceName()} ({_named(other)}) cannot be brought into those of "
                f"{raster.name()} ({_named(own)}). Check both coordinate systems."
            )
    if extent.isEmpty():
        # A single point, or points on a line, span no area.
        extent = extent.buffered(1e-9 * max(abs(extent.xMinimum()), abs(extent.yMinimum()), 1.0))
    if not extent.intersects(raster.extent()):
        return (
            f"No feature of {source.sourceName()} ({_named(other)}) lies on {raster.name()} ({_named(own)}). "
            "Check that they belong together and that both coordinate systems are right."
        )
    return ""


def classes(source: QgsProcessingFeatureSource, field: str, least: int) -> str:
    """Whether the field is there and holds that many different classes."""
    fields = source.fields()
    index = fields.indexOf(field)
    if index < 0:
        names = ", ".join(fields.names()) or "no fields at all"
        return f"The layer {source.sourceName()} has no field {field}. It has {names}."
    found = sorted({text for text in map(class_text, source.uniqueValues(index)) if text})
    if len(found) >= least:
        return ""
    seen = f"only the class {found[0]}" if found else "no class"
    return (
        f"The field {field} of {source.sourceName()} holds {seen}. Draw features of at least {least} "
        f"class{'es' * (least > 1)}, or choose another field."
    )


#: Endings of published weights.
RELEASED = (".pth", ".tar", ".h5")


def model(name: str, kind: str = "") -> str:
    """Whether a model file is one, and of that kind; names of fetched models are the engine's to look up."""
    path = Path(name)
    if not path.is_file():
        if re.fullmatch(r"[\w.-]+", name) and path.suffix != ".safetensors":
            return ""
        return f"There is no model file {name}. Check the path."
    if not kind and path.suffix in RELEASED:
        return ""  # weights as their authors published them, which only the engine can read
    try:
        described = read_model(path)
    except ModelFileError as error:
        return str(error)
    if kind and described.kind != kind:
        otherwise = ", or train a classifier from this one" if kind == "classifier" else ""
        return (
            f"{path.name} is a model of the kind {described.kind}, and a {kind} is needed. "
            f"Choose another model{otherwise}."
        )
    return ""


def coverage(name: str, layer: QgsRasterLayer) -> str:
    """Whether a scene has the bands that a model file looks at: by wavelength, else by number."""
    path = Path(name)
    if not path.is_file():
        return ""
    described, bands = read_model(path), layer_bands(layer)
    if described.wavelengths and bands.wavelengths:
        good = [each for band, each in enumerate(bands.wavelengths) if band not in bands.bad]
        return _missing_range(described.wavelengths, sorted(good), layer.name())
    fitting = (described.scene_bands, described.used_bands)
    if described.scene_bands is None or layer.bandCount() in fitting:
        return ""
    without = "scene" if described.wavelengths else "model"
    return (
        f"{layer.name()} has {layer.bandCount()} bands, the model wants {described.scene_bands}, and the "
        f"{without} has no wavelengths to match them by. Use a scene of the model's sensor"
        + (", or add the wavelengths to its header." if without == "scene" else ".")
    )


def output_file(path: str, suffixes: Sequence[str]) -> str:
    """Whether a file can be written there, and its name is one of the format that is written."""
    if suffixes and not path.lower().endswith(tuple(suffixes)):
        return f"The output {path} does not end in {' or '.join(suffixes)}. Name it so."
    folder = Path(path).parent
    if not folder.is_dir():
        return f"The output folder {folder} does not exist. Create it or choose another one."
    if not os.access(str(folder), os.W_OK):
        return f"The output folder {folder} cannot be written. Choose another one."
    if Path(path).is_dir():
        return f"The output {path} is a folder. Give the name of a file in it."
    return ""


def output_folder(path: str) -> str:
    """Whether a folder is there or can be made."""
    folder = Path(path)
    if folder.is_file():
        return f"The output folder {folder} is a file. Choose another name."
    nearest = _existing(folder)
    if not os.access(str(nearest), os.W_OK):
        return f"The output folder {folder} cannot be made: {nearest} cannot be written. Choose another one."
    return ""


def free_space(needed: Mapping[str, float]) -> str:
    """Whether the disks have room for outputs, given the bytes that each path takes at the very least."""
    by_disk: Dict[int, Tuple[Path, float]] = {}
    for path, size in needed.items():
        folder = _existing(Path(path))
        disk = os.stat(str(folder)).st_dev
        by_disk[disk] = (folder, by_disk.get(disk, (folder, 0.0))[1] + size)
    for folder, size in by_disk.values():
        free = shutil.disk_usage(str(folder)).free
        if free < size + RESERVE:
            return (
                f"The disk of {folder} has {_size(free)} free, and the outputs take about {_size(size)} "
                "or more. Make room or choose another disk."
            )
    return ""


def _missing_range(wanted: Sequence[float], centres: Sequence[float], name: str) -> str:
    """Which of the wanted wavelengths lie beyond the scene's, half a band of it allowed; in nanometres."""
    if not centres:
        return f"All bands of {name} are marked bad. Correct its list of bad bands."
    steps = sorted(centres[at + 1] - centres[at] for at in range(len(centres) - 1))
    margin = steps[len(steps) // 2] / 2 if steps else 0.5
    low, high, first, last = min(wanted), max(wanted), centres[0], centres[-1]
    missing = []
    if low < first - margin:
        missing.append(f"{low:.0f} to {min(first, high):.0f} nm")
    if high > last + margin:
        missing.append(f"{max(last, low):.0f} to {high:.0f} nm")
    if not missing:
        return ""
    return (
        f"The good bands of {name} reach from {first:.0f} to {last:.0f} nm, and the model needs "
        f"{' and '.join(missing)} as well. Use a model for this sensor's range, or a scene that covers the "
        "model's."
    )


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next((each for each in (path, *path.parents) if each.is_dir()), Path.cwd())


def _named(crs: Optional[QgsCoordinateReferenceSystem]) -> str:
    return crs.userFriendlyIdentifier() if crs is not None and crs.isValid() else "no coordinate system"


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
