"""The built-in pretrained network is there, says where it comes from, and is found by its name."""

from pathlib import Path

import torch

from hsi_toolkit.models import zoo
from hsi_toolkit.models.bundle import ModelBundle
from hsi_toolkit.models.checkpoints import load_by_name
from hsi_toolkit.models.hsimae import HSIMAE, HSIMAEConfig, HSIViT
from hsi_toolkit.training.head_start import HeadStart

NAME = "hsimae-small"
ROOT = Path(__file__).resolve().parents[2]


def test_it_is_found_by_its_name_without_a_download(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HSI_MODELS", str(tmp_path / "none"))
    path = zoo.resolve(NAME)
    assert path.is_file()
    assert zoo.fetch(NAME) == path
    assert zoo.show(NAME)["path"] == str(path)
    assert zoo.find(NAME).built_in
    assert not (tmp_path / "none").exists()


def test_a_users_own_file_of_that_name_comes_first(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HSI_MODELS", str(tmp_path))
    own = tmp_path / f"{NAME}.safetensors"
    own.write_bytes(zoo.resolve(NAME).read_bytes())
    assert zoo.resolve(NAME) == own


def test_it_holds_a_whole_small_network_and_its_head_start() -> None:
    bundle = ModelBundle.load(zoo.resolve(NAME))
    assert bundle.metadata.kind == "pretrained"
    config = HSIMAEConfig.of_size("small")
    assert HSIMAEConfig(**bundle.metadata.architecture.config) == config
    assert HeadStart.of(bundle.metadata.extra) is not None
    assert all(tensor.isfinite().all() for tensor in bundle.tensors.values())
    whole = load_by_name(HSIMAE(config), bundle.part("network"))
    assert (whole.left, whole.unused) == ((), ())
    assert load_by_name(HSIViT(config, 3), bundle.part("network")).left == (
        "cls_head.weight",
        "cls_head.bias",
    )
    parameters = dict(HSIMAE(config).named_parameters())
    assert {bundle.part("network")[name].dtype for name in parameters} == {torch.float16}


def test_its_file_is_small_and_states_only_data_that_may_be_shipped() -> None:
    assert zoo.resolve(NAME).stat().st_size < 1_000_000
    origin = ModelBundle.read_metadata(zoo.resolve(NAME)).provenance
    assert origin.seed == 42
    named = " ".join(origin.data)
    for library in ("ECOSTRESS", "USGS", "Roberts", "NEON", "AVIRIS-NG", "MUUFL"):
        assert library in named
    for unseen in ("berlin", "potsdam", "salinas", "jasper", "samson", "EnMAP", "Urban "):
        assert unseen not in named


def test_its_model_card_is_linked() -> None:
    assert (ROOT / "docs" / f"{NAME}.md").is_file()
    for page in ("models.md", "classification.md"):
        assert f"{NAME}.md" in (ROOT / "docs" / page).read_text(encoding="utf-8")
