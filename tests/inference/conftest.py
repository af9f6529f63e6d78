"""Small classifiers with random weights, and scenes for them."""

from collections.abc import Callable

import numpy as np
import pytest
import rioxarray  # noqa: F401  registers the .rio accessor
import torch
import xarray as xr
from torch import Tensor

from hsi_toolkit.models.classifier import SceneClassifier
from hsi_toolkit.models.experts import ExpertStack, ForestExpert, LinearExpert, SpectralFeatures
from hsi_toolkit.models.hsimae import HSIMAEConfig, HSIViT
from hsi_toolkit.models.spatial_filter import SpatialFilter

BANDS = 12
CLASSES = 3

MakeClassifier = Callable[..., SceneClassifier]
MakeScene = Callable[..., xr.DataArray]


def random_network(
    config: HSIMAEConfig, n_classes: int = CLASSES, seed: int = 0, spread: float = 0.15
) -> HSIViT:
    """A network all of whose weights matter: nothing is zero, and every class wins somewhere."""
    generator = torch.Generator().manual_seed(seed)
    network = HSIViT(config, n_classes)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * spread
            norm_scale = "norm" in name and name.endswith("weight")
            parameter.copy_(1 + noise if norm_scale else noise)
        network.cls_head.weight.mul_(3)
        shape = (64, 1, config.bands, config.img_size, config.img_size)
        network.cls_head.bias.sub_(network(torch.randn(shape, generator=generator)).mean(dim=0))
    return network.eval()


def _experts(features: int, n_classes: int, generator: torch.Generator) -> ExpertStack:
    def linear(size: int) -> LinearExpert:
        weight = torch.randn(size, n_classes, generator=generator) * 0.3
        return LinearExpert(torch.zeros(size), torch.ones(size), weight, torch.zeros(n_classes))

    shares = torch.softmax(torch.randn(3, n_classes, generator=generator), dim=1)
    forest = ForestExpert(
        feature=torch.zeros(3, dtype=torch.int32),
        threshold=torch.tensor([0.0, 0.0, 0.0]),
        branches=torch.tensor([[1, 2], [1, 1], [2, 2]], dtype=torch.int32),
        values=shares,
        roots=torch.tensor([0]),
        depth=1,
    )
    return ExpertStack(linear(BANDS), linear(2 * features), forest)


def small_classifier(
    *, context: bool = True, experts: bool = True, n_classes: int = CLASSES
) -> SceneClassifier:
    """A classifier of ``BANDS`` bands that calls every class somewhere, the same each time."""
    config = HSIMAEConfig(bands=16, b_patch_size=4, embed_dim=32, num_heads=2, depth=3, s_depth=2)
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) / shape[0] ** 0.5

    spectral = SpectralFeatures(
        mean=torch.zeros(BANDS),
        matrix=random(BANDS, config.bands),
        shape_mean=torch.zeros(BANDS),
        shape_matrix=random(BANDS, config.bands),
        floor=torch.tensor(0.1),
    )
    stack = _experts(config.bands, n_classes, generator) if experts else None
    return SceneClassifier(
        random_network(config, n_classes),
        spectral,
        stack,
        SpatialFilter(sigma=1.0, amount=2.0),
        bands=torch.arange(BANDS),
        n_bands=BANDS,
        context=context,
    ).eval()


def small_scene(
    height: int = 14, width: int = 17, *, smooth: bool = False, bands: int = BANDS
) -> xr.DataArray:
    """A scene in memory, of noise or of something smooth."""
    if smooth:
        y, x = np.mgrid[:height, :width] / 25.0
        phase = np.arange(bands)[:, None, None]
        values = np.sin(x + phase) + np.cos(y * 1.3 - phase)
    else:
        values = np.random.default_rng(0).normal(size=(bands, height, width))
    scene = xr.DataArray(values.astype(np.float32), dims=("band", "y", "x"), attrs={"source": "memory"})
    return scene.assign_coords(good=("band", np.ones(bands, bool)))


@pytest.fixture
def make_classifier() -> MakeClassifier:
    return small_classifier


@pytest.fixture
def make_scene() -> MakeScene:
    return small_scene
