"""The folded forward passes give the numbers of the plain modules."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hsi_toolkit.inference.feature_major import FeatureMajorForward
from hsi_toolkit.inference.folding import FoldedNetwork
from hsi_toolkit.inference.token_major import TokenMajorForward
from hsi_toolkit.models.classifier import pixel_logits
from hsi_toolkit.models.hsimae import HSIMAEConfig, HSIViT
from tests.inference.conftest import random_network

FORWARDS = [FeatureMajorForward, TokenMajorForward]
TINY = HSIMAEConfig(bands=16, b_patch_size=4, embed_dim=32, num_heads=2, depth=3, s_depth=2)
CONFIGS = {
    "both branches": TINY,
    "joint blocks alone": HSIMAEConfig(bands=16, embed_dim=32, num_heads=2, depth=2, s_depth=0),
    "branches alone": HSIMAEConfig(bands=16, embed_dim=32, num_heads=2, depth=2, s_depth=2),
    "wider windows": HSIMAEConfig(img_size=15, embed_dim=32, num_heads=2, depth=2, s_depth=1),
    "small": HSIMAEConfig.of_size("small"),
}


def windows_of(config: HSIMAEConfig, n: int = 7) -> torch.Tensor:
    shape = (n, config.bands, config.img_size, config.img_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_those_of_the_module(forward: type, name: str) -> None:
    network, windows = random_network(CONFIGS[name]), windows_of(CONFIGS[name])
    with torch.inference_mode():
        expected = network(windows.unsqueeze(1))
        found = forward(FoldedNetwork.of(network))(windows)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert expected.std() > 0.5


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("case", ["hsivit_s2", "hsivit_s0_bands16", "hsivit_img15"])
def test_logits_are_those_of_the_published_code(shared: Path, forward: type, case: str) -> None:
    folder = shared / "parity" / "hsimae"
    tensors = load_file(folder / f"{case}.safetensors")
    description = json.loads((folder / f"{case}.json").read_text())["config"]
    known = set(HSIMAEConfig.__dataclass_fields__)
    config = HSIMAEConfig(**{key: value for key, value in description.items() if key in known})
    network = HSIViT(config, description["num_class"]).eval()
    prefix = "state_dict."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    with torch.inference_mode():
        found = forward(FoldedNetwork.of(network))(tensors["input.imgs"].squeeze(1))
    torch.testing.assert_close(found, tensors["output.logits"], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("forward", FORWARDS)
def test_single_pixels_take_the_middle_cell_alone(forward: type) -> None:
    network, pixels = random_network(TINY), torch.randn(9, 16, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected = pixel_logits(network, pixels)
        found = forward(FoldedNetwork.of(network).of_pixels())(pixels[:, :, None, None])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("forward", FORWARDS)
def test_sixteen_bits_stay_close(forward: type) -> None:
    network, windows = random_network(TINY), windows_of(TINY, 64)
    folded = FoldedNetwork.of(network)
    with torch.inference_mode():
        whole, half = forward(folded)(windows), forward(folded, torch.bfloat16)(windows)
    assert half.dtype == torch.float32
    assert (half - whole).abs().max() < 0.05 * whole.std()


def test_eight_bits_stay_close_also_where_activations_are_far_apart() -> None:
    network, windows = random_network(TINY), windows_of(TINY, 64)
    with torch.no_grad():
        for block in (*network.blocks_1, *network.blocks_2, *network.blocks):
            block.norm1.weight[0] = 8.0
            block.mlp.w1.weight[0] *= 8.0
    folded = FoldedNetwork.of(network)
    with torch.inference_mode():
        whole = FeatureMajorForward(folded)(windows)
        eight = FeatureMajorForward(folded, torch.int8)(windows)
    assert eight.dtype == torch.float32
    assert (eight - whole).abs().max() < 0.2 * whole.std()


def test_a_smaller_batch_after_a_larger_one_reuses_its_buffers() -> None:
    network, windows = random_network(TINY), windows_of(TINY, 12)
    forward = FeatureMajorForward(FoldedNetwork.of(network))
    with torch.inference_mode():
        together = forward(windows)
        parts = torch.cat([forward(windows[:5]), forward(windows[5:])])
    torch.testing.assert_close(parts, together, atol=1e-5, rtol=1e-5)


def test_arithmetic_of_base_is_the_known_figure() -> None:
    network = FoldedNetwork.of(HSIViT(HSIMAEConfig.of_size("base"), 9))
    assert network.gflop() == pytest.approx(0.30, abs=0.005)
