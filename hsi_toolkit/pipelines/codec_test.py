"""Test learned codecs."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from hsi_toolkit.datasets import PatchSet
from hsi_toolkit.files import check_output
from hsi_toolkit.inference.devices import choose_device
from hsi_toolkit.models.codecs.files import load_codec
from hsi_toolkit.models.zoo import resolve
from hsi_toolkit.progress import Progress
from hsi_toolkit.quality.codecs import (
    CodecQuality,
    codec_quality,
    component_quality,
    rate_distortion_png,
    statistics_of_patches,
)
from hsi_toolkit.reports.report import KeyFigure, ReportContent, write_report
from hsi_toolkit.scene.readers.hyspecnet import Difficulty
from hsi_toolkit.tasks.codec_test import CodecTest

_PLOTTED_RATES = (1.0, 2.0, 4.0, 8.0)


def run(task: CodecTest, progress: Progress) -> Mapping[str, object]:
    """Measure each codec, then principal components at the same rates."""
    if task.report:
        check_output(task.report, overwrite=task.overwrite)
    mode = cast("Difficulty", task.mode)
    training, patches = PatchSet.of(task.dataset, mode, "train"), PatchSet.of(task.dataset, mode, "test")
    device = choose_device(task.device)
    tested: list[tuple[str, CodecQuality]] = []
    for number, model in enumerate(task.models):
        codec = load_codec(resolve(model), patches.shape[0])
        part = progress.part(0.7 * number / len(task.models), 0.7 * (number + 1) / len(task.models))
        name = Path(model).name.removesuffix(".tar").rsplit(".", 1)[0]
        tested.append((name, codec_quality(codec, patches, device=device, half=task.half, progress=part)))
    statistics = statistics_of_patches(training, progress.part(0.7, 0.8))
    rates = sorted({quality.bpppc for _, quality in tested} | set(_PLOTTED_RATES))
    components = [
        component_quality(
            statistics,
            rate,
            patches,
            progress.part(0.8 + 0.2 * number / len(rates), 0.8 + 0.2 * (number + 1) / len(rates)),
        )
        for number, rate in enumerate(rates)
    ]
    rows = [*tested, *((f"principal components, {each.bpppc:.2f} bits", each) for each in components)]
    best = max(tested, key=lambda each: each[1].psnr)
    result = {
        "summary": f"{best[0]} restores the test patches best: PSNR {best[1].psnr:.2f} dB at "
        f"{best[1].bpppc:.2f} bits per pixel and band.",
        "facts": {name: _row(quality) for name, quality in rows},
        "codecs": {name: asdict(quality) for name, quality in tested},
        "principal_components": [asdict(quality) for quality in components],
    }
    if not task.report:
        return result
    content = ReportContent(
        title=f"Codecs on {Path(task.dataset).name}",
        kind="Codec test",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        summary=str(result["summary"]),
        facts={
            "Data set": f"{task.dataset}, {task.mode} split, {len(patches)} test patches",
            **{name: _row(quality) for name, quality in rows},
        },
        figures=[
            KeyFigure(name, f"{each.psnr:.2f} dB", f"at {each.bpppc:.2f} bits") for name, each in tested
        ],
        map_png=rate_distortion_png(tested, components),
        map_title="Rate and distortion",
        reproduction=task.to_dict(),
    )
    html, figures = write_report(content, task.report, overwrite=task.overwrite)
    return {**result, "outputs": {"report": str(html), "figures": str(figures)}}


def _row(quality: CodecQuality) -> str:
    return (
        f"{quality.bpppc:.2f} bits, PSNR {quality.psnr:.2f} dB, SSIM {quality.ssim:.4f}, spectral angle "
        f"{quality.spectral_angle:.3f}°"
    )
