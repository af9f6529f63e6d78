"""Check a scene."""

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.checking import pictures
from hsi_toolkit.checking.check import SceneCheck, check_scene
from hsi_toolkit.checking.findings import band_ranges
from hsi_toolkit.checking.sample import SceneSample, read_sample
from hsi_toolkit.checking.values import find_fill
from hsi_toolkit.errors import ParameterError
from hsi_toolkit.files import check_output
from hsi_toolkit.progress import Progress
from hsi_toolkit.reports.report import KeyFigure
from hsi_toolkit.reports.scene_check import BandRow, Fact, Picture, SceneCheckContent, write_scene_check
from hsi_toolkit.scene import open_scene
from hsi_toolkit.scene.blocks import values_of
from hsi_toolkit.scene.contract import Quantity
from hsi_toolkit.scene.sidecar import Corrections, find_sidecar, sidecar_path
from hsi_toolkit.spectral.sensors import Sensor
from hsi_toolkit.tasks.check import Check

Float64 = NDArray[np.float64]

#: Longest side of the pictures of the whole scene.
_PICTURE_SIDE = 700

#: Bands that are shown as pictures.
_SHOWN_BANDS = 6


def run(task: Check, progress: Progress) -> Mapping[str, object]:
    """Open the scene without its corrections, sample it, and see what it needs."""
    for named in (task.report, task.sidecar):
        if named:
            check_output(named, overwrite=task.overwrite)
    raw = open_scene(task.scene, task.variable, sidecar=False)
    beside = find_sidecar(Path(task.scene))
    given = _given(task, raw, Corrections() if beside is None else Corrections.read(beside))
    sample = read_sample(raw, progress.part(0.0, 0.4))
    fill = find_fill(sample) if given.nodata is None else None
    if fill is not None:
        given = replace(given, nodata=fill.value)
    sample.correct(given, raw)
    scene = given.apply(raw, beside or sidecar_path(task.scene))
    if fill is not None:
        scene.encoding["found"]["nodata"] = "the pixels themselves, not declared"
        scene.encoding["_FillValue"] = fill.value
    check = check_scene(scene, sample, fill, progress.part(0.4, 0.7))
    outputs: dict[str, str] = {}
    if task.report:
        content = _content(task, scene, sample, check, progress.part(0.7, 1.0))
        html, figures = write_scene_check(content, task.report, overwrite=task.overwrite)
        outputs |= {"report": str(html), "figures": str(figures)}
    corrections = replace(given, bands=scene.sizes["band"], bad_bands=tuple(check.numbered(check.bad)))
    if task.fix or task.sidecar:
        target = Path(task.sidecar) if task.sidecar else beside or sidecar_path(task.scene)
        corrections.write(target, overwrite=task.overwrite or not task.sidecar)
        outputs["sidecar"] = str(target)
    return _result(scene, check, corrections, outputs)


def _given(task: Check, raw: xr.DataArray, known: Corrections) -> Corrections:
    """The corrections there are already, and on top of them those of the task.

    Raises:
        ParameterError: the file of bands has another number of them than the scene.
    """
    stated = Corrections(
        quantity=cast("Quantity | None", task.quantity), scale=task.scale, nodata=task.nodata
    )
    if task.bands:
        sensor = Sensor.read(task.bands)
        if len(sensor) != raw.sizes["band"]:
            raise ParameterError(
                f"{task.bands} states {len(sensor)} bands, the scene has {raw.sizes['band']}.",
                "Give the bands of this scene.",
            )
        stated = replace(
            stated,
            wavelengths_nm=tuple(sensor.wavelength.tolist()),
            fwhm_nm=None if sensor.fwhm is None else tuple(sensor.fwhm.tolist()),
        )
    changed = {
        each.name: value for each in fields(stated) if (value := getattr(stated, each.name)) is not None
    }
    return replace(known, **changed)


def _summary(check: SceneCheck) -> str:
    problems = sum(each.status == "problem" for each in check.findings)
    bands = len(check.bad)
    text = f"{int((~check.bad).sum())} of {bands} bands are good"
    if not problems:
        return f"{text}; nothing else is in the way."
    return f"{text}; {problems} {'point needs' if problems == 1 else 'points need'} attention."


def _result(
    scene: xr.DataArray, check: SceneCheck, corrections: Corrections, outputs: dict[str, str]
) -> dict[str, object]:
    snr = check.measures.snr
    measured = check.verdict.bad(len(check.bad))
    median = float(np.nanmedian(snr[~check.bad])) if np.isfinite(snr[~check.bad]).any() else None
    return {
        "summary": _summary(check),
        "facts": {each.topic: _joined(check, each.topic) for each in check.findings},
        "warnings": [
            f"{each.text} {each.remedy}".strip() for each in check.findings if each.status == "problem"
        ],
        "outputs": outputs,
        "findings": [vars(each) for each in check.findings],
        "good_bands": int((~check.bad).sum()),
        "bad_bands": check.numbered(check.bad),
        "measured_bad_bands": check.numbered(measured),
        "reasons": {
            str(check.numbers[band]): reasons for band, reasons in sorted(check.verdict.reasons.items())
        },
        "snr": [float(value) if np.isfinite(value) else None for value in snr],
        "median_snr": median,
        "missing": 1 - check.measures.coverage,
        "nodata": corrections.nodata,
        "smile_nm": [
            {"feature": each.feature, "size": each.size, "error": each.error, "seen": each.seen}
            for each in check.smile
        ],
        "found": dict(scene.encoding.get("found", {})),
    }


def _joined(check: SceneCheck, topic: str) -> str:
    return " ".join(each.text for each in check.findings if each.topic == topic)


def _content(
    task: Check, scene: xr.DataArray, sample: SceneSample, check: SceneCheck, progress: Progress
) -> SceneCheckContent:
    wavelength = scene["wavelength"].to_numpy() if "wavelength" in scene.coords else None
    snr = check.measures.snr[~check.bad]
    return SceneCheckContent(
        title=Path(task.scene).name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        summary=_summary(check),
        figures=[
            KeyFigure("Good bands", f"{int((~check.bad).sum())}", f"of {len(check.bad)}"),
            KeyFigure(
                "Signal to noise",
                f"{np.nanmedian(snr):.0f}" if np.isfinite(snr).any() else "–",
                "median of the good bands",
            ),
            KeyFigure("No data", f"{1 - check.measures.coverage:.1%}", "of the pixels looked at"),
            KeyFigure("Looked at", f"{len(sample.rows):,}", f"of {sample.height:,} rows"),
        ],
        findings=check.findings,
        facts=_facts(scene),
        bands=_rows(scene, check, wavelength),
        pictures=_pictures(scene, sample, check, wavelength, progress),
        reproduction=task.to_dict(),
    )


def _facts(scene: xr.DataArray) -> list[Fact]:
    found = scene.encoding.get("found", {})
    bad = sorted(scene["band"].to_numpy()[~scene["good"].to_numpy()].tolist())

    def span(name: str) -> str:
        if name not in scene.coords:
            return "unknown"
        values = scene[name].to_numpy()
        return f"{values.min():.2f} to {values.max():.2f} nm"

    crs, transform = scene.rio.crs, scene.rio.transform()
    values = {
        "Wavelengths": ("wavelength", span("wavelength")),
        "Band widths": ("fwhm", span("fwhm")),
        "Bad bands": ("good", band_ranges(bad) or "none marked"),
        "Quantity": ("quantity", str(scene.attrs.get("quantity", "dn"))),
        "Scale": ("scale", "applied" if "scale" in found else "none"),
        "No data": ("nodata", _nodata_text(scene)),
        "Coordinate system": ("crs", "none" if crs is None else _crs_text(scene)),
        "Transform": (
            "transform",
            "none" if transform.is_identity else ", ".join(f"{each:.10g}" for each in transform[:6]),
        ),
        "Sensor": ("sensor", str(scene.attrs.get("sensor", "unknown"))),
        "Acquired": ("acquired", str(scene.attrs.get("acquired", "unknown"))),
    }
    size = f"{scene.sizes['x']} columns, {scene.sizes['y']} rows, {scene.sizes['band']} bands"
    return [
        Fact("Size", size, ""),
        *(Fact(name, text, found.get(key, "")) for name, (key, text) in values.items()),
    ]


def _nodata_text(scene: xr.DataArray) -> str:
    if "nodata" not in scene.encoding.get("found", {}):
        return "not declared"
    value = scene.encoding.get("_FillValue")
    return "declared" if value is None else f"{value:g}"


def _crs_text(scene: xr.DataArray) -> str:
    code = scene.rio.crs.to_epsg()
    return f"EPSG:{code}" if code else str(scene.rio.crs.to_string())[:80]


def _rows(scene: xr.DataArray, check: SceneCheck, wavelength: Float64 | None) -> list[BandRow]:
    widths = scene["fwhm"].to_numpy() if "fwhm" in scene.coords else None

    def known(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    return [
        BandRow(
            number=int(check.numbers[band]),
            wavelength=None if wavelength is None else float(wavelength[band]),
            fwhm=None if widths is None else float(widths[band]),
            snr=known(check.measures.snr[band]),
            mean=known(check.measures.mean[band]),
            missing=known(check.measures.missing[band]),
            marked=bool(check.marked[band]),
            reasons=tuple(check.verdict.reasons.get(band, ())),
        )
        for band in range(len(check.bad))
    ]


def _pictures(
    scene: xr.DataArray,
    sample: SceneSample,
    check: SceneCheck,
    wavelength: Float64 | None,
    progress: Progress,
) -> list[Picture]:
    quantity = str(scene.attrs.get("quantity", "dn"))
    progress.report(0.0, "Drawing the pictures")
    shown = scene.assign_coords(good=("band", ~check.bad)) if not check.bad.all() else scene
    step = -(-max(scene.sizes["y"], scene.sizes["x"]) // _PICTURE_SIDE)
    chosen = _interesting(check)
    singles = values_of(scene.isel(band=chosen, y=slice(None, None, step), x=slice(None, None, step)))
    progress.report(0.4)
    progress.check()
    colours = shown.hsi.rgb(max_size=_PICTURE_SIDE).to_numpy()
    progress.report(0.8)
    progress.check()
    missing = ~np.isfinite(singles).any(axis=0) & (colours == 0).all(axis=2)
    captions = [_caption(check, band, wavelength) for band in chosen]
    made = [
        Picture(
            "Quicklook",
            "Natural colour where the scene sees it; light grey holds no data.",
            pictures.quicklook_png(colours, missing),
            "image/png",
            wide=False,
        ),
        Picture(
            "Bands",
            "Orange: bad by measurement; grey: marked bad already. Blue stretches are those of water vapour.",
            pictures.band_strip_svg(check, wavelength),
        ),
        Picture(
            "Signal to noise",
            "Mean of each band over its noise, which is what neither the other bands nor neighbouring pixels "
            "explain.",
            pictures.snr_svg(check, wavelength),
        ),
        Picture(
            "Spectra",
            "Pixels from dark to bright, over the range of nine tenths of the sample; bad bands are left "
            "out.",
            pictures.spectra_svg(sample, check.bad, wavelength, quantity),
        ),
        Picture(
            "Columns",
            "How far the mean of each column lies from its neighbours'. Vertical lines are stripes or dead "
            "columns of the detector, slanted ones the ground.",
            pictures.columns_png(check.measures, wavelength),
            "image/png",
        ),
        Picture(
            "Single bands",
            "The noisiest and the most striped bands beside a typical one, each stretched for itself.",
            pictures.band_pictures_png(
                [
                    pictures.BandPicture(values, caption)
                    for values, caption in zip(singles, captions, strict=True)
                ]
            ),
            "image/png",
        ),
    ]
    smile = pictures.smile_svg(check)
    if smile is not None:
        text = "Shift of absorptions against the mean of all columns; the line is a parabola through them."
        made.append(Picture("Smile", text, smile))
    return made


def _interesting(check: SceneCheck) -> list[int]:
    """Bands worth a look: a typical one, the noisiest good ones, the most striped, some of the bad."""
    measures = check.measures
    seen = np.isfinite(measures.snr)
    good, bad = np.flatnonzero(seen & ~check.bad), np.flatnonzero(seen & check.bad)
    picked: list[int] = []
    if len(good):
        by_noise = good[np.argsort(measures.snr[good])]
        picked += [int(by_noise[len(by_noise) // 2]), int(by_noise[0])]
        picked.append(int(good[np.argmax(measures.striped[good] * 1e6 + measures.stripes[good])]))
    if len(bad):
        by_noise = bad[np.argsort(measures.snr[bad])]
        picked += [int(by_noise[-1]), int(by_noise[len(by_noise) // 2]), int(by_noise[0])]
    picked = list(dict.fromkeys(picked))[:_SHOWN_BANDS]
    return picked or [0]


def _caption(check: SceneCheck, band: int, wavelength: Float64 | None) -> str:
    place = "" if wavelength is None else f", {wavelength[band]:.0f} nm"
    snr = check.measures.snr[band]
    worth = f", SNR {snr:.0f}" if np.isfinite(snr) else ""
    verdict = "bad" if check.bad[band] else "good"
    return f"Band {check.numbers[band]}{place}: {verdict}{worth}"
