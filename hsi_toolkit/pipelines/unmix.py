"""Unmix a scene."""

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.blockwise.cluster import Cluster, processes_for, refuse_cluster
from hsi_toolkit.errors import ParameterError, SceneError
from hsi_toolkit.files import check_output
from hsi_toolkit.inference.devices import choose_device
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import RasterWriter, open_scene, sample_pixels
from hsi_toolkit.scene.blocks import values_of
from hsi_toolkit.spectral.library import SpectralLibrary
from hsi_toolkit.tasks.common import VECTOR_SUFFIXES
from hsi_toolkit.tasks.unmix import Unmix
from hsi_toolkit.training.per_scene import Start
from hsi_toolkit.unmixing.abundances import MOST_ENDMEMBERS, Method
from hsi_toolkit.unmixing.blind import Extraction
from hsi_toolkit.unmixing.brightness import UNEVEN, Brightness, fit_brightness, unevenness
from hsi_toolkit.unmixing.learned import LearnedUnmixer, learn_unmixing
from hsi_toolkit.unmixing.rows import RowUnmixer, Totals, UnmixedRows
from hsi_toolkit.unmixing.sources import (
    Endmembers,
    drawn_endmembers,
    found_endmembers,
    is_library,
    library_endmembers,
    parse_count,
)
from hsi_toolkit.unmixing.sparse import SparseUnmixer, select_spectra
from hsi_toolkit.unmixing.unmixer import PixelUnmixer, Unmixed, Unmixer
from hsi_toolkit.unmixing.variability import MultipleEndmembers

Float64 = NDArray[np.float64]

SAMPLE_PIXELS = 20_000
"""Pixels that endmembers, light and residuals are estimated from."""

_BLOCK_BYTES = 24 << 20
"""Float32 bytes of a block; in float64, with residuals, it takes six times as much."""

_COPIES = 10
"""Blocks' worth of memory that reading, unmixing and writing take together."""

_BRIGHTNESS_WORDS = {
    "even": "the same for all pixels",
    "free": "of each pixel's own; endmembers count by their shape",
    "scaled": "of each pixel's own; endmembers keep theirs",
}

_MOST_SELECTED = 30
"""Spectra of a library that sparse unmixing keeps for the whole scene."""


def run(task: Unmix, progress: Progress) -> Mapping[str, object]:
    """Find or read the endmembers, decide on the light, and stream the scene."""
    if task.method == "hypersigma":
        refuse_cluster(task.cluster, task.method)
    outputs = _check_outputs(task)
    device = choose_device(task.device)
    scene = open_scene(task.scene, task.variable).hsi.good_bands
    progress.report(0.0, "Sampling the scene")
    scene, sample = _sample(scene, task.seed)
    endmembers = _endmembers(task, scene, sample, progress.part(0.02, 0.25))
    # Training a network takes longer than applying it.
    ready = 0.85 if task.method == "hypersigma" else 0.3
    prepared = _prepare(task, endmembers, scene, sample, device, progress.part(0.25, ready))
    sums = _stream(task, scene, prepared, device, progress.part(ready, 1.0))
    if task.spectra:
        prepared.library.write(task.spectra, overwrite=task.overwrite)
    return _result(task, endmembers, prepared, sums) | {"outputs": outputs}


@dataclass(frozen=True, eq=False)
class _Prepared:
    """What the blocks are unmixed with, and what was decided on the way."""

    unmixer: PixelUnmixer | LearnedUnmixer
    library: SpectralLibrary
    brightness: str
    unevenness: float
    warnings: tuple[str, ...] = ()


def _check_outputs(task: Unmix) -> dict[str, str]:
    named = {
        "abundances": task.output,
        "spectra": task.spectra,
        "error": task.error,
        "uncertainty": task.uncertainty,
    }
    outputs = {name: path for name, path in named.items() if path}
    if len({Path(path).resolve() for path in outputs.values()}) < len(outputs):
        raise ParameterError("Two outputs have the same name.", "Give each a name of its own.")
    for path in outputs.values():
        check_output(path, overwrite=task.overwrite)
    if task.spectra and task.spectra.lower().endswith(".sli"):
        check_output(Path(task.spectra).with_suffix(".hdr"), overwrite=task.overwrite)
    if task.uncertainty and task.method not in ("fcls", "nnls", "scls", "ucls"):
        raise ParameterError(
            f"The method {task.method!r} gives no uncertainty.", "Choose fcls, nnls, scls or ucls for it."
        )
    return outputs


def _sample(scene: xr.DataArray, seed: int) -> tuple[xr.DataArray, Float64]:
    """The scene without bands that are empty, and random pixels of it (n, bands)."""
    sample = sample_pixels(scene, SAMPLE_PIXELS, seed)
    if not len(sample):
        raise SceneError(
            "No pixel of the scene has data in all good bands.", "Check its nodata value and bad bands."
        )
    filled = np.isfinite(sample).all(axis=0)
    return scene.isel(band=np.flatnonzero(filled)), sample[:, filled].astype(np.float64)


def _endmembers(task: Unmix, scene: xr.DataArray, sample: Float64, progress: Progress) -> Endmembers:
    text = task.endmembers
    if is_library(text):
        return library_endmembers(text, scene)
    if text.lower().endswith(VECTOR_SUFFIXES):
        return drawn_endmembers(
            text,
            scene,
            field=task.field,
            layer=task.layer,
            by_polygon=task.method in ("mesma", "sparse", "sparse-tv"),
            seed=task.seed,
            progress=progress,
        )
    if task.method in ("mesma", "sparse", "sparse-tv"):
        raise ParameterError(
            f"The method {task.method!r} needs spectra to choose from.",
            "Give a library or polygons as endmembers.",
        )
    return found_endmembers(
        scene,
        sample,
        parse_count(text),
        cast("Extraction", task.extraction),
        brightness=None if task.brightness == "auto" else cast("Brightness", task.brightness),
        names=task.names,
        seed=task.seed,
        progress=progress,
    )


def _prepare(
    task: Unmix,
    endmembers: Endmembers,
    scene: xr.DataArray,
    sample: Float64,
    device: torch.device,
    progress: Progress,
) -> _Prepared:
    library = endmembers.library
    if task.method in ("sparse", "sparse-tv"):
        return _prepare_sparse(task, library, sample, device, progress)
    if len(library) > MOST_ENDMEMBERS and task.method != "mesma":
        raise ParameterError(
            f"{len(library)} endmembers are too many for {task.method}.",
            f"Give at most {MOST_ENDMEMBERS}, or choose sparse or mesma.",
        )
    spectra, brightness, spread = _light(task, endmembers, sample)
    library = SpectralLibrary(spectra, library.names, library.wavelength, library.fwhm)
    if task.method == "hypersigma":
        start = Start(task.size, task.weights, task.seed, task.device)
        learned = learn_unmixing(scene, spectra, library.names, brightness, start, task.epochs, progress)
        refined = SpectralLibrary(learned.spectra, library.names, library.wavelength, library.fwhm)
        return _Prepared(learned, refined, brightness, spread)
    if task.method == "mesma":
        several = MultipleEndmembers(spectra, library.classes, brightness=brightness, device=device)
        return _Prepared(several, library, brightness, spread)
    unmixer = Unmixer(
        spectra,
        library.names,
        method=cast("Method", task.method),
        brightness=brightness,
        device=device,
    )
    if task.uncertainty:
        unmixer.fit_uncertainty(torch.from_numpy(sample).to(device))
    return _Prepared(unmixer, library, brightness, spread)


def _light(task: Unmix, endmembers: Endmembers, sample: Float64) -> tuple[Float64, Brightness, float]:
    """Endmembers with their brightness, how light enters the model, and how uneven it is."""
    spectra = endmembers.library.spectra
    fitted, spread = (
        fit_brightness(sample, spectra) if endmembers.found else (spectra, _spread(sample, spectra))
    )
    if task.brightness == "auto":
        even = spread < UNEVEN
        return (fitted if even else spectra), ("even" if even else "free"), spread
    brightness = cast("Brightness", task.brightness)
    return (fitted if brightness == "even" else spectra), brightness, spread


def _spread(sample: Float64, spectra: Float64) -> float:
    """How uneven the light is in endmembers that were given; many depend on each other and tell nothing."""
    return unevenness(sample, spectra) if len(spectra) <= MOST_ENDMEMBERS else math.inf


def _prepare_sparse(
    task: Unmix, library: SpectralLibrary, sample: Float64, device: torch.device, progress: Progress
) -> _Prepared:
    progress.report(0.0, "Choosing spectra from the library")
    shapes = library.spectra / np.linalg.norm(library.spectra, axis=1, keepdims=True)
    pixels = torch.from_numpy(sample[: SAMPLE_PIXELS // 10]).to(device)
    chosen = select_spectra(pixels, torch.from_numpy(shapes).to(device), task.sparsity, _MOST_SELECTED)
    if not len(chosen):
        raise ParameterError(f"With a sparsity of {task.sparsity} no spectrum is left.", "Lower it.")
    kept = SpectralLibrary(
        library.spectra[chosen],
        tuple(library.names[index] for index in chosen),
        library.wavelength,
        library.fwhm,
    )
    unmixer = SparseUnmixer(
        kept.spectra,
        kept.names,
        sparsity=task.sparsity,
        smoothness=task.smoothness if task.method == "sparse-tv" else 0.0,
        device=device,
        progress=progress,
    )
    return _Prepared(unmixer, kept, "free", math.nan)


def _stream(
    task: Unmix, scene: xr.DataArray, prepared: _Prepared, device: torch.device, progress: Progress
) -> Totals:
    """Unmix block by block and write."""
    names, height = list(prepared.unmixer.names), scene.sizes["y"]
    sums = Totals(abundances=np.zeros(len(names)))
    progress.report(0.0, f"Unmixing {height:,} rows")
    with ExitStack() as stack:

        def writer(path: str | None, descriptions: list[str]) -> RasterWriter | None:
            if not path:
                return None
            made = RasterWriter(
                path,
                like=scene,
                count=len(descriptions),
                descriptions=descriptions,
                overwrite=task.overwrite,
            )
            return stack.enter_context(made)

        abundances = writer(task.output, names)
        error = writer(task.error, ["reconstruction error"])
        uncertainty = writer(task.uncertainty, [f"{name}, standard deviation" for name in names])
        cluster = stack.enter_context(processes_for(task.cluster))
        for rows in _unmixed(task, scene, prepared.unmixer, device, cluster, progress):
            sums.add(rows.totals)
            if abundances is not None:
                abundances.write(rows.abundances, rows.y0)
            if error is not None:
                error.write(rows.error, rows.y0)
            if uncertainty is not None and rows.uncertainty is not None:
                uncertainty.write(rows.uncertainty, rows.y0)
    return sums


def _unmixed(
    task: Unmix,
    scene: xr.DataArray,
    unmixer: PixelUnmixer | LearnedUnmixer,
    device: torch.device,
    cluster: Cluster | None,
    progress: Progress,
) -> Iterator[UnmixedRows]:
    """Whole rows of the scene from top to bottom."""
    if isinstance(unmixer, LearnedUnmixer):
        for y0, unmixed in _learned(task, scene, unmixer, progress):
            yield UnmixedRows.of(unmixed, y0, scene.sizes["x"])
        return
    height = scene.sizes["y"]
    work = RowUnmixer(scene, unmixer, device, uncertainty=bool(task.uncertainty))
    for rows in work.all(_rows(scene, task.memory_limit, work.halo), cluster, progress):
        yield rows
        y1 = rows.y0 + rows.error.shape[1]
        progress.report(y1 / height, f"Unmixing row {y1:,} of {height:,}")


def _learned(
    task: Unmix, scene: xr.DataArray, unmixer: LearnedUnmixer, progress: Progress
) -> Iterator[tuple[int, Unmixed]]:
    """The network's abundances, and what they leave of the pixels, which are read again in smaller parts."""
    step = _rows(scene, task.memory_limit, 0)
    for rows in unmixer.rows(scene, progress):
        count, height, _ = rows.data.shape
        for first in range(0, height, step):
            progress.check()
            part = slice(first, min(first + step, height))
            pixels = values_of(scene.isel(y=slice(rows.y0 + part.start, rows.y0 + part.stop)))
            abundances = rows.data[:, part].reshape(count, -1)
            yield rows.y0 + first, unmixer.explain(pixels.reshape(len(pixels), -1), abundances)


def _rows(scene: xr.DataArray, memory_limit: int | None, halo: int) -> int:
    line = 4 * scene.sizes["band"] * scene.sizes["x"]
    allowed = _BLOCK_BYTES if memory_limit is None else min(_BLOCK_BYTES, memory_limit * 2**20 // _COPIES)
    return max(1, 4 * halo, min(allowed // line, scene.sizes["y"]))


def _result(task: Unmix, endmembers: Endmembers, prepared: _Prepared, sums: Totals) -> dict[str, object]:
    names, pixels = prepared.unmixer.names, max(sums.pixels, 1)
    shares = sums.abundances / pixels
    error = math.sqrt(sums.squared_error / pixels)
    warnings = [*endmembers.warnings, *prepared.warnings]
    if not sums.pixels:
        warnings.append("No pixel of the scene has data in all good bands.")
    angles = endmembers.angles if len(endmembers.angles) == len(names) else (math.nan,) * len(names)
    facts = {
        "Endmembers": ", ".join(f"{name} {share:.1%}" for name, share in zip(names, shares, strict=True)),
        "Brightness": _BRIGHTNESS_WORDS[prepared.brightness],
        "Reconstruction error": f"{error:.4g}",
    }
    if isinstance(prepared.unmixer, LearnedUnmixer):
        facts |= prepared.unmixer.learning.facts()
    return {
        "summary": f"{len(names)} endmembers; they leave {error:.4g} of the spectra unexplained.",
        "facts": facts,
        "warnings": warnings,
        "endmembers": [
            {
                "name": name,
                "mean_abundance": float(share),
                "angle": None if math.isnan(angle) else angle,
            }
            for name, share, angle in zip(names, shares, angles, strict=True)
        ],
        "method": task.method,
        "brightness": prepared.brightness,
        "unevenness": prepared.unevenness if math.isfinite(prepared.unevenness) else None,
        "error": error,
        "pixels": sums.pixels,
    }
