"""Released files of all systems become bundles whose networks are the files' own."""

import argparse
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from hsi_toolkit.errors import ModelError
from hsi_toolkit.models import zoo
from hsi_toolkit.models.bimae import BiMAE, BiMAEConfig
from hsi_toolkit.models.bundle import ModelBundle
from hsi_toolkit.models.codecs import make_codec
from hsi_toolkit.models.hypersigma.denoising import FusionDenoiser, SpatialDenoiser, denoising_config
from hsi_toolkit.models.hypersigma.description import restored
from hsi_toolkit.models.hypersigma.encoders import TransformerSize
from hsi_toolkit.models.hypersigma.loading import read_pretrained
from hsi_toolkit.models.hypersigma.mae import MAEConfig, SpatMAE, SpecMAE
from hsi_toolkit.models.hypersigma.restoration import RestorationConfig
from hsi_toolkit.models.importing import read_released

TINY = TransformerSize(dim=24, depth=4, heads=3, out_indices=(0, 1, 2, 3))


@pytest.fixture(autouse=True)
def _tiny_is_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    config = MAEConfig(9, 8, 2, 9, TINY, 16, 1, 4)
    for module in ("importing", "hypersigma.loading", "hypersigma.encoders"):
        monkeypatch.setattr(f"hsi_toolkit.models.{module}.SIZES", {"tiny": TINY})
    monkeypatch.setattr("hsi_toolkit.models.importing.MAE_SIZES", {"tiny": config})


def imported(source: Path, tmp_path: Path) -> ModelBundle:
    zoo.import_model(source, tmp_path / "bundle.safetensors")
    return ModelBundle.load(tmp_path / "bundle.safetensors")


@pytest.mark.parametrize(
    ("kind", "branch", "config"),
    [
        (SpatMAE, "spatial", MAEConfig(7, 12, 4, 9, TINY, 16, 2, 4)),
        (SpecMAE, "spectral", MAEConfig(18, 6, 2, 9, TINY, 16, 2, 4)),
    ],
)
def test_pretraining_files_become_bundles_that_start_tasks(
    tmp_path: Path, kind: type[SpatMAE | SpecMAE], branch: str, config: MAEConfig
) -> None:
    network = kind(config)
    arguments = argparse.Namespace(lr=1e-3)
    torch.save({"model": network.state_dict(), "epoch": 1599, "args": arguments}, tmp_path / "any-name.pth")
    bundle = imported(tmp_path / "any-name.pth", tmp_path)
    assert bundle.metadata.kind == "pretrained"
    assert bundle.metadata.architecture.name == f"hypersigma_{branch}_mae"
    described = restored(MAEConfig, bundle.metadata.architecture.config)
    kind(described).load_state_dict(bundle.part("network"))
    assert (described.bands, described.img_size, described.size) == (config.bands, config.img_size, TINY)
    read = read_pretrained(tmp_path / "bundle.safetensors")
    assert (read.branch, read.size) == (branch, "tiny")


@pytest.mark.parametrize(
    ("kind", "name"),
    [(FusionDenoiser, "hypersigma_denoiser"), (SpatialDenoiser, "hypersigma_spatial_denoiser")],
)
def test_denoisers_become_bundles(
    tmp_path: Path, kind: type[FusionDenoiser | SpatialDenoiser], name: str
) -> None:
    config = denoising_config(5, 16, 9 if kind is FusionDenoiser else 100, TINY)
    network = kind(config)
    torch.save({"net": network.state_dict(), "epoch": 99, "iteration": 7}, tmp_path / "denoiser.pth")
    bundle = imported(tmp_path / "denoiser.pth", tmp_path)
    assert (bundle.metadata.kind, bundle.metadata.architecture.name) == ("denoiser", name)
    described = restored(RestorationConfig, bundle.metadata.architecture.config)
    assert described == config
    again = kind(described)
    again.load_state_dict(bundle.part("network"))
    tile = torch.rand(1, 5, 16, 16)
    with torch.no_grad():
        assert torch.equal(again.eval()(tile), network.eval()(tile))


@pytest.mark.parametrize(("name", "rate"), [("cae1d", "8"), ("sscnet", "1"), ("cae3d", "1")])
def test_codecs_become_bundles(tmp_path: Path, name: str, rate: str) -> None:
    codec = make_codec(name, rate)
    torch.save({"state_dict": codec.state_dict(), "epoch": 1}, tmp_path / "codec.pth.tar")
    bundle = imported(tmp_path / "codec.pth.tar", tmp_path)
    assert (bundle.metadata.kind, bundle.metadata.architecture.name) == ("codec", name)
    assert bundle.metadata.architecture.config["bands"] == 202
    codec.load_state_dict(bundle.part("network"))


def test_bimae_becomes_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = BiMAEConfig(patch=2, bands=6, rgb_patches=4, dim=8, heads=2, depth=1, decoder_dim=4)
    network = BiMAE(config)
    file = tmp_path / "bimae.weights.h5"
    with h5py.File(file, "w") as out:
        out["weights"] = np.zeros(1)
    state = network.state_dict()
    monkeypatch.setattr("hsi_toolkit.models.importing.read_keras_weights", lambda path: {})
    monkeypatch.setattr("hsi_toolkit.models.importing.state_from_keras", lambda arrays: state)
    bundle = imported(file, tmp_path)
    assert (bundle.metadata.kind, bundle.metadata.architecture.name) == ("pretrained", "bimae")
    again = BiMAE(BiMAEConfig(**bundle.metadata.architecture.config))
    again.load_state_dict(bundle.part("network"))


def test_other_hdf5_files_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "scene.h5", "w") as out:
        out["cube"] = np.zeros(3)
    with pytest.raises(ModelError, match="holds no weights of BiMAE"):
        read_released(tmp_path / "scene.h5")


def test_an_incomplete_file_is_refused_by_what_it_lacks(tmp_path: Path) -> None:
    state = SpatMAE(MAEConfig(7, 12, 4, 9, TINY, 16, 2, 4)).state_dict()
    del state["blocks.3.mlp.fc2.bias"]
    torch.save(state, tmp_path / "spat.pth")
    with pytest.raises(ModelError, match=r"blocks\.3\.mlp\.fc2\.bias is missing"):
        read_released(tmp_path / "spat.pth")
    del state["decoder_pred.weight"]
    torch.save(state, tmp_path / "spat.pth")
    with pytest.raises(ModelError, match=r"sizes cannot be told .*decoder_pred"):
        read_released(tmp_path / "spat.pth")


def test_a_network_of_a_task_is_refused(tmp_path: Path) -> None:
    torch.save({"spat_encoder.blocks.0.attn.qkv.weight": torch.zeros(1)}, tmp_path / "model.pth")
    with pytest.raises(ModelError, match="fine-tuned for a task"):
        read_released(tmp_path / "model.pth")
