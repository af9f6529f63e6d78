"""The network's opinion on every pixel: cheap where that decides, in full precision where it is close.

Matrix products in 16 bits are twice as fast, in 8 bits four times, on a GPU ten times, and nearly the same.
How nearly is measured on a sample of each block; every pixel whose two best classes lie closer together than
four times the largest error seen is computed again in float32. The labels are then those of the float32
network. Where a cheap network is too far off for this to pay, the next one is tried, and none is used in the
end.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hsi_toolkit.inference.batches import BatchRunner
from hsi_toolkit.inference.devices import quick_dtypes
from hsi_toolkit.inference.feature_major import FeatureMajorForward
from hsi_toolkit.inference.folding import FoldedNetwork
from hsi_toolkit.inference.prepare import PreparedBlock, Windows
from hsi_toolkit.inference.token_major import TokenMajorForward
from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.models.hsimae import HSIViT
from hsi_toolkit.models.hypersigma.blocks import round_blocks
from hsi_toolkit.models.hypersigma.encoders import BASE
from hsi_toolkit.models.hypersigma.window_classifier import HyperSigmaClassifier
from hsi_toolkit.progress import Progress

SAMPLE = 256
"""Pixels of each block on which the cheap network is held against the whole one. Every block has its own, so
that its values do not depend on the blocks before it."""

SAFETY = 4.0
"""Margins up to this many times the largest error of a sample are not trusted."""

MOST_RECHECKED = 0.5
"""If more than this share of a sample must be computed twice, the cheap network does not pay …"""

MOST_BEFORE_NEXT = 0.15
"""… and of more than this the next cheap one, some half as fast, is the cheaper one."""

CPU_TOKENS = 2304
"""Tokens of 128 channels a batch, 64 windows of Base: more leave the cache, fewer fill no vector."""

CPU_GFLOP = 30.0
"""Arithmetic of a batch on a processor, a third of a second: cancelling waits for the batches that run."""

PLAIN_BATCH = 32
"""Windows a batch of a network that is not folded."""

CUDA_TOKENS = 1 << 18
"""Tokens a batch on CUDA: enough to fill the largest device."""

Forward = Callable[[Tensor], Tensor]


@dataclass
class Counts:
    """What was computed: windows altogether, and how many of them were float32 checks of cheap ones."""

    windows: int = 0
    rechecked: int = 0


@dataclass(frozen=True, eq=False)
class Engine:
    """One way to compute the network: its arithmetic, the function and the batches it runs in."""

    name: str
    forward: Forward
    runner: BatchRunner


class PixelNetwork:
    """The network of a classifier, for the pixels of prepared blocks.

    Args:
        classifier: in evaluation mode, on ``device``.
        memory: bytes that all threads' batches may take.
        batch_size: windows a batch to start with; None chooses by memory and cache.
        float32: compute everything in float32 and in full.
    """

    def __init__(
        self,
        classifier: SceneClassifier,
        device: torch.device,
        *,
        memory: int,
        batch_size: int | None = None,
        float32: bool = False,
    ) -> None:
        self.counts = Counts()
        self._classifier = classifier
        self._radius = classifier.radius if classifier.context else 0
        build = _Builder(classifier, device, memory, batch_size)
        self._full = build.engine(torch.float32)
        self._quick = [] if float32 else [build.engine(dtype) for dtype in build.quick_dtypes()]
        self._first = self._quick[0] if self._quick else self._full

    @property
    def precision(self) -> str:
        """What the first answers of the last block were computed in."""
        return self._first.name

    @property
    def batch_size(self) -> int:
        """Windows a batch."""
        return self._full.runner.batch_size

    def quick_logits(self, block: PreparedBlock, pixels: Tensor, progress: Progress) -> Tensor:
        """Network logits (n, K) of pixels by the fastest arithmetic, none of them checked."""
        return self._logits((self._quick or [self._full])[0], block, pixels, progress)

    def log_probabilities(self, block: PreparedBlock, progress: Progress) -> Tensor:
        """Log-probabilities (n, K) of the block's pixels, the label of each that of the float32 network."""
        calibrated, tolerance = self._calibrate(block, progress)
        logits = self._logits(self._first, block, block.pixels, progress.part(calibrated, 0.9))
        combined = self._classifier.combine(logits, block.experts)
        if self._first is self._full:
            return combined
        # Negated, so that what is not a number is close as well.
        close = (~(margins(combined) > tolerance)).nonzero().squeeze(1)
        self.counts.rechecked += len(close)
        logits = self._logits(self._full, block, block.pixels[close], progress.part(0.9, 1.0))
        combined[close] = self._classifier.combine(logits, _rows(block.experts, close))
        return combined

    def _calibrate(self, block: PreparedBlock, progress: Progress) -> tuple[float, float]:
        """Choose the engine of the block's first answers by how far each is off on a sample.

        Returns:
            The share of the block's work that this was, and the margin up to which the engine is not trusted.
        """
        self._first = self._full
        if not self._quick or len(block.pixels) <= SAMPLE:
            return 0.0, 0.0
        share = SAMPLE / (SAMPLE + len(block.pixels))
        part = progress.part(0.0, share)
        sample = torch.linspace(0, len(block.pixels) - 1, SAMPLE, device=block.pixels.device).long()
        pixels, experts = block.pixels[sample], _rows(block.experts, sample)
        whole = self._classifier.combine(self._logits(self._full, block, pixels, part), experts)
        for engine in self._quick:
            quick = self._classifier.combine(self._logits(engine, block, pixels, part), experts)
            best = quick.topk(min(2, quick.shape[1]), dim=1).indices
            margin = margins(quick, best)
            error = float((margin - margins(whole, best)).abs().nan_to_num(nan=torch.inf).max())
            rechecked = float((margin <= SAFETY * error).float().mean())
            if rechecked <= (MOST_RECHECKED if engine is self._quick[-1] else MOST_BEFORE_NEXT):
                self._first = engine
                return share, SAFETY * error
        return share, 0.0

    def _logits(self, engine: Engine, block: PreparedBlock, pixels: Tensor, progress: Progress) -> Tensor:
        windows = Windows(block, self._radius)
        out = torch.empty(len(pixels), self._classifier.n_classes, device=pixels.device)
        self.counts.windows += len(pixels)
        return engine.runner.run(lambda some: engine.forward(windows.at(some)), pixels, out, progress)


def margins(log_probabilities: Tensor, best: Tensor | None = None) -> Tensor:
    """How far (n,) the best class is ahead of the second in (n, K); or the two classes ``best`` (n, 2)."""
    if log_probabilities.shape[1] < 2:
        return torch.full_like(log_probabilities[:, 0], torch.inf)
    if best is None:
        best = log_probabilities.topk(2, dim=1).indices
    pair = log_probabilities.gather(1, best)
    return pair[:, 0] - pair[:, 1]


def _rows(values: Tensor | None, index: Tensor) -> Tensor | None:
    return None if values is None else values[index]


class _Builder:
    """Makes engines of a classifier's network for a device."""

    def __init__(
        self, classifier: SceneClassifier, device: torch.device, memory: int, batch_size: int | None
    ) -> None:
        self._classifier, self._device, self._memory, self._batch = classifier, device, memory, batch_size
        network = classifier.network
        # A network of the first generation, or any other, runs as it is.
        self.folded = FoldedNetwork.of(network) if isinstance(network, HSIViT) else None
        if self.folded is not None and not classifier.context:
            self.folded = self.folded.of_pixels()

    def engine(self, dtype: torch.dtype) -> Engine:
        """The network with matrix products of ``dtype``."""
        name = str(dtype).removeprefix("torch.")
        if self.folded is None:
            runner = BatchRunner(self._batch or PLAIN_BATCH, self._threads)
            classifier = self._classifier if dtype == torch.float32 else self._rounded(dtype)
            return Engine(name, classifier.network_logits, runner)
        kind = FeatureMajorForward if self._device.type == "cpu" else TokenMajorForward
        runner = BatchRunner(self._batch or self._batch_size(self.folded), self._threads)
        return Engine(name, kind(self.folded, dtype), runner)

    def quick_dtypes(self) -> list[torch.dtype]:
        """The types that the network can be computed in faster than in float32, the fastest first."""
        dtypes = list(quick_dtypes(self._device))
        if self.folded is not None:
            return dtypes
        if not isinstance(self._classifier, HyperSigmaClassifier):
            return []
        # A processor gains a fourth from a small network, and loses more to what is computed again.
        pays = self._device.type == "cuda" or self._classifier.network.config.size.dim >= BASE.dim
        return [dtype for dtype in dtypes if dtype.is_floating_point and pays]

    def _rounded(self, dtype: torch.dtype) -> SceneClassifier:
        """A copy of the classifier whose blocks multiply in ``dtype``."""
        rounded = copy.deepcopy(self._classifier)
        round_blocks(rounded, dtype)
        return rounded

    @property
    def _threads(self) -> int | None:
        return None if self._device.type == "cpu" else 1

    def _batch_size(self, folded: FoldedNetwork) -> int:
        """Windows a batch: what fits the cache (or fills the GPU), the memory, and the wait for a cancel."""
        tokens = folded.groups * folded.cells
        if self._device.type == "cuda":
            most = CUDA_TOKENS / tokens
        else:
            most = min(CPU_TOKENS * 128 / (tokens * folded.dim), CPU_GFLOP / folded.gflop())
        threads = self._threads or torch.get_num_threads()
        return max(1, int(min(most, self._memory / (threads * _window_bytes(folded)))))


def _window_bytes(folded: FoldedNetwork) -> int:
    """Memory of one window on its way through the network, float32."""
    tokens, block = folded.groups * folded.cells, (*folded.joint, *folded.spatial)[0]
    scores = 2 * folded.heads * tokens * tokens
    return 4 * (tokens * (8 * folded.dim + block.gate_up.shape[0]) + scores)
