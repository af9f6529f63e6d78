"""Sharpen a scene with a guide."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.files import check_output
from hsi_toolkit.fusion import Axis, CoupledEndmembers, FusionModel, GridPair, match_grids, sharpen
from hsi_toolkit.inference.devices import choose_device
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import RasterWriter, open_scene
from hsi_toolkit.scene.blocks import ahead, values_of
from hsi_toolkit.tasks.superresolve import Superresolve

Cube = NDArray[np.float32]

#: Scene pixels a tile is extended by, so that its edge does not show.
_HALO = 6
#: Bytes of sharp cube in a tile without a memory limit.
_TILE_BYTES = 96 << 20


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
    how = partial(sharpen, model, method=task.method, endmembers=endmembers, device=device)
    bands = scene.sizes["band"]
    with RasterWriter(
        task.output,
        like=guide,
        count=bands,
        wavelengths=scene["wavelength"].to_numpy() if "wavelength" in scene.coords else None,
        fwhm=scene["fwhm"].to_numpy() if "fwhm" in scene.coords else None,
        acquired=scene.attrs.get("acquired"),
        sensor=scene.attrs.get("sensor"),
        quantity=scene.attrs.get("quantity"),
        overwrite=task.overwrite,
    ) as writer:
        _write(writer, how, scene, guide, grids, memory, progress.part(0.25, 1.0))
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
    how: Callable[[Cube, Cube, Axis, Axis], Cube],
    scene: xr.DataArray,
    guide: xr.DataArray,
    grids: GridPair,
    memory: int | None,
    progress: Progress,
) -> None:
    def read(
        tile: tuple[_Span, _Span],
    ) -> tuple[tuple[_Span, _Span], Cube, Cube]:
        rows, cols = tile
        coarse = values_of(scene.isel(y=rows.coarse, x=cols.coarse))
        return tile, coarse, values_of(guide.isel(y=rows.fine, x=cols.fine))

    tiles = list(_tiles(grids, scene.sizes["band"], memory))
    for done, ((rows, cols), coarse, fine) in enumerate(ahead(read, tiles), 1):
        progress.check()
        sharp = how(coarse, fine, rows.axis, cols.axis)
        writer.write(sharp[:, rows.own, cols.own], rows.start, cols.start)
        progress.report(done / len(tiles), f"Sharpening tile {done} of {len(tiles)}")


@dataclass(frozen=True)
class _Span:
    """A tile's extent along one axis: the pixels read, halo included, and its own fine pixels among them."""

    axis: Axis
    coarse: slice
    fine: slice
    own: slice
    start: int

    @classmethod
    def of(cls, axis: Axis, start: int, stop: int) -> "_Span":
        coarse = slice(max(0, start - _HALO), min(axis.coarse, stop + _HALO))
        fine, inner = axis.fine_slice(coarse), axis.fine_slice(slice(start, stop))
        own = slice(inner.start - fine.start, inner.stop - fine.start)
        return cls(axis.part(coarse, fine), coarse, fine, own, inner.start)


def _tiles(grids: GridPair, bands: int, memory: int | None) -> Iterator[tuple[_Span, _Span]]:
    """The tiles, row by row, that have fine pixels."""
    # The sharp tile is held with its halo, as coefficients and as cube, and gathered by the writer.
    pixels = (memory or 8 * _TILE_BYTES) / 8 / (4 * bands)
    side = max(8, int(np.sqrt(pixels) / grids.ratio))
    for rows in _spans(grids.rows, side):
        for cols in _spans(grids.cols, side):
            yield rows, cols


def _spans(axis: Axis, side: int) -> list[_Span]:
    spans = [_Span.of(axis, start, min(start + side, axis.coarse)) for start in range(0, axis.coarse, side)]
    return [span for span in spans if span.own.stop > span.own.start]
