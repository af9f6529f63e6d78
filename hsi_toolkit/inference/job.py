"""What it takes to classify any block of a scene, in this process or in another one."""

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import xarray as xr

from hsi_toolkit import __version__
from hsi_toolkit.blockwise.cluster import own_device
from hsi_toolkit.blockwise.journal import Json
from hsi_toolkit.blockwise.scene_identity import scene_identity
from hsi_toolkit.errors import OutOfMemoryError
from hsi_toolkit.inference.devices import memory_budget
from hsi_toolkit.inference.outputs import MapBlock, empty_block, stored_block
from hsi_toolkit.inference.prepare import CHUNK_BYTES, WideBlock, prepare, without_data
from hsi_toolkit.inference.screening import PixelNetwork
from hsi_toolkit.inference.strided import STRIDE, StridedNetwork
from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene.blocks import BLOCKS_HELD, Block, read_rows, stored_rows
from hsi_toolkit.spectral.resample import BandPlan

BATCH_SHARE = 0.25
"""Part of the memory that the network's batches may take; blocks get the rest."""


@dataclass(frozen=True, eq=False)
class MapJob:
    """A scene, its classifier and how to apply it; what a block becomes depends on nothing else.

    It can be pickled: another process opens the scene's file and moves the classifier to its own device.

    Attributes:
        scene: (band, y, x), lazy.
        classifier: on the processor.
        plan: how the scene gives the classifier's bands.
        strided: whether the network looks at a grid only.
        rows: lines a block.
        wide: whether lines are so long that a block's columns are read as they are wanted.
        batch_size: windows a batch, None where each process finds its own.
        batch_memory: bytes that all threads' batches may take; None: a share of what the device has.
        float32: compute everything in float32.
        probabilities, uncertainty: whether they are wanted.
    """

    scene: xr.DataArray
    classifier: SceneClassifier
    plan: BandPlan
    strided: bool
    rows: int
    wide: bool
    batch_size: int | None
    batch_memory: int | None
    float32: bool
    probabilities: bool
    uncertainty: bool

    @property
    def count(self) -> int:
        """How many blocks there are."""
        return -(-self.scene.sizes["y"] // self.rows)

    @property
    def halo(self) -> int:
        """Lines read above and below a block."""
        return self.classifier.radius + int(self.strided)

    def span(self, number: int) -> tuple[int, int]:
        """The rows of block ``number``, the second one exclusive."""
        return number * self.rows, min((number + 1) * self.rows, self.scene.sizes["y"])

    @cached_property
    def used(self) -> xr.DataArray:
        """The scene with the bands that are read."""
        if self.plan.bands == tuple(range(self.scene.sizes["band"])):
            return self.scene
        return self.scene.isel(band=list(self.plan.bands))

    def read(self, number: int) -> Block | WideBlock:
        """Block ``number`` with its halo. Raises SceneError."""
        y0, y1 = self.span(number)
        if self.wide:
            return WideBlock(self.used, y0, y1, self.halo)
        return Block(read_rows(self.used, y0, y1, self.halo), y0, y1, self.halo)

    def on(self, device: torch.device) -> "BlockClassifier":
        """The job ready to run on ``device``."""
        return BlockClassifier(self, device)

    def identity(self, device: str) -> dict[str, Json]:
        """What tells the results of this job on a kind of device from those of others."""
        settings = {
            "mode": "fast" if self.strided else "exact",
            "float32": self.float32,
            "probabilities": self.probabilities,
            "uncertainty": self.uncertainty,
            "device": device,
        }
        return {
            "scene": scene_identity(self.scene),
            "model": _digest(self.classifier, self.plan),
            **settings,
            **self.cut(),
            "software": f"hsi_toolkit {__version__}, torch {torch.__version__}",
        }

    def cut(self) -> dict[str, Json]:
        """How the work is cut, which may follow the memory that happens to be free."""
        return {"rows": self.rows, "wide": self.wide, "batch_size": self.batch_size}

    def cut_as(self, run: Mapping[str, Json]) -> "MapJob":
        """The job cut as an earlier one of this identity was, or as it is where that cannot be told."""
        rows, batch = run.get("rows"), run.get("batch_size")
        multiple = STRIDE if self.strided else 1
        if not isinstance(rows, int) or rows < 1 or rows % multiple:
            return self
        batch_size = batch if isinstance(batch, int) and batch > 0 else None
        return replace(self, rows=rows, wide=run.get("wide") is True, batch_size=batch_size)


@dataclass(frozen=True, eq=False)
class RemoteBlocks:
    """A job for the processes of a cluster, which call it with the numbers of blocks."""

    job: MapJob
    device: str

    def __call__(self, number: int) -> MapBlock:
        """Block ``number``, read and classified."""
        return self._here.classify(self.job.read(number), Progress())

    @cached_property
    def _here(self) -> "BlockClassifier":
        return self.job.on(own_device(self.device))

    def __getstate__(self) -> dict[str, object]:
        # Networks on a device are built where they are used.
        return {"job": self.job, "device": self.device}


class BlockClassifier:
    """A job on its device: the networks are built once, blocks go through one after the other."""

    def __init__(self, job: MapJob, device: torch.device) -> None:
        self._job, self._device = job, device
        self._classifier = _on_used_bands(job.classifier, device)
        memory = job.batch_memory
        self.network = PixelNetwork(
            self._classifier,
            device,
            memory=int(BATCH_SHARE * memory_budget(device)) if memory is None else memory,
            batch_size=job.batch_size,
            float32=job.float32,
        )
        height = job.scene.sizes["y"]
        self._labelled = (
            StridedNetwork(self._classifier, self.network, height) if job.strided else self.network
        )

    def classify(self, block: Block | WideBlock, progress: Progress) -> MapBlock:
        """What is stored of a block as ``MapJob.read`` gives it."""
        job, before = self._job, replace(self.network.counts)
        wanted = {"probabilities": job.probabilities, "uncertainty": job.uncertainty}
        if without_data(block):
            shape = (block.y1 - block.y0, job.scene.sizes["x"])
            return empty_block(shape, self._classifier.n_classes, **wanted)
        with torch.inference_mode():
            prepared = prepare(self._classifier, block, self._device, progress, job.plan)
            found = self._labelled.log_probabilities(prepared, progress)
            return stored_block(
                prepared,
                found,
                **wanted,
                windows=self.network.counts.windows - before.windows,
                rechecked=self.network.counts.rechecked - before.rechecked,
                precision=self.network.precision,
            )


def lines_too_long(
    scene: xr.DataArray, classifier: SceneClassifier, plan: BandPlan, *, strided: bool, memory: int
) -> bool:
    """Whether blocks of whole lines are read for their surroundings mostly, and others fit more lines."""
    halo = classifier.radius + int(strided)
    whole, wide = (
        _lines_within(scene, classifier, plan, wide=wide, memory=memory) - 2 * halo for wide in (False, True)
    )
    return whole < min(halo, scene.sizes["y"]) and whole < wide


def rows_within(
    scene: xr.DataArray,
    classifier: SceneClassifier,
    plan: BandPlan,
    *,
    strided: bool,
    wide: bool,
    memory: int,
) -> int:
    """Lines a block so that it fits the memory with all that is made of it.

    Raises:
        OutOfMemoryError: not even a few rows fit.
    """
    multiple, halo = STRIDE if strided else 1, classifier.radius + int(strided)
    lines = _lines_within(scene, classifier, plan, wide=wide, memory=memory)
    rows = min(lines - 2 * halo, scene.sizes["y"] + multiple - 1) // multiple * multiple
    if rows < 1:
        need = (multiple + 2 * halo) * _line_bytes(scene, classifier, plan, wide=wide)
        raise OutOfMemoryError(
            f"The smallest block of the scene needs {need / 2**20:.0f} MB, "
            f"but only {memory / 2**20:.0f} MB may be used for blocks.",
            "Raise the memory limit or crop the scene.",
        )
    together = stored_rows(scene) * multiple
    return rows // together * together or rows


def _lines_within(
    scene: xr.DataArray, classifier: SceneClassifier, plan: BandPlan, *, wide: bool, memory: int
) -> int:
    """Lines that fit the memory."""
    left = memory - BLOCKS_HELD * CHUNK_BYTES if wide else memory
    return left // _line_bytes(scene, classifier, plan, wide=wide)


def _line_bytes(scene: xr.DataArray, classifier: SceneClassifier, plan: BandPlan, *, wide: bool) -> int:
    """Bytes that a line takes with all that is made of it."""
    read = BLOCKS_HELD * len(plan.bands) + (0 if plan.matrix is None else len(classifier.bands))
    # Features with their margin, and log-probabilities of experts and network with their combinations.
    made = 2 * classifier.spectral.n_features + 6 * classifier.n_classes + 16
    return 4 * int(scene.sizes["x"]) * ((0 if wide else read) + made)


def _digest(classifier: SceneClassifier, plan: BandPlan) -> str:
    tensors, config = classifier.to_tensors()
    digest = hashlib.sha256(repr((sorted(config.items(), key=str), plan.bands)).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    if plan.matrix is not None:
        digest.update(plan.matrix.tobytes())
    return digest.hexdigest()


def _on_used_bands(classifier: SceneClassifier, device: torch.device) -> SceneClassifier:
    """A copy on ``device``, to evaluate, that is given the used bands alone: no others are read."""
    own = copy.deepcopy(classifier).eval()
    own.n_bands = len(own.bands)
    own.bands = torch.arange(own.n_bands)
    return own.to(device)
