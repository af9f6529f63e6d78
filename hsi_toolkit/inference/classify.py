"""Class maps of scenes of any size, with probabilities and uncertainty, block by block."""

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
import xarray as xr

from hsi_toolkit.errors import ModelError, OutOfMemoryError, ParameterError
from hsi_toolkit.inference.devices import choose_device, describe_device, memory_budget
from hsi_toolkit.inference.outputs import MapOutputs, MapWriter
from hsi_toolkit.inference.prepare import PreparedBlock, prepare
from hsi_toolkit.inference.screening import PixelNetwork
from hsi_toolkit.inference.strided import STRIDE, StridedNetwork
from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.progress import Pace, Progress
from hsi_toolkit.scene.blocks import BLOCKS_HELD, iter_blocks, stored_rows
from hsi_toolkit.scene.class_map import ClassEntry
from hsi_toolkit.spectral.resample import BandPlan

__all__ = ["MapOutputs", "MapResult", "classify_scene"]

Mode = Literal["exact", "fast"]

BATCH_SHARE = 0.25
"""Part of the memory that the network's batches may take; blocks get the rest."""


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
    """

    pixels: tuple[int, ...]
    without_data: int
    windows: int
    rechecked: int
    mode: str
    device: str
    precision: str
    seconds: float


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
    progress: Progress | None = None,
) -> MapResult:
    """Label every pixel of a scene; memory does not depend on its size.

    In exact mode every pixel is classified by its own window. Where the hardware has fast 16-bit arithmetic
    it gives the first answer, and close decisions are repeated in float32: labels are those of the float32
    network, probabilities within some thousandths. In fast mode see ``StridedNetwork``; a classifier without
    context has no windows to interpolate between, and both modes do the same.

    Pixels that lack data in a used band get class 0. Inside windows such pixels, and those beyond the scene's
    edge, are replaced: by the window's middle pixel, and by reflection with the edge pixel repeated.

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
    memory = memory_budget(target, memory_limit)
    job = _Job(
        scene,
        _on_used_bands(classifier, target),
        plan or _own_bands(classifier, scene),
        target,
        strided=mode == "fast" and classifier.context,
        memory=int((1 - BATCH_SHARE) * min(memory, memory_budget(torch.device("cpu"), memory_limit))),
    )
    network = PixelNetwork(
        job.classifier,
        target,
        memory=int(BATCH_SHARE * memory),
        batch_size=batch_size,
        float32=float32,
    )
    height, start = scene.sizes["y"], time.perf_counter()
    labelled = StridedNetwork(job.classifier, network, height) if job.strided else network
    writer = MapWriter(
        outputs, like=scene, n_classes=classifier.n_classes, classes=classes, tags=tags, overwrite=overwrite
    )
    count = job.count
    progress = Pace(
        progress,
        f"Classifying: {count} block{'' if count == 1 else 's'}",
        height * scene.sizes["x"],
        "pixels",
        parts=max(1.0, height / job.rows),
        where=describe_device(target),
    )
    with writer, torch.inference_mode():
        for number, block in enumerate(job.blocks(progress), start=1):
            part = progress.part(block.y0 / height, block.y1 / height)
            part.report(0.0, f"Classifying block {number} of {count}")
            writer.write(block, labelled.log_probabilities(block, part))
            progress.check()
    progress.report(1.0)
    return MapResult(
        pixels=tuple(writer.counts[1:].tolist()),
        without_data=int(writer.counts[0]),
        windows=network.counts.windows,
        rechecked=network.counts.rechecked,
        mode=mode,
        device=str(target),
        precision=network.precision,
        seconds=time.perf_counter() - start,
    )


@dataclass(frozen=True, eq=False)
class _Job:
    """A scene, the classifier on its device, and the memory for blocks."""

    scene: xr.DataArray
    classifier: SceneClassifier
    plan: BandPlan
    device: torch.device
    strided: bool
    memory: int

    def blocks(self, progress: Progress) -> Iterator[PreparedBlock]:
        """The scene's blocks from top to bottom, with features and the experts' opinion."""
        scene = self.scene
        if self.plan.bands != tuple(range(scene.sizes["band"])):
            scene = scene.isel(band=list(self.plan.bands))
        for block in iter_blocks(scene, rows=self.rows, halo=self._halo):
            planned = block if self.plan.matrix is None else replace(block, data=self.plan.apply(block.data))
            yield prepare(self.classifier, planned, self.device, progress)

    @property
    def count(self) -> int:
        """How many blocks there are."""
        return -(-self.scene.sizes["y"] // self.rows)

    @property
    def _halo(self) -> int:
        return self.classifier.radius + int(self.strided)

    @cached_property
    def rows(self) -> int:
        """Rows a block so that it fits the memory with all that is made of it.

        Raises:
            OutOfMemoryError: not even a few rows fit.
        """
        multiple, halo = STRIDE if self.strided else 1, self._halo
        columns, height = self.scene.sizes["x"], self.scene.sizes["y"]
        read = BLOCKS_HELD * len(self.plan.bands) + (
            0 if self.plan.matrix is None else self.classifier.n_bands
        )
        # Features with their margin, and log-probabilities of experts and network with their combinations.
        made = 2 * self.classifier.spectral.n_features + 6 * self.classifier.n_classes + 16
        line = 4 * columns * (read + made)
        rows = min(self.memory // line - 2 * halo, height + multiple - 1) // multiple * multiple
        if rows < 1:
            need = (multiple + 2 * halo) * line
            raise OutOfMemoryError(
                f"The smallest block of the scene needs {need / 2**20:.0f} MB, "
                f"but only {self.memory / 2**20:.0f} MB may be used for blocks.",
                "Raise the memory limit or crop the scene.",
            )
        together = stored_rows(self.scene) * multiple
        return rows // together * together or rows


def _own_bands(classifier: SceneClassifier, scene: xr.DataArray) -> BandPlan:
    """The plan for a scene with the very bands of the training scene."""
    if scene.sizes["band"] != classifier.n_bands:
        raise ModelError(
            f"The model was trained on {classifier.n_bands} bands, but the scene has {scene.sizes['band']}.",
            "Use a scene of the same sensor and product.",
        )
    return BandPlan(tuple(classifier.bands.tolist()))


def _on_used_bands(classifier: SceneClassifier, device: torch.device) -> SceneClassifier:
    """A copy on ``device``, to evaluate, that is given the used bands alone: no others are read."""
    own = copy.deepcopy(classifier).eval()
    own.n_bands = len(own.bands)
    own.bands = torch.arange(own.n_bands)
    return own.to(device)
