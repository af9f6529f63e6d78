"""Where training gets windows, pixels and unlabelled positions of a scene from."""

from typing import Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene.sampling import read_pixels, read_windows

Float32 = NDArray[np.float32]
Index = NDArray[np.int64]

# Unlabelled pixels are drawn from square tiles: reading scattered pixels would read the whole file.
_TILE = 32
_TILES = 64
# In a scene that is mostly empty, tiles looked at before giving up on more pixels.
_MOST_TILES = 1024


class WindowSource(Protocol):
    """A scene as training sees it; nothing but what is asked for is read."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows and columns."""

    @property
    def good(self) -> NDArray[np.bool_]:
        """Bands (bands,) that the product does not call bad."""

    def windows(self, rows: Index, cols: Index, radius: int) -> Float32:
        """Windows (n, bands, 2 * radius + 1, 2 * radius + 1), mirrored at the scene's edge."""

    def pixels(self, rows: Index, cols: Index) -> Float32:
        """Spectra (n, bands)."""

    def sample(self, n: int, seed: int) -> tuple[Index, Index]:
        """Rows and columns of up to ``n`` random pixels with data."""


class SceneWindows:
    """Windows of a scene in memory or on disk: a DataArray with dims ``("band", "y", "x")``, nodata NaN."""

    def __init__(self, scene: xr.DataArray) -> None:
        self._scene = scene.transpose("band", "y", "x")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows and columns."""
        bands, rows, cols = self._scene.shape
        return bands, rows, cols

    @property
    def good(self) -> NDArray[np.bool_]:
        """Bands that the product does not call bad; all, where it does not say."""
        if "good" not in self._scene.coords:
            return np.ones(self.shape[0], bool)
        return np.asarray(self._scene["good"].to_numpy(), bool)

    def windows(self, rows: Index, cols: Index, radius: int) -> Float32:
        """Windows around pixels; see ``hsi_toolkit.scene.sampling.read_windows``."""
        return read_windows(self._scene, rows, cols, radius)

    def pixels(self, rows: Index, cols: Index) -> Float32:
        """Spectra of pixels; see ``hsi_toolkit.scene.sampling.read_pixels``."""
        return read_pixels(self._scene, rows, cols)

    def sample(self, n: int, seed: int) -> tuple[Index, Index]:
        """Rows and columns of up to ``n`` random pixels with data, spread over the scene.

        Raises:
            SceneError: no pixel has data.
        """
        _, height, width = self.shape
        rng = np.random.default_rng(seed)
        corners = [(top, left) for top in range(0, height, _TILE) for left in range(0, width, _TILE)]
        most = max(1, -(-2 * n // min(len(corners), _TILES)))
        found: list[Index] = []
        count = 0
        for looked, number in enumerate(rng.permutation(len(corners))[:_MOST_TILES]):
            if looked >= _TILES and count >= n:
                break
            positions = self._with_data(*corners[number])
            kept = positions[rng.permutation(len(positions))[:most]]
            found.append(kept)
            count += len(kept)
        chosen = np.concatenate(found)
        if not len(chosen):
            raise SceneError("No pixel of the scene has data.", "Check the scene's nodata value.")
        chosen = chosen[rng.permutation(len(chosen))[:n]]
        return chosen[:, 0], chosen[:, 1]

    def _with_data(self, top: int, left: int) -> Index:
        tile = self._scene.isel(y=slice(top, top + _TILE), x=slice(left, left + _TILE)).to_numpy()
        rows, cols = np.nonzero(np.isfinite(tile[self.good]).any(axis=0))
        return np.stack([rows + top, cols + left], axis=1).astype(np.int64)
