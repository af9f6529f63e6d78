"""Anomalies and targets by HyperSIGMA's networks, trained on what a training-free detector is sure of.

The published recipe takes its pseudo-labels from a given map: the lowest 30 % of its scores are background,
the highest 0.15 % are anomalies or targets, the rest teaches nothing. The map is the project's own default.
Published: batches of one or two tiles, a rate of 6e-5 and 10 epochs from pretrained encoders. The scores are
the published ones but for anomalies, where the background's logit is subtracted.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hsi_toolkit.detection.anomalies import QuasiLocalRX
from hsi_toolkit.detection.neighbourhood import Rows
from hsi_toolkit.detection.scan import Scan
from hsi_toolkit.detection.targets import TargetDetector
from hsi_toolkit.inference.blending import Tiling, predict_blended
from hsi_toolkit.models.hypersigma.detection import AnomalyNetwork, DetectionConfig, TargetNetwork
from hsi_toolkit.models.hypersigma.encoders import TransformerSize
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import sample_pixels
from hsi_toolkit.spectral.compute import Compute
from hsi_toolkit.training.per_scene import (
    Begun,
    Learning,
    Recipe,
    Samples,
    Start,
    fit,
    flipped,
    mixed_precision,
    tile_side,
)
from hsi_toolkit.training.pseudo_labels import FOUND, UNSURE, PseudoLabels, kept_on_disk
from hsi_toolkit.training.scene_tiles import Scaling, most_tiles, random_pixels, training_tiles

Float32 = NDArray[np.float32]
Spectra = NDArray[np.float64]

LOWEST, HIGHEST = 0.3, 0.0015
"""Shares of the pixels that are taken for background and for found, as published."""

SIDE = 32
"""Pixels of a tile's side, as published; half as many for a small network."""

TILES = 96
BATCH = 4
LEARNING_RATE = 3e-4
WEIGHT_DECAY = 5e-4

_SAMPLE_PIXELS = 20_000


@dataclass(frozen=True, eq=False)
class LearnedDetector:
    """A trained detector of a scene: scores of tiles, their side, and how it came about."""

    predict: Callable[[Float32], Float32]
    side: int
    learning: Learning

    def scores(self, scene: xr.DataArray, progress: Progress) -> Iterator[Rows]:
        """The scores (1, rows, columns) from top to bottom, NaN without data, higher where more is found."""
        tiling = Tiling(self.side, self.side // 2)
        for rows in predict_blended(scene, self.predict, 1, tiling, progress=progress, message="Scoring"):
            yield Rows(rows.data, rows.y0)


def learn_anomalies(scene: xr.DataArray, start: Start, epochs: int, progress: Progress) -> LearnedDetector:
    """Train an ``AnomalyNetwork`` on what the quasi-local RX is sure of.

    Raises:
        HsiError: the scene has too few pixels, or the weights cannot be used.
        Cancelled: the user asked to stop.
    """

    def build(size: TransformerSize) -> AnomalyNetwork:
        return AnomalyNetwork(_config(scene, size))

    begun = start.begin(build, progress.part(0.0, 0.02))
    network = begun.network
    coarse = QuasiLocalRX()
    scan = Scan(scene, progress.part(0.02, 0.2), passes=coarse.passes, compute=Compute.on(start.device))

    def loss(batch: Samples) -> Tensor:
        tiles, labels = batch
        return F.cross_entropy(network(tiles).float(), labels, ignore_index=UNSURE)

    def score(tiles: Tensor) -> Tensor:
        logits = network(tiles).float()
        odds: Tensor = logits[:, 1:] - logits[:, :1]
        return odds

    return _learn(scene, begun, loss, score, coarse.scores(scan), start, epochs, progress.part(0.2, 1.0))


def learn_target(
    scene: xr.DataArray, signatures: Spectra, start: Start, epochs: int, progress: Progress
) -> LearnedDetector:
    """Train a ``TargetNetwork`` on what Kelly's statistic is sure of.

    Args:
        signatures: (n, bands) in the scene's units; of several, the most alike counts.

    Raises:
        HsiError: the scene has too few pixels, or the weights cannot be used.
        Cancelled: the user asked to stop.
    """

    def build(size: TransformerSize) -> TargetNetwork:
        return TargetNetwork(_config(scene, size))

    begun = start.begin(build, progress.part(0.0, 0.02))
    network = begun.network
    wanted = torch.from_numpy(
        _scaling(scene, start.seed).apply(signatures.astype(np.float32)[..., None, None])
    )
    wanted = wanted[..., 0, 0].to(start.torch_device())
    coarse = TargetDetector(signatures)
    scan = Scan(scene, progress.part(0.02, 0.2), passes=coarse.passes, compute=Compute.on(start.device))

    def score(tiles: Tensor) -> Tensor:
        features = network.features(tiles)
        likeness = torch.einsum("nchw,kc->nkhw", features, network.conv_ts(wanted)).float()
        return likeness.amax(dim=1, keepdim=True)

    def loss(batch: Samples) -> Tensor:
        tiles, labels = batch
        # Cross-entropy of the published pair of logits, 1 - p for the background and p for the target.
        logits = 2 * score(tiles)[:, 0] - 1
        sure = labels != UNSURE
        return F.binary_cross_entropy_with_logits(logits[sure], labels[sure].float())

    return _learn(scene, begun, loss, score, coarse.scores(scan), start, epochs, progress.part(0.2, 1.0))


def _learn(
    scene: xr.DataArray,
    begun: "Begun[AnomalyNetwork] | Begun[TargetNetwork]",
    loss: Callable[[Samples], Tensor],
    score: Callable[[Tensor], Tensor],
    coarse: Iterator[Rows],
    start: Start,
    epochs: int,
    progress: Progress,
) -> LearnedDetector:
    scaling, device = _scaling(scene, start.seed), start.torch_device()
    side = begun.network.config.img_size
    shape = int(scene.sizes["y"]), int(scene.sizes["x"])
    with kept_on_disk(coarse, shape) as scores:
        labels = PseudoLabels.of_shares(scores, LOWEST, HIGHEST)
        samples = _samples(scene, labels, side, scaling, start.seed, progress)
    recipe = Recipe(epochs, BATCH, LEARNING_RATE, WEIGHT_DECAY, seed=start.seed)
    curve = fit(begun.network, samples, loss, recipe, augment=flipped, progress=progress.part(0.1, 1.0))

    def predict(tiles: Float32) -> Float32:
        with torch.inference_mode(), mixed_precision(device):
            found = score(torch.from_numpy(scaling.apply(tiles)).to(device))
        scores: Float32 = found.cpu().numpy()
        return scores

    return LearnedDetector(predict, side, Learning(begun.size, begun.taken, curve))


def _samples(
    scene: xr.DataArray,
    labels: PseudoLabels,
    side: int,
    scaling: Scaling,
    seed: int,
    progress: Progress,
) -> Samples:
    """Tiles and their labels: half of them spread over the scene, half around pixels that are found."""
    rng = np.random.default_rng(seed)
    count = min(TILES, most_tiles(scene, side))
    rows, cols = labels.draw(FOUND, count // 2, rng)
    height, width = labels.scores.values.shape
    if len(rows):
        picked = rng.integers(len(rows), size=count // 2)
        # Anywhere in the tile but at its rim.
        shifts = rng.integers(-side // 4, side // 4, size=(2, count // 2))
        rows = np.clip(rows[picked] + shifts[0], 0, height - 1)
        cols = np.clip(cols[picked] + shifts[1], 0, width - 1)
    spread = random_pixels(scene, count - len(rows), seed)
    rows, cols = np.concatenate([rows, spread[0]]), np.concatenate([cols, spread[1]])
    tiles = training_tiles(scene, rows, cols, side, scaling.apply, progress.part(0.0, 0.1))
    return tiles, torch.from_numpy(labels.windows(rows, cols, side))


def _config(scene: xr.DataArray, size: TransformerSize) -> DetectionConfig:
    return DetectionConfig(int(scene.sizes["band"]), tile_side(size, SIDE), size=size)


def _scaling(scene: xr.DataArray, seed: int) -> Scaling:
    """Each band less its mean, in standard deviations."""
    sample = sample_pixels(scene, _SAMPLE_PIXELS, seed)
    return Scaling.of(sample.mean(axis=0, dtype=np.float64), sample.std(axis=0, dtype=np.float64))
