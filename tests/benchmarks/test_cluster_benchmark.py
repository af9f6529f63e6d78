"""The benchmark of clusters says whether its goal is reached."""

import json
from pathlib import Path

import pytest

from benchmarks import cluster
from benchmarks.cluster import Figures, Work, main


def test_the_goal_is_speed_and_the_same_bytes() -> None:
    assert Figures(100, 1.8, 1.0, 0.5, True, True).reached
    assert not Figures(100, 1.6, 1.0, 0.5, True, True).reached
    assert not Figures(100, 1.8, 1.0, 0.5, False, True).reached
    assert not Figures(100, 1.8, 1.0, 0.5, True, False).reached


def test_a_run_prints_and_writes_its_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(
        cluster, "measure", lambda work, pixels, rounds: Figures(pixels, 3.0, 2.0, 0.5, True, True)
    )
    assert main(["--rows", "24", "--json", str(tmp_path / "figures.json")]) == 1
    assert "1.50 times" in capsys.readouterr().out
    assert json.loads((tmp_path / "figures.json").read_text())["ratio"] == 1.5


def test_maps_of_the_same_scene_are_the_same(tmp_path: Path) -> None:
    work = Work(tmp_path, 24, "small", "fast")
    assert work.seconds("a") > 0
    work.seconds("b")
    assert work.same("a", "b")
