"""Pairs from a folder of images: ``rgb/CLASS/NAME.png`` beside ``hs/CLASS/NAME.hdr`` or any other scene.

Without classes the images lie in ``rgb`` and ``hs`` themselves.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from hsi_toolkit.bimodal.cutting import colour_bands
from hsi_toolkit.bimodal.pairs import (
    NO_CLASSES,
    Classes,
    Images,
    Pairs,
    Preparation,
    room_for_images,
    spectra_from_zero_to_one,
)
from hsi_toolkit.bimodal.records import named_classes
from hsi_toolkit.errors import SceneError
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import open_scene
from hsi_toolkit.spectral.resample import SensorBands
from hsi_toolkit.training.labelled_pixels import ClassValue

COLOUR, HYPERSPECTRAL = "rgb", "hs"

#: What lies beside an image and is none itself.
_COMPANIONS = (
    ".bsq",
    ".bil",
    ".bip",
    ".xml",
    ".tfw",
    ".pgw",
    ".jgw",
    ".wld",
    ".prj",
    ".txt",
    ".json",
    ".csv",
)
_STRETCHED_BY = 200


@dataclass(frozen=True)
class _Pair:
    name: str
    label: str | None
    colour: Path
    hyperspectral: Path


def is_image_folder(path: str | Path) -> bool:
    """Whether a folder has the two sub-folders of images."""
    return all((Path(path) / each).is_dir() for each in (COLOUR, HYPERSPECTRAL))


def pairs_from_folder(path: str | Path, preparation: Preparation, progress: Progress | None = None) -> Pairs:
    """The pairs of an image folder, resized to ``preparation``'s sizes.

    Images keep their proportions: what is left over is white in colour and empty hyperspectrally. All
    hyperspectral images must have the same bands.

    Raises:
        SceneError: an image has no partner, or other bands than the first; the sentence names it.
    """
    progress = progress or Progress()
    found = _found(Path(path))
    first = open_scene(found[0].hyperspectral)
    bands = SensorBands.of_scene(first)
    preparation = _with_stretch(found, preparation, progress.part(0.0, 0.2))
    rgb = room_for_images((len(found), preparation.side, preparation.side, 3))
    hs = room_for_images((len(found), preparation.patch, preparation.patch, len(bands)))
    for index, pair in enumerate(found):
        progress.check()
        progress.report(0.2 + 0.8 * index / len(found), "Reading the images")
        colours = preparation.stretched(_colours(pair, preparation))
        rgb[index] = _fitted_in(colours, preparation.side, 1.0)
        spectra = spectra_from_zero_to_one(_spectra(pair, bands))
        hs[index] = _fitted_in(spectra, preparation.patch, 0.0)
    labels, classes = _labels(found)
    return Pairs(
        rgb=rgb,
        hs=hs,
        preparation=preparation,
        bands=bands,
        called=tuple(pair.name for pair in found),
        labels=labels,
        classes=classes,
        quantity=first.attrs.get("quantity"),
        sensor=first.attrs.get("sensor"),
    )


def _found(folder: Path) -> list[_Pair]:
    colour, hyperspectral = (_images(folder / each) for each in (COLOUR, HYPERSPECTRAL))
    alone = sorted(set(colour) ^ set(hyperspectral))
    if alone:
        there, missing = (COLOUR, HYPERSPECTRAL) if alone[0] in colour else (HYPERSPECTRAL, COLOUR)
        raise SceneError(
            f"The image {there}/{alone[0]} has no partner {missing}/{alone[0]}.",
            "Add it, or take the image out.",
        )
    if not colour:
        raise SceneError(f"The folder {folder} holds no images in {COLOUR} and {HYPERSPECTRAL}.", "Add some.")
    return [
        _Pair(name, name.split("/")[0] if "/" in name else None, colour[name], hyperspectral[name])
        for name in sorted(colour)
    ]


def _images(folder: Path) -> dict[str, Path]:
    """Images by their name within the folder, without suffix."""
    files = [each for each in sorted(folder.rglob("*")) if each.is_file() and not each.name.startswith(".")]
    named = {
        each.relative_to(folder).with_suffix("").as_posix(): each
        for each in files
        if each.suffix.lower() not in _COMPANIONS and each.suffix
    }
    return named


def _labels(found: list[_Pair]) -> tuple[NDArray[np.int64] | None, Classes]:
    labels: list[ClassValue] = [pair.label for pair in found if pair.label is not None]
    if len(labels) < len(found):
        return None, NO_CLASSES
    classes = named_classes(labels)
    number = {value: index for index, value in enumerate(classes.values)}
    return np.array([number[label] for label in labels], np.int64), classes


def _with_stretch(found: list[_Pair], preparation: Preparation, progress: Progress) -> Preparation:
    raster = open_scene(found[0].colour)
    preparation = Preparation(
        preparation.patch, preparation.side, colour_bands=colour_bands(raster), stretch=preparation.stretch
    )
    if preparation.stretch is not None:
        return preparation
    chosen, seen = found[:: max(1, len(found) // _STRETCHED_BY)], []
    for index, pair in enumerate(chosen):
        progress.check()
        progress.report(index / len(chosen), "Looking at the colours")
        seen.append(_colours(pair, preparation))
    return preparation.fitted(seen)


def _colours(pair: _Pair, preparation: Preparation) -> Images:
    raster = open_scene(pair.colour)
    if max(preparation.colour_bands) >= raster.sizes["band"]:
        raise SceneError(
            f"{pair.colour} has {raster.sizes['band']} bands, fewer than the first image.", "Take it out."
        )
    return _values(raster.isel(band=list(preparation.colour_bands)))


def _spectra(pair: _Pair, bands: SensorBands) -> Images:
    scene = open_scene(pair.hyperspectral)
    if scene.sizes["band"] != bands.scene_bands:
        raise SceneError(
            f"{pair.hyperspectral} has {scene.sizes['band']} bands, the first image {bands.scene_bands}.",
            "Give images of one sensor.",
        )
    return _values(scene.isel(band=list(bands.used)))


def _values(raster: xr.DataArray) -> Images:
    """(rows, columns, bands); pixels without data are 0."""
    values: Images = np.nan_to_num(raster.transpose("y", "x", "band").to_numpy(), nan=0.0)
    return values


def _fitted_in(image: Images, side: int, rest: float) -> Images:
    """The image at the size that fits into a square of ``side``, in its middle, and ``rest`` around it."""
    rows, columns = image.shape[:2]
    scale = side / max(rows, columns)
    height, width = (max(1, round(scale * length)) for length in (rows, columns))
    if scale < 1:
        image = ndimage.uniform_filter1d(image, max(1, round(1 / scale)), axis=0, mode="nearest")
        image = ndimage.uniform_filter1d(image, max(1, round(1 / scale)), axis=1, mode="nearest")
    y, x = (np.arange(height) + 0.5) * rows / height - 0.5, (np.arange(width) + 0.5) * columns / width - 0.5
    grid = np.meshgrid(y, x, indexing="ij")
    out = np.full((side, side, image.shape[2]), rest, np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    for band in range(image.shape[2]):
        out[top : top + height, left : left + width, band] = ndimage.map_coordinates(
            image[..., band], grid, order=1, mode="nearest"
        )
    return out
