"""Denoising and super-resolution by a network: the method hypersigma of both tasks.

It stands apart from the other methods because it needs PyTorch, which takes a second to load.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial

import numpy as np
import xarray as xr
from affine import Affine

from hsi_toolkit.denoising.learned import SceneDenoiser, learn_denoiser, released_denoiser
from hsi_toolkit.fusion.learned import learn_sharpener
from hsi_toolkit.pipelines.denoise import survey_scene
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import RasterWriter
from hsi_toolkit.scene.blocks import values_of
from hsi_toolkit.scene.writer import bands_of
from hsi_toolkit.tasks.denoise import Denoise
from hsi_toolkit.tasks.superresolve import Superresolve
from hsi_toolkit.training.per_scene import Start

_LEARNING = 0.8
"""Part of the work that training takes, about."""

_SURVEY = 0.1
"""Part of training that it takes to look at the whole scene, about."""


def learned_denoise(task: Denoise, scene: xr.DataArray, progress: Progress) -> Mapping[str, object]:
    """Train, denoise and write; the result of the task without its outputs."""
    used = np.flatnonzero(scene["good"].to_numpy())
    good = scene.isel(band=used)
    denoiser = _denoiser(task, good, progress.part(0.0, _LEARNING))
    squares, pixels = np.zeros(len(used)), np.zeros(len(used), np.int64)
    raster = partial(RasterWriter, like=scene, overwrite=task.overwrite, **bands_of(scene))
    with ExitStack() as stack:
        clean = stack.enter_context(raster(task.output))
        removed = None
        if task.difference:
            removed = stack.enter_context(raster(task.difference))
        for rows in denoiser.rows(progress.part(_LEARNING, 1.0)):
            given = values_of(scene.isel(y=slice(rows.y0, rows.y0 + rows.data.shape[1])))
            cube = given.copy()
            cube[used] = rows.data
            clean.write(cube, rows.y0)
            if removed is not None:
                removed.write(given - cube, rows.y0)
            difference = np.nan_to_num(given[used].astype(np.float64) - rows.data)
            squares += np.square(difference).sum(axis=(1, 2))
            pixels += np.isfinite(rows.data).sum(axis=(1, 2))
    spread = np.sqrt(squares / np.maximum(pixels, 1))
    learning = denoiser.learning
    bad = scene.sizes["band"] - len(used)
    return {
        "summary": f"Denoised {len(used)} bands by a {'trained' if learning else 'released'} network.",
        "facts": {"Bands": str(len(used)), **(learning.facts() if learning else {"Network": "released"})},
        "warnings": [f"{bad} bands marked as bad were passed on unchanged."] if bad else [],
        "method": task.method,
        "bands": [
            {"band": int(band) + 1, "denoised": True, "removed_rms": float(value)}
            for band, value in zip(used, spread, strict=True)
        ],
    }


def _denoiser(task: Denoise, scene: xr.DataArray, progress: Progress) -> SceneDenoiser:
    start = _start(task)
    released = released_denoiser(scene, start, progress.part(0.0, _SURVEY))
    if released is not None:
        return released
    survey = survey_scene(scene, "auto", progress.part(0.0, _SURVEY))
    return learn_denoiser(scene, survey.model, start, task.epochs, progress.part(_SURVEY, 1.0))


def learned_superresolve(task: Superresolve, scene: xr.DataArray, progress: Progress) -> Mapping[str, object]:
    """Train, sharpen and write; the result of the task without its outputs.

    Args:
        scene: good bands alone.
    """
    sharpener = learn_sharpener(
        scene, int(task.scale), _start(task), task.epochs, progress.part(0.0, _LEARNING)
    )
    fine = _finer(scene, sharpener.scale)
    with RasterWriter(task.output, like=fine, overwrite=task.overwrite, **bands_of(scene)) as writer:
        for rows in sharpener.rows(scene, progress.part(_LEARNING, 1.0)):
            writer.write(rows.data, rows.y0)
    return {
        "summary": f"{scene.sizes['band']} bands with pixels {sharpener.scale} times smaller, "
        "without a guide.",
        "facts": sharpener.learning.facts(),
        "ratio": float(sharpener.scale),
        "bands": int(scene.sizes["band"]),
    }


def _start(task: Denoise | Superresolve) -> Start:
    return Start(task.size, task.weights, task.seed, task.device)


def _finer(scene: xr.DataArray, scale: int) -> xr.DataArray:
    """A grid of the same extent with pixels ``scale`` times smaller, holding nothing."""
    shape = scene.sizes["y"] * scale, scene.sizes["x"] * scale
    grid = xr.DataArray(np.broadcast_to(np.float32(0), (1, *shape)), dims=("band", "y", "x"))
    grid.attrs["source"] = scene.attrs.get("source")
    if scene.rio.crs is not None:
        grid = grid.rio.write_crs(scene.rio.crs)
    placed: xr.DataArray = grid.rio.write_transform(scene.rio.transform() @ Affine.scale(1 / scale))
    return placed
