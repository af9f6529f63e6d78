"""What a task takes from released files, and which files are refused."""

import argparse
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hsi_toolkit.errors import ModelError
from hsi_toolkit.models.hypersigma.change import ChangeConfig, ChangeNetwork
from hsi_toolkit.models.hypersigma.classification import ClassifierConfig, FusionClassifier, SpatialClassifier
from hsi_toolkit.models.hypersigma.denoising import SpatialDenoiser, denoising_config
from hsi_toolkit.models.hypersigma.encoders import TransformerSize
from hsi_toolkit.models.hypersigma.loading import (
    RULES,
    load_pretrained,
    pretrained_tensors,
    read_pretrained,
    read_state_dict,
    resize_grid,
    resize_line,
    strip_encoder,
)
from hsi_toolkit.models.hypersigma.mae import MAEConfig, SpatMAE, SpecMAE

from .test_networks import full_size


@pytest.fixture
def pretrained(tiny: TransformerSize) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """State dicts of a spatial and of a spectral autoencoder."""
    config = MAEConfig(9, 8, 2, 9, tiny, 16, 1, 4)
    return SpatMAE(config).state_dict(), SpecMAE(config).state_dict()


def test_full_size_networks_take_what_the_published_scripts_load(shared: Path) -> None:
    manifests = shared / "parity/manifests"
    rules = json.loads((manifests / "hypersigma_load_rules.json").read_text())
    lists = json.loads((manifests / "hypersigma_pretrain.json").read_text())["checkpoints"]
    with torch.device("meta"):
        networks = full_size()
        spatial, spectral = (
            {name: torch.empty(shape) for name, shape in lists[file].items()}
            for file in lists
            if "-base-" in file
        )
    for name, rule in rules.items():
        taken = pretrained_tensors(networks[name], spatial, spectral)
        assert sorted(taken) == sorted(rule["loaded"]), name


def test_a_classifier_starts_from_both_encoders(
    tiny: TransformerSize, pretrained: tuple[dict[str, Tensor], dict[str, Tensor]]
) -> None:
    spatial, spectral = pretrained
    network = FusionClassifier(ClassifierConfig(5, 3, 8, 2, 9, tiny, (24, 24)))
    before = network.spat_encoder.pos_embed.detach().clone()
    load_pretrained(network, spatial, spectral)
    own = network.state_dict()
    name = "blocks.2.attn.qkv.weight"
    assert torch.equal(own[f"spat_encoder.{name}"], spatial[name])
    assert torch.equal(own[f"spec_encoder.{name}"], spectral[name])
    assert torch.equal(own["spec_encoder.pos_embed"], spectral["pos_embed"])
    assert torch.equal(own["spat_encoder.pos_embed"], before)


def test_a_spatial_network_has_no_place_for_spectral_weights(
    tiny: TransformerSize, pretrained: tuple[dict[str, Tensor], dict[str, Tensor]]
) -> None:
    network = SpatialClassifier(ClassifierConfig(5, 3, 8, 2, 9, tiny))
    load_pretrained(network, pretrained[0])
    with pytest.raises(ModelError, match="SpatialClassifier has no encoder for these weights"):
        load_pretrained(network, *pretrained)


def test_the_spatial_denoiser_takes_the_bias_of_an_embedding_that_does_not_fit(
    tiny: TransformerSize, pretrained: tuple[dict[str, Tensor], dict[str, Tensor]]
) -> None:
    network = SpatialDenoiser(denoising_config(5, 16, 9, tiny))
    report = load_pretrained(network, pretrained[0])
    assert "patch_embed.proj.bias" in report.loaded
    assert "patch_embed.proj.weight" in report.left
    assert network.pos_embed.shape == (1, 64, 24)


def test_weights_of_another_size_are_refused(pretrained: tuple[dict[str, Tensor], dict[str, Tensor]]) -> None:
    other = TransformerSize(dim=32, depth=4, heads=4, out_indices=(0, 1, 2, 3))
    with pytest.raises(ModelError, match="has shape"):
        load_pretrained(ChangeNetwork(ChangeConfig(5, tokens=9, size=other)), *pretrained)


def test_position_tables_are_resized() -> None:
    ramp = torch.arange(4.0).view(1, 4, 1).repeat(1, 4, 2)
    assert resize_grid(ramp, 4) is ramp
    assert resize_grid(ramp, 8).shape == (1, 64, 2)
    line = torch.arange(10.0).view(1, 10, 1)
    torch.testing.assert_close(resize_line(line, 9), line[:, 1:])


def test_names_are_unwrapped_as_the_published_readers_do(tmp_path: Path) -> None:
    tensor = torch.ones(2)
    torch.save({"net": {"module.encoder.norm.weight": tensor, "module.head": tensor}}, tmp_path / "model.pth")
    state = read_state_dict(tmp_path / "model.pth")
    assert list(state) == ["encoder.norm.weight", "head"]
    assert list(strip_encoder(state)) == ["norm.weight"]
    assert list(strip_encoder({"a": tensor, **state})) == ["a", *state]


class Runner:
    """Something that a pickle must not bring to life."""


def test_released_files_are_read_with_their_arguments_and_others_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny: TransformerSize,
    pretrained: tuple[dict[str, Tensor], dict[str, Tensor]],
) -> None:
    file = tmp_path / "spec-vit-base-ultra-checkpoint-1599.pth"
    torch.save({"model": pretrained[1], "epoch": 1599, "args": argparse.Namespace(lr=1e-3)}, file)
    with pytest.raises(ModelError, match="no pretrained HyperSIGMA encoder of a released size"):
        read_pretrained(file)
    monkeypatch.setattr("hsi_toolkit.models.hypersigma.loading.SIZES", {"tiny": tiny})
    read = read_pretrained(file)
    assert (read.branch, read.size) == ("spectral", "tiny")
    assert read.state_dict.keys() == pretrained[1].keys()
    torch.save({"model": pretrained[1], "args": Runner()}, file)
    with pytest.raises(ModelError, match="would run code"):
        read_pretrained(file)
    torch.save([1, 2], file)
    with pytest.raises(ModelError, match="no weights by name"):
        read_pretrained(file)


def test_every_head_has_a_rule() -> None:
    with torch.device("meta"):
        kinds = {type(network) for network in full_size().values()}
    assert kinds <= set(RULES)
