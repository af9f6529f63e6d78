"""Export a scene."""

from collections.abc import Mapping
from typing import cast

import xarray as xr

from hsi_toolkit.errors import SceneError
from hsi_toolkit.progress import Pace, Progress
from hsi_toolkit.scene import iter_blocks, open_scene
from hsi_toolkit.scene.export import gdal_name, open_writer
from hsi_toolkit.scene.export.envi import Interleave
from hsi_toolkit.scene.windows import crop, parse_bbox, within
from hsi_toolkit.tasks.export import Export


def run(task: Export, progress: Progress) -> Mapping[str, object]:
    """Stream the wanted part of the scene into the writer of the output's suffix."""
    scene = _part(open_scene(task.scene, task.variable), task)
    bands, rows, columns = scene.shape
    memory = task.memory_limit * 2**19 if task.memory_limit else None
    pace = Pace(progress, "Exporting", rows * columns, "pixels")
    with open_writer(
        task.output,
        scene,
        integers=task.integers,
        interleave=cast(Interleave, task.interleave),
        overwrite=task.overwrite,
    ) as writer:
        for block in iter_blocks(scene, memory_limit=memory):
            progress.check()
            writer.write(block.core, block.y0)
            pace.report(block.y1 / rows, f"Writing row {block.y1:,} of {rows:,}")
    return {
        "summary": f"{bands} bands of {rows} × {columns} pixels.",
        "outputs": {"scene": task.output},
        "data": gdal_name(task.output, scene),
        "shape": [bands, rows, columns],
    }


def _part(scene: xr.DataArray, task: Export) -> xr.DataArray:
    if task.good:
        scene = scene.hsi.good_bands
        if not scene.sizes["band"]:
            raise SceneError(f"All bands of {task.scene} are marked bad.", "Export it with them.")
    if task.wavelengths:
        scene = within(scene, task.wavelengths)
    return crop(scene, parse_bbox(task.bbox)) if task.bbox else scene
