"""Which parameters decay and which learn more slowly."""

import pytest
from torch import nn

from hsi_toolkit.training.parameter_groups import parameter_groups


def network() -> nn.Module:
    module = nn.Module()
    module.patch_embed = nn.Linear(2, 2)
    module.blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    module.head = nn.Linear(2, 2)
    return module


def test_weights_decay_and_vectors_do_not() -> None:
    groups = parameter_groups(network().named_parameters(), lr=1e-3, weight_decay=0.1, depth=3)
    assert {group.decays: group.weight_decay for group in groups} == {True: 0.1, False: 0.0}
    assert {group.lr for group in groups} == {1e-3}
    assert all(name.endswith("weight") == group.decays for group in groups for name in group.names)


def test_layers_learn_the_faster_the_later_they_come() -> None:
    groups = parameter_groups(
        network().named_parameters(), lr=1.0, weight_decay=0.0, depth=3, layer_decay=0.5
    )
    rates = {name: group.lr for group in groups for name in group.names}
    names = ("patch_embed", "blocks.0", "blocks.1", "blocks.2", "head")
    assert [rates[f"{name}.weight"] for name in names] == pytest.approx([1 / 16, 1 / 8, 1 / 4, 1 / 2, 1])
