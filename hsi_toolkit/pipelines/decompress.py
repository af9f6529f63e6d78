"""Decompress a scene."""

import math
from collections.abc import Mapping

import numpy as np

from hsi_toolkit.compression.container import HszFile
from hsi_toolkit.compression.source import HszSource
from hsi_toolkit.compression.threads import in_order
from hsi_toolkit.files import check_output
from hsi_toolkit.progress import Pace, Progress
from hsi_toolkit.scene import RasterWriter
from hsi_toolkit.scene.readers.hsz import scene_of
from hsi_toolkit.tasks.decompress import Decompress


def run(task: Decompress, progress: Progress) -> Mapping[str, object]:
    """Write the tiles one after the other, as stored."""
    check_output(task.output, overwrite=task.overwrite)
    source = HszSource(HszFile.open(task.scene), skip_damaged=task.skip_damaged)
    header = source.file.header
    bands, rows, columns = header.shape
    pace = Pace(progress, f"Decompressing: {header.tiles} tiles", rows * columns, "pixels")
    with _writer(task, source) as writer:
        for tile, stored in enumerate(in_order(source.stored_tile, range(header.tiles))):
            progress.check()
            down, right = header.window(tile)
            writer.write(stored, down.start, right.start)
            pace.report((tile + 1) / header.tiles, f"Writing tile {tile + 1:,} of {header.tiles:,}")
    return {
        "summary": f"{bands} bands of {rows} × {columns} pixels, {header.promise}.",
        "facts": {"Guarantee": header.promise, "Sample type": header.dtype},
        "warnings": [f"{error.problem} It was written as no-data." for error in source.damaged.values()],
        "outputs": {"scene": task.output},
        "shape": [bands, rows, columns],
        "damaged_tiles": sorted(tile + 1 for tile in source.damaged),
    }


def _writer(task: Decompress, source: HszSource) -> RasterWriter:
    header = source.file.header
    nodata = header.nodata
    if isinstance(nodata, tuple):
        # A GeoTIFF has one number for all bands.
        nodata = next((each for each in nodata if not math.isnan(each)), None)
    return RasterWriter(
        task.output,
        like=scene_of(source),
        count=header.shape[0],
        dtype=np.dtype(header.dtype),
        nodata=nodata,
        scale=header.scale,
        offset=header.offset,
        wavelengths=header.wavelength,
        fwhm=header.fwhm,
        good=header.good,
        acquired=header.acquired,
        sensor=header.sensor,
        quantity=header.quantity,
        overwrite=task.overwrite,
    )
