"""Pairs of images, a colour and a hyperspectral one of each object, as the network takes them."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.errors import LabelError, ModelError, ParameterError
from hsi_toolkit.models.metadata import Json
from hsi_toolkit.scene.class_map import ClassEntry
from hsi_toolkit.spectral.resample import SensorBands
from hsi_toolkit.training.labelled_pixels import MOST_CLASSES, ClassValue
from hsi_toolkit.training.palette import rgb as channels_of

Images = NDArray[np.float32]

#: Bytes of images from which on a file holds them.
_IN_MEMORY = 1 << 30
#: Percentiles of a channel that become black and white.
_BLACK, _WHITE = 0.5, 99.5

Range = tuple[float, float]


@dataclass(frozen=True)
class Preparation:
    """What turns an object into the network's two images; part of a model.

    Attributes:
        patch: side of the hyperspectral image, and of the patches of the colour image, in their pixels.
        side: of the colour image; a multiple of ``patch``.
        margin: how much ground around an object is shown, as a share of its longer side.
        blank: whether what lies outside an object's outline is blanked out.
        colour_bands: positions (from 0) of red, green and blue in the colour raster.
        stretch: the values that become 0 and 1, for each channel; None where they are 0 to 1 already.
    """

    patch: int = 24
    side: int = 192
    margin: float = 0.1
    blank: bool = False
    colour_bands: tuple[int, ...] = (0, 1, 2)
    stretch: tuple[Range, ...] | None = None

    def __post_init__(self) -> None:
        if self.side % self.patch or self.side < 2 * self.patch:
            raise ParameterError(
                f"A colour image of {self.side} pixels cannot be cut into patches of {self.patch}.",
                f"Give a multiple of {self.patch}, from {2 * self.patch} on.",
            )

    @property
    def patches(self) -> int:
        """How many patches the colour image has."""
        return (self.side // self.patch) ** 2

    def to_config(self) -> dict[str, Json]:
        """JSON-able."""
        return {
            "patch": self.patch,
            "side": self.side,
            "margin": self.margin,
            "blank": self.blank,
            "colour_bands": list(self.colour_bands),
            "stretch": None if self.stretch is None else [list(each) for each in self.stretch],
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Json]) -> "Preparation":
        """What ``to_config`` gave.

        Raises:
            ModelError: it is damaged.
        """
        try:
            bands, stretch = config["colour_bands"], config["stretch"]
            return cls(
                patch=int(_number(config["patch"])),
                side=int(_number(config["side"])),
                margin=_number(config["margin"]),
                blank=config["blank"] is True,
                colour_bands=tuple(int(_number(each)) for each in _items(bands, 3)),
                stretch=None
                if stretch is None
                else tuple((_number(low), _number(high)) for low, high in map(_pair, _items(stretch, 3))),
            )
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise ModelError(
                "The model's description of its images is damaged.", "Train or copy the model again."
            ) from error

    def stretched(self, colours: Images) -> Images:
        """Colours (..., 3) from 0 to 1."""
        if self.stretch is None:
            return np.clip(colours, 0.0, 1.0)
        low, high = np.array(self.stretch, np.float32).T
        stretched: Images = np.clip((colours - low) / (high - low), 0.0, 1.0)
        return stretched

    def fitted(self, colours: Sequence[Images]) -> "Preparation":
        """With the stretch of these colours, each (..., 3): between percentiles of each channel."""
        values = np.concatenate([each.reshape(-1, 3) for each in colours])
        values = values[np.isfinite(values).all(axis=1)]
        if not len(values):
            raise LabelError("The colour image has no data at any object.", "Check that they overlap.")
        low, high = np.percentile(values, (_BLACK, _WHITE), axis=0)
        high = np.where(high > low, high, low + 1.0)
        limits = zip(low.tolist(), high.tolist(), strict=True)
        return replace(self, stretch=tuple((black, white) for black, white in limits))


@dataclass(frozen=True)
class Classes:
    """What the classes are called, what the source has for each, and their colours ``#rrggbb``."""

    names: tuple[str, ...]
    values: tuple[ClassValue, ...]
    colours: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def legend(self) -> tuple[ClassEntry, ...]:
        """Their own numbers where they are 1 to 255, else 1 to K."""
        own = [value for value in self.values if isinstance(value, int) and 1 <= value <= MOST_CLASSES]
        numbers = own if len(own) == len(self.values) else range(1, len(self.values) + 1)
        each = zip(numbers, self.names, self.colours, strict=True)
        return tuple(ClassEntry(number, name, channels_of(colour)) for number, name, colour in each)

    def only(self, present: NDArray[np.int64]) -> "Classes":
        """Those of these numbers."""
        kept = present.tolist()
        return Classes(
            tuple(self.names[i] for i in kept),
            tuple(self.values[i] for i in kept),
            tuple(self.colours[i] for i in kept),
        )


NO_CLASSES = Classes((), (), ())


@dataclass(frozen=True, eq=False)
class Pairs:
    """The images of n objects.

    Attributes:
        rgb: (n, side, side, 3) float32, 0 to 1.
        hs: (n, patch, patch, bands) float32, every pixel's spectrum from 0 to 1.
        preparation: how they were made.
        bands: of the hyperspectral images, in their source.
        called: what each object is called, such as its feature's number.
        labels: (n,) class numbers, None where there are no classes.
        windows: (n, 4) left, top, right, bottom of what each object's images show, in pixels of the
            hyperspectral raster; None where they are images of their own.
        positions: (n,) which of the objects they were cut for, from 0; None where all have images.
        quantity, sensor: of the hyperspectral source.
        warnings: sentences on what was left out.
    """

    rgb: Images
    hs: Images
    preparation: Preparation
    bands: SensorBands
    called: tuple[str, ...]
    labels: NDArray[np.int64] | None = None
    classes: Classes = NO_CLASSES
    windows: NDArray[np.float64] | None = None
    positions: NDArray[np.int64] | None = None
    quantity: str | None = None
    sensor: str | None = None
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.called)

    def only(self, chosen: NDArray[np.int64]) -> "Pairs":
        """The images of these objects alone, by number; classes keep their numbers."""
        return replace(
            self,
            rgb=self.rgb[chosen],
            hs=self.hs[chosen],
            called=tuple(self.called[index] for index in chosen),
            labels=None if self.labels is None else self.labels[chosen],
            windows=None if self.windows is None else self.windows[chosen],
            positions=None if self.positions is None else self.positions[chosen],
        )

    def known_labels(self) -> NDArray[np.int64]:
        """The class numbers.

        Raises:
            LabelError: the objects have no classes, or fewer than two.
        """
        if self.labels is None or len(self.classes) < 2:
            found = f"the class {self.classes.names[0]!r} alone" if len(self.classes) else "no class"
            raise LabelError(
                f"The objects have {found}.", "Give objects of at least two classes to train a classifier."
            )
        return self.labels


def spectra_from_zero_to_one(values: Images) -> Images:
    """Each pixel's spectrum (the last axis) scaled to 0 to 1 over its bands; a constant one becomes 0.

    In NumPy what ``models.bimae.spectral_minmax`` is in PyTorch.
    """
    low, high = values.min(axis=-1, keepdims=True), values.max(axis=-1, keepdims=True)
    scaled: Images = (values - low) / np.where(high > low, high - low, 1.0)
    return scaled.astype(np.float32, copy=False)


def room_for_images(shape: tuple[int, ...]) -> Images:
    """An array for images, in memory or, where they are many, in a file without a name."""
    if 4 * math.prod(shape) < _IN_MEMORY:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.float32, "w+", shape=shape)


def _number(value: Json) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return value


def _items(value: Json, count: int) -> list[Json]:
    if not isinstance(value, list) or len(value) != count:
        raise TypeError
    return value


def _pair(value: Json) -> tuple[Json, Json]:
    first, second = _items(value, 2)
    return first, second
