"""Pairs from TFRecord files of ``id``, ``rgb_image``, ``hs_image``, ``label``, BiMAE's published layout."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.bimodal.pairs import (
    Classes,
    Images,
    Pairs,
    Preparation,
    room_for_images,
    spectra_from_zero_to_one,
)
from hsi_toolkit.bimodal.tfrecord import (
    ExampleError,
    Feature,
    parse_example,
    read_records,
    tensor_size,
    tensor_values,
)
from hsi_toolkit.errors import SceneError
from hsi_toolkit.progress import Progress
from hsi_toolkit.spectral.resample import SensorBands
from hsi_toolkit.training.labelled_pixels import ClassValue, check_class_count, complete_colours

FEATURES = ("id", "rgb_image", "hs_image", "label")

_FLOATS, _OCTETS = np.dtype("<f4"), np.dtype("u1")
_NAMES = re.compile(r"\.tfrecords?(\.gz|-\d+-of-\d+(\.gz)?)?$", re.IGNORECASE)
_REMEDY = "Write the records anew with id, rgb_image (float32), hs_image (uint8) and label."


@dataclass(frozen=True)
class _Record:
    name: str
    rgb: Images
    hs: Images
    label: ClassValue


def record_files(path: str | Path) -> list[Path]:
    """The file itself, or the TFRecord files of a folder by name.

    Raises:
        SceneError: there are none.
    """
    source = Path(path)
    if not source.is_dir():
        return [source]
    found = sorted(each for each in source.rglob("*") if each.is_file() and _NAMES.search(each.name))
    if not found:
        raise SceneError(f"The folder {source} holds no TFRecord files.", "Give files that end in .tfrecord.")
    return found


def pairs_from_records(path: str | Path, preparation: Preparation, progress: Progress | None = None) -> Pairs:
    """The pairs of a TFRecord file or of all those in a folder.

    Images are arrays of ``preparation``'s sizes, row by row with the channels last; they are stored as lists
    of numbers, raw bytes or serialised tensors. Colours are from 0 to 1, or from 0 to 255 where one exceeds
    1.

    Raises:
        SceneError: a record is truncated or damaged, lacks a feature, has another one, or one of another
            size; the sentence names record and feature.
    """
    progress = progress or Progress()
    files = record_files(path)
    count, bands = _count(files, preparation, progress.part(0.0, 0.5))
    rgb = room_for_images((count, preparation.side, preparation.side, 3))
    hs = room_for_images((count, preparation.patch, preparation.patch, bands))
    names, labels = list[str](), list[ClassValue]()
    for index, record in enumerate(_records(files, preparation, bands)):
        progress.check()
        progress.report(0.5 + 0.5 * index / count, "Reading the records")
        rgb[index], hs[index] = record.rgb, spectra_from_zero_to_one(record.hs)
        names.append(record.name)
        labels.append(record.label)
    if rgb.max() > 1.0:
        rgb /= 255.0
    classes = named_classes(labels)
    number = {value: index for index, value in enumerate(classes.values)}
    return Pairs(
        rgb=rgb,
        hs=hs,
        preparation=preparation,
        bands=SensorBands(bands, tuple(range(bands))),
        called=tuple(names),
        labels=np.array([number[label] for label in labels], np.int64),
        classes=classes,
    )


def named_classes(labels: list[ClassValue]) -> Classes:
    """The classes of these labels: numbers in ascending order, then texts by the alphabet."""
    values = sorted(set(labels), key=lambda each: (isinstance(each, str), each))
    check_class_count(len(values), "The data set")
    names = tuple(str(value) for value in values)
    return Classes(names, tuple(values), complete_colours([None] * len(names), names))


def _count(files: list[Path], preparation: Preparation, progress: Progress) -> tuple[int, int]:
    """How many records there are, all of them whole, and the bands of the first."""
    count, bands = 0, 0
    for place, file in enumerate(files):
        for data in read_records(file):
            progress.check()
            if not count:
                bands = _bands(_features(data, f"Record 1 of {file}"), preparation, f"Record 1 of {file}")
            count += 1
        progress.report((place + 1) / len(files), "Counting the records")
    if not count:
        raise SceneError(f"{files[0]} holds no records.", "Give files of tf.train.Example records.")
    return count, bands


def _records(files: list[Path], preparation: Preparation, bands: int) -> Iterator[_Record]:
    for file in files:
        for number, data in enumerate(read_records(file), start=1):
            where = f"Record {number} of {file}"
            yield _record(_features(data, where), preparation, bands, where)


def _features(data: bytes, where: str) -> dict[str, Feature]:
    """The features of a record, these and no others."""
    try:
        features = parse_example(data)
    except ExampleError as error:
        raise SceneError(f"{where} is damaged: {error}.", _REMEDY) from error
    missing = [name for name in FEATURES if name not in features]
    extra = sorted(set(features) - set(FEATURES))
    if missing or extra:
        problem = f"has no feature {missing[0]!r}" if missing else f"has an unknown feature {extra[0]!r}"
        raise SceneError(f"{where} {problem}.", _REMEDY)
    return features


def _bands(features: dict[str, Feature], preparation: Preparation, where: str) -> int:
    """The bands that the size of ``hs_image`` means."""
    size, pixels = _size(features["hs_image"], _OCTETS), preparation.patch**2
    if not size or size % pixels:
        raise SceneError(
            f"{where}: hs_image holds {size:,} values, which are no bands of {preparation.patch} × "
            f"{preparation.patch} pixels.",
            "Set the patch size to the side of the hyperspectral images.",
        )
    return size // pixels


def _record(features: dict[str, Feature], preparation: Preparation, bands: int, where: str) -> _Record:
    side, patch = preparation.side, preparation.patch
    rgb = _image(features["rgb_image"], (side, side, 3), _FLOATS, f"{where}: rgb_image")
    hs = _image(features["hs_image"], (patch, patch, bands), _OCTETS, f"{where}: hs_image")
    if not (np.isfinite(rgb).all() and rgb.min() >= 0.0 and rgb.max() <= 255.0):
        raise SceneError(f"{where}: rgb_image holds values that are no colours from 0 to 1 or 255.", _REMEDY)
    name, label = _value(features["id"], f"{where}: id"), _value(features["label"], f"{where}: label")
    return _Record(str(name), rgb, hs, label)


def _image(feature: Feature, shape: tuple[int, ...], dtype: np.dtype[np.generic], where: str) -> Images:
    count = math.prod(shape)
    values: NDArray[np.generic] | None = feature.numbers
    if feature.blobs is not None:
        values = tensor_values(feature.blobs[0], count, dtype) if len(feature.blobs) == 1 else None
    if values is None or len(values) != count:
        wanted = f"{' × '.join(map(str, shape))} = {count:,}"
        raise SceneError(
            f"{where} holds {_size(feature, dtype):,} values instead of {wanted}.",
            "Set patch and image size to those of the records, or write the records anew.",
        )
    image: Images = values.astype(np.float32).reshape(shape)
    return image


def _size(feature: Feature, dtype: np.dtype[np.generic]) -> int:
    if feature.blobs is None:
        return 0 if feature.numbers is None else len(feature.numbers)
    return sum(tensor_size(blob, dtype) for blob in feature.blobs)


def _value(feature: Feature, where: str) -> ClassValue:
    """A text or whole number."""
    if feature.blobs is not None and len(feature.blobs) == 1:
        return feature.blobs[0].decode("utf-8", "replace").strip()
    if feature.numbers is not None and len(feature.numbers) == 1 and feature.numbers.dtype == np.int64:
        return int(feature.numbers[0])
    raise SceneError(f"{where} is not one text or whole number.", _REMEDY)
