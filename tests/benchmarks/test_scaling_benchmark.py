"""The benchmarks of cost against size, and of a scene far larger than memory, on scenes of some pixels."""

import json
from pathlib import Path

import pytest

from benchmarks import huge, scaling
from benchmarks.scaling import Figures, exponent, growth
from hsi_toolkit.scene import open_scene


def test_a_cost_that_grows_with_pixels_has_the_exponent_one() -> None:
    linear = [Figures(n, 2e-5 * n, 4e-5 * n, 1000) for n in (100_000, 1_000_000, 10_000_000)]
    assert exponent(linear) == pytest.approx(1)
    squared = [Figures(n, 1e-10 * n**2, 4e-5 * n, 1000) for n in (100_000, 1_000_000)]
    assert exponent(squared) == pytest.approx(2)
    assert exponent(squared, processor=True) == pytest.approx(1)


def test_memory_is_held_against_that_of_a_third_of_the_pixels() -> None:
    maps = [Figures(n, 1, 1, mb) for n, mb in ((99_856, 500), (2_999_824, 1000), (9_998_244, 1050))]
    assert growth(maps) == pytest.approx(0.05)


def test_a_map_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scaling, "TILE", 32)
    monkeypatch.setattr(scaling, "FIELD", 8)
    scaling.make_scene(tmp_path / "scene.bil", 50, 60)
    scene = open_scene(tmp_path / "scene.bil")
    assert scene.shape == (60, 50, 50)
    assert (scene[:, 32:, 32:].values == scene[:, :18, :18].values).all()
    assert scaling.main(["--scene", str(tmp_path / "scene.bil"), "--threads", "1"]) == 0
    figures = Figures(**json.loads(capsys.readouterr().out))
    assert figures.pixels == 2500
    assert min(figures.seconds, figures.processor_seconds, figures.peak_mb) > 0


@pytest.mark.slow
def test_an_interrupted_map_of_a_sparse_scene_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hsi_toolkit.inference.devices.BLOCK_MEMORY", 160 << 20)
    arguments = ["--side", "600", "--windows", "2", "--threads", "1", "--json", str(tmp_path / "f.json")]
    huge.main(arguments)
    figures = json.loads((tmp_path / "f.json").read_text())
    assert 0 < figures["resumed"] < figures["blocks"]
    assert figures["whole"]
    assert figures["pixels"] == 2 * huge.WINDOW**2
