"""Judge a class map with reference labels."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.errors import LabelError
from hsi_toolkit.files import check_output
from hsi_toolkit.pipelines.classify import MODEL_TAG, TRAINING_TAG
from hsi_toolkit.progress import Progress
from hsi_toolkit.reports.accuracy import AccuracyReport, Basis, assess, match_classes
from hsi_toolkit.reports.area import pixel_area
from hsi_toolkit.reports.map_preview import map_preview_png
from hsi_toolkit.reports.report import ReportContent, write_report
from hsi_toolkit.scene import ClassEntry, iter_blocks, open_scene, read_legend, read_pixels
from hsi_toolkit.tasks.evaluate import Evaluate
from hsi_toolkit.training.labels import Grid, Labels, read_labels
from hsi_toolkit.training.leakage import TrainingPixels

#: Longest side of the map's picture in the report.
PREVIEW_SIDE = 900


def run(task: Evaluate, progress: Progress) -> Mapping[str, object]:
    """Compare map and labels, and write the report."""
    if task.report:
        check_output(task.report, overwrite=task.overwrite)
    class_map = open_scene(task.map)
    legend = read_legend(task.map)
    if not legend or class_map.sizes["band"] != 1:
        raise LabelError(
            f"{task.map} is no class map with named classes.", "Give the map that Classify wrote."
        )
    labels = read_labels(task.labels, task.field, class_map, layer=task.layer, progress=progress)
    accuracy = _assess(task, class_map, legend, labels, progress)
    outputs = {}
    if task.report:
        content = _content(task, class_map, legend, labels, accuracy)
        html, figures = write_report(content, task.report, overwrite=task.overwrite)
        outputs = {"report": str(html), "figures": str(figures)}
    return {
        "summary": accuracy.headline(),
        "outputs": outputs,
        "warnings": [*labels.warnings, *accuracy.warnings],
        "accuracy": accuracy.to_dict(),
    }


def _assess(
    task: Evaluate, class_map: xr.DataArray, legend: list[ClassEntry], labels: Labels, progress: Progress
) -> AccuracyReport:
    values = np.nan_to_num(read_pixels(class_map, labels.rows, labels.cols)[:, 0], nan=-1).astype(np.int64)
    names, of_map, of_labels = match_classes(
        [entry.name for entry in legend], labels.names, [entry.value for entry in legend], labels.values
    )
    mapped = np.full(len(labels), -1, np.int64)
    for entry, index in zip(legend, of_map, strict=True):
        mapped[values == entry.value] = index
    stratified = task.sampling == "stratified random"
    area, unit = pixel_area(Grid.of(class_map))
    return assess(
        mapped,
        of_labels[labels.classes],
        names,
        _basis(task, class_map, labels),
        groups=None if labels.geometry == "point" else labels.groups,
        mapped_pixels=_class_sizes(class_map, legend, progress) if stratified else None,
        pixel_area=area,
        unit=unit,
    )


def _basis(task: Evaluate, class_map: xr.DataArray, labels: Labels) -> Basis:
    stored = _tags(task.map).get(TRAINING_TAG)
    if stored is None:
        return Basis.unchecked()
    try:
        trained_on = TrainingPixels.from_dict(json.loads(stored))
    except ValueError:
        return Basis.unchecked()
    return Basis.checked(trained_on.leakage(labels.rows, labels.cols, Grid.of(class_map)))


def _tags(path: str) -> dict[str, str]:
    with rasterio.open(path, driver="GTiff") as source:
        tags: dict[str, str] = source.tags()
    return tags


def _class_sizes(class_map: xr.DataArray, legend: list[ClassEntry], progress: Progress) -> list[int]:
    """Pixels of each class in the whole map, counted block by block."""
    most = max(entry.value for entry in legend)
    counts = np.zeros(most + 1, np.int64)
    for block in iter_blocks(class_map):
        progress.check()
        values = block.core[np.isfinite(block.core)].astype(np.int64)
        counts += np.bincount(values[(values >= 0) & (values <= most)], minlength=most + 1)
        progress.report(block.y1 / class_map.sizes["y"], "Counting the map's classes")
    return [int(counts[entry.value]) for entry in legend]


def _content(
    task: Evaluate,
    class_map: xr.DataArray,
    legend: list[ClassEntry],
    labels: Labels,
    accuracy: AccuracyReport,
) -> ReportContent:
    return ReportContent(
        title=f"Evaluation of {Path(task.map).name}",
        kind="Evaluation",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        summary=accuracy.headline(),
        facts={
            "Map": task.map,
            "Model": _tags(task.map).get(MODEL_TAG, "unknown"),
            "Reference": f"{Path(task.labels).name}, field {task.field}",
            "Sampling": task.sampling,
        },
        legend=legend,
        accuracy=accuracy,
        warnings=labels.warnings,
        map_png=map_preview_png(thinned_map(class_map), legend, metres_per_pixel=map_metres(class_map)),
        reproduction=task.to_dict(),
    )


def thinned_map(class_map: xr.DataArray, side: int = PREVIEW_SIDE) -> NDArray[np.int64]:
    """Every n-th row and column of a class map, so that its longer side is at most ``side``; 0 is no data."""
    step = -(-max(class_map.sizes["y"], class_map.sizes["x"]) // side)
    values: NDArray[np.float32] = class_map[0, ::step, ::step].to_numpy()
    return np.where(np.isfinite(values), values, 0).astype(np.int64)


def map_metres(raster: xr.DataArray, side: int = PREVIEW_SIDE) -> float | None:
    """Metres a pixel of the thinned map covers, for its scale bar; None without a projected grid."""
    crs = raster.rio.crs
    if not crs or not crs.is_projected:
        return None
    step = -(-max(raster.sizes["y"], raster.sizes["x"]) // side)
    a, _, _, d, *_ = raster.rio.transform()[:6]
    return float(np.hypot(a, d)) * step * float(crs.linear_units_factor[1])
