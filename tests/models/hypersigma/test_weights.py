"""Pretrained encoders from files, bundles and the zoo, as the start of a task's network."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from hsi_toolkit.errors import ModelError
from hsi_toolkit.models.bundle import Architecture, ModelBundle, ModelMetadata, parts
from hsi_toolkit.models.hypersigma.classification import ClassifierConfig, FusionClassifier, SpatialClassifier
from hsi_toolkit.models.hypersigma.encoders import TransformerSize
from hsi_toolkit.models.hypersigma.mae import MAEConfig, SpatMAE, SpecMAE
from hsi_toolkit.models.hypersigma.weights import load_encoders, read_encoders
from hsi_toolkit.progress import Progress


@pytest.fixture(autouse=True)
def _sizes(monkeypatch: pytest.MonkeyPatch, tiny: TransformerSize) -> None:
    other = TransformerSize(dim=16, depth=4, heads=2, out_indices=(0, 1, 2, 3))
    for module in ("loading", "encoders"):
        monkeypatch.setattr(f"hsi_toolkit.models.hypersigma.{module}.SIZES", {"tiny": tiny, "other": other})


def config(size: TransformerSize) -> MAEConfig:
    return MAEConfig(9, 8, 2, 9, size, 16, 1, 4)


@pytest.fixture
def files(tmp_path: Path, tiny: TransformerSize) -> tuple[Path, Path]:
    """A spatial checkpoint as published, and a spectral bundle."""
    torch.manual_seed(1)
    spatial = tmp_path / "spat.pth"
    torch.save({"model": SpatMAE(config(tiny)).state_dict(), "epoch": 1599}, spatial)
    spectral = tmp_path / "spec.safetensors"
    metadata = ModelMetadata(
        "spec", "pretrained", Architecture("hypersigma_spectral_mae", asdict(config(tiny)))
    )
    ModelBundle(metadata, parts(network=SpecMAE(config(tiny)).state_dict())).save(spectral)
    return spatial, spectral


def classifier(tiny: TransformerSize) -> FusionClassifier:
    return FusionClassifier(ClassifierConfig(5, 3, 8, 2, 9, tiny, (24, 24)))


def test_no_weights_leave_the_network_as_it_is(tiny: TransformerSize) -> None:
    network = classifier(tiny)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert load_encoders(network, None, Progress()) == ()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert read_encoders(None).size is None


def test_both_encoders_come_from_names_with_a_comma_in_any_order(
    tiny: TransformerSize, files: tuple[Path, Path]
) -> None:
    spatial, spectral = files
    network = classifier(tiny)
    told = load_encoders(network, f"{spectral}, {spatial}", Progress())
    assert [text.partition(":")[0] for text in told] == [
        "spatial encoder tiny from spat.pth",
        "spectral encoder tiny from spec.safetensors",
    ]
    trained = torch.load(spatial, weights_only=True)["model"]
    name = "blocks.1.mlp.fc1.weight"
    assert torch.equal(network.state_dict()[f"spat_encoder.{name}"], trained[name])
    stored = ModelBundle.load(spectral).part("network")
    assert torch.equal(network.state_dict()[f"spec_encoder.{name}"], stored[name])


def test_size_and_tokens_are_told_before_a_network_is_made(files: tuple[Path, Path]) -> None:
    encoders = read_encoders(files)
    assert (encoders.size, encoders.tokens) == ("tiny", 9)
    assert (read_encoders(files[0]).size, read_encoders(files[0]).tokens) == ("tiny", None)


def test_two_files_of_one_encoder_are_refused(files: tuple[Path, Path]) -> None:
    with pytest.raises(ModelError, match="are both of the spatial encoder"):
        read_encoders([files[0], files[0]])


def test_weights_of_another_size_are_refused_by_name(
    tmp_path: Path, tiny: TransformerSize, files: tuple[Path, Path]
) -> None:
    other = TransformerSize(dim=16, depth=4, heads=2, out_indices=(0, 1, 2, 3))
    file = tmp_path / "other.pth"
    torch.save(SpecMAE(config(other)).state_dict(), file)
    with pytest.raises(ModelError, match="different sizes, other and tiny"):
        read_encoders([files[0], file])
    with pytest.raises(ModelError, match="other have 4 blocks of 16 channels, and the network has 4 of 24"):
        load_encoders(classifier(tiny), file, Progress())


def test_spectral_weights_have_no_place_in_a_spatial_network(
    tiny: TransformerSize, files: tuple[Path, Path]
) -> None:
    with pytest.raises(ModelError, match="SpatialClassifier has no encoder for these weights"):
        load_encoders(SpatialClassifier(ClassifierConfig(5, 3, 8, 2, 9, tiny)), files[1], Progress())


def test_a_bundle_of_something_else_is_refused_by_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    metadata = ModelMetadata("x", "classifier", Architecture("scene_classifier"))
    ModelBundle(metadata, {"network.a": torch.ones(1)}).save(file)
    with pytest.raises(ModelError, match="holds a scene_classifier of the kind 'classifier'"):
        read_encoders(file)
    with pytest.raises(ModelError, match="no model file"):
        read_encoders(tmp_path / "missing.pth")
