"""Change by HyperSIGMA's network of windows, trained on what a training-free detector is sure of.

Published: 500 changed and 500 unchanged pixels of the truth, windows of 5 pixels, batches of 32, 50 epochs at
6e-5, bands scaled to their smallest and largest values on both dates. Here the pixels are those that the
project's own detector scores beyond its threshold, and the lower half of the others; the later date is first
brought to the radiometry of the earlier one. The score is the odds of change.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hsi_toolkit.change.decision import no_change_threshold
from hsi_toolkit.change.detectors import PairModel
from hsi_toolkit.change.pair import ScenePair, Spectra
from hsi_toolkit.detection.neighbourhood import Rows
from hsi_toolkit.detection.scan import spectra_of
from hsi_toolkit.models.hypersigma.change import ChangeConfig, ChangeNetwork
from hsi_toolkit.models.hypersigma.encoders import BASE, TransformerSize
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import iter_blocks, read_windows
from hsi_toolkit.scene.blocks import mirrored
from hsi_toolkit.spectral.compute import Compute
from hsi_toolkit.training.per_scene import Learning, Recipe, Samples, Start, fit, flipped, mixed_precision
from hsi_toolkit.training.pseudo_labels import BACKGROUND, FOUND, PseudoLabels, kept_on_disk
from hsi_toolkit.training.scene_tiles import Scaling

Float32 = NDArray[np.float32]
Index = NDArray[np.intp]

SIDE = 5
TOKENS, FEW_TOKENS = 144, 36
"""Spectral tokens, as published and of a network smaller than the published ones."""

PIXELS = 500
"""Pixels of each kind that are trained on, as published."""

BATCH = 32
LEARNING_RATE = 5e-4

EVEN_ODDS = 1.0
"""The score beyond which a pixel has changed: both kinds are equally frequent in training."""

_UNCHANGED_SHARE = 0.5
_FEWEST_CHANGED = 0.002
_WINDOWS_AT_ONCE = {"cpu": 256, "cuda": 8192}
_LARGEST_LOGIT = 20.0
_BLOCK_BYTES = 256 << 20


@dataclass(frozen=True, eq=False)
class LearnedChange:
    """A trained network of pairs of windows, of which ``batch`` go through together, and how it came about.

    ``predict`` takes windows (n, bands, 5, 5) of both dates, the later one as it is, to odds (n,).
    """

    predict: Callable[[Float32, Float32], Float32]
    batch: int
    learning: Learning

    def scores(self, pair: ScenePair, progress: Progress, memory_limit: int | None = None) -> Iterator[Rows]:
        """The odds of change (1, rows, columns) from top to bottom, NaN without data on either date."""
        height, width = pair.shape
        halo = SIDE // 2
        line = 4 * int(pair.before.sizes["band"]) * width
        rows = max(1, (memory_limit or _BLOCK_BYTES) // (8 * line))
        columns = mirrored(np.arange(-halo, width + halo), width)
        progress.report(0.0, "Scoring the change")
        blocks = zip(
            iter_blocks(pair.before, rows=rows, halo=halo),
            iter_blocks(pair.after, rows=rows, halo=halo),
            strict=True,
        )
        for before, after in blocks:
            known = np.isfinite(before.core).all(axis=0) & np.isfinite(after.core).all(axis=0)
            odds = np.full(known.shape, np.nan, np.float32)
            y, x = np.nonzero(known)
            padded = [each.data[:, :, columns] for each in (before, after)]
            for start in range(0, len(y), self.batch):
                progress.check()
                part = slice(start, start + self.batch)
                odds[y[part], x[part]] = self.predict(*(_windows(each, y[part], x[part]) for each in padded))
                done = before.y0 + (before.y1 - before.y0) * (start + self.batch) / len(y)
                progress.report(done / height, "Scoring the change")
            yield Rows(odds[None], before.y0)


def learn_change(
    pair: ScenePair,
    model: PairModel,
    sample: tuple[Spectra, Spectra],
    start: Start,
    epochs: int,
    progress: Progress,
    memory_limit: int | None = None,
) -> LearnedChange:
    """Train a ``ChangeNetwork`` on what ``model`` is sure of.

    Args:
        sample: spectra (n, bands) of both dates, which ``model`` was fitted on.

    Raises:
        HsiError: the weights cannot be used, or training diverges.
        Cancelled: the user asked to stop.
    """
    bands, device = int(pair.before.sizes["band"]), start.torch_device()

    def build(size: TransformerSize) -> ChangeNetwork:
        tokens = FEW_TOKENS if size.dim < BASE.dim else TOKENS
        return ChangeNetwork(ChangeConfig(bands, SIDE, tokens=tokens, size=size))

    begun = start.begin(build, progress.part(0.0, 0.05))
    network = begun.network
    prepare = _preparation(model, sample)
    low, high = _limits(model, sample)
    coarse = _coarse(pair, model, Compute.on(start.device), progress.part(0.05, 0.2), memory_limit)
    with kept_on_disk(coarse, pair.shape) as scores:
        samples = _samples(pair, PseudoLabels(scores, low, high), prepare, start.seed)

    def loss(batch: Samples) -> Tensor:
        before, after, labels = batch
        return F.cross_entropy(network(before, after).float(), labels)

    def augment(batch: Samples, generator: torch.Generator) -> Samples:
        return (*flipped(batch[:2], generator), batch[2])

    curve = fit(
        network,
        samples,
        loss,
        Recipe(epochs, BATCH, LEARNING_RATE, seed=start.seed),
        augment=augment,
        progress=progress.part(0.25, 1.0),
    )

    def predict(before: Float32, after: Float32) -> Float32:
        windows = (torch.from_numpy(each).to(device) for each in prepare(before, after))
        with torch.inference_mode(), mixed_precision(device):
            logits = network(*windows).float()
        odds = (logits[:, 0] - logits[:, 1]).clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT).exp()
        found: Float32 = odds.cpu().numpy()
        return found

    return LearnedChange(predict, _WINDOWS_AT_ONCE[device.type], Learning(begun.size, begun.taken, curve))


def _coarse(
    pair: ScenePair, model: PairModel, compute: Compute, progress: Progress, memory_limit: int | None
) -> Iterator[Rows]:
    """The training-free scores (1, rows, columns)."""
    detector = compute.place(model.detector)
    for before, after in pair.blocks(progress, "Comparing the scenes", memory_limit):
        spectra = [spectra_of(each.core) for each in (before, after)]
        scores = compute.pixelwise(
            lambda first, second: detector.scores(first, second, compute), *spectra, dtype=np.float64
        )
        yield Rows(scores.reshape(1, *before.core.shape[1:]), before.y0)


def _limits(model: PairModel, sample: tuple[Spectra, Spectra]) -> tuple[float, float]:
    """The scores up to which a pixel is surely unchanged, and beyond which surely changed."""
    scores = model.detector.scores(*sample, Compute())
    low, most = np.quantile(scores, [_UNCHANGED_SHARE, 1 - _FEWEST_CHANGED]).tolist()
    return low, max(low, min(no_change_threshold(scores), most))


def _preparation(
    model: PairModel, sample: tuple[Spectra, Spectra]
) -> Callable[[Float32, Float32], tuple[Float32, Float32]]:
    """Windows of both dates in the earlier one's radiometry, each band from 0 to 1 on both."""
    later = model.normalisation.apply(sample[1])
    lowest = np.minimum(sample[0].min(axis=0), later.min(axis=0))
    highest = np.maximum(sample[0].max(axis=0), later.max(axis=0))
    scaling = Scaling.of(lowest, highest - lowest)

    def prepare(before: Float32, after: Float32) -> tuple[Float32, Float32]:
        spectra = np.moveaxis(after, 1, -1).astype(np.float64)
        normalised = np.moveaxis(model.normalisation.apply(spectra), -1, 1).astype(np.float32)
        return scaling.apply(before), scaling.apply(normalised)

    return prepare


def _samples(
    pair: ScenePair,
    labels: PseudoLabels,
    prepare: Callable[[Float32, Float32], tuple[Float32, Float32]],
    seed: int,
) -> Samples:
    """Windows of both dates and their classes, 0 changed and 1 unchanged, as many of each as there are."""
    rng = np.random.default_rng(seed)
    changed, unchanged = labels.draw(FOUND, PIXELS, rng), labels.draw(BACKGROUND, PIXELS, rng)
    rows, cols = (np.concatenate([first, second]) for first, second in zip(changed, unchanged, strict=True))
    classes = np.repeat([0, 1], [len(changed[0]), len(unchanged[0])])
    windows = prepare(*(read_windows(each, rows, cols, SIDE // 2) for each in (pair.before, pair.after)))
    return (*map(torch.from_numpy, windows), torch.from_numpy(classes))


def _windows(padded: Float32, y: Index, x: Index) -> Float32:
    """Windows (n, bands, 5, 5) of a padded block (bands, rows, columns) at pixels of its core."""
    reach = np.arange(SIDE)
    found = padded[:, (y[:, None] + reach)[:, :, None], (x[:, None] + reach)[:, None, :]]
    return np.moveaxis(found, 0, 1)
