"""Two scenes of the same place, read side by side."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.blockwise.cluster import Cluster
from hsi_toolkit.detection.scan import CANCEL_BYTES, spectra_of
from hsi_toolkit.errors import SceneError
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import Block, iter_blocks
from hsi_toolkit.scene.blocks import read_rows, values_of

Result = TypeVar("Result")
Spectra = NDArray[np.float64]

SAMPLE_PIXELS = 50_000
"""Pixels that statistics are measured on; more of them change the third digit of a score."""

SAME_WAVELENGTH_NM = 5.0
_SAMPLE_LINES = 512
_LINES_AT_ONCE = 32


@dataclass(frozen=True)
class ScenePair:
    """Two scenes (band, y, x) of the same size, with the same bands."""

    before: xr.DataArray
    after: xr.DataArray

    @classmethod
    def of(cls, before: xr.DataArray, after: xr.DataArray) -> "ScenePair":
        """The bands that are good in both scenes.

        Raises:
            SceneError: sizes, bands, wavelengths or grids differ.
        """
        names = [Path(str(each.attrs.get("source", "the scene"))).name for each in (before, after)]
        for axis, what in (("band", "bands"), ("y", "rows"), ("x", "columns")):
            if before.sizes[axis] != after.sizes[axis]:
                raise SceneError(
                    f"{names[0]} has {before.sizes[axis]} {what}, {names[1]} has {after.sizes[axis]}.",
                    "Give two scenes of one sensor on the same grid.",
                )
        _check_grid(before, after, names)
        _check_wavelengths(before, after, names)
        good = np.ones(before.sizes["band"], bool)
        for scene in (before, after):
            if "good" in scene.coords:
                good &= scene["good"].to_numpy()
        if not good.any():
            raise SceneError(f"No band is good in both {names[0]} and {names[1]}.", "Check their bad bands.")
        used = np.flatnonzero(good)
        return cls(before.isel(band=used), after.isel(band=used))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.before.sizes["y"]), int(self.before.sizes["x"])

    def blocks(
        self, progress: Progress, message: str, memory_limit: int | None = None
    ) -> Iterator[tuple[Block, Block]]:
        """The same lines of both, from top to bottom."""
        rows = self._rows_within(memory_limit)
        progress.report(0.0, message)
        pairs = zip(iter_blocks(self.before, rows=rows), iter_blocks(self.after, rows=rows), strict=True)
        for before, after in pairs:
            progress.check()
            yield before, after
            progress.report(before.y1 / self.shape[0], message)

    def map(
        self,
        function: Callable[[Block, Block], Result],
        progress: Progress,
        message: str,
        memory_limit: int | None = None,
        cluster: Cluster | None = None,
    ) -> Iterator[tuple[int, Result]]:
        """``function`` of ``blocks``, computed by a cluster if there is one, after the row they start at."""
        if cluster is None:
            for before, after in self.blocks(progress, message, memory_limit):
                yield before.y0, function(before, after)
            return
        step, height = self._rows_within(memory_limit), self.shape[0]
        edges = [(y0, min(y0 + step, height)) for y0 in range(0, height, step)]
        progress.report(0.0, message)
        results = cluster.map(_OnBlocks(self, function), edges, progress)
        for (y0, y1), result in zip(edges, results, strict=True):
            yield y0, result
            progress.report(y1 / height, message)

    def _rows_within(self, memory_limit: int | None) -> int:
        line = 4 * self.before.sizes["band"] * self.before.sizes["x"]
        allowed = min(CANCEL_BYTES, memory_limit // 8) if memory_limit else CANCEL_BYTES
        return max(1, allowed // line)

    def sample(self, progress: Progress, most: int = SAMPLE_PIXELS) -> tuple[Spectra, Spectra]:
        """Spectra (n, bands) of the same pixels of both, evenly spread over the scene.

        Raises:
            SceneError: too few pixels have data in both.
        """
        height, width = self.shape
        lines = np.unique(np.linspace(0, height - 1, min(height, _SAMPLE_LINES)).round().astype(np.intp))
        step = max(1, -(-len(lines) * width // most))
        found: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        for start in range(0, len(lines), _LINES_AT_ONCE):
            progress.check()
            progress.report(start / len(lines), "Sampling both scenes")
            rows = lines[start : start + _LINES_AT_ONCE]
            # Columns are staggered from line to line, so that no stripe of the ground is left out.
            before, after = (
                spectra_of(values_of(each.isel(y=rows))[:, :, start // _LINES_AT_ONCE % step :: step])
                for each in (self.before, self.after)
            )
            known = np.isfinite(before).all(axis=1) & np.isfinite(after).all(axis=1)
            found.append((before[known], after[known]))
        sampled = [np.concatenate([part[side] for part in found]).astype(np.float64) for side in (0, 1)]
        if len(sampled[0]) < 2 * sampled[0].shape[1]:
            raise SceneError(
                f"Only {len(sampled[0])} pixels have data in both scenes; {2 * sampled[0].shape[1]} are "
                "needed.",
                "Check that the scenes overlap.",
            )
        return sampled[0], sampled[1]


@dataclass(frozen=True, eq=False)
class _OnBlocks(Generic[Result]):
    """A function of blocks of both scenes as one of their edges, for processes that read by themselves."""

    pair: ScenePair
    function: Callable[[Block, Block], Result]

    def __call__(self, edge: tuple[int, int]) -> Result:
        """The function of the blocks of these rows."""
        before, after = (
            Block(read_rows(scene, *edge), *edge) for scene in (self.pair.before, self.pair.after)
        )
        return self.function(before, after)


def _check_grid(before: xr.DataArray, after: xr.DataArray, names: list[str]) -> None:
    if before.rio.crs is None or after.rio.crs is None:
        return
    same = np.allclose(before.rio.transform()[:6], after.rio.transform()[:6], rtol=1e-6, atol=1e-9)
    if before.rio.crs != after.rio.crs or not same:
        raise SceneError(
            f"{names[0]} and {names[1]} do not lie on the same grid.",
            "Warp one onto the other's pixels first.",
        )


def _check_wavelengths(before: xr.DataArray, after: xr.DataArray, names: list[str]) -> None:
    if "wavelength" not in before.coords or "wavelength" not in after.coords:
        return
    apart = np.abs(before["wavelength"].to_numpy() - after["wavelength"].to_numpy())
    if float(apart.max()) > SAME_WAVELENGTH_NM:
        raise SceneError(
            f"The wavelengths of {names[0]} and {names[1]} differ by up to {float(apart.max()):.1f} nm.",
            "Give two scenes of one sensor, or resample one of them.",
        )
