"""Denoise a scene."""

import csv
import io
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.blockwise.cluster import Cluster, processes_for, refuse_cluster
from hsi_toolkit.denoising.denoiser import ALIGNMENT, NoiseModel, Removed, Smoothing
from hsi_toolkit.denoising.impulses import find_impulses, refit
from hsi_toolkit.denoising.noise import noise_levels
from hsi_toolkit.denoising.parts import Columns, PartDenoiser, scene_statistics
from hsi_toolkit.denoising.statistics import Flags, Float32, Float64
from hsi_toolkit.denoising.stripes import LineFaults, find_line_faults
from hsi_toolkit.denoising.subspace import SignalSubspace
from hsi_toolkit.errors import SceneError
from hsi_toolkit.files import atomic_path, check_output
from hsi_toolkit.pipelines.writing import WriteBehind
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import RasterWriter, open_scene
from hsi_toolkit.scene.blocks import values_of
from hsi_toolkit.scene.writer import bands_of
from hsi_toolkit.tasks.denoise import Denoise

_MEMORY = 1 << 30
"""Bytes of the scene that are held without a memory limit."""

_WAITING_ROWS, _FILTERED_ROWS = 112, 450
"""Rows of the scene that are held until the images of their components are filtered, and rows of these images
that the filter holds in one form or another."""

_BLOCKS_HELD = 6
"""Blocks held beside these: being read, ready, projected, restored, being written, and what was removed."""

_LEAST_ROWS, _MOST_ROWS = 8, 128

_SURROUNDINGS = 64
"""Columns read on either side of a part of the scene: what its filtered values depend on."""

_PART_COLUMNS = 256
"""Parts have a multiple of so many columns, which are those of the output's tiles."""

_SAMPLE_PIXELS = 1 << 15
_STRIPS = 8

_SMOOTHING: dict[str, Smoothing] = {"mnf": "spectral", "destripe": "none"}


@dataclass(frozen=True, eq=False)
class Survey:
    """What was found out about a scene before anything is removed.

    Attributes:
        model: noise, signal and faults.
        bands: (used,) indices of the bands that take part.
        impulses: (used,) share of impulses in a sample.
    """

    model: NoiseModel
    bands: NDArray[np.intp]
    impulses: Float64


def run(task: Denoise, progress: Progress) -> Mapping[str, object]:
    """Measure signal and noise in one pass over the scene, remove the noise in another."""
    for target in (task.output, task.difference, task.noise_table):
        if target:
            check_output(target, overwrite=task.overwrite)
    scene = open_scene(task.scene, task.variable)
    if task.method == "hypersigma":
        refuse_cluster(task.cluster, task.method)
        return _learned(task, scene, progress)
    with processes_for(task.cluster) as cluster:
        survey = survey_scene(scene, task.method, progress.part(0.0, 0.2), cluster)
        removed = _write(task, scene, survey, cluster, progress.part(0.2, 1.0))
    table = _noise_table(scene, survey, removed)
    if task.noise_table:
        with atomic_path(task.noise_table, overwrite=task.overwrite) as temporary:
            temporary.write_text(_csv(table), encoding="utf-8")
    outputs = {"denoised": task.output, "difference": task.difference, "noise_table": task.noise_table}
    return {
        "summary": _summary(survey, task.method),
        "facts": _facts(survey, removed),
        "warnings": _warnings(scene, survey),
        "outputs": {name: path for name, path in outputs.items() if path},
        "method": task.method,
        "components": survey.model.subspace.dimension,
        "bands": table,
    }


def _learned(task: Denoise, scene: xr.DataArray, progress: Progress) -> Mapping[str, object]:
    from hsi_toolkit.pipelines.learned_restoration import learned_denoise

    _good_bands(scene)
    result = learned_denoise(task, scene, progress)
    if task.noise_table:
        table = cast("list[dict[str, object]]", result["bands"])
        with atomic_path(task.noise_table, overwrite=task.overwrite) as temporary:
            temporary.write_text(_csv(table), encoding="utf-8")
    outputs = {"denoised": task.output, "difference": task.difference, "noise_table": task.noise_table}
    return {**result, "outputs": {name: path for name, path in outputs.items() if path}}


def survey_scene(
    scene: xr.DataArray, method: str, progress: Progress, cluster: Cluster | None = None
) -> Survey:
    """Noise, signal and faults of a scene, from one pass and a sample.

    Args:
        scene: (band, y, x).
        method: of the task; "subspace" and "mnf" look for no faults.
        progress: reports this pass.
        cluster: processes that measure instead of this one.

    Raises:
        SceneError: no band can be used, or there are too few pixels.
    """
    used = _good_bands(scene)
    statistics = scene_statistics(scene.isel(band=used), cluster, progress)
    spectra = statistics.spectra
    # What single precision rounds is noise as well, and keeps the sigma of constant bands from being zero.
    extent = np.sqrt(np.diag(spectra.covariance)) + np.abs(spectra.mean)
    progress.check()
    sigma = noise_levels(statistics.differences, statistics.some_differences)
    sigma = np.maximum(sigma, 1e-6 * extent + np.finfo(np.float32).tiny)
    faults = LineFaults.none(len(used), scene.sizes["y"], scene.sizes["x"])
    if method in ("auto", "robust", "destripe"):
        faults = find_line_faults(statistics, sigma, progress)
    # Dead lines would be directions of the signal; within lines they do not vary.
    dead_lines = faults.columns.dead.any() or faults.rows.dead.any()
    covariance = statistics.within_lines
    if not dead_lines:
        covariance = statistics.without(faults.columns.offset, faults.rows.offset)
    subspace = SignalSubspace.fit(covariance, spectra.mean, sigma, spectra.n_pixels)
    impulses, threshold = np.zeros(len(used)), None
    if method in ("auto", "robust"):
        sample, dead = _sample(scene, used, faults, progress)
        progress.check()
        found = find_impulses(sample, dead, subspace)
        present = found.present or method == "robust"
        if present or dead_lines:
            subspace, found = refit(sample, dead, subspace, impulses=present, progress=progress)
        if present:
            impulses, threshold = found.share, found.threshold
    return Survey(NoiseModel(subspace, faults, threshold), used, impulses)


def _good_bands(scene: xr.DataArray) -> NDArray[np.intp]:
    good: NDArray[np.intp] = np.flatnonzero(scene["good"].to_numpy())
    if not len(good):
        raise SceneError("The scene has no good band.", "Check its list of bad bands.")
    return good


def _sample(
    scene: xr.DataArray, used: NDArray[np.intp], faults: LineFaults, progress: Progress
) -> tuple[Float32, NDArray[np.bool_]]:
    """Pixels of strips spread over the scene, without stripes, and which of their values are dead."""
    height = scene.sizes["y"]
    count = min(height, max(1, _SAMPLE_PIXELS // scene.sizes["x"]))
    strips = 1 if count == height else min(_STRIPS, count)
    tall = count // strips
    parts, gone = [], []
    for top in np.linspace(0, height - tall, strips).round().astype(int):
        progress.check()
        strip = scene.isel(y=slice(top, top + tall), band=used)
        data, dead = faults.correct(values_of(strip), int(top))
        known = np.isfinite(data).all(axis=0)
        parts.append(data[:, known])
        gone.append(np.zeros(parts[-1].shape, bool) if dead is None else dead[:, known])
    return np.concatenate(parts, axis=1), np.concatenate(gone, axis=1)


def _write(
    task: Denoise, scene: xr.DataArray, survey: Survey, cluster: Cluster | None, progress: Progress
) -> Removed:
    """Remove the noise part by part; returns what was removed of all bands that take part."""
    columns, rows = _cut(scene, survey.model.subspace.dimension, task.memory_limit)
    smoothing = _SMOOTHING.get(task.method, "spatial")
    work = PartDenoiser(
        scene, survey.model, smoothing, survey.bands, task.device, rows, task.difference is not None
    )
    totals, done = Removed.nothing(len(survey.bands)), 0
    raster = partial(RasterWriter, like=scene, overwrite=task.overwrite, **bands_of(scene))
    with ExitStack() as stack:
        clean = stack.enter_context(raster(task.output))
        removed = stack.enter_context(raster(task.difference)) if task.difference else None
        # The disk gets what is done while the next rows are worked on.
        behind = stack.enter_context(WriteBehind())
        memory = task.memory_limit * 2**20 if task.memory_limit else _MEMORY
        for part in work.all(columns, cluster, memory, progress):
            totals.add(part.totals)
            behind.submit(clean.write, part.clean, part.y0, part.x0)
            if removed is not None and part.removed is not None:
                behind.submit(removed.write, part.removed, part.y0, part.x0)
            done += part.clean[0].size
            progress.report(done / (scene.sizes["y"] * scene.sizes["x"]), "Removing the noise")
    return totals


def _cut(scene: xr.DataArray, components: int, memory_limit: int | None) -> tuple[list[Columns], int]:
    """How a scene is read so that memory suffices.

    Returns:
        The parts of its columns that are denoised one after the other, and the lines of a block.
    """
    width, bands = scene.sizes["x"], scene.sizes["band"]
    values = (memory_limit * 2**20 if memory_limit else _MEMORY) // 4
    filtered = components * _FILTERED_ROWS
    most = values // (bands * (_WAITING_ROWS + _BLOCKS_HELD * _LEAST_ROWS) + filtered)
    columns = width
    if width > most:
        columns = max(1, (most - 2 * _SURROUNDINGS) // _PART_COLUMNS) * _PART_COLUMNS
    parts = []
    for start in range(0, width, columns):
        stop = min(width, start + columns)
        whole = slice(max(0, start - _SURROUNDINGS), min(width, stop + _SURROUNDINGS))
        parts.append(Columns(whole, slice(start - whole.start, stop - whole.start)))
    widest = max(whole.stop - whole.start for whole, _ in parts)
    rows = ((values // widest - filtered) // bands - _WAITING_ROWS) // _BLOCKS_HELD
    # So that what starts at such a row has the same blocks: below it these lines divide it.
    aligned = rows // ALIGNMENT * ALIGNMENT if rows >= ALIGNMENT else _LEAST_ROWS
    return parts, min(aligned, _MOST_ROWS)


def _noise_table(scene: xr.DataArray, survey: Survey, removed: Removed) -> list[dict[str, object]]:
    """For each band of the scene what was found and removed; bands left alone have no figures."""
    centres = scene["wavelength"].to_numpy() if "wavelength" in scene.coords else None
    subspace, faults = survey.model.subspace, survey.model.faults
    position = {int(band): index for index, band in enumerate(survey.bands)}
    table: list[dict[str, object]] = []
    for band in range(scene.sizes["band"]):
        line: dict[str, object] = {
            "band": band + 1,
            "wavelength_nm": None if centres is None else float(centres[band]),
            "denoised": band in position,
        }
        if band in position:
            at = position[band]
            line |= {
                "noise_sigma": float(subspace.sigma[at]),
                "snr": float(subspace.mean[at] / subspace.sigma[at]),
                "removed_rms": float(np.sqrt(removed.squares[at] / max(1, removed.pixels))),
                "striped_columns": int(faults.columns.striped[at].sum()),
                "striped_rows": int(faults.rows.striped[at].sum()),
                "dead_columns": int(faults.columns.dead[at].sum()),
                "dead_rows": int(faults.rows.dead[at].sum()),
                "impulse_share": float(removed.outliers[at] / max(1, removed.pixels)),
            }
        table.append(line)
    return table


def _csv(table: list[dict[str, object]]) -> str:
    names = max((list(line) for line in table), key=len)
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: f"{value:.7g}" if isinstance(value, float) else value for name, value in line.items()}
        for line in table
    )
    return text.getvalue()


def _facts(survey: Survey, removed: Removed) -> dict[str, str]:
    faults, subspace = survey.model.faults, survey.model.subspace
    lines = (faults.columns, faults.rows)
    share = removed.outliers.sum() / max(1, removed.pixels * len(survey.bands))
    return {
        "Bands": str(len(survey.bands)),
        "Signal dimensions": str(subspace.dimension),
        "Median signal-to-noise ratio": f"{np.median(subspace.mean / subspace.sigma):.1f}",
        "Stripes": _lines_text([each.striped for each in lines]),
        "Dead lines": _lines_text([each.dead for each in lines]),
        "Impulses": f"{share:.3%}",
    }


def _lines_text(flags: list[Flags]) -> str:
    """What share of the lines of all bands is concerned, columns and rows (bands, lines), and where they are.

    Such as "0.12 % (3 columns, 1 row, in 2 bands)": most lines are so in a few bands only.
    """
    columns, rows = (int(each.any(axis=0).sum()) for each in flags)
    bands = int(np.any([each.any(axis=1) for each in flags], axis=0).sum())
    if not bands:
        return "none"
    share = sum(int(each.sum()) for each in flags) / sum(each.size for each in flags)
    named = ((columns, "column"), (rows, "row"))
    found = [f"{count} {name}{'s' * (count > 1)}" for count, name in named if count]
    return f"{100 * share:.2g} % ({', '.join(found)}, in {bands} band{'s' * (bands > 1)})"


def _summary(survey: Survey, method: str) -> str:
    faults = survey.model.faults
    found = [
        name
        for name, present in (
            ("stripes", faults.columns.striped.any() or faults.rows.striped.any()),
            ("dead lines", faults.columns.dead.any() or faults.rows.dead.any()),
            ("impulses", survey.model.threshold is not None and survey.impulses.max() > 0),
        )
        if present
    ]
    also = f" and {', '.join(found)}" if found else ""
    if method == "destripe":
        return f"Removed {', '.join(found)}." if found else "No stripes or dead lines were found."
    return f"Removed noise{also}; the signal has {survey.model.subspace.dimension} dimensions."


def _warnings(scene: xr.DataArray, survey: Survey) -> list[str]:
    bad = scene.sizes["band"] - len(survey.bands)
    return [f"{bad} bands marked as bad were passed on unchanged."] if bad else []
