"""Compare two cubes."""

import math
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.errors import ParameterError, SceneError
from hsi_toolkit.files import check_output
from hsi_toolkit.progress import Progress
from hsi_toolkit.quality.matching import BandMoments, match_spectra
from hsi_toolkit.quality.metrics import SSIM_RADIUS, CubeComparison, CubeQuality, pixel_angles
from hsi_toolkit.quality.pictures import comparison_png
from hsi_toolkit.reports.report import KeyFigure, ReportContent, write_report
from hsi_toolkit.scene import RasterWriter, iter_blocks, open_scene
from hsi_toolkit.scene.blocks import values_of
from hsi_toolkit.spectral.library import SpectralLibrary
from hsi_toolkit.tasks.compare import Compare

#: Longest side of the report's pictures.
_PICTURE_SIDE = 500


def run(task: Compare, progress: Progress) -> Mapping[str, object]:
    """Stream both cubes side by side and add up how they differ."""
    for target in (task.output, task.report):
        if target:
            check_output(target, overwrite=task.overwrite)
    endmembers = _endmember_angles(task)
    scene, reference = _aligned(open_scene(task.scene), open_scene(task.reference), task)
    warnings = _warnings(scene, reference)
    memory = task.memory_limit * 2**19 if task.memory_limit else None
    pairs: list[int] = []
    if task.match:
        pairs = _pairing(scene, reference, memory, progress.part(0.0, 0.3))
        scene = scene.isel(band=pairs)
    peak = _peak(reference, task, memory, progress.part(0.3, 0.45))
    quality = _compare(scene, reference, peak, task, memory, progress.part(0.45, 0.95))
    outputs = {"spectral_angle": task.output} if task.output else {}
    result = {
        "summary": _summary(quality),
        "facts": {
            f"Endmember {name}": f"{math.degrees(angle):.2f}° from the reference"
            for name, angle in endmembers.items()
        },
        "warnings": warnings,
        "psnr": _finite(quality.mean_psnr),
        "ssim": _finite(quality.mean_ssim),
        "rmse": _finite(quality.mean_rmse),
        "spectral_angle": _finite(quality.spectral_angle),
        "ergas": _finite(quality.ergas),
        "pixels": quality.pixels,
        "endmember_angles": endmembers,
        "matched_bands": [pair + 1 for pair in pairs],
        "bands": {
            name: [_finite(value) for value in getattr(quality, name)] for name in ("psnr", "ssim", "rmse")
        },
    }
    if task.report:
        progress.report(0.95, "Writing the report")
        content = _report(task, scene, reference, quality, result)
        html, figures = write_report(content, task.report, overwrite=task.overwrite)
        outputs |= {"report": str(html), "figures": str(figures)}
    return {**result, "outputs": outputs}


def _endmember_angles(task: Compare) -> dict[str, float]:
    """The angle, in radians, of the found endmember that is paired with each of the reference.

    Raises:
        ParameterError: one of both libraries is missing, or they have other bands or too few spectra.
    """
    if not task.spectra and not task.reference_spectra:
        return {}
    if not task.spectra or not task.reference_spectra:
        raise ParameterError(
            "Endmembers are scored by two libraries, one is given.", "Give --spectra and --reference-spectra."
        )
    found, wanted = SpectralLibrary.read(task.spectra), SpectralLibrary.read(task.reference_spectra)
    if found.spectra.shape[1] != wanted.spectra.shape[1] or len(found) < len(wanted):
        raise ParameterError(
            f"The library holds {len(found)} spectra of {found.spectra.shape[1]} bands, the reference "
            f"{len(wanted)} of {wanted.spectra.shape[1]}.",
            "Give libraries on the same bands, with at least as many spectra as the reference.",
        )
    known = np.isfinite(found.spectra).all(axis=0) & np.isfinite(wanted.spectra).all(axis=0)
    _, angles = match_spectra(found.spectra[:, known], wanted.spectra[:, known])
    return dict(zip(wanted.names, (float(angle) for angle in angles), strict=True))


def _summary(quality: CubeQuality) -> str:
    if quality.mean_rmse == 0:
        return "Both are equal in every pixel and band."
    return (
        f"PSNR {quality.mean_psnr:.2f} dB, SSIM {quality.mean_ssim:.4f}, spectral angle "
        f"{math.degrees(quality.spectral_angle):.3f}°, ERGAS {quality.ergas:.3f}."
    )


def _aligned(
    scene: xr.DataArray, reference: xr.DataArray, task: Compare
) -> tuple[xr.DataArray, xr.DataArray]:
    """Both with the bands that are good in both.

    Raises:
        SceneError: their sizes differ.
    """
    names = (Path(task.scene).name, Path(task.reference).name)
    for axis, what in (("y", "rows"), ("x", "columns")):
        if scene.sizes[axis] != reference.sizes[axis]:
            raise SceneError(
                f"{names[0]} has {scene.sizes[axis]} {what}, {names[1]} has {reference.sizes[axis]}.",
                "Give two rasters on the same grid.",
            )
    bands = (scene.sizes["band"], reference.sizes["band"])
    if bands[0] != bands[1] and not (task.match and bands[0] > bands[1]):
        raise SceneError(
            f"{names[0]} has {bands[0]} bands, {names[1]} has {bands[1]}.", "Give rasters of as many bands."
        )
    if task.match or bands[0] != bands[1]:
        return scene, reference
    good = scene["good"].to_numpy() & reference["good"].to_numpy()
    if not good.any():
        raise SceneError(f"No band is good in both {names[0]} and {names[1]}.", "Check their bad bands.")
    return scene.isel(band=np.flatnonzero(good)), reference.isel(band=np.flatnonzero(good))


def _warnings(scene: xr.DataArray, reference: xr.DataArray) -> list[str]:
    found = []
    if scene.rio.crs != reference.rio.crs or not np.allclose(
        scene.rio.transform()[:6], reference.rio.transform()[:6], rtol=1e-6, atol=1e-9
    ):
        found.append("The rasters do not lie on the same grid; they were compared pixel by pixel.")
    if "wavelength" in scene.coords and "wavelength" in reference.coords:
        apart = np.abs(scene["wavelength"].to_numpy() - reference["wavelength"].to_numpy())
        if scene.sizes["band"] == reference.sizes["band"] and float(apart.max()) > 1.0:
            found.append(f"The wavelengths differ by up to {float(apart.max()):.1f} nm.")
    return found


def _pairing(
    scene: xr.DataArray, reference: xr.DataArray, memory: int | None, progress: Progress
) -> list[int]:
    moments = BandMoments(scene.sizes["band"], reference.sizes["band"])
    for block in iter_blocks(reference, memory_limit=memory):
        progress.check()
        moments.update(values_of(scene.isel(y=slice(block.y0, block.y1))), block.core)
        progress.report(block.y1 / reference.sizes["y"], "Matching the bands")
    return [int(each) for each in moments.pairing()]


def _peak(
    reference: xr.DataArray, task: Compare, memory: int | None, progress: Progress
) -> NDArray[np.float64]:
    """(bands,) the value PSNR and SSIM refer to."""
    bands = reference.sizes["band"]
    if task.peak is not None:
        return np.full(bands, task.peak)
    largest = np.full(bands, -np.inf)
    for block in iter_blocks(reference, memory_limit=memory):
        progress.check()
        known = np.where(np.isfinite(block.core), block.core, -np.inf)
        largest = np.maximum(largest, known.max(axis=(1, 2)))
        progress.report(block.y1 / reference.sizes["y"], "Reading the reference")
    return np.where(largest > 0, largest, np.nan)


def _compare(
    scene: xr.DataArray,
    reference: xr.DataArray,
    peak: NDArray[np.float64],
    task: Compare,
    memory: int | None,
    progress: Progress,
) -> CubeQuality:
    sums = CubeComparison(peak, task.ratio)
    height = reference.sizes["y"]
    with ExitStack() as stack:
        writer = None
        if task.output:
            writer = stack.enter_context(
                RasterWriter(
                    task.output, like=reference, descriptions=["spectral angle"], overwrite=task.overwrite
                )
            )
        rows = _rows(reference, memory)
        blocks = iter_blocks(reference, rows=rows, halo=SSIM_RADIUS)
        for block, other in zip(blocks, iter_blocks(scene, rows=rows, halo=SSIM_RADIUS), strict=True):
            progress.check()
            angles = sums.update(other.data, block.data, SSIM_RADIUS)
            if writer is not None:
                writer.write(angles[None], block.y0)
            progress.report(block.y1 / height, f"Comparing row {block.y1:,} of {height:,}")
    return sums.result()


def _rows(reference: xr.DataArray, memory: int | None) -> int:
    """Rows a block so that a cancel acts soon and a few copies of two blocks stay within the limit."""
    line = 4 * reference.sizes["band"] * reference.sizes["x"]
    return max(8, min((memory or 128 << 20) // (16 * line), reference.sizes["y"]))


def _report(
    task: Compare,
    scene: xr.DataArray,
    reference: xr.DataArray,
    quality: CubeQuality,
    result: Mapping[str, object],
) -> ReportContent:
    step = -(-max(reference.sizes["y"], reference.sizes["x"]) // _PICTURE_SIDE)
    thin = (values_of(each[:, ::step, ::step]) for each in (scene, reference))
    compared, wanted = thin
    wavelength = reference["wavelength"].to_numpy() if "wavelength" in reference.coords else None
    picture = comparison_png(
        quality,
        *_pictures(compared, wanted, wavelength),
        pixel_angles(compared, wanted),
        wavelength=wavelength,
    )
    return ReportContent(
        title=f"{Path(task.scene).name} against {Path(task.reference).name}",
        kind="Comparison",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        summary=str(result["summary"]),
        facts={
            "Compared": task.scene,
            "Reference": task.reference,
            "Pixels": f"{quality.pixels:,}",
            **_texts(result["facts"]),
        },
        figures=[
            KeyFigure("PSNR", f"{quality.mean_psnr:.2f} dB", "mean over the bands"),
            KeyFigure("SSIM", f"{quality.mean_ssim:.4f}", "mean over the bands"),
            KeyFigure(
                "Spectral angle", f"{math.degrees(quality.spectral_angle):.3f}°", "mean over the pixels"
            ),
            KeyFigure("ERGAS", f"{quality.ergas:.3f}", "0 is perfect"),
            KeyFigure("RMSE", f"{quality.mean_rmse:.4g}", "over all bands"),
        ],
        warnings=[str(each) for each in _list(result["warnings"])],
        map_png=picture,
        map_title="Both, and how they differ",
        reproduction=task.to_dict(),
    )


def _pictures(
    compared: NDArray[np.float32], reference: NDArray[np.float32], wavelength: NDArray[np.float64] | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Both scenes in the same three bands with the stretch of the reference, (rows, cols, 3) each."""
    bands = len(reference)
    chosen = [min(bands - 1, round(share * (bands - 1))) for share in (0.75, 0.5, 0.25)]
    if wavelength is not None and wavelength.min() < 520 and wavelength.max() > 600:
        chosen = [int(np.argmin(np.abs(wavelength - centre))) for centre in (660, 550, 470)]
    shown = reference[chosen]
    known = np.isfinite(shown).all(axis=0)
    if not known.any():
        blank = np.zeros((*reference.shape[1:], 3), np.uint8)
        return blank, blank
    low = np.percentile(shown[:, known], 2, axis=1)[:, None, None]
    high = np.percentile(shown[:, known], 98, axis=1)[:, None, None]
    scale = np.where(high > low, high - low, 1.0)

    def stretched(values: NDArray[np.float32]) -> NDArray[np.uint8]:
        unit = np.nan_to_num(np.clip((values - low) / scale, 0, 1))
        return (255 * unit).astype(np.uint8).transpose(1, 2, 0)

    return stretched(compared[chosen]), stretched(shown)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _texts(value: object) -> dict[str, str]:
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, Mapping) else {}


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []
