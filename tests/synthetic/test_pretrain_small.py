"""The script that makes the built-in network reads what may be trained on, and nothing else."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hsi_toolkit.models.bundle import ModelBundle
from hsi_toolkit.training.head_start import HeadStart

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pretrain_small", ROOT / "tools" / "pretrain_small.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def allowed(tool: ModuleType, shared: Path, tmp_path: Path) -> Path:
    """A folder with nothing but what the weights may be trained on."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    for name in (*tool.LIBRARIES, *tool.REAL_SCENES):
        (folder / name).symlink_to(shared / "scenes" / name)
    return folder


def test_a_folder_of_what_may_be_trained_on_is_enough(
    tool: ModuleType, allowed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "made" / "hsimae-small.safetensors"
    arguments = ["--scenes", str(allowed), "--output", str(output), "--count", "3", "--steps", "2"]
    monkeypatch.setattr("sys.argv", ["pretrain_small", *arguments])
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)  # of the whole test run
    assert tool.main() == 0
    bundle = ModelBundle.load(output)
    assert bundle.metadata.kind == "pretrained"
    assert HeadStart.of(bundle.metadata.extra) is not None
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_the_libraries_come_whole_and_on_one_grid(tool: ModuleType, allowed: Path) -> None:
    materials = tool.read_materials(allowed)
    assert materials.spectra.shape == (3725 + 498 + 1953, len(tool.GRID))
    assert np.isfinite(materials.spectra).all()
    assert materials.named.sum() == 3725
    counts = [len(np.unique(level)) for level in materials.classes]
    assert counts == sorted(counts)
    for level in materials.classes:
        assert not set(level[materials.named]) & set(level[~materials.named])
