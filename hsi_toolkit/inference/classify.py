"""Class maps of scenes of any size, with probabilities and uncertainty, block by block."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import xarray as xr

from hsi_toolkit.blockwise.journal import BlockJournal
from hsi_toolkit.errors import ModelError, ParameterError
from hsi_toolkit.inference.devices import choose_device, describe_device, memory_budget
from hsi_toolkit.inference.job import BATCH_SHARE, MapJob, rows_within
from hsi_toolkit.inference.outputs import MapBlock, MapOutputs, MapWriter
from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.progress import Pace, Progress
from hsi_toolkit.scene.blocks import ahead
from hsi_toolkit.scene.class_map import ClassEntry
from hsi_toolkit.spectral.resample import BandPlan

__all__ = ["MapOutputs", "MapResult", "classify_scene"]

Mode = Literal["exact", "fast"]


@dataclass(frozen=True)
class MapResult:
    """What was classified and how.

    Attributes:
        pixels: how many of the classes 1 to K there are, in order.
        without_data: pixels without data in a used band, class 0.
        windows: how often the network looked at a pixel.
        rechecked: how many of these were float32 checks of close decisions.
        mode, device, precision: how it was computed; ``precision`` is that of the first answers.
        seconds: time from the first block to the last.
        resumed: blocks that an interrupted run had finished.
    """

    pixels: tuple[int, ...]
    without_data: int
    windows: int
    rechecked: int
    mode: str
    device: str
    precision: str
    seconds: float
    resumed: int = 0


def classify_scene(
    scene: xr.DataArray,
    classifier: SceneClassifier,
    outputs: MapOutputs,
    *,
    classes: Sequence[ClassEntry] | None = None,
    plan: BandPlan | None = None,
    mode: Mode = "exact",
    device: str | torch.device = "auto",
    batch_size: int | None = None,
    memory_limit: int | None = None,
    float32: bool = False,
    tags: Mapping[str, str] | None = None,
    overwrite: bool = False,
    journal: str | Path | None = None,
    keep_journal: bool = False,
    progress: Progress | None = None,
) -> MapResult:
    """Label every pixel of a scene; memory does not depend on its size.

    In exact mode every pixel is classified by its own window. Where the hardware has fast 16-bit arithmetic
    it gives the first answer, and close decisions are repeated in float32: labels are those of the float32
    network, probabilities within some thousandths. In fast mode see ``StridedNetwork``; a classifier without
    context has no windows to interpolate between, and both modes do the same.

    Pixels that lack data in a used band get class 0. Inside windows such pixels, and those beyond the scene's
    edge, are replaced: by the window's middle pixel, and by reflection with the edge pixel repeated.

    With a journal, what was finished when a run was interrupted is not computed again, and the map is the
    same to the last byte as that of an undisturbed run.

    Args:
        scene: (band, y, x), lazy.
        classifier: is left as it is.
        outputs: files to write; each appears when whole, or not at all.
        classes: legend of the map, in the order of the classifier's classes.
        plan: how the scene gives the classifier's bands; None: the scene has the bands it was trained on.
        mode: "exact" or "fast".
        device: "auto", "cpu", "cuda" or a torch device.
        batch_size: windows a batch; None finds it by memory and cache. Halved when memory runs out.
        memory_limit: bytes for blocks and batches, beside program and model; None: a share of what is free.
        float32: compute everything in float32, close or not.
        tags: further metadata of the map.
        overwrite: whether existing files may be replaced.
        journal: where finished blocks are remembered until the map is whole; None remembers none. A map of
            one block needs none.
        keep_journal: leave it when the map is whole, for a caller who does more before the map counts.
        progress: told block, rate and once how long it takes; asked about cancellation at least ten times a
            second.

    Raises:
        ModelError: the scene has other bands than the classifier.
        OutOfMemoryError: not even one row, or one window, fits.
        OutputError, SceneError: a file cannot be written or read.
        Cancelled: the user cancelled; no output was changed.
    """
    if mode not in ("exact", "fast"):
        raise ParameterError(f"There is no mode {mode!r}.", "Choose exact or fast.")
    if batch_size is not None and batch_size < 1:
        raise ParameterError(f"A batch of {batch_size} windows makes no sense.", "Give 1 or more.")
    progress = progress or Progress()
    target = choose_device(device) if isinstance(device, str) else device
    plan, strided = plan or _own_bands(classifier, scene), mode == "fast" and classifier.context
    memory = memory_budget(target, memory_limit)
    blocks = int((1 - BATCH_SHARE) * min(memory, memory_budget(torch.device("cpu"), memory_limit)))
    job = MapJob(
        scene,
        classifier,
        plan,
        strided,
        rows=rows_within(scene, classifier, plan, strided=strided, memory=blocks),
        batch_size=batch_size,
        batch_memory=int(BATCH_SHARE * memory),
        float32=float32,
        probabilities=outputs.probabilities is not None,
        uncertainty=outputs.uncertainty is not None,
    )
    start = time.perf_counter()
    writer = MapWriter(
        outputs, like=scene, n_classes=classifier.n_classes, classes=classes, tags=tags, overwrite=overwrite
    )
    done = _Totals()
    with ExitStack() as stack:
        remembered = None
        if journal is not None and job.count > 1:
            identity = job.identity(str(target.type))
            if memory_limit is None:
                # What fits the memory that is free now need not be what fitted it then.
                job = job.cut_as(BlockJournal.run_at(journal))
                identity |= job.cut()
            remembered = stack.enter_context(BlockJournal(journal, identity, keep=keep_journal))
            if remembered.note:
                progress.log(remembered.note)
            done.resumed = len(remembered.finished)
        stack.enter_context(writer)
        for number, block in _blocks(job, target, remembered, _pace(progress, job, target)):
            writer.write(block, job.span(number)[0])
            done.add(block)
            progress.check()
    progress.report(1.0)
    return MapResult(
        pixels=tuple(writer.counts[1:].tolist()),
        without_data=int(writer.counts[0]),
        windows=done.windows,
        rechecked=done.rechecked,
        mode=mode,
        device=str(target),
        precision=" and ".join(sorted(done.precisions)),
        seconds=time.perf_counter() - start,
        resumed=done.resumed,
    )


@dataclass
class _Totals:
    """What the blocks say of how they were computed, together."""

    windows: int = 0
    rechecked: int = 0
    resumed: int = 0
    precisions: frozenset[str] = frozenset()

    def add(self, block: MapBlock) -> None:
        """Count a block."""
        self.windows += block.windows
        self.rechecked += block.rechecked
        self.precisions |= {block.precision}


def _pace(progress: Progress, job: MapJob, device: torch.device) -> Progress:
    """Progress that says how long the map takes."""
    return Pace(
        progress,
        f"Classifying: {job.count} block{'' if job.count == 1 else 's'}",
        job.scene.sizes["y"] * job.scene.sizes["x"],
        "pixels",
        parts=max(1.0, job.scene.sizes["y"] / job.rows),
        where=describe_device(device),
    )


def _blocks(
    job: MapJob, device: torch.device, journal: BlockJournal | None, progress: Progress
) -> Iterator[tuple[int, MapBlock]]:
    """All blocks by number, in order: from the journal, or computed here and noted there."""
    finished = journal.finished if journal is not None else frozenset()
    here, height = job.on(device), job.scene.sizes["y"]
    to_do = ahead(job.read, [number for number in range(job.count) if number not in finished])
    for number in range(job.count):
        y0, y1 = job.span(number)
        part = progress.part(y0 / height, y1 / height)
        if journal is not None and (arrays := journal.read(number)) is not None:
            yield number, MapBlock.from_arrays(arrays)
            continue
        part.report(0.0, f"Classifying block {number + 1} of {job.count}")
        # One whose record is damaged is not among those that are read ahead.
        block = here.classify(job.read(number) if number in finished else next(to_do), part)
        if journal is not None:
            journal.add(number, block.to_arrays())
        yield number, block


def _own_bands(classifier: SceneClassifier, scene: xr.DataArray) -> BandPlan:
    """The plan for a scene with the very bands of the training scene."""
    if scene.sizes["band"] != classifier.n_bands:
        raise ModelError(
            f"The model was trained on {classifier.n_bands} bands, but the scene has {scene.sizes['band']}.",
            "Use a scene of the same sensor and product.",
        )
    return BandPlan(tuple(classifier.bands.tolist()))
