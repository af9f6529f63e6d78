"""Sharpen a scene with a guide."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.files import check_output
from hsi_toolkit.fusion import Axis, CoupledEndmembers, FusionModel, GridPair, Sharpener, match_grids
from hsi_toolkit.inference.devices import choose_device
from hsi_toolkit.pipelines.writing import WriteBehind
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import RasterWriter, open_scene
from hsi_toolkit.scene.blocks import ahead, values_of
from hsi_toolkit.scene.writer import bands_of
from hsi_toolkit.tasks.superresolve import Superresolve

Cube = NDArray[np.float32]

#: Scene pixels a tile is extended by, so that its edge does not show.
_HALO = 6
#: Bytes for coefficients without a memory limit.
_MEMORY = 512 << 20
#: Pixels of a tile without its halo at most; what part of the memory they may be, of which conjugate
#: gradients hold a dozen with halo; and what part a row of tiles, kept until it is written in whole lines.
_TILE_PIXELS, _TILE_SHARE, _BAND_SHARE = 1 << 17, 32, 2
#: Bytes of the sharp cube that are made and written at once.
_WRITTEN_BYTES = 32 << 20


def run(task: Superresolve, progress: Progress) -> Mapping[str, object]:
    """Fit the tie between both images, then sharpen tile by tile."""
    check_output(task.output, overwrite=task.overwrite)
    scene = open_scene(task.scene, task.variable).hsi.good_bands
    if task.method == "hypersigma":
        from hsi_toolkit.pipelines.learned_restoration import learned_superresolve

        return {**learned_superresolve(task, scene, progress), "outputs": {"sharp": task.output}}
    if not task.guide:
        raise ParameterError(
            f"The method {task.method} needs a guide.", "Give a sharper image, or choose hypersigma."
        )
    guide = open_scene(task.guide).hsi.good_bands
    grids = match_grids(scene, guide)
    guide = guide.isel(y=grids.guide_rows, x=grids.guide_cols)
    memory = task.memory_limit * 2**20 if task.memory_limit else None
    model = FusionModel.fit(scene, guide, grids, memory_limit=memory, progress=progress.part(0.0, 0.25))
    progress.log(
        f"The guide's pixels are {grids.ratio:.3g} times smaller; the scene has {model.components} "
        f"components; point spread of {model.width:.2f} scene pixels."
    )
    device = choose_device(task.device)
    endmembers = CoupledEndmembers.fit(scene, model) if task.method == "cnmf" else None
    sharpener = Sharpener(model, method=task.method, endmembers=endmembers, device=device)
    bands = scene.sizes["band"]
    with RasterWriter(task.output, like=guide, overwrite=task.overwrite, **bands_of(scene)) as writer:
        _write(writer, sharpener, scene, guide, grids, memory, progress.part(0.25, 1.0))
    return {
        "summary": f"{bands} bands with pixels {grids.ratio:.3g} times smaller.",
        "outputs": {"sharp": task.output},
        "ratio": grids.ratio,
        "components": model.components,
        "point_spread": model.width,
        "bands": bands,
        "guide_explained": model.guide_explained.tolist(),
    }


def _write(
    writer: RasterWriter,
    sharpener: Sharpener,
    scene: xr.DataArray,
    guide: xr.DataArray,
    grids: GridPair,
    memory: int | None,
    progress: Progress,
) -> None:
    """Sharpen row by row of tiles, and write each row of them in whole lines."""

    def read(tile: tuple[int, int]) -> tuple[int, int, Cube, Cube]:
        rows, cols = down[tile[0]], across[tile[1]]
        coarse = values_of(scene.isel(y=rows.coarse, x=cols.coarse))
        return *tile, coarse, values_of(guide.isel(y=rows.fine, x=cols.fine))

    down, across = _tiles(grids, sharpener.components, memory)
    tiles = [(row, column) for row in range(len(down)) for column in range(len(across))]
    band = torch.empty(0)
    with WriteBehind() as behind:
        for done, (row, column, coarse, fine) in enumerate(ahead(read, tiles), 1):
            progress.check()
            rows, cols = down[row], across[column]
            sharp = sharpener.coefficients(coarse, fine, rows.axis, cols.axis, progress)
            if column == 0:
                band = sharp.new_full((sharpener.components, rows.length, grids.cols.fine), torch.nan)
            band[:, :, cols.start : cols.start + cols.length] = sharp[:, rows.own, cols.own]
            if column == len(across) - 1:
                _write_lines(behind, writer, sharpener, band, rows.start, progress)
            progress.report(done / len(tiles), f"Sharpening tile {done} of {len(tiles)}")


def _write_lines(
    behind: WriteBehind,
    writer: RasterWriter,
    sharpener: Sharpener,
    band: torch.Tensor,
    y0: int,
    progress: Progress,
) -> None:
    height = max(1, _WRITTEN_BYTES // (4 * writer.count * band.shape[2]))
    for top in range(0, band.shape[1], height):
        progress.check()
        behind.submit(writer.write, sharpener.cube(band[:, top : top + height]), y0 + top)


@dataclass(frozen=True)
class _Span:
    """A tile's extent along one axis: the pixels read, halo included, and its own fine pixels among them."""

    axis: Axis
    coarse: slice
    fine: slice
    own: slice
    start: int

    @property
    def length(self) -> int:
        """Number of its own fine pixels."""
        return int(self.own.stop - self.own.start)

    @classmethod
    def of(cls, axis: Axis, start: int, stop: int) -> "_Span":
        coarse = slice(max(0, start - _HALO), min(axis.coarse, stop + _HALO))
        fine, inner = axis.fine_slice(coarse), axis.fine_slice(slice(start, stop))
        own = slice(inner.start - fine.start, inner.stop - fine.start)
        return cls(axis.part(coarse, fine), coarse, fine, own, inner.start)


def _tiles(grids: GridPair, components: int, memory: int | None) -> tuple[list[_Span], list[_Span]]:
    """The rows and the columns of tiles that have fine pixels."""
    values = (memory or _MEMORY) / 4 / components
    side = max(8, int(np.sqrt(min(_TILE_PIXELS, values / _TILE_SHARE)) / grids.ratio))
    height = max(8, int(values / _BAND_SHARE / grids.cols.fine * grids.rows.step))
    return _spans(grids.rows, min(side, height)), _spans(grids.cols, side)


def _spans(axis: Axis, side: int) -> list[_Span]:
    spans = [_Span.of(axis, start, min(start + side, axis.coarse)) for start in range(0, axis.coarse, side)]
    return [span for span in spans if span.own.stop > span.own.start]
