"""The card of a model file, as a task."""

from pathlib import Path

import pytest
import torch

from hsi_toolkit.errors import HsiError, ModelError, OutputError
from hsi_toolkit.models.bundle import Architecture, ModelBundle, ModelMetadata, Provenance
from hsi_toolkit.pipelines import run
from hsi_toolkit.tasks.card import Card


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "start.safetensors"
    metadata = ModelMetadata(
        "Start of it all", "pretrained", Architecture("hsimae"), provenance=Provenance(licence="CC0-1.0")
    )
    ModelBundle(metadata, {"network.weight": torch.zeros(3, 4)}).save(path)
    return path


def test_a_card_is_written_and_its_path_told(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "card.html"
    result = run(Card(model=str(model), output=str(target)))
    assert result["outputs"] == {"card": str(target)}
    html = target.read_text(encoding="utf-8")
    assert "Start of it all" in html
    assert "CC0-1.0" in html


def test_a_card_that_exists_is_kept_unless_told_otherwise(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "card.html"
    target.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        run(Card(model=str(model), output=str(target)))
    assert target.read_text() == "mine"
    run(Card(model=str(model), output=str(target), overwrite=True))
    assert target.read_text() != "mine"


def test_a_name_of_another_format_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"does not end in \.html"):
        run(Card(model=str(model), output=str(tmp_path / "card.pdf")))


@pytest.mark.parametrize("content", [b"", b"no model", b"\x80\x04pickle"])
def test_what_is_no_model_is_an_error_and_leaves_no_card(tmp_path: Path, content: bytes) -> None:
    path, target = tmp_path / "bad.safetensors", tmp_path / "card.html"
    path.write_bytes(content)
    with pytest.raises(ModelError):
        run(Card(model=str(path), output=str(target)))
    assert not target.exists()


def test_an_unknown_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(HsiError, match="nowhere"):
        run(Card(model="nowhere", output=str(tmp_path / "card.html")))
