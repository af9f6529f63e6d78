"""Resample a scene to the bands of another sensor."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hsi_toolkit.errors import SceneError
from hsi_toolkit.files import check_output
from hsi_toolkit.progress import Pace, Progress
from hsi_toolkit.scene import RasterWriter, iter_blocks, open_scene
from hsi_toolkit.scene.writer import bands_of
from hsi_toolkit.spectral.resample import CoverageError, Matrix
from hsi_toolkit.spectral.sensors import Sensor
from hsi_toolkit.tasks.resample import Resample


def run(task: Resample, progress: Progress) -> Mapping[str, object]:
    """Stream the scene through the matrix of band weights."""
    check_output(task.output, overwrite=task.overwrite)
    sensor = Sensor.read(task.to)
    scene = open_scene(task.scene, task.variable)
    if "wavelength" not in scene.coords:
        raise SceneError(
            f"{task.scene} has no wavelengths to resample by.",
            "Give them with 'hsi check SCENE --bands FILE --fix', or add them to its header.",
        )
    scene = scene.hsi.good_bands
    if not scene.sizes["band"]:
        raise SceneError(f"All bands of {task.scene} are marked bad.", "Correct its list of bad bands.")
    widths = scene["fwhm"].to_numpy() if "fwhm" in scene.coords else None
    try:
        kept, matrix = sensor.resampled_from(scene["wavelength"].to_numpy(), widths, partial=task.partial)
    except CoverageError as error:
        remedy = "Leave such bands out with --partial, or use a scene that covers them."
        raise CoverageError(error.problem, remedy, error.missing) from error
    needed = np.flatnonzero(matrix.any(axis=1))
    scene, matrix = scene.isel(band=needed), matrix[needed]
    rows = scene.sizes["y"]
    pace = Pace(progress, "Resampling", rows * scene.sizes["x"], "pixels")
    memory = task.memory_limit * 2**19 if task.memory_limit else None
    facts = bands_of(scene)
    facts |= {"count": len(kept), "wavelengths": kept.wavelength, "fwhm": kept.fwhm}
    facts |= {"good": np.ones(len(kept), bool)}
    with RasterWriter(
        task.output, like=scene, descriptions=kept.names or None, overwrite=task.overwrite, **facts
    ) as writer:
        for block in iter_blocks(scene, memory_limit=memory):
            progress.check()
            writer.write(weigh(block.core, matrix), block.y0)
            pace.report(block.y1 / rows, f"Resampling row {block.y1:,} of {rows:,}")
    wanted = len(sensor) if sensor.good is None else int(sensor.good.sum())
    lost = wanted - len(kept)
    reach = f"{kept.wavelength.min():.0f} to {kept.wavelength.max():.0f} nm"
    warnings = (
        [f"{lost} of the {wanted} bands are not covered by the scene and were left out."] if lost else []
    )
    return {
        "summary": f"{len(needed)} bands became {len(kept)} ({reach}).",
        "facts": {
            "Bands of": sensor.name,
            "Responses": "as given"
            if kept.responses is not None
            else "centres alone"
            if kept.fwhm is None
            else "Gaussian",
        },
        "warnings": warnings,
        "outputs": {"scene": task.output},
        "bands": len(kept),
        "left_out": lost,
        "wavelengths_nm": kept.wavelength.tolist(),
    }


def weigh(values: NDArray[np.float32], matrix: Matrix) -> NDArray[np.float32]:
    """Bands (targets, rows, columns) of ``values`` (bands, rows, columns); NaN where a needed band is NaN."""
    bands, rows, columns = values.shape
    flat = values.reshape(bands, -1)
    known = np.isfinite(flat)
    if known.all():
        weighed: NDArray[np.float32] = matrix.T @ flat
        return weighed.reshape(-1, rows, columns)
    weighed = matrix.T @ np.where(known, flat, np.float32(0))
    lacking = (matrix.T != 0).astype(np.float32) @ (~known).astype(np.float32)
    weighed[lacking > 0] = np.nan
    return weighed.reshape(-1, rows, columns)
