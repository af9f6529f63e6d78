"""The rasters a classification writes."""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from hsi_toolkit.errors import OutputError
from hsi_toolkit.inference.prepare import PreparedBlock
from hsi_toolkit.scene.class_map import ClassEntry
from hsi_toolkit.scene.writer import RasterWriter

NODATA = 0
"""What class maps hold where there is no data; classes count from 1."""

SHARE_SCALE = 1e-4
SHARE_NODATA = 65535
"""Probabilities and uncertainty are stored as whole ten-thousandths (uint16): half of float32's size, and
finer than any classifier is sure."""


@dataclass(frozen=True)
class MapOutputs:
    """The rasters to write.

    Attributes:
        class_map: GeoTIFF, uint8 (uint16 where a class is above 255): 0 = no data, else the class's number in
            the legend, 1 to K without one.
        probabilities: K bands, uint16 with scale 1e-4; None writes none.
        uncertainty: one band, uint16 with scale 1e-4: the entropy of the probabilities divided by log K, from
            0 (one class is certain) to 1 (all are alike); None writes none.

    Raises:
        OutputError: two of them have the same name.
    """

    class_map: str | Path
    probabilities: str | Path | None = None
    uncertainty: str | Path | None = None

    def __post_init__(self) -> None:
        paths = [path for path in (self.class_map, self.probabilities, self.uncertainty) if path is not None]
        names = [Path(path).absolute() for path in paths]
        for path, name in zip(paths, names, strict=True):
            if names.count(name) > 1:
                raise OutputError(f"Two outputs have the name {path}.", "Give each its own.")


@dataclass(frozen=True, eq=False)
class MapBlock:
    """A block as it is stored, in whole lines.

    Attributes:
        classes: (rows, columns) uint16: 0 without data, else the class's place in the classifier, from 1.
        probabilities: (K, rows, columns) uint16, None where they are not wanted.
        uncertainty: (1, rows, columns) uint16, None where it is not wanted.
        windows, rechecked: how often the network looked at a pixel, and how many of these were checks.
        precision: what first answers were computed in; empty where there were none.
    """

    classes: NDArray[np.uint16]
    probabilities: NDArray[np.uint16] | None
    uncertainty: NDArray[np.uint16] | None
    windows: int
    rechecked: int
    precision: str

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """The block as named arrays."""
        arrays: dict[str, NDArray[np.generic]] = {
            "classes": self.classes,
            "counts": np.array([self.windows, self.rechecked]),
            "precision": np.frombuffer(self.precision.encode(), np.uint8),
        }
        optional = {"probabilities": self.probabilities, "uncertainty": self.uncertainty}
        return arrays | {name: values for name, values in optional.items() if values is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """The block that ``to_arrays`` gave."""

        def stored(name: str) -> NDArray[np.uint16] | None:
            return np.asarray(arrays[name], np.uint16) if name in arrays else None

        windows, rechecked = arrays["counts"].tolist()
        return cls(
            np.asarray(arrays["classes"], np.uint16),
            stored("probabilities"),
            stored("uncertainty"),
            windows,
            rechecked,
            arrays["precision"].tobytes().decode(),
        )


def stored_block(
    block: PreparedBlock,
    log_probabilities: Tensor,
    *,
    probabilities: bool,
    uncertainty: bool,
    windows: int,
    rechecked: int,
    precision: str,
) -> MapBlock:
    """What is stored of a block, given the log-probabilities (n, K) of its pixels that have data."""
    shape = (block.y1 - block.y0, block.columns)
    core = block.core().cpu().numpy()
    classes = np.zeros(shape, np.uint16)
    classes.flat[core] = (log_probabilities.argmax(dim=1) + 1).cpu().numpy()
    return MapBlock(
        classes,
        _stored(log_probabilities.exp(), core, shape) if probabilities else None,
        _stored(normalised_entropy(log_probabilities), core, shape) if uncertainty else None,
        windows,
        rechecked,
        precision,
    )


def empty_block(
    shape: tuple[int, int], n_classes: int, *, probabilities: bool, uncertainty: bool
) -> MapBlock:
    """What is stored of a block (rows, columns) without data."""
    core = np.empty(0, np.int64)
    return MapBlock(
        np.zeros(shape, np.uint16),
        _stored(torch.empty(0, n_classes), core, shape) if probabilities else None,
        _stored(torch.empty(0, 1), core, shape) if uncertainty else None,
        windows=0,
        rechecked=0,
        precision="",
    )


class MapWriter:
    """Writes the outputs block by block; they appear when the ``with`` block ends well, or not at all."""

    def __init__(
        self,
        outputs: MapOutputs,
        *,
        like: xr.DataArray,
        n_classes: int,
        classes: Sequence[ClassEntry] | None = None,
        tags: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.counts = np.zeros(n_classes + 1, np.int64)
        """Pixels written so far: without data, then of each class."""
        values = [entry.value for entry in classes] if classes else range(1, n_classes + 1)
        self._values = np.array([NODATA, *values])
        self._dtype = np.uint8 if self._values.max() < 256 else np.uint16
        self._map = RasterWriter(
            outputs.class_map,
            like=like,
            dtype=self._dtype,
            nodata=NODATA,
            descriptions=["class"],
            classes=classes,
            tags=tags,
            overwrite=overwrite,
        )

        def shares(path: str | Path | None, names: list[str]) -> RasterWriter | None:
            if path is None:
                return None
            return RasterWriter(
                path,
                like=like,
                count=len(names),
                dtype=np.uint16,
                nodata=SHARE_NODATA,
                descriptions=names,
                scale=SHARE_SCALE,
                overwrite=overwrite,
            )

        names = [entry.name for entry in classes] if classes else [f"class {k + 1}" for k in range(n_classes)]
        self._probabilities = shares(outputs.probabilities, names)
        self._uncertainty = shares(outputs.uncertainty, ["uncertainty"])
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for raster in (self._map, self._probabilities, self._uncertainty):
                if raster is not None:
                    stack.enter_context(raster)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def write(self, block: MapBlock, y0: int) -> None:
        """Write a block whose first row is ``y0``."""
        self.counts += np.bincount(block.classes.ravel(), minlength=len(self.counts))
        self._map.write(self._values[block.classes].astype(self._dtype), y0)
        if self._probabilities is not None and block.probabilities is not None:
            self._probabilities.write(block.probabilities, y0)
        if self._uncertainty is not None and block.uncertainty is not None:
            self._uncertainty.write(block.uncertainty, y0)


def normalised_entropy(log_probabilities: Tensor) -> Tensor:
    """Entropy (n, 1) of log-probabilities (n, K) divided by its largest value, log K; 0 for one class."""
    probabilities = log_probabilities.exp()
    # Where a probability is 0 its logarithm is minus infinity, but its part of the entropy is 0.
    entropy = -(probabilities * log_probabilities.clamp_min(-1e4)).sum(dim=1, keepdim=True)
    return entropy / max(math.log(log_probabilities.shape[1]), 1e-9)


def _stored(shares: Tensor, core: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.uint16]:
    """Shares (n, bands), 0 to 1, of the pixels ``core`` as they are stored, (bands, rows, columns)."""
    whole = (shares.clamp(0, 1) / SHARE_SCALE).round().to(torch.int32).cpu().numpy()
    out = np.full((whole.shape[1], shape[0] * shape[1]), SHARE_NODATA, np.uint16)
    out[:, core] = whole.T
    return out.reshape(-1, *shape)
