"""Denoising by HyperSIGMA's network: a released denoiser as it is, or one trained on the scene itself.

The published denoisers learn from clean scenes with noise added. A scene that needs denoising is not clean:
here the network sees its tiles with more noise of the kind measured in it, and learns to give them back as
they were (as Moran et al. 2020, "Noisier2Noise", arXiv:1910.11908, without their correction). What no other
pixel and band tells of a value, noise above all, cannot be given back.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hsi_toolkit.denoising.noise import noise_levels
from hsi_toolkit.denoising.statistics import SceneStatistics
from hsi_toolkit.errors import ModelError
from hsi_toolkit.inference.blending import PredictedRows, Tiling, predict_blended
from hsi_toolkit.models import zoo
from hsi_toolkit.models.bundle import ModelBundle
from hsi_toolkit.models.hypersigma.denoising import FusionDenoiser, SpatialDenoiser, denoising_config
from hsi_toolkit.models.hypersigma.description import restored
from hsi_toolkit.models.hypersigma.encoders import TransformerSize
from hsi_toolkit.models.hypersigma.restoration import RestorationConfig
from hsi_toolkit.models.importing import DENOISER, SPATIAL_DENOISER, Released, read_released
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene import sample_pixels
from hsi_toolkit.scene.blocks import values_of
from hsi_toolkit.training.per_scene import (
    Learning,
    Recipe,
    Samples,
    Start,
    fit,
    flipped,
    mixed_precision,
    ready_to_predict,
    tile_side,
)
from hsi_toolkit.training.scene_tiles import Scaling, most_tiles, random_pixels, training_tiles

Float32 = NDArray[np.float32]

SIDE = 64
"""Pixels of a tile's side, as published; half as many for a small network."""

TILES = 64
BATCH = 4
LEARNING_RATE = 1e-4
WEIGHT_DECAY = 1e-4

STRENGTHS = 0.5, 2.0
"""Added noise in units of the measured one, drawn anew for every tile."""

QUANTILES = 0.001, 0.999
"""Values of a band that become 0 and 1."""

_SAMPLE_PIXELS = 20_000
_NOISE_LINES = 256
_DENOISERS: dict[str, type[FusionDenoiser] | type[SpatialDenoiser]] = {
    DENOISER: FusionDenoiser,
    SPATIAL_DENOISER: SpatialDenoiser,
}


@dataclass(frozen=True, eq=False)
class LearnedDenoiser:
    """A denoiser of a scene; ``learning`` is None for a released one, which is not trained."""

    network: nn.Module
    scaling: Scaling
    side: int
    learning: Learning | None
    device: torch.device

    def rows(self, scene: xr.DataArray, progress: Progress) -> Iterator[PredictedRows]:
        """The denoised scene from top to bottom, in its units."""
        tiling = Tiling(self.side, self.side // 4)
        bands = int(scene.sizes["band"])
        yield from predict_blended(
            scene, self._predict, bands, tiling, progress=progress, message="Denoising"
        )

    def _predict(self, tiles: Float32) -> Float32:
        with torch.inference_mode(), mixed_precision(self.device):
            clean = self.network(torch.from_numpy(self.scaling.apply(tiles)).to(self.device))
        return self.scaling.undo(clean.float().cpu().numpy())


def learn_denoiser(scene: xr.DataArray, start: Start, epochs: int, progress: Progress) -> LearnedDenoiser:
    """A released denoiser, where ``start.weights`` are one; else a network trained on the scene.

    Args:
        scene: (band, y, x), good bands alone.

    Raises:
        ModelError: the weights cannot be used, or a released denoiser is for another number of bands.
        ParameterError: the scene has no data.
        Cancelled: the user asked to stop.
    """
    sample = sample_pixels(scene, _SAMPLE_PIXELS, start.seed)
    low, high = np.quantile(sample, QUANTILES, axis=0)
    scaling = Scaling.of(low, high - low)
    device = start.torch_device()
    released = _released(start, progress.part(0.0, 0.02))
    if released is not None:
        network, config = released
        _check_bands(config, scene)
        return LearnedDenoiser(ready_to_predict(network.to(device)), scaling, config.img_size, None, device)

    def build(size: TransformerSize) -> FusionDenoiser:
        network = FusionDenoiser(denoising_config(int(scene.sizes["band"]), tile_side(size, SIDE), size=size))
        _begin_with_identity(network)
        return network

    begun = start.begin(build, progress.part(0.0, 0.02))
    side = begun.network.config.img_size
    count = min(TILES, most_tiles(scene, side))
    rows, cols = random_pixels(scene, count, start.seed)
    tiles = training_tiles(scene, rows, cols, side, scaling.apply, progress.part(0.02, 0.1))
    sigma = torch.from_numpy(_measured_noise(scene) / scaling.scale)
    noise = sigma.float()[:, None, None].to(device)

    def loss(batch: Samples) -> Tensor:
        (given,) = batch
        strength = torch.empty(len(given), 1, 1, 1, device=given.device).uniform_(*STRENGTHS)
        disturbed = given + strength * noise * torch.randn_like(given)
        return F.mse_loss(begun.network(disturbed).float(), given)

    recipe = Recipe(epochs, BATCH, LEARNING_RATE, WEIGHT_DECAY, seed=start.seed)
    curve = fit(begun.network, (tiles,), loss, recipe, augment=flipped, progress=progress.part(0.1, 1.0))
    learning = Learning(begun.size, begun.taken, curve)
    return LearnedDenoiser(begun.network, scaling, side, learning, device)


def _begin_with_identity(network: FusionDenoiser) -> None:
    """Let the last two convolutions pass the image on: what is learned is what to change."""
    bands = network.config.bands
    for layer in (network.conv3_reconstruct, network.conv_tail):
        nn.init.zeros_(layer.weight)
        nn.init.dirac_(layer.weight[:, :bands])
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _measured_noise(scene: xr.DataArray) -> NDArray[np.float64]:
    """Standard deviation (bands,) of the noise in the middle lines of the scene."""
    height = int(scene.sizes["y"])
    lines = min(height, _NOISE_LINES)
    top = (height - lines) // 2
    strip = values_of(scene.isel(y=slice(top, top + lines)))
    statistics = SceneStatistics(*strip.shape)
    statistics.update(strip)
    return noise_levels(statistics.differences)


def _released(start: Start, progress: Progress) -> tuple[nn.Module, RestorationConfig] | None:
    """The denoiser that the weights are, or None where they are encoders, or none."""
    if start.weights is None or not isinstance(start.weights, str) or "," in start.weights:
        return None
    path = zoo.resolve(start.weights, progress=progress)
    if path.suffix == ".safetensors":
        bundle = ModelBundle.load(path)
        found = Released(bundle.metadata.kind, bundle.metadata.architecture, bundle.part("network"))
    else:
        found = read_released(path)
    kind = _DENOISERS.get(found.architecture.name)
    if kind is None:
        return None
    config = restored(RestorationConfig, found.architecture.config)
    network = kind(config)
    try:
        network.load_state_dict(dict(found.state_dict))
    except RuntimeError as error:
        raise ModelError(
            f"{path} is damaged: its tensors do not fit.", "Fetch or import it again."
        ) from error
    return network, config


def _check_bands(config: RestorationConfig, scene: xr.DataArray) -> None:
    bands = int(scene.sizes["band"])
    if config.bands != bands:
        raise ModelError(
            f"The denoiser is for {config.bands} bands, and {bands} bands of the scene are good.",
            "Give pretrained encoders as weights, or none, and a network is trained on the scene.",
        )
