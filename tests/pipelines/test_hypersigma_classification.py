"""Pretraining, training and mapping with HyperSIGMA by the command line, with a tiny network."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hsi_toolkit.cli import app
from hsi_toolkit.models.bundle import ModelBundle
from hsi_toolkit.models.hypersigma.encoders import TransformerSize
from hsi_toolkit.models.hypersigma.mae import MAEConfig
from hsi_toolkit.scene import read_class_map

from .conftest import SmallScene

TINY = TransformerSize(dim=24, depth=4, heads=3, out_indices=(0, 1, 2, 3))


@pytest.fixture(autouse=True)
def _tiny_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("loading", "encoders"):
        monkeypatch.setattr(f"hsi_toolkit.models.hypersigma.{module}.SIZES", {"small": TINY})
    sizes = {"small": MAEConfig(16, 16, 4, 16, TINY, 16, 1, 4)}
    monkeypatch.setattr("hsi_toolkit.training.mae_pretrain.MAE_SIZES", sizes)


def hsi(*arguments: object) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments), "--device", "cpu", "--progress", "none"])
    assert done.exit_code == 0, done.output
    return done.output


def share_right(scene: SmallScene, path: Path) -> float:
    mapped, legend = read_class_map(path)
    names = {entry.value: entry.name for entry in legend}
    covers = ("meadow", "water", "soil")
    found = np.vectorize(lambda value: covers.index(names[value]) + 1)(mapped)
    return float(np.mean(found == scene.truth))


def pretrain(scene: SmallScene, model: str, path: Path) -> None:
    hsi(
        "pretrain", scene.scene, "--model", model, "-o", path, "--epochs", 2, "--windows", 16,
        "--batch-size", 8, "--micro-batch", 8,
    )  # fmt: skip


@pytest.mark.slow
def test_from_pretraining_to_a_map(small_scene: SmallScene, tmp_path: Path) -> None:
    spatial, spectral = tmp_path / "spat.safetensors", tmp_path / "spec.safetensors"
    pretrain(small_scene, "spat-mae-small", spatial)
    pretrain(small_scene, "spec-mae-small", spectral)
    assert ModelBundle.read_metadata(spectral).architecture.name == "hypersigma_spectral_mae"
    model, report = tmp_path / "model.safetensors", tmp_path / "report.html"
    hsi(
        "train", small_scene.scene, "-l", small_scene.labels, "-f", small_scene.field, "--method",
        "hypersigma", "--weights", f"{spatial},{spectral}", "--epochs", 2, "-o", model, "--report", report,
    )  # fmt: skip
    metadata = ModelBundle.read_metadata(model)
    assert (metadata.kind, metadata.architecture.name) == ("classifier", "hypersigma")
    assert metadata.architecture.config["network"]["tokens"] == 16  # type: ignore[index, call-overload]
    source = metadata.provenance.source
    assert source is not None
    assert source.startswith("spatial encoder small from spat.safetensors: ")
    assert "; spectral encoder small from spec.safetensors: " in source
    assert [entry.name for entry in metadata.classes] == ["meadow", "soil", "water"]
    assert metadata.extra["training_pixels"]["radius"] == 4  # type: ignore[index, call-overload]
    facts = json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))
    assert facts["facts"]["Network"] == "HyperSIGMA small"


@pytest.mark.slow
def test_a_map_from_scratch_is_mostly_right(small_scene: SmallScene, tmp_path: Path) -> None:
    model, written = tmp_path / "model.safetensors", tmp_path / "map.tif"
    labels = ("-l", small_scene.labels, "-f", small_scene.field)
    hsi("train", small_scene.scene, *labels, "--method", "hypersigma", "--epochs", 8, "-o", model)
    hsi("classify", small_scene.scene, "-m", model, "-o", written, "--mode", "fast")
    assert share_right(small_scene, written) > 0.8


def test_weights_of_another_method_are_refused_in_one_sentence(
    small_scene: SmallScene, tmp_path: Path
) -> None:
    (tmp_path / "weights.pth").write_bytes(b"nonsense")
    done = CliRunner().invoke(
        app,
        [
            "train", str(small_scene.scene), "-l", str(small_scene.labels), "-f", small_scene.field,
            "--method", "hypersigma", "--weights", str(tmp_path / "weights.pth"), "-o",
            str(tmp_path / "model.safetensors"),
        ],
    )  # fmt: skip
    assert done.exit_code == 2
    assert "damaged or was not written by torch.save" in done.output
    assert not (tmp_path / "model.safetensors").exists()
