"""Square patches for pretraining, cut from scenes of any sensor or taken from archives of patches."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.errors import SceneError
from hsi_toolkit.scene import open_scene
from hsi_toolkit.scene.blocks import mirrored, values_of
from hsi_toolkit.training.windows import SceneWindows

Float32 = NDArray[np.float32]
Index = NDArray[np.int64]

UNIT = 4000.0
"""The number in a file that becomes 1, as published: a reflectance of 0.4 times 10,000."""

HYPERGLOBAL_VARIABLE = "img:byx"
"""What HyperGlobal's MATLAB files hold: bands, rows, columns."""

# Places tried before a scene is said to have no data.
_TRIES = 20
_LEAST_DATA = 0.5
# Pixels from which the scale of a scene without reflectance is told, and the quantile that becomes 1.
_SCALE_PIXELS, _SCALE_QUANTILE = 2000, 0.99
_OPEN_FILES = 32


@dataclass(frozen=True)
class _Item:
    """A file of which patches are taken: ``variable`` as for ``open_scene``, ``factor`` to the unit."""

    path: Path
    variable: str | None
    factor: float


class PatchPool:
    """Patches (bands, side, side) of scenes and archives, each the same for the same numbers.

    A scene gives ``per_scene`` patches an epoch, from random places. A folder is an archive in the layout of
    HyperGlobal (MATLAB files with ``img``), of HySpecNet-11k (``*SPECTRAL_IMAGE.TIF``) or of any GeoTIFFs,
    and every file in it gives one. Of files with more good bands a random run of neighbours is taken; fewer
    are stretched by linear interpolation. Reflectance and the archives' numbers are scaled as published (4000
    becomes 1); other scenes so that the 99 % quantile becomes 1.

    Args:
        paths: scenes and folders.
        bands: of a patch.
        side: of a patch, in pixels.
        per_scene: patches of each scene in an epoch.
        seed: of everything random.

    Raises:
        SceneError: a scene cannot be read, or a folder holds no patches.
    """

    def __init__(
        self, paths: Sequence[str | Path], *, bands: int, side: int, per_scene: int, seed: int
    ) -> None:
        self._bands, self._side, self._seed = bands, side, seed
        self._items: list[_Item] = []
        repeats: list[int] = []
        for path in map(Path, paths):
            found = _archive(path) if path.is_dir() else []
            self._items += found or [_scene_item(path, seed)]
            repeats += [1] * len(found) or [per_scene]
        self._repeated = np.repeat(np.arange(len(self._items)), repeats)

    @property
    def identity(self) -> list[str]:
        """What tells the pool from others: the files' names, in order."""
        return [item.path.name for item in self._items]

    def __len__(self) -> int:
        """Patches of an epoch."""
        return len(self._repeated)

    def order(self, epoch: int) -> Index:
        """The file of each patch of an epoch, in random order."""
        order: Index = np.random.default_rng([self._seed, epoch]).permutation(self._repeated)
        return order

    def patch(self, file: int, epoch: int, number: int) -> Float32:
        """Patch ``number`` of an epoch, from the file that ``order`` says.

        Raises:
            SceneError: the file cannot be read or has no data.
        """
        item = self._items[file]
        scene = _opened(item.path, item.variable)
        rng = np.random.default_rng([self._seed, epoch, number])
        good = np.flatnonzero(scene["good"].to_numpy()) if "good" in scene.coords else None
        usable = np.arange(scene.sizes["band"]) if good is None or not len(good) else good
        start = round((len(usable) - self._bands) * rng.random()) if len(usable) > self._bands else 0
        run = usable[start : start + self._bands]
        for _ in range(_TRIES):
            values = self._cut(scene, run, rng)
            if np.isfinite(values).mean() >= _LEAST_DATA:
                return _stretched(_filled(values), self._bands) * np.float32(item.factor)
        raise SceneError(
            f"{item.path} has no square of {self._side} pixels of which half has data.",
            "Leave it out, or check its nodata value.",
        )

    def _cut(self, scene: xr.DataArray, run: Index, rng: np.random.Generator) -> Float32:
        spans = []
        for axis in ("y", "x"):
            length = scene.sizes[axis]
            start = int(rng.integers(0, max(1, length - self._side + 1)))
            spans.append((slice(start, start + self._side), min(length, self._side)))
        (rows, height), (columns, width) = spans
        values = values_of(scene.isel(band=run, y=rows, x=columns))
        if height < self._side or width < self._side:
            side = np.arange(self._side)
            values = values[:, mirrored(side, height)][:, :, mirrored(side, width)]
        return values


def _archive(folder: Path) -> list[_Item]:
    """The files of an archive; none where the folder is none, such as that of a product."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".mat", ".tif", ".tiff"))
    if mats := [path for path in files if path.suffix.lower() == ".mat"]:
        return [_Item(path, HYPERGLOBAL_VARIABLE, 1 / UNIT) for path in mats]
    spectral = [path for path in files if path.stem.upper().endswith("SPECTRAL_IMAGE")]
    tifs = spectral if len(spectral) > 1 else files
    if len(tifs) < 2:
        return []
    factor = _published_factor(_opened(tifs[0], None)) or 1 / UNIT
    return [_Item(path, None, factor) for path in tifs]


def _scene_item(path: Path, seed: int) -> _Item:
    scene = _opened(path, None)
    factor = _published_factor(scene)
    if factor is None:
        source = SceneWindows(scene)
        spectra = source.pixels(*source.sample(_SCALE_PIXELS, seed))[:, source.good]
        top = float(np.nanquantile(spectra, _SCALE_QUANTILE)) if np.isfinite(spectra).any() else 0.0
        factor = 1 / top if top > 0 else 1.0
    return _Item(path, None, factor)


def _published_factor(scene: xr.DataArray) -> float | None:
    return 10_000 / UNIT if scene.attrs.get("quantity") == "reflectance" else None


@lru_cache(_OPEN_FILES)
def _opened(path: Path, variable: str | None) -> xr.DataArray:
    return open_scene(path, variable)


def _filled(values: Float32) -> Float32:
    """Values (bands, side, side) with the band's mean where there are none, and 0 in empty bands."""
    known = np.isfinite(values)
    if known.all():
        return values
    count = known.sum(axis=(1, 2))
    mean = np.where(known, values, 0).sum(axis=(1, 2), dtype=np.float64) / np.maximum(count, 1)
    return np.where(known, values, mean[:, None, None].astype(np.float32))


def _stretched(values: Float32, bands: int) -> Float32:
    """Values (n, side, side) as ``bands`` bands: as they are, or linearly between the n."""
    n = len(values)
    if n == bands:
        return values
    position = np.linspace(0, n - 1, bands)
    low = np.minimum(position.astype(np.int64), max(0, n - 2))
    share = (position - low).astype(np.float32)[:, None, None]
    stretched: Float32 = values[low] * (1 - share) + values[np.minimum(low + 1, n - 1)] * share
    return stretched
