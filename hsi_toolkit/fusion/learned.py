"""Super-resolution of a scene without a guide, by HyperSIGMA's network trained on the scene itself.

The published networks learn from sharp scenes made coarse. Here the scene is the sharp one: the network
learns to restore it from its own block means, and is then applied to the scene (as Shocher, Cohen and Irani
2018, "Zero-Shot Super-Resolution Using Deep Internal Learning", CVPR). Detail comes from what the scene
looks like, not from what lies in a pixel. The published loss adds the spectral angle and edges to the
absolute error; with so few tiles these made it worse.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hsi_toolkit.errors import SceneError
from hsi_toolkit.inference.blending import PredictedRows, Tiling, predict_blended
from hsi_toolkit.models.hypersigma.encoders import TransformerSize
from hsi_toolkit.models.hypersigma.superresolution import (
    FusionSuperResolution,
    superresolution_config,
)
from hsi_toolkit.progress import Progress
from hsi_toolkit.training.per_scene import (
    Learning,
    Recipe,
    Samples,
    Start,
    fit,
    flipped,
    mixed_precision,
    tile_side,
)
from hsi_toolkit.training.scene_tiles import (
    Scaling,
    most_tiles,
    padded,
    quantile_scaling,
    random_pixels,
    training_tiles,
)

Float32 = NDArray[np.float32]

SIDE = 32
"""Pixels of a coarse tile's side, as published; half as many for a small network."""

TILES = 64
BATCH = 2
LEARNING_RATE = 2e-4
WEIGHT_DECAY = 1e-4


@dataclass(frozen=True, eq=False)
class LearnedSharpener:
    """A network that makes the pixels of a scene ``scale`` times smaller."""

    network: FusionSuperResolution
    scale: int
    scaling: Scaling
    learning: Learning
    device: torch.device

    def rows(self, scene: xr.DataArray, progress: Progress) -> Iterator[PredictedRows]:
        """The sharp scene (bands, rows, columns) from top to bottom, in its units; ``y0`` counts its rows."""
        bands, scale = int(scene.sizes["band"]), self.scale
        side = self.network.config.img_size
        tiling = Tiling(side, side // 4, batch=4)
        # A coarse pixel carries its sharp ones as channels until the tiles are joined.
        for rows in predict_blended(
            scene, self._predict, bands * scale**2, tiling, progress=progress, message="Sharpening"
        ):
            height, width = rows.data.shape[1:]
            parts = rows.data.reshape(bands, scale, scale, height, width).transpose(0, 3, 1, 4, 2)
            yield PredictedRows(parts.reshape(bands, height * scale, width * scale), rows.y0 * scale)

    def _predict(self, tiles: Float32) -> Float32:
        with torch.inference_mode(), mixed_precision(self.device):
            coarse = torch.from_numpy(self.scaling.apply(tiles)).to(self.device)
            sharp = consistent(_sharpened(self.network, coarse, self.scale), coarse)
        unscaled = self.scaling.undo(sharp.cpu().numpy())
        return F.pixel_unshuffle(torch.from_numpy(unscaled), self.scale).numpy()


def learn_sharpener(
    scene: xr.DataArray, scale: int, start: Start, epochs: int, progress: Progress
) -> LearnedSharpener:
    """Train a network on the scene and its own block means.

    Args:
        scene: (band, y, x), good bands alone.
        scale: 2, 4 or 8.

    Raises:
        SceneError: the scene is smaller than a sharp tile, or has no data.
        ModelError: the weights cannot be used.
        Cancelled: the user asked to stop.
    """

    def build(size: TransformerSize) -> FusionSuperResolution:
        channels = max(int(scene.sizes["band"]), size.heads)
        config = superresolution_config(channels, tile_side(size, SIDE), size=size)
        network = FusionSuperResolution(config, scale)
        _begin_with_bicubic(network)
        return network

    begun = start.begin(build, progress.part(0.0, 0.02))
    network, device = begun.network, start.torch_device()
    side = network.config.img_size * scale
    if min(scene.sizes["y"], scene.sizes["x"]) < side:
        raise SceneError(
            f"The scene has {scene.sizes['y']} × {scene.sizes['x']} pixels; training for a scale of {scale} "
            f"takes {side} × {side}.",
            "Choose a smaller scale, or give a guide.",
        )
    scaling = quantile_scaling(scene, start.seed)
    rows, cols = random_pixels(scene, min(TILES, most_tiles(scene, side)), start.seed)
    sharp = training_tiles(scene, rows, cols, side, scaling.apply, progress.part(0.02, 0.1))

    def loss(batch: Samples) -> Tensor:
        (wanted,) = batch
        coarse = F.avg_pool2d(wanted, scale)
        return F.l1_loss(_sharpened(network, coarse, scale), wanted)

    recipe = Recipe(epochs, BATCH, LEARNING_RATE, WEIGHT_DECAY, seed=start.seed)
    curve = fit(network, (sharp,), loss, recipe, augment=flipped, progress=progress.part(0.1, 1.0))
    learning = Learning(begun.size, begun.taken, curve)
    return LearnedSharpener(network, scale, scaling, learning, device)


def _sharpened(network: FusionSuperResolution, coarse: Tensor, scale: int) -> Tensor:
    bands = coarse.shape[1]
    coarse = padded(coarse, network.config.bands)
    sharp: Tensor = network(coarse, enlarged(coarse, scale))
    return sharp[:, :bands].float()


def enlarged(coarse: Tensor, scale: int) -> Tensor:
    """Tiles (N, bands, H, W) made ``scale`` times larger by bicubic interpolation."""
    return F.interpolate(coarse, scale_factor=scale, mode="bicubic", align_corners=False)


def consistent(sharp: Tensor, coarse: Tensor) -> Tensor:
    """Sharp tiles whose block means are nearer to the coarse ones (a step of back-projection, Irani 1991)."""
    scale = sharp.shape[-1] // coarse.shape[-1]
    return sharp + enlarged(coarse - F.avg_pool2d(sharp, scale), scale)


def _begin_with_bicubic(network: FusionSuperResolution) -> None:
    """Let the last convolutions pass the bicubic image on: what is learned is what it lacks."""
    bands = network.config.bands
    for layer in (network.skip_conv, network.conv_tail):
        nn.init.zeros_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    nn.init.dirac_(network.skip_conv.weight)
    nn.init.dirac_(network.conv_tail.weight[:, bands:])
