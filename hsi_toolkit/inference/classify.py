"""Class maps of scenes of any size, with probabilities and uncertainty, block by block."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import xarray as xr

from hsi_toolkit.blockwise.cluster import Cluster
from hsi_toolkit.blockwise.journal import BlockJournal
from hsi_toolkit.errors import ModelError, ParameterError
from hsi_toolkit.inference.devices import choose_device, describe_device, memory_budget
from hsi_toolkit.inference.job import (
    BATCH_SHARE,
    BlockClassifier,
    MapJob,
    RemoteBlocks,
    lines_too_long,
    rows_within,
)
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
    cluster: Cluster | None = None,
    progress: Progress | None = None,
) -> MapResult:
    """Label every pixel of a scene; memory does not depend on its size.

    In exact mode every pixel is classified by its own window. Where the hardware has fast 8- or 16-bit
    arithmetic it gives the first answer, and close decisions are repeated in float32: labels are those of the
    float32 network, probabilities within some thousandths. In fast mode see ``StridedNetwork``; a classifier
    without context has no windows to interpolate between, and both modes do the same.

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
        cluster: processes that read and compute the blocks instead of this one; the map is the same.
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
    way = _Here(device) if cluster is None else _There(device, cluster)
    job = way.prepare(_job(scene, classifier, plan, outputs, mode, way, memory_limit, batch_size, float32))
    start = time.perf_counter()
    writer = MapWriter(
        outputs, like=scene, n_classes=classifier.n_classes, classes=classes, tags=tags, overwrite=overwrite
    )
    done = _Totals()
    with ExitStack() as stack:
        remembered = None
        if journal is not None and job.count > 1:
            identity = job.identity(way.device.type)
            if memory_limit is None:
                # What fits the memory that is free now need not be what fitted it then.
                job = job.cut_as(BlockJournal.run_at(journal))
                identity |= job.cut()
            remembered = stack.enter_context(BlockJournal(journal, identity, keep=keep_journal))
            if remembered.note:
                progress.log(remembered.note)
            done.resumed = len(remembered.finished)
        stack.enter_context(writer)
        for number, block in _blocks(job, way, remembered, _pace(progress, job, way.where)):
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
        device=str(way.device),
        precision=" and ".join(sorted(done.precisions)),
        seconds=time.perf_counter() - start,
        resumed=done.resumed,
    )


class _Here:
    """Blocks computed in this process, the next one read meanwhile."""

    def __init__(self, device: str | torch.device) -> None:
        self.device = choose_device(device) if isinstance(device, str) else device
        self.where = describe_device(self.device)
        self._ready: BlockClassifier | None = None

    def memory(self, limit: int | None) -> tuple[int, int | None]:
        """Bytes for blocks, and for batches."""
        memory = memory_budget(self.device, limit)
        blocks = min(memory, memory_budget(torch.device("cpu"), limit))
        return int((1 - BATCH_SHARE) * blocks), int(BATCH_SHARE * memory)

    def prepare(self, job: MapJob) -> MapJob:
        """The job with its batches settled."""
        self._ready = job.on(self.device)
        return replace(job, batch_size=self._ready.network.batch_size)

    def blocks(self, job: MapJob, numbers: Sequence[int], progress: Progress) -> Iterator[MapBlock]:
        """The blocks of these numbers, in order."""
        ready, height = self._ready, job.scene.sizes["y"]
        if ready is None or ready.network.batch_size != job.batch_size:
            self._ready = ready = job.on(self.device)
        for number, block in zip(numbers, ahead(job.read, list(numbers)), strict=True):
            part = progress.part(block.y0 / height, block.y1 / height)
            part.report(0.0, f"Classifying block {number + 1} of {job.count}")
            yield ready.classify(block, part)


class _There:
    """Blocks read and computed by the processes of a cluster."""

    def __init__(self, device: str | torch.device, cluster: Cluster) -> None:
        self._name, self._cluster = str(device), cluster
        self.device = torch.device(cluster.device_kind(self._name))
        self.where = f"{cluster.processes} processes"

    def memory(self, limit: int | None) -> tuple[int, int | None]:
        """Bytes for blocks, and for batches: as in this process, so that the work is cut alike."""
        memory = memory_budget(torch.device("cpu"), limit)
        batches = int(BATCH_SHARE * memory) if self.device.type == "cpu" else None
        return int((1 - BATCH_SHARE) * memory), batches

    def prepare(self, job: MapJob) -> MapJob:
        """The job with its batches settled; on CUDA each process looks at its own memory."""
        if self.device.type != "cpu":
            return job
        return replace(job, batch_size=job.on(self.device).network.batch_size)

    def blocks(self, job: MapJob, numbers: Sequence[int], progress: Progress) -> Iterator[MapBlock]:
        """The blocks of these numbers, in order."""
        height = job.scene.sizes["y"]
        progress.report(numbers[0] * job.rows / height if numbers else 1.0, "Classifying")
        found = self._cluster.map(RemoteBlocks(job, self._name), numbers, progress)
        for number, block in zip(numbers, found, strict=True):
            progress.report(job.span(number)[1] / height, f"Classified block {number + 1} of {job.count}")
            yield block


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
        self.precisions |= {block.precision} - {""}


def _job(
    scene: xr.DataArray,
    classifier: SceneClassifier,
    plan: BandPlan | None,
    outputs: MapOutputs,
    mode: Mode,
    way: _Here | _There,
    memory_limit: int | None,
    batch_size: int | None,
    float32: bool,
) -> MapJob:
    plan, strided = plan or _own_bands(classifier, scene), mode == "fast" and classifier.context
    for_blocks, for_batches = way.memory(memory_limit)
    wide = lines_too_long(scene, classifier, plan, strided=strided, memory=for_blocks)
    return MapJob(
        scene,
        classifier,
        plan,
        strided,
        rows=rows_within(scene, classifier, plan, strided=strided, wide=wide, memory=for_blocks),
        wide=wide,
        batch_size=batch_size,
        batch_memory=for_batches,
        float32=float32,
        probabilities=outputs.probabilities is not None,
        uncertainty=outputs.uncertainty is not None,
    )


def _pace(progress: Progress, job: MapJob, where: str) -> Progress:
    """Progress that says how long the map takes."""
    return Pace(
        progress,
        f"Classifying: {job.count} block{'' if job.count == 1 else 's'}",
        job.scene.sizes["y"] * job.scene.sizes["x"],
        "pixels",
        parts=max(1.0, job.scene.sizes["y"] / job.rows),
        where=where,
    )


def _blocks(
    job: MapJob, way: _Here | _There, journal: BlockJournal | None, progress: Progress
) -> Iterator[tuple[int, MapBlock]]:
    """All blocks by number, in order: from the journal, or computed and noted there."""
    finished = journal.finished if journal is not None else frozenset()
    to_do = way.blocks(job, [number for number in range(job.count) if number not in finished], progress)
    for number in range(job.count):
        if journal is not None and (arrays := journal.read(number)) is not None:
            yield number, MapBlock.from_arrays(arrays)
            continue
        # One whose record is damaged was not taken for one to do.
        block = next(way.blocks(job, [number], progress) if number in finished else to_do)
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
