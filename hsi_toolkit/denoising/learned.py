"""Denoising by HyperSIGMA's network: a released denoiser as it is, or one trained on the scene itself.

The published denoisers learn from clean scenes with noise added. A scene that needs denoising is not clean:
here it is what the default method makes of it, and the noise added is of the strength measured. The network
sees the scene's components instead of its bands: they are few, hold the signal, and have noise of the same
strength. It says what to take from them, which before training is nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hsi_toolkit.denoising.collaborative import collaborative_filter
from hsi_toolkit.denoising.components import SceneComponents
from hsi_toolkit.denoising.denoiser import NoiseModel
from hsi_toolkit.errors import ModelError
from hsi_toolkit.inference.blending import PredictedRows, Tiling, predict_blended
from hsi_toolkit.models import zoo
from hsi_toolkit.models.bundle import ModelBundle
from hsi_toolkit.models.hypersigma.denoising import FusionDenoiser, SpatialDenoiser, denoising_config
from hsi_toolkit.models.hypersigma.description import restored
from hsi_toolkit.models.hypersigma.encoders import BASE, TransformerSize
from hsi_toolkit.models.hypersigma.restoration import RestorationConfig
from hsi_toolkit.models.importing import DENOISER, SPATIAL_DENOISER, Released, read_released
from hsi_toolkit.progress import Progress
from hsi_toolkit.scene.blocks import mirrored, values_of
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
from hsi_toolkit.training.scene_tiles import Scaling, most_tiles, padded, quantile_scaling, random_pixels

Float32 = NDArray[np.float32]
Index = NDArray[np.intp]

SIDE = 64
"""Pixels of a tile's side, as published; half as many for a small network."""

TOKENS, FEW_TOKENS = 100, 16
"""Spectral tokens, as published and of a network smaller than the published ones: components are few."""

TILES = 64
BATCH = 4
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-4

_COMPRESSION = 0.25
"""Components are divided by this power of their variance: the strongest would drown the others, and their
noise would vanish if all were brought to the same strength."""

_SURROUNDINGS = 16
"""Pixels around a training tile that the default method sees as well."""

_DENOISERS: dict[str, type[FusionDenoiser] | type[SpatialDenoiser]] = {
    DENOISER: FusionDenoiser,
    SPATIAL_DENOISER: SpatialDenoiser,
}


class SceneDenoiser(Protocol):
    """A denoiser of one scene; ``learning`` is None for a released one, which is not trained."""

    @property
    def learning(self) -> Learning | None:
        """How its network came about."""
        ...

    def rows(self, progress: Progress) -> Iterator[PredictedRows]:
        """The denoised scene from top to bottom, in its units, NaN without data."""
        ...


@dataclass(frozen=True, eq=False)
class ReleasedDenoiser:
    """A released denoiser of tiles of the scene's bands."""

    network: nn.Module
    scene: xr.DataArray
    scaling: Scaling
    side: int
    device: torch.device
    learning: None = None

    def rows(self, progress: Progress) -> Iterator[PredictedRows]:
        """The denoised scene from top to bottom; pixels that lack a band are NaN."""
        bands = int(self.scene.sizes["band"])
        yield from predict_blended(
            self.scene, self._predict, bands, _tiling(self.side), progress=progress, message="Denoising"
        )

    def _predict(self, tiles: Float32) -> Float32:
        with torch.inference_mode(), mixed_precision(self.device):
            clean = self.network(torch.from_numpy(self.scaling.apply(tiles)).to(self.device))
        return self.scaling.undo(clean.float().cpu().numpy())


@dataclass(frozen=True, eq=False)
class LearnedDenoiser:
    """A denoiser of a scene's components, trained on them; ``scale`` is theirs, (components, 1, 1)."""

    network: FusionDenoiser
    components: SceneComponents
    scale: Tensor
    learning: Learning

    def rows(self, progress: Progress) -> Iterator[PredictedRows]:
        """The denoised scene from top to bottom; only what was missing is NaN."""
        images = self.components.as_scene()
        count, tiling = int(images.sizes["band"]), _tiling(self.network.config.img_size)
        for rows in predict_blended(
            images, self._predict, count, tiling, progress=progress, message="Denoising"
        ):
            yield PredictedRows(self.components.restored(rows.data, rows.y0), rows.y0)

    def _predict(self, tiles: Float32) -> Float32:
        device = self.scale.device
        with torch.inference_mode(), mixed_precision(device):
            noisy = torch.from_numpy(np.nan_to_num(tiles)).to(device)
            clean = cleaned(self.network, noisy, self.scale)
        found: Float32 = clean.cpu().numpy()
        return found


def cleaned(network: FusionDenoiser, components: Tensor, scale: Tensor) -> Tensor:
    """Tiles (N, components, H, W), whose noise has unit variance, less what ``network`` takes for noise."""
    noise: Tensor = network(padded(components / scale, network.config.bands))
    return components - noise[:, : components.shape[1]].float()


def released_denoiser(scene: xr.DataArray, start: Start, progress: Progress) -> ReleasedDenoiser | None:
    """The released denoiser that ``start.weights`` are; None where they are encoders, or none.

    Args:
        scene: (band, y, x), good bands alone.

    Raises:
        ModelError: the weights cannot be used, or the denoiser is for another number of bands.
        SceneError: the scene has no data.
    """
    found = _released(start, progress)
    if found is None:
        return None
    network, config = found
    _check_bands(config, scene)
    device = start.torch_device()
    scaling = quantile_scaling(scene, start.seed)
    return ReleasedDenoiser(ready_to_predict(network.to(device)), scene, scaling, config.img_size, device)


def learn_denoiser(
    scene: xr.DataArray, model: NoiseModel, start: Start, epochs: int, progress: Progress
) -> LearnedDenoiser:
    """A network trained to clean the scene's components of noise that was added to them.

    Args:
        scene: (band, y, x), good bands alone.
        model: its noise, signal and faults.

    Raises:
        ModelError: the weights cannot be used, or training diverges.
        Cancelled: the user asked to stop.
    """
    components = SceneComponents(scene, model)
    images = components.as_scene()

    def build(size: TransformerSize) -> FusionDenoiser:
        tokens = FEW_TOKENS if size.dim < BASE.dim else TOKENS
        channels = max(components.shape[0], size.heads)
        network = FusionDenoiser(denoising_config(channels, tile_side(size, SIDE), tokens, size))
        _begin_with_nothing(network)
        return network

    begun = start.begin(build, progress.part(0.0, 0.02))
    network, device, side = begun.network, start.torch_device(), begun.network.config.img_size
    count = min(TILES, most_tiles(images, side))
    tiles = _clean_tiles(images, count, side, start, progress.part(0.02, 0.1))
    scale = torch.from_numpy(model.subspace.power**_COMPRESSION).float()[:, None, None].to(device)

    def loss(batch: Samples) -> Tensor:
        (clean,) = batch
        return F.mse_loss(cleaned(network, clean + torch.randn_like(clean), scale), clean)

    recipe = Recipe(epochs, BATCH, LEARNING_RATE, WEIGHT_DECAY, seed=start.seed)
    curve = fit(network, (tiles,), loss, recipe, augment=flipped, progress=progress.part(0.1, 1.0))
    return LearnedDenoiser(network, components, scale, Learning(begun.size, begun.taken, curve))


def _tiling(side: int) -> Tiling:
    return Tiling(side, side // 4)


def _begin_with_nothing(network: FusionDenoiser) -> None:
    """Let the last convolution pass on what the one before it gives, which is nothing at first."""
    nn.init.zeros_(network.conv3_reconstruct.weight)
    nn.init.dirac_(network.conv_tail.weight)
    for layer in (network.conv3_reconstruct, network.conv_tail):
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _clean_tiles(images: xr.DataArray, count: int, side: int, start: Start, progress: Progress) -> Tensor:
    """Tiles (count, components, side, side) as the default method cleans them, zero without data.

    They lie within the scene; one smaller than a tile is mirrored.
    """
    height, width = int(images.sizes["y"]), int(images.sizes["x"])
    inner = images.isel(y=slice(max(1, height - side + 1)), x=slice(max(1, width - side + 1)))
    device = start.torch_device()
    out = torch.empty(count, images.sizes["band"], side, side)
    for number, (top, left) in enumerate(zip(*random_pixels(inner, count, start.seed), strict=True)):
        progress.check()
        progress.report(number / count, "Cleaning training tiles")
        y, x = max(0, top - _SURROUNDINGS), max(0, left - _SURROUNDINGS)
        below, right = top + side + _SURROUNDINGS, left + side + _SURROUNDINGS
        noisy = torch.from_numpy(values_of(images.isel(y=slice(y, below), x=slice(x, right))))
        clean = collaborative_filter(torch.nan_to_num(noisy).to(device), progress).cpu()
        clean[noisy.isnan()] = 0
        rows = mirrored(np.arange(top, top + side), height) - y
        columns = mirrored(np.arange(left, left + side), width) - x
        out[number] = clean[:, rows[:, None], columns]
    return out


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
