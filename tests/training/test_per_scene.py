"""One loop for networks trained on the scene itself."""

import math

import pytest
import torch
from torch import nn

from hsi_toolkit.errors import Cancelled, ModelError, ParameterError
from hsi_toolkit.models.hypersigma.detection import AnomalyNetwork, DetectionConfig
from hsi_toolkit.models.hypersigma.encoders import BASE, SMALL
from hsi_toolkit.progress import Progress
from hsi_toolkit.training import per_scene
from hsi_toolkit.training.per_scene import (
    Curve,
    Learning,
    Recipe,
    Start,
    fit,
    flipped,
    ready_to_predict,
    seeded,
    tile_side,
)

RECIPE = Recipe(epochs=30, batch_size=8, lr=0.05, patience=5)


@pytest.fixture
def line():
    """Points of a line with noise, and a network that can learn it."""
    with seeded(1):
        x = torch.linspace(-1, 1, 64)[:, None]
        y = 3 * x + 0.5 + 0.01 * torch.randn(64, 1)
        return nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.01)), (x, y)


def error(network):
    return lambda batch: (network(batch[0]) - batch[1]).square().mean()


def test_the_network_learns_and_ends_in_its_best_state(line):
    network, samples = line
    curve = fit(network, samples, error(network), RECIPE)
    assert not network.training
    assert curve.held_out[curve.best - 1] == min(curve.held_out) < 0.01 < curve.start
    assert error(network)(samples).item() < 0.01
    assert f"the best of them number {curve.best}" in curve.sentence()


def test_the_same_seed_gives_the_same_weights_and_draws_from_nobody(line):
    network, samples = line
    begin = {name: value.clone() for name, value in network.state_dict().items()}
    before = torch.random.get_rng_state()
    found = []
    for seed in (3, 3, 4):
        network.load_state_dict(begin)
        fit(network, samples, error(network), Recipe(2, 8, 0.05, seed=seed))
        found.append(network[0].weight.item())
    assert found[0] == found[1] != found[2]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_is_slow_learns_at_a_tenth_of_the_rate():
    parts = nn.ModuleDict({name: nn.Linear(1, 1, bias=False) for name in ("quick", "late")})
    for part in parts.values():
        nn.init.zeros_(part.weight)
    samples = (torch.ones(16, 1),)
    # Adam's steps are as long as the rate, whatever the slope.
    recipe = Recipe(3, 8, 0.01, weight_decay=0.0, slow="late")
    fit(parts, samples, lambda batch: -sum(part(batch[0]).mean() for part in parts.values()), recipe)
    assert parts["late"].weight.item() == pytest.approx(0.1 * parts["quick"].weight.item(), rel=1e-3)
    assert parts["quick"].weight.item() > 0.01


def test_training_ends_when_nothing_is_gained_and_keeps_the_start(line):
    network, samples = line
    begin = network[0].weight.item()
    fixed = torch.nn.Parameter(torch.zeros(1))
    curve = fit(network, samples, lambda batch: fixed.sum() + 0 * network(batch[0]).sum(), RECIPE)
    assert (curve.epochs, curve.best) == (RECIPE.patience, 0)
    assert network[0].weight.item() == begin
    assert "none was better than the start" in curve.sentence()


def test_batches_of_which_nothing_is_known_teach_nothing(line):
    network, (x, y) = line
    y[::2] = math.nan

    def loss(batch):
        return (network(batch[0]) - batch[1])[batch[1].isfinite()].square().mean()

    curve = fit(network, (x, y), loss, Recipe(30, 1, 0.02))
    assert network[0].weight.item() == pytest.approx(3, abs=0.1)
    assert all(map(math.isfinite, curve.training))


def test_an_infinite_loss_is_divergence(line):
    network, samples = line
    with pytest.raises(ModelError, match="diverged"):
        fit(network, samples, lambda batch: network(batch[0]).sum() * math.inf, RECIPE)


def test_nothing_to_train_on_is_said(line):
    network, _ = line
    with pytest.raises(ParameterError, match="nothing to train on"):
        fit(network, (torch.zeros(0, 1),), lambda batch: batch[0].sum(), RECIPE)


def test_a_cancel_acts_at_the_next_batch(line):
    network, samples = line
    calls = []

    class Asked(Progress):
        def cancelled(self):
            return len(calls) >= 3

    def loss(batch):
        calls.append(1)
        return error(network)(batch)

    with pytest.raises(Cancelled):
        fit(network, samples, loss, RECIPE, progress=Asked())
    assert len(calls) == 3


def test_tiles_of_a_batch_are_turned_together():
    tiles, labels = torch.arange(2 * 9.0).reshape(2, 1, 3, 3), torch.arange(2 * 9.0).reshape(2, 3, 3)
    seen = set()
    for seed in range(40):
        turned, same = flipped((tiles, labels), torch.Generator().manual_seed(seed))
        assert torch.equal(turned[:, 0], same)
        seen.add(tuple(same[0].ravel().tolist()))
    assert len(seen) == 8


def test_a_start_gives_the_same_network_for_the_same_seed():
    def build(size):
        return AnomalyNetwork(DetectionConfig(6, tile_side(size, 8), tokens=4, size=size))

    first, again, other = (Start(seed=seed).begin(build, Progress()) for seed in (1, 1, 2))
    weight = "conv_features.weight"
    assert torch.equal(first.network.state_dict()[weight], again.network.state_dict()[weight])
    assert not torch.equal(first.network.state_dict()[weight], other.network.state_dict()[weight])
    assert (first.size, first.taken) == ("small", ())
    assert Learning("small", (), Curve()).facts()["Network"] == "HyperSIGMA small, from random weights"


def test_a_size_that_does_not_exist_is_refused():
    with pytest.raises(ParameterError, match="'gigantic'"):
        Start(size="gigantic").begin(lambda size: nn.Linear(1, 1), Progress())


def test_small_networks_see_half_the_side():
    assert (tile_side(SMALL, 32), tile_side(BASE, 32)) == (16, 32)


def test_scores_of_a_network_that_is_ready_to_predict_differ_by_less_than_a_hundredth(monkeypatch):
    with seeded(0):
        network = AnomalyNetwork(DetectionConfig(6, 8, tokens=4, size=SMALL)).eval()
        tiles = torch.rand(2, 6, 8, 8)
    scores = {}
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(per_scene, "fast_dtype", lambda device, dtype=dtype: dtype)
        with torch.inference_mode():
            scores[dtype] = ready_to_predict(network)(tiles)
    assert network.spat_encoder.blocks[0].mlp.fc1.weight.dtype is torch.bfloat16
    difference = (scores[torch.bfloat16] - scores[torch.float32]).abs().max()
    assert 0 < difference < 0.01 * scores[torch.float32].abs().max()
