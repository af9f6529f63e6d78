"""Writing scores and, beside them, the map of what exceeds a threshold."""

import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_toolkit.detection.neighbourhood import Rows
from hsi_toolkit.detection.thresholds import ScoreDistribution
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import ClassEntry, RasterWriter

BACKGROUND, DETECTED = 1, 2
_GREY, _RED = (225, 225, 225), (227, 26, 28)
_PIXELS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Detections:
    """What the map shows: the threshold, the pixels with a score and those above the threshold."""

    threshold: float
    pixels: int
    detected: int


@dataclass(frozen=True)
class DetectionMap:
    """Where the map goes, how it is called, and how the threshold follows from the scores."""

    path: str
    name: str
    threshold: Callable[[ScoreDistribution], float]

    def legend(self) -> list[ClassEntry]:
        """Background in grey, detections in red; 0 is no data."""
        return [
            ClassEntry(BACKGROUND, "background", _GREY),
            ClassEntry(DETECTED, self.name, _RED),
        ]


def write_scores(
    scores: Iterable[Rows],
    path: str,
    like: xr.DataArray,
    *,
    description: str,
    detections: DetectionMap | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Detections | None:
    """Write scores (1, rows, columns) as they come and then, from all of them, the detection map.

    Both files appear together, or neither does.

    Returns:
        What the map shows, or None where none is wanted.
    """
    progress = progress or Progress()
    with ExitStack() as stack:
        writer = stack.enter_context(
            RasterWriter(path, like=like, descriptions=[description], overwrite=overwrite)
        )
        if detections is None:
            for rows in scores:
                writer.write(rows.data, rows.y0)
            return None
        mapped = stack.enter_context(
            RasterWriter(
                detections.path,
                like=like,
                dtype=np.uint8,
                nodata=0,
                classes=detections.legend(),
                overwrite=overwrite,
            )
        )
        # The threshold is known when all scores are: they wait on disk, not in memory.
        spool = stack.enter_context(tempfile.TemporaryFile(prefix="hsi-"))
        distribution = ScoreDistribution()
        for rows in scores:
            writer.write(rows.data, rows.y0)
            distribution.update(rows.data)
            spool.write(np.ascontiguousarray(rows.data).tobytes())
        threshold = detections.threshold(distribution)
        spool.seek(0)
        height, width = like.sizes["y"], like.sizes["x"]
        step = max(1, _PIXELS_AT_ONCE // width)
        detected = 0
        for y0 in range(0, height, step):
            progress.check()
            part = np.frombuffer(spool.read(4 * width * min(step, height - y0)), np.float32)
            classes = classes_of(part.reshape(-1, width), threshold)
            detected += int(np.count_nonzero(classes == DETECTED))
            mapped.write(classes, y0)
    return Detections(threshold, distribution.n_scores, detected)


def classes_of(scores: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
    """0 where there is no score, 1 up to the threshold, 2 above it."""
    classes = np.where(scores > threshold, np.uint8(DETECTED), np.uint8(BACKGROUND))
    return np.where(np.isfinite(scores), classes, np.uint8(0))


def summary_of(found: Detections | None, rate: float, what: str) -> dict[str, object]:
    """The result of a detection: a sentence, facts, and figures by name."""
    if found is None:
        return {"summary": f"Scored the scene for {what}."}
    share = found.detected / found.pixels if found.pixels else 0.0
    return {
        "summary": f"{found.detected:,} of {found.pixels:,} pixels ({share:.2%}) are {what} at a false-alarm "
        f"rate of {rate:g}.",
        "facts": {
            "Threshold": f"{found.threshold:.6g}",
            "Detected": f"{found.detected:,} pixels",
            "Expected false alarms": f"about {rate * found.pixels:,.0f} pixels",
        },
        "threshold": found.threshold,
        "pixels": found.pixels,
        "detected_pixels": found.detected,
    }
