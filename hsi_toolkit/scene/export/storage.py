"""How an exported scene's numbers are stored."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.errors import OutputError
from hsi_toolkit.scene.lazy import Float32

STRIP_BYTES = 64 << 20
TILE, SMALLEST_TILE = 256, 16

FLOATS, INTEGERS = np.dtype("<f4"), np.dtype("<i2")
REFLECTANCE_STEP = 1e-4
INTEGER_FILL = -32768


@dataclass(frozen=True)
class Storage:
    """32-bit floats with NaN for no data, or 16-bit integers with a scale.

    Attributes:
        dtype: of the numbers in the file.
        scale: value = number * scale; None for numbers that are the values.
        fill: the number for no data.
    """

    dtype: np.dtype[np.number] = FLOATS
    scale: float | None = None
    fill: float = float("nan")

    @classmethod
    def integers(cls) -> Self:
        """Reflectance from -3.2767 to 3.2767 in steps of 0.0001."""
        return cls(INTEGERS, REFLECTANCE_STEP, INTEGER_FILL)

    @property
    def fill_value(self) -> NDArray[np.number]:
        """``fill`` in the file's type, no axes."""
        return np.array(self.fill).astype(self.dtype)

    def stored(self, values: Float32) -> NDArray[np.number]:
        """Values (…) float32 as numbers of the file; what does not fit is clipped."""
        missing = np.isnan(values)
        if self.scale is None:
            plain = values.astype(self.dtype, copy=False)
            return plain if np.isnan(self.fill) else np.where(missing, self.fill_value, plain)
        limits = np.iinfo(np.int16)
        with np.errstate(invalid="ignore"):
            scaled = np.clip(np.rint(values / np.float32(self.scale)), limits.min + 1, limits.max)
        return np.where(missing, np.float32(self.fill), scaled).astype(self.dtype)


def refuse_own_source(target: Path, scene: xr.DataArray) -> None:
    """Raise OutputError when the file to write is the one that the scene is read from."""
    source = scene.attrs.get("source")
    if source and target.exists() and Path(source).exists() and target.samefile(source):
        raise OutputError(f"The output {target} is the scene that is read.", "Choose another name.")


def chunk_rows(bands: int, width: int, height: int, itemsize: int) -> int:
    """Rows of a chunk so that all that lie beside and above each other fit into 64 MB."""
    rows = TILE
    while rows > SMALLEST_TILE and rows * bands * width * itemsize > STRIP_BYTES:
        rows //= 2
    return min(rows, height)
