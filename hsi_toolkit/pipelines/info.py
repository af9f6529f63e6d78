"""Scene information."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import open_scene
from hsi_toolkit.scene.swath import is_swath
from hsi_toolkit.tasks.info import Info


def run(task: Info, progress: Progress) -> Mapping[str, object]:
    """What the scene's header says; no pixel is read."""
    scene = open_scene(task.scene, task.variable)
    reordered = bool((np.diff(scene["band"].to_numpy()) < 0).any())
    # Lists of bands are in the order of the file, whose band numbers people and QGIS know.
    scene = scene.isel(band=np.argsort(scene["band"].to_numpy()))
    bands, rows, cols = scene.shape
    good = np.asarray(scene["good"].to_numpy(), bool)
    bad = (np.flatnonzero(~good) + 1).tolist()
    centres = scene["wavelength"].to_numpy() if "wavelength" in scene.coords else None
    widths = scene["fwhm"].to_numpy() if "fwhm" in scene.coords else None
    crs = scene.rio.crs
    facts = {
        "Scene": task.scene,
        "Size": f"{cols} columns × {rows} rows × {bands} bands",
        "Sensor": scene.attrs.get("sensor") or "unknown",
        "Acquired": scene.attrs.get("acquired") or "unknown",
        "Quantity": scene.attrs.get("quantity") or "unknown",
        "Wavelengths": "none" if centres is None else f"{np.min(centres):.1f} to {np.max(centres):.1f} nm",
        "Band widths": "unknown" if widths is None else f"{np.min(widths):.1f} to {np.max(widths):.1f} nm",
        "Bad bands": _ranges(bad) or "none marked",
        "Coordinates": _crs_text(scene),
        "Pixel size": _pixel_text(scene),
    }
    warnings = []
    if centres is None:
        warnings.append("The scene has no wavelengths: tasks that need them will refuse it.")
    elif reordered:
        warnings.append(
            "The file's bands do not ascend in wavelength, as where detectors overlap: they are sorted."
        )
    return {
        "summary": f"{bands} bands, {rows} × {cols} pixels.",
        "facts": facts,
        "warnings": warnings,
        "shape": [bands, rows, cols],
        "wavelengths_nm": None if centres is None else centres.tolist(),
        "fwhm_nm": None if widths is None else widths.tolist(),
        "bad_bands": bad,
        "crs": crs.to_string() if crs else None,
        "transform": list(scene.rio.transform()[:6]),
        "sensor": scene.attrs.get("sensor"),
        "quantity": scene.attrs.get("quantity"),
        "acquired": scene.attrs.get("acquired"),
    }


def _ranges(numbers: list[int]) -> str:
    """Band numbers as ranges: [1, 2, 3, 7] is "1-3, 7"."""
    texts: list[str] = []
    start = previous = None
    for number in [*numbers, None]:
        if previous is not None and number == previous + 1:
            previous = number
            continue
        if start is not None:
            texts.append(f"{start}" if start == previous else f"{start}-{previous}")
        start = previous = number
    return ", ".join(texts)


def _crs_text(scene: xr.DataArray) -> str:
    crs = scene.rio.crs
    if not crs:
        return "longitude and latitude of each pixel" if is_swath(scene) else "none"
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else crs.to_string()[:60]


def _pixel_text(scene: xr.DataArray) -> str:
    a, b, _, d, e, _ = scene.rio.transform()[:6]
    width, height = float(np.hypot(a, d)), float(np.hypot(b, e))
    turned = f", rotated by {np.degrees(np.arctan2(d, a)):.1f}°" if abs(d) > 1e-9 * abs(a) else ""
    unit = scene.rio.crs.linear_units if scene.rio.crs and scene.rio.crs.is_projected else ""
    return f"{width:g} × {height:g} {unit}".strip() + turned
