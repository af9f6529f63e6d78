"""Unmixing by HyperSIGMA's network, trained on the scene alone: abundances that know their surroundings.

The network's decoder is a linear mixture that starts from endmembers found, drawn or given, and is trained
with the encoders by the published loss: the spectral angle between a pixel and its reconstruction, 0.35 times
the mean root of the abundances, and 0.1 times the variation of the endmembers. Published: 400 tiles of 64
pixels, batches of 32, 200 epochs at 1e-3. Here the decoder, which starts from good endmembers, learns at a
tenth of the rate of the encoders, which start from nothing: at the full one it left them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.inference.blending import PredictedRows, Tiling, predict_blended
from hsi_toolkit.models.hypersigma.encoders import TransformerSize
from hsi_toolkit.models.hypersigma.unmixing import UnmixingConfig, UnmixingNetwork, sparsity_loss
from hsi_toolkit.progress import Progress
from hsi_toolkit.training.per_scene import Learning, Recipe, Start, fit, flipped, mixed_precision, tile_side
from hsi_toolkit.training.scene_tiles import Scaling, most_tiles, random_pixels, training_tiles
from hsi_toolkit.unmixing.brightness import Brightness
from hsi_toolkit.unmixing.unmixer import Unmixed

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

SPARSITY, VARIATION = 0.35, 0.1

SIDE = 64
"""Pixels of a tile's side, as published; half as many for a small network."""

TILES = 48
BATCH = 4
LEARNING_RATE = 1e-3
PATIENCE = 20

_LARGEST_COSINE = 1 - 1e-6
_SMALLEST_SHARE = 1e-8


@dataclass(frozen=True, eq=False)
class LearnedUnmixer:
    """A trained network and its endmembers (count, bands) in the scene's units, as ``names`` call them.

    ``mixed`` are the endmembers as the network mixes them, ``relative`` is whether each pixel has its own
    brightness.
    """

    names: tuple[str, ...]
    spectra: Float64
    predict: Callable[[Float32], Float32]
    side: int
    mixed: Float64
    relative: bool
    learning: Learning

    def rows(self, scene: xr.DataArray, progress: Progress) -> Iterator[PredictedRows]:
        """Abundances (count, rows, columns) from top to bottom, NaN without data."""
        tiling = Tiling(self.side, self.side // 4)
        return predict_blended(
            scene, self.predict, len(self.names), tiling, progress=progress, message="Unmixing"
        )

    def explain(self, pixels: Float32, abundances: Float32) -> Unmixed:
        """What ``abundances`` (count, n) leave of ``pixels`` (bands, n)."""
        values = torch.from_numpy(pixels).T.to(torch.float64)
        shares = torch.from_numpy(abundances).T.to(torch.float64)
        mixtures = shares @ torch.from_numpy(self.mixed)
        light = torch.ones_like(values[:, 0])
        if self.relative:
            energy = mixtures.square().sum(dim=1).clamp(min=1e-300)
            light = ((values * mixtures).sum(dim=1) / energy).clamp(min=0)
        return Unmixed(shares, values - light[:, None] * mixtures, light)


def learn_unmixing(
    scene: xr.DataArray,
    endmembers: Float64,
    names: tuple[str, ...],
    brightness: Brightness,
    start: Start,
    epochs: int,
    progress: Progress,
) -> LearnedUnmixer:
    """Train an ``UnmixingNetwork`` on tiles of ``scene`` from ``endmembers`` (count, bands).

    With a brightness of each pixel's own, endmembers count by their shape (``"free"``) or keep theirs
    (``"scaled"``); the loss takes no account of brightness in any case.

    Raises:
        HsiError: the weights cannot be used, or training diverges.
        Cancelled: the user asked to stop.
    """
    lengths = np.linalg.norm(endmembers, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        raise ParameterError(
            "An endmember is empty or lacks values in some of the scene's bands.",
            "Leave it out, or mark these bands as bad.",
        )
    shapes = endmembers * (lengths.mean() / lengths) if brightness == "free" else endmembers
    scale = float(np.abs(shapes).max())

    def build(size: TransformerSize) -> UnmixingNetwork:
        side = tile_side(size, SIDE)
        network = UnmixingNetwork(UnmixingConfig(int(scene.sizes["band"]), len(endmembers), side, size=size))
        with torch.no_grad():
            network.decoder.decoder.weight.copy_(torch.from_numpy(shapes / scale).T[..., None, None])
        network.clamp_endmembers()
        return network

    begun = start.begin(build, progress.part(0.0, 0.05))
    network, device, side = begun.network, start.torch_device(), begun.network.config.img_size
    scaling = Scaling.of(np.zeros(len(shapes[0])), np.full(len(shapes[0]), scale))
    rows, cols = random_pixels(scene, min(TILES, most_tiles(scene, side)), start.seed)
    tiles = training_tiles(scene, rows, cols, side, scaling.apply, progress.part(0.05, 0.1))
    curve = fit(
        network,
        (tiles,),
        lambda batch: unmixing_loss(network, batch[0]),
        Recipe(epochs, BATCH, LEARNING_RATE, patience=PATIENCE, seed=start.seed, slow="decoder"),
        augment=flipped,
        after_step=network.clamp_endmembers,
        progress=progress.part(0.1, 1.0),
    )

    def predict(cubes: Float32) -> Float32:
        with torch.inference_mode(), mixed_precision(device):
            found, _ = network(torch.from_numpy(scaling.apply(cubes)).to(device))
        abundances: Float32 = found.float().cpu().numpy()
        return abundances

    learnt = network.endmembers().detach().double().cpu().numpy().T * scale
    if brightness == "even":
        learnt *= _gain(tiles.numpy(), predict, learnt / scale)
    return LearnedUnmixer(
        names=names,
        spectra=learnt * (lengths / lengths.mean()) if brightness == "free" else learnt,
        predict=predict,
        side=side,
        mixed=learnt,
        relative=brightness != "even",
        learning=Learning(begun.size, begun.taken, curve),
    )


def unmixing_loss(network: UnmixingNetwork, tiles: Tensor) -> Tensor:
    """The published loss of tiles (N, bands, H, W), zero where there is no data; NaN without any."""
    abundances, mixtures = network(tiles)
    abundances = abundances.float()
    known = tiles.abs().amax(dim=1) > 0
    cosine = F.cosine_similarity(mixtures.float(), tiles, dim=1)[known]
    # The angle's slope is infinite where two spectra agree, and the root's where an abundance is zero.
    angle = torch.acos(cosine.clamp(-_LARGEST_COSINE, _LARGEST_COSINE)).mean()
    sparse = sparsity_loss(abundances.clamp(min=_SMALLEST_SHARE))
    return angle + SPARSITY * sparse + VARIATION * variation(network.endmembers().float())


def variation(endmembers: Tensor) -> Tensor:
    """Sum of the differences between neighbouring bands of ``endmembers`` (bands, count).

    The published code takes them from endmember to endmember instead (``variation_loss``), which draws
    endmembers together.
    """
    return endmembers.diff(dim=0).abs().sum()


def _gain(tiles: Float32, predict: Callable[[Float32], Float32], endmembers: Float64) -> float:
    """What the mixtures have to be multiplied by to be as bright as the pixels."""
    crossed = energy = 0.0
    for tile in tiles:
        (shares,) = predict(tile[None])
        mixtures = np.einsum("chw,cb->bhw", shares, endmembers)
        crossed += float((tile * mixtures).sum())
        energy += float(np.square(mixtures).sum())
    return crossed / energy if energy and crossed > 0 else 1.0
